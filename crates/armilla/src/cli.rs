//! What can be typed.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use armilla_imagine::{Aggregate, Execution};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::commands::dataset::DatasetCommand;
use crate::commands::hub::HubCommand;
use crate::commands::policy::PolicyCommand;
use crate::commands::world::WorldCommand;

/// From video to robot behaviour: record, learn a world model, train a policy, plan, evaluate, look.
#[derive(Debug, Parser)]
#[command(name = "armilla", version)]
pub(crate) struct Arguments {
    /// Say more (-v, -vv, -vvv).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole loop on the native simulators: record, learn, plan, evaluate over the bus, report.
    Demo(DemoArguments),
    /// Record episodes of a simulator as a LeRobot v3 dataset.
    Record(RecordArguments),
    /// Look into datasets, and make new ones of them.
    #[command(subcommand)]
    Dataset(DatasetCommand),
    /// Train a world model or a policy on a dataset.
    Train(TrainArguments),
    /// Evaluate a policy or a planner closed-loop over the bus, with the floors on the same episodes.
    Eval(Box<EvalArguments>),
    /// Put a simulator or a policy on the bus.
    #[command(subcommand)]
    Serve(ServeCommand),
    /// Write a dataset, or the curves of a run, as a Rerun recording.
    Viz(VizArguments),
    /// Look inside a world model: how far it predicts, what it knows, what surprises it, whether it is alive.
    #[command(subcommand)]
    World(WorldCommand),
    /// Run a policy on a batch in a file, to compare it with another program: actions, losses and gradients.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Datasets and checkpoints to and from the Hugging Face hub (cargo feature `hub`).
    #[command(subcommand)]
    Hub(HubCommand),
    /// Measure how long training, acting, loading and recording take here.
    Bench(BenchArguments),
    /// What this machine has, what is missing and what to do; with --self-test, whether a device computes right.
    Doctor(DoctorArguments),
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArguments {
    /// Folder for everything the demo makes; must be new or empty.
    #[arg(long, default_value = "demo-out")]
    pub out: PathBuf,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Well under a minute instead of seven to nineteen: checks the path, not the figures.
    #[arg(long)]
    pub quick: bool,
    /// Empty the folder first if a demo made it.
    #[arg(long)]
    pub force: bool,
    /// Where to compute: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Arguments of `record`.
#[derive(Args, Debug)]
pub(crate) struct RecordArguments {
    /// A TOML file, or the name of a built-in one (`record/two-room`). The options below replace what it says.
    #[arg(long)]
    pub config: Option<String>,
    /// Replaces a setting of the configuration: `--set "episodes=[{policy='expert', count=10}]"` (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    pub set: Vec<String>,
    /// Environment: two-room, push-t, push-t-moves or tabletop.
    #[arg(long)]
    pub env: Option<String>,
    /// Who acts in all episodes: expert, random, nothing, cheat, simulator (plans on a copy of it; two-room only), noisy-expert (with the noise of a
    /// configuration), or a checkpoint's folder or OWNER/NAME on the hub; expert, or what a configuration says, unless given.
    #[arg(long)]
    pub policy: Option<String>,
    /// Episodes to record: 10, or as many as a configuration says, unless given; its groups keep their proportions.
    #[arg(long)]
    pub episodes: Option<usize>,
    /// Which episodes: those of seed S begin at S x 1,000,000, so that no two seeds share one. Unless given, a configuration's `seed` is that of
    /// the first episode itself.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Side of the camera picture: 64, 96 or 224; 64, or what a configuration says, unless given.
    #[arg(long)]
    pub image_size: Option<usize>,
    /// The dataset's folder; must not exist.
    #[arg(long)]
    pub out: PathBuf,
    /// Where a checkpoint computes: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Arguments of `train`.
#[derive(Args, Debug)]
pub(crate) struct TrainArguments {
    /// A TOML file, or the name of a built-in one (`train/two-room-jepa`, `train/push-t-act`, `train/tabletop-vla`; a wrong name lists all).
    #[arg(required_unless_present = "resume")]
    pub config: Option<String>,
    /// Replaces a setting: `--set train.steps=100` (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Dataset to train on, in place of the configuration's: a folder, or OWNER/NAME on the hub.
    #[arg(long)]
    pub dataset: Option<PathBuf>,
    /// Folder of the new run.
    #[arg(long, required_unless_present = "resume")]
    pub out: Option<PathBuf>,
    /// Goes on with a stopped run, to the same weights as if it had never stopped.
    #[arg(long, conflicts_with_all = ["out", "config", "set", "dataset"], value_name = "RUN")]
    pub resume: Option<PathBuf>,
    /// Where to compute: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// What a policy hears in place of its instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum InstructionChoice {
    /// The episode's own instruction.
    #[default]
    Own,
    /// Nothing.
    Blank,
    /// Another instruction that the scene allows.
    Swapped,
}

/// Arguments of `eval`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("actor").args(["policy", "planner"]).required(true))]
pub(crate) struct EvalArguments {
    /// A policy's checkpoint folder, OWNER/NAME on the hub, a served policy such as tcp/127.0.0.1:7448, or a script: expert, random,
    /// nothing, cheat, simulator (plans on a copy of it).
    #[arg(long)]
    pub policy: Option<String>,
    /// A world model's checkpoint folder, or OWNER/NAME on the hub, to plan in.
    #[arg(long)]
    pub planner: Option<PathBuf>,
    /// How to plan: a TOML file, or the name of a built-in one; the environment's own (`plan/two-room`, `plan/push-t`, `plan/tabletop`)
    /// unless given.
    #[arg(long)]
    pub plan: Option<String>,
    /// Replaces a setting of the plan: `--set horizon=4` (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Environment: two-room, push-t, push-t-moves or tabletop.
    #[arg(long)]
    pub env: String,
    /// Which episodes: crossing or ahead (two-room), push, ahead or block (push-t), new-scenes, new-templates, unseen-pairs,
    /// unseen-verb-object, ahead or object (tabletop).
    #[arg(long)]
    pub protocol: String,
    /// Scenes unlike all recorded ones. Several, as `plain,colors,sizes,shapes`, make a table, each beside the first.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub variation: Vec<VariationChoice>,
    /// Number of episodes.
    #[arg(long, default_value_t = 100)]
    pub episodes: usize,
    /// Which episodes; equal seeds, equal episodes.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Episodes run side by side.
    #[arg(long, default_value_t = 50)]
    pub parallel: usize,
    /// What the policy hears.
    #[arg(long, value_enum, default_value_t)]
    pub instruction: InstructionChoice,
    /// How a policy's chunks become actions.
    #[command(flatten)]
    pub execution: ExecutionArguments,
    /// Leave out the floors (doing nothing, random, the cheapest cheat) and the expert.
    #[arg(long)]
    pub no_floors: bool,
    /// Add what planning on a copy of the simulator reaches (two-room; push-t with ahead or block; tabletop with ahead or object). Takes minutes.
    #[arg(long)]
    pub ceiling: bool,
    /// Side of the camera picture that a served policy wants, 64, 96 or 224; 64 unless given. A checkpoint says its own.
    #[arg(long)]
    pub image_size: Option<usize>,
    /// Use a simulator that is already on the bus, such as tcp/127.0.0.1:7447.
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Option<String>,
    /// How long a served simulator or policy may take to answer; 10 unless given.
    #[arg(long, value_name = "SECONDS")]
    pub reply_timeout: Option<f64>,
    /// Compare with another result on the same episodes, or on them in other colours or shapes, written by `--json`: which of them each
    /// solved alone (McNemar's test).
    #[arg(long)]
    pub against: Option<PathBuf>,
    /// Write the result to this file as JSON ("-" for standard output).
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write the first episodes, with what was planned or predicted, as a Rerun recording.
    #[arg(long, value_name = "FILE.rrd")]
    pub rerun: Option<PathBuf>,
    /// Write figures and the first episodes as a page of HTML.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Where to compute: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// How chunks become actions, of a policy's checkpoint.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ExecutionArguments {
    /// When the next chunk is asked for, and what becomes of actions that overlap; what the checkpoint says unless given.
    #[arg(long, value_enum)]
    pub execution: Option<ExecutionChoice>,
    /// Of `ensemble`: predictions of one step are averaged with weights exp(-THIS * age), the oldest first; 0.01, or what the checkpoint
    /// says, unless given.
    #[arg(long, allow_negative_numbers = true)]
    pub ensemble: Option<f64>,
    /// Of `asynchronous` and `real-time`: the next chunk is asked for when this share of one is left; 0.5 unless given.
    #[arg(long)]
    pub threshold: Option<f64>,
    /// Of `asynchronous`: what becomes of actions that two chunks have; `weighted_average` unless given.
    #[arg(long, value_enum)]
    pub aggregate: Option<AggregateChoice>,
    /// Milliseconds that a chunk takes to arrive, rounded up to whole steps; the simulator goes on meanwhile.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    pub delay_ms: f64,
}

/// When the next chunk is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExecutionChoice {
    /// When the last one is carried out, as far as the policy's receding horizon.
    Receding,
    /// At every step; all predictions of a step are averaged.
    Ensemble,
    /// While the last one is carried out.
    Asynchronous,
    /// The same, and the policy continues what is left of it.
    RealTime,
}

/// LeRobot's functions for two predictions of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum AggregateChoice {
    /// 0.3 of the old and 0.7 of the new one.
    #[default]
    WeightedAverage,
    /// The new one.
    LatestOnly,
    /// Half of each.
    Average,
    /// 0.7 of the old and 0.3 of the new one.
    Conservative,
}

impl ExecutionArguments {
    /// What was typed, else what a checkpoint says of ensembling.
    ///
    /// # Errors
    ///
    /// If something was typed that the way of acting has no use for.
    pub(crate) fn chosen(&self, ensemble: Option<f64>) -> Result<Execution> {
        let execution = self.execution(ensemble);
        let ensembles = matches!(execution, Execution::Ensemble { .. });
        let joins = matches!(execution, Execution::Asynchronous { .. });
        let early = joins || matches!(execution, Execution::RealTime { .. });
        for (name, given, used, with) in [
            ("ensemble", self.ensemble.is_some(), ensembles, "ensemble"),
            (
                "threshold",
                self.threshold.is_some(),
                early,
                "asynchronous` or `real-time",
            ),
            ("aggregate", self.aggregate.is_some(), joins, "asynchronous"),
        ] {
            ensure!(
                used || !given,
                "--{name}: expected with `--execution {with}`, found {execution}"
            );
        }
        Ok(execution)
    }

    fn execution(&self, ensemble: Option<f64>) -> Execution {
        let threshold = self.threshold.unwrap_or(0.5);
        let aggregate = match self.aggregate.unwrap_or_default() {
            AggregateChoice::WeightedAverage => Aggregate::WeightedAverage,
            AggregateChoice::LatestOnly => Aggregate::LatestOnly,
            AggregateChoice::Average => Aggregate::Average,
            AggregateChoice::Conservative => Aggregate::Conservative,
        };
        match (self.execution, ensemble) {
            (Some(ExecutionChoice::Receding), _) | (None, None) => Execution::Receding,
            (Some(ExecutionChoice::Ensemble), _) => Execution::Ensemble {
                coefficient: self.ensemble.or(ensemble).unwrap_or(0.01),
            },
            (None, Some(coefficient)) => Execution::Ensemble {
                coefficient: self.ensemble.unwrap_or(coefficient),
            },
            (Some(ExecutionChoice::RealTime), _) => Execution::RealTime { threshold },
            (Some(ExecutionChoice::Asynchronous), _) => Execution::Asynchronous {
                threshold,
                aggregate,
            },
        }
    }
}

/// What differs from all recorded scenes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum VariationChoice {
    /// Nothing: scenes are drawn as recordings are.
    Plain,
    /// Colours of everything.
    Colors,
    /// Sizes, in the picture and in the physics.
    Sizes,
    /// What the agent is drawn as.
    Shapes,
}

/// What can be served.
#[derive(Debug, Subcommand)]
pub(crate) enum ServeCommand {
    /// A simulator, lock-step, several sessions at once.
    Env {
        /// Environment: two-room, push-t, push-t-moves or tabletop.
        #[arg(long)]
        env: String,
        /// Which episodes, as `eval` lists them; with another look by its name, as in crossing:colors.
        #[arg(long)]
        protocol: String,
        /// Side of the camera picture: 64, 96 or 224.
        #[arg(long, default_value_t = 64)]
        image_size: usize,
        /// Where to listen; loopback with a free port unless given.
        #[arg(long)]
        listen: Option<String>,
        /// Episodes that it runs at once for all its clients, at most.
        #[arg(long, default_value_t = 256)]
        sessions: usize,
    },
    /// A policy's checkpoint.
    Policy(ServePolicyArguments),
}

/// Arguments of `serve policy`.
#[derive(Args, Debug)]
pub(crate) struct ServePolicyArguments {
    /// The checkpoint's folder, or OWNER/NAME on the hub.
    pub checkpoint: PathBuf,
    /// Environment that it is to act in: its rate and the bounds of its actions.
    #[arg(long, default_value = "tabletop")]
    pub env: String,
    /// A protocol of that environment.
    #[arg(long, default_value = "new-scenes")]
    pub protocol: String,
    /// Where to listen; loopback with a free port unless given.
    #[arg(long)]
    pub listen: Option<String>,
    /// Answer with all predicted actions, for clients that average them or ask early; the default of a checkpoint that asks for
    /// averages.
    #[arg(long)]
    pub whole_chunks: bool,
    /// Seed of the draws of a policy that samples its actions.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where to compute: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// Arguments of `viz`.
#[derive(Args, Debug)]
pub(crate) struct VizArguments {
    /// A dataset's or a run's folder, or OWNER/NAME on the hub.
    pub source: PathBuf,
    /// The recording to write.
    #[arg(long, default_value = "armilla.rrd")]
    pub out: PathBuf,
    /// How many episodes of a dataset to write, from the first; 5 unless given.
    #[arg(long)]
    pub episodes: Option<usize>,
}

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArguments {
    /// What to measure: names, or policy, world, plan for all of a kind; all but `recorder`, which runs by itself, unless given. A wrong
    /// name lists them.
    pub names: Vec<String>,
    /// Seconds to measure each for, about.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Where to compute: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Precision of matrix products and convolutions.
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionChoice,
    /// Of `loader`: what to load.
    #[command(flatten)]
    pub loader: LoaderBenchArguments,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What `bench loader` loads.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoaderBenchArguments {
    /// A dataset for `loader`; one of two 96-pixel cameras is recorded unless given.
    #[arg(long)]
    pub dataset: Option<PathBuf>,
    /// Threads of `loader`, each with a batch of its own.
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// GiB for pictures that `loader` keeps; 0 decodes each anew.
    #[arg(long, default_value_t = 0.0)]
    pub memory_gib: f64,
}

/// In which precision products are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionChoice {
    /// 32 bits.
    #[default]
    F32,
    /// bf16.
    Bf16,
}

impl From<PrecisionChoice> for armilla_nn::Precision {
    fn from(choice: PrecisionChoice) -> Self {
        match choice {
            PrecisionChoice::F32 => Self::F32,
            PrecisionChoice::Bf16 => Self::Bf16,
        }
    }
}

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArguments {
    /// The device that is tested: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Compare every layer with burn's own operations on the CPU, forwards and backwards, train and watch the memory.
    #[arg(long)]
    pub self_test: bool,
    /// Only open the device, multiply on it and say what it is.
    #[arg(long, hide = true)]
    pub probe: bool,
    /// Training steps over which memory must stay as it is.
    #[arg(long, default_value_t = 1000, requires = "self_test")]
    pub steps: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

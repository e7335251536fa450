//! Who acts in an evaluation: a planner, a policy's checkpoint, a served policy or a script.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use armilla_bus::{Bus, BusConfig, RemotePolicy};
use armilla_core::{Policy, Reset};
use armilla_envs::{EnvironmentConfig, Script, Variation, make};
use armilla_imagine::{Execution, PlannerPolicy};
use armilla_vla::{CheckpointPolicy, GoalCloning, GoalPolicy, load_policy};
use armilla_world::{PlanConfig, WorldModel};
use burn::tensor::Device;

use super::{Episodes, SERVED_POLICY};
use crate::cli::{EvalArguments, ExecutionArguments, InstructionChoice, VariationChoice};
use crate::commands::checkpoint::{expect_policy, expect_world_model};
use crate::commands::viz::{self, PlannedPaths};
use crate::config::Source;
use crate::hub::{self, HubType};

/// Side of the pictures that a policy without cameras does not see, px.
pub(crate) const BLIND_SIDE: usize = 64;
/// The protocol of recordings.
pub(crate) const RECORD: &str = "record";

/// Who acts.
pub(super) enum Actor {
    /// Who knows the simulator's truth.
    Script,
    /// Who searches in a world model, and keeps the plans that it makes.
    Planner(Box<PlannerPolicy>),
    /// Anybody else.
    Policy(Box<dyn Policy>),
}

impl Actor {
    /// As a policy; none for a script.
    pub(super) fn policy(&mut self) -> Option<&mut dyn Policy> {
        match self {
            Self::Script => None,
            Self::Planner(planner) => Some(planner.as_mut()),
            Self::Policy(policy) => Some(policy.as_mut()),
        }
    }

    /// What it meant to do in the first episodes, where it plans.
    pub(super) fn planned_paths(&self) -> PlannedPaths {
        match self {
            Self::Planner(planner) => viz::planned_paths(planner),
            _ => PlannedPaths::new(),
        }
    }
}

/// Who acts, and where.
pub(super) struct Opened {
    /// The environment, with the camera that the policy wants.
    environment: EnvironmentConfig,
    pub(super) actor: Actor,
    /// Whether who acts goes by a picture of the goal.
    wants_goal: bool,
    execution: Execution,
}

impl Opened {
    /// What is run.
    pub(super) fn episodes(&self, arguments: &EvalArguments) -> Result<Episodes> {
        let delay_ms = arguments.execution.delay_ms;
        ensure!(
            (0.0..=60_000.0).contains(&delay_ms),
            "--delay-ms: expected 0 to 60000, found {delay_ms}"
        );
        ensure!(
            arguments.episodes > 0,
            "--episodes: expected at least 1, found 0"
        );
        ensure!(
            !matches!(self.actor, Actor::Script)
                || self.execution == Execution::Receding && delay_ms == 0.0,
            "--execution, --delay-ms: expected with a policy or a planner, found with a script, which acts without chunks"
        );
        ensure!(
            arguments.parallel > 0,
            "--parallel: expected at least 1, found 0"
        );
        self.execution.validate().context("--execution")?;
        let rate_hz = make(&self.environment)?.spec().rate_hz;
        Ok(Episodes {
            environment: self.environment.clone(),
            count: arguments.episodes,
            seed: arguments.seed,
            parallel: arguments.parallel,
            execution: self.execution,
            delay_steps: (delay_ms * rate_hz / 1000.0).ceil() as usize,
        })
    }
}

impl Opened {
    /// Refuses what the first scene would, before any is run.
    pub(super) fn check(&mut self, arguments: &EvalArguments, episodes: &Episodes) -> Result<()> {
        if let (Execution::RealTime { .. }, Some(policy)) = (self.execution, self.actor.policy()) {
            ensure!(
                policy.continues(),
                "--execution real-time: expected a policy that samples its actions and can continue a chunk, found {}",
                policy.name()
            );
        }
        let mut simulator = make(&episodes.environment)?;
        let (observation, info) = simulator.reset(&Reset {
            seed: episodes.first_seed(),
            instruction: None,
        })?;
        let protocol = &arguments.protocol;
        ensure!(
            observation.goal.is_some() || !self.wants_goal,
            "--protocol: expected one that asks by a picture of the goal (crossing, ahead, block or object), found `{protocol}`, which does not"
        );
        ensure!(
            matches!(self.actor, Actor::Script)
                || arguments.instruction != InstructionChoice::Swapped
                || info.labels.contains_key("swapped"),
            "--instruction swapped: expected scenes with more than one task, found `{protocol}` of {}, which has one",
            arguments.env
        );
        ensure!(
            !self.wants_goal || arguments.instruction == InstructionChoice::Own,
            "--instruction: expected with a policy that hears words, found with one that acts by a picture of the goal"
        );
        if arguments.ceiling {
            simulator.scripted(Script::Planner).context("--ceiling")?;
        }
        Ok(())
    }
}

/// The protocol, with a variation if there is one.
fn varied(protocol: &str, variation: VariationChoice) -> String {
    let variation = match variation {
        VariationChoice::Plain => return protocol.to_owned(),
        VariationChoice::Colors => Variation::Colors,
        VariationChoice::Sizes => Variation::Sizes,
        VariationChoice::Shapes => Variation::Shapes,
    };
    format!("{protocol}:{}", variation.name())
}

/// How to plan in an environment unless told.
fn usual_plan(env: &str) -> &'static str {
    match env {
        "push-t" | "push-t-moves" => "plan/push-t",
        "tabletop" => "plan/tabletop",
        _ => "plan/two-room",
    }
}

/// Refuses arguments that would be ignored.
fn check(arguments: &EvalArguments) -> Result<()> {
    ensure!(
        arguments.protocol != RECORD,
        "--protocol: expected episodes that nothing was learnt from, found `{RECORD}`, whose episodes are there to be recorded"
    );
    let name = arguments.policy.as_deref().unwrap_or_default();
    let planned = arguments.plan.is_some() || !arguments.set.is_empty();
    ensure!(
        arguments.planner.is_some() || !planned,
        "--plan, --set: expected with --planner, found with --policy"
    );
    ensure!(
        arguments.image_size.is_none() || name.starts_with("tcp/"),
        "--image-size: expected with a served policy such as tcp/127.0.0.1:7448; a checkpoint says its own, and a script sees nothing"
    );
    ensure!(
        arguments.reply_timeout.is_none()
            || arguments.connect.is_some()
            || name.starts_with("tcp/"),
        "--reply-timeout: expected with a served policy or --connect; what this program runs itself is waited for"
    );
    let seconds = arguments.reply_timeout.unwrap_or(1.0);
    ensure!(
        (0.001..=86_400.0).contains(&seconds),
        "--reply-timeout: expected seconds, from 0.001 to 86400, found {seconds}"
    );
    Ok(())
}

/// Opens the planner or the policy's checkpoint, to act in scenes of a variation.
pub(super) fn open(arguments: &EvalArguments, variation: VariationChoice) -> Result<Opened> {
    let protocol = varied(&arguments.protocol, variation);
    let environment = |image_size| EnvironmentConfig {
        name: arguments.env.clone(),
        protocol: protocol.clone(),
        image_size,
    };
    check(arguments)?;
    let name = arguments.policy.as_deref().unwrap_or_default();
    let device = armilla_nn::device::parse(&arguments.device)?;
    let (mut ensemble, mut wants_goal) = (None, arguments.planner.is_some());
    // Who asks before a chunk is carried out, or averages chunks, needs whole ones.
    let needs_whole = |ensemble| {
        let execution = arguments.execution.chosen(ensemble)?;
        Ok::<_, anyhow::Error>(execution != Execution::Receding)
    };
    let (actor, side) = if let Some(checkpoint) = &arguments.planner {
        let plan = arguments.plan.as_deref();
        let mut plan = Source::open(plan.unwrap_or_else(|| usual_plan(&arguments.env)))?;
        plan.set(&arguments.set)?;
        let (plan, seed) = (plan.parse()?, arguments.seed);
        let (mut planner, side) = open_planner(checkpoint, plan, seed, &environment, &device)?;
        if needs_whole(None)? {
            planner = planner.with_whole_chunks();
        }
        (Actor::Planner(Box::new(planner)), side)
    } else if script(name).is_some() {
        (Actor::Script, BLIND_SIDE)
    } else if name.starts_with("tcp/") {
        let policy = open_served(name, arguments)?;
        ensemble = policy.chunks().ensemble;
        let side = arguments.image_size.unwrap_or(BLIND_SIDE);
        (Actor::Policy(Box::new(policy)), side)
    } else {
        ensure!(
            Path::new(name).exists() || name.contains('/'),
            "--policy {name}: expected a checkpoint's folder, a served policy such as tcp/127.0.0.1:7448, expert, random, nothing, cheat or simulator"
        );
        let checkpoint = hub::folder(HubType::Model, Path::new(name))?;
        if GoalPolicy::is_in(&checkpoint) {
            wants_goal = true;
            let (mut policy, side) = open_cloning(&checkpoint, &environment, &device)?;
            if needs_whole(None)? {
                policy = policy.with_whole_chunks();
            }
            (Actor::Policy(Box::new(policy)), side)
        } else {
            let seed = arguments.seed;
            let (mut policy, side) = open_trained(&checkpoint, seed, &environment, &device)?;
            ensemble = policy.horizons().ensemble;
            if needs_whole(ensemble)? {
                policy = policy.with_whole_chunks();
            }
            (Actor::Policy(Box::new(policy)), side)
        }
    };
    Ok(Opened {
        environment: environment(side),
        actor,
        wants_goal,
        execution: arguments.execution.chosen(ensemble)?,
    })
}

/// Opens a policy on the bus, to be asked as it would be here.
fn open_served(endpoint: &str, arguments: &EvalArguments) -> Result<RemotePolicy> {
    let bus = Bus::connect(&bus_at(endpoint, arguments.reply_timeout))?;
    let policy = RemotePolicy::connect(&bus, SERVED_POLICY)?;
    let chunks = policy.chunks();
    let execution = arguments.execution.chosen(chunks.ensemble)?;
    match (execution, chunks.receding) {
        (Execution::Receding, _) => Ok(policy.with_receding_chunks()),
        (_, Some(receding)) if !chunks.whole => bail!(
            "--execution: expected a policy that answers with all actions it predicts (`armilla serve policy --whole-chunks`), found one that answers with the first {receding}"
        ),
        _ => Ok(policy),
    }
}

/// Opens goal-conditioned cloning, for the environment with the camera it wants; and that camera's side.
fn open_cloning(
    checkpoint: &Path,
    environment: &dyn Fn(usize) -> EnvironmentConfig,
    device: &Device,
) -> Result<(GoalCloning, usize)> {
    let model = GoalPolicy::load(checkpoint, device)?;
    let side = model.shape().side;
    let simulator = make(&environment(side))?;
    Ok((GoalCloning::new(model, simulator.spec())?, side))
}

/// Opens a world model to plan in, for the environment with the camera it wants; and that camera's side.
pub(crate) fn open_planner(
    checkpoint: &Path,
    plan: PlanConfig,
    seed: u64,
    environment: &dyn Fn(usize) -> EnvironmentConfig,
    device: &Device,
) -> Result<(PlannerPolicy, usize)> {
    let checkpoint = hub::folder(HubType::Model, checkpoint)?;
    expect_world_model(&checkpoint)?;
    let model = WorldModel::load(&checkpoint, device)?;
    let side = model.shape().image_size;
    let simulator = make(&environment(side))?;
    let seed = if plan.seed == 0 { seed } else { plan.seed };
    let plan = PlanConfig { seed, ..plan };
    Ok((PlannerPolicy::new(model, plan, simulator.spec())?, side))
}

/// Opens a policy's checkpoint, for the environment with the camera it wants; and that camera's side.
pub(crate) fn open_trained(
    checkpoint: &Path,
    seed: u64,
    environment: &dyn Fn(usize) -> EnvironmentConfig,
    device: &Device,
) -> Result<(CheckpointPolicy, usize)> {
    let checkpoint = hub::folder(HubType::Model, checkpoint)?;
    expect_policy(&checkpoint)?;
    let trained = load_policy(&checkpoint, device)?;
    let cameras = &trained.inputs().cameras;
    let side = cameras.first().map_or(BLIND_SIDE, |camera| camera.height);
    let simulator = make(&environment(side))?;
    let policy = CheckpointPolicy::new(trained, simulator.spec(), seed, device)?;
    Ok((policy, side))
}

/// A policy as its checkpoint says that chunks become actions, and how that is.
pub(crate) fn as_it_says(policy: CheckpointPolicy) -> Result<(CheckpointPolicy, Execution)> {
    let execution = ExecutionArguments::default().chosen(policy.horizons().ensemble)?;
    Ok(match execution {
        Execution::Receding => (policy, execution),
        _ => (policy.with_whole_chunks(), execution),
    })
}

/// A script by name.
pub(crate) fn script(name: &str) -> Option<Script> {
    Some(match name {
        "nothing" => Script::Nothing,
        "random" => Script::Random,
        "cheat" => Script::Cheat,
        "expert" => Script::Expert,
        "simulator" => Script::Planner,
        _ => return None,
    })
}

/// The bus of who answers at an endpoint, and how long to wait for each answer.
pub(super) fn bus_at(endpoint: &str, reply_timeout: Option<f64>) -> BusConfig {
    let mut config = BusConfig::at(endpoint);
    if let Some(seconds) = reply_timeout {
        config.query_timeout_secs = seconds;
    }
    config
}

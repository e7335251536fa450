//! `armilla eval`: a policy or a planner, closed-loop over the bus, with the floors on the same episodes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use armilla_bus::{
    Bus, BusConfig, EnvironmentClient, EnvironmentServer, RemotePolicy, SessionLimits,
};
use armilla_core::{Environment, EpisodeOutcome, Policy};
use armilla_envs::{EnvironmentConfig, Script, Variation, make, run_script};
use armilla_imagine::{
    Evaluation, EvaluationConfig, Execution, InstructionControl, PlannerPolicy, evaluate,
};
use armilla_vla::{CheckpointPolicy, GoalCloning, GoalPolicy, load_policy};
use armilla_world::{PlanConfig, WorldModel};
use burn::tensor::Device;
use rayon::prelude::*;

use crate::cli::{EvalArguments, InstructionChoice, VariationChoice};
use crate::commands::viz;
use crate::config::Source;
use crate::hub::{self, HubType};
use crate::paired::Paired;
use crate::progress::{Progress, print, say};
use crate::results::ResultRow;

/// Seeds of two evaluations never overlap as long as each has fewer episodes than this.
const SEEDS_APART: u64 = 1_000_000;
/// What `armilla serve policy` calls its policy on the bus.
pub(crate) const SERVED_POLICY: &str = "policy";
/// Side of the pictures that a policy without cameras does not see, px.
const BLIND_SIDE: usize = 64;

/// Which episodes of which environment, and how many at once.
#[derive(Clone, Debug)]
pub(crate) struct Episodes {
    /// The simulator.
    pub environment: EnvironmentConfig,
    /// How many.
    pub count: usize,
    /// Which.
    pub seed: u64,
    /// Sessions side by side.
    pub parallel: usize,
    /// How chunks become actions.
    pub execution: Execution,
    /// Steps that pass before a chunk arrives that was asked for.
    pub delay_steps: usize,
}

impl Episodes {
    /// Seed of the first episode.
    pub(crate) fn first_seed(&self) -> u64 {
        self.seed.wrapping_mul(SEEDS_APART)
    }

    /// Environment and protocol, for people.
    fn title(&self) -> String {
        format!("{} {}", self.environment.name, self.environment.protocol)
    }
}

/// Runs `armilla eval`.
pub(crate) fn run(arguments: &EvalArguments) -> Result<()> {
    let mut opened = open_policy(arguments)?;
    let episodes = opened.episodes(arguments)?;
    let instruction = match arguments.instruction {
        InstructionChoice::Own => InstructionControl::Own,
        InstructionChoice::Blank => InstructionControl::Blank,
        InstructionChoice::Swapped => InstructionControl::Swapped,
    };
    let mut row = match &mut opened.policy {
        Some(policy) => {
            let policy = policy.as_mut();
            let endpoint = arguments.connect.as_deref();
            let evaluation = over_bus(&episodes, policy, instruction, 5, endpoint)?;
            let mut row = row(&episodes, policy.name(), &evaluation.outcomes);
            if let Some(path) = &arguments.rerun {
                let shown = viz::Shown {
                    environment: episodes.environment.clone(),
                    traces: evaluation.traces,
                    paths: viz::PlannedPaths::new(),
                };
                viz::write_traces(path, &shown)?;
            }
            if !arguments.no_floors {
                add_floors(&mut row, &episodes)?;
            }
            if arguments.ceiling {
                add_floor(&mut row, &episodes, Script::Planner)?;
            }
            row
        }
        None => {
            let name = arguments.policy.as_deref().unwrap_or_default();
            let script = script(name).context("no such script")?;
            if let Some(endpoint) = &arguments.connect {
                // Scripts act on the simulator's truth, which does not travel; still, a wrong endpoint must not pass.
                connect(endpoint, &episodes.environment.name)?;
            }
            let mut row = row(&episodes, name, &script_outcomes(&episodes, script)?);
            if arguments.ceiling {
                add_floor(&mut row, &episodes, Script::Planner)?;
            }
            row
        }
    };
    if let Some(path) = &arguments.against {
        row.against = Some(Paired::with_file(&row, path)?);
    }
    report(&row, arguments.json.as_deref())
}

/// Who acts, and where.
struct Opened {
    /// The environment, with the camera that the policy wants.
    environment: EnvironmentConfig,
    /// None for a script.
    policy: Option<Box<dyn Policy>>,
    execution: Execution,
}

impl Opened {
    fn new(
        arguments: &EvalArguments,
        environment: EnvironmentConfig,
        policy: Option<Box<dyn Policy>>,
    ) -> Self {
        Self {
            environment,
            policy,
            execution: arguments.execution.chosen(None),
        }
    }

    fn episodes(&self, arguments: &EvalArguments) -> Result<Episodes> {
        let delay_ms = arguments.execution.delay_ms;
        ensure!(
            (0.0..=60_000.0).contains(&delay_ms),
            "--delay-ms: expected 0 to 60000, found {delay_ms}"
        );
        ensure!(
            self.policy.is_some() || self.execution == Execution::Receding && delay_ms == 0.0,
            "--execution, --delay-ms: expected with a policy or a planner, found with a script, which acts without chunks"
        );
        let rate_hz = make(&self.environment)?.spec().rate_hz;
        Ok(Episodes {
            environment: self.environment.clone(),
            count: arguments.episodes,
            seed: arguments.seed,
            parallel: arguments.parallel.max(1),
            execution: self.execution,
            delay_steps: (delay_ms * rate_hz / 1000.0).ceil() as usize,
        })
    }
}

/// The protocol, with its variation if one is asked for.
fn protocol(arguments: &EvalArguments) -> String {
    let varied = arguments.variation.map(|choice| match choice {
        VariationChoice::Colors => Variation::Colors,
        VariationChoice::Sizes => Variation::Sizes,
        VariationChoice::Shapes => Variation::Shapes,
    });
    match varied {
        Some(variation) => format!("{}:{}", arguments.protocol, variation.name()),
        None => arguments.protocol.clone(),
    }
}

/// Opens the planner or the policy's checkpoint.
fn open_policy(arguments: &EvalArguments) -> Result<Opened> {
    let protocol = protocol(arguments);
    let environment = |image_size| EnvironmentConfig {
        name: arguments.env.clone(),
        protocol: protocol.clone(),
        image_size,
    };
    let device = armilla_nn::device::parse(&arguments.device)?;
    if let Some(checkpoint) = &arguments.planner {
        let mut plan = Source::open(&arguments.plan)?;
        plan.set(&arguments.set)?;
        let (planner, side) = open_planner(
            checkpoint,
            plan.parse()?,
            arguments.seed,
            &environment,
            &device,
        )?;
        return Ok(Opened::new(
            arguments,
            environment(side),
            Some(Box::new(planner)),
        ));
    }
    let name = arguments.policy.as_deref().unwrap_or_default();
    if script(name).is_some() {
        return Ok(Opened::new(arguments, environment(BLIND_SIDE), None));
    }
    if name.starts_with("tcp/") {
        let bus = Bus::connect(&BusConfig::at(name))?;
        let policy = RemotePolicy::connect(&bus, SERVED_POLICY)?;
        let environment = environment(arguments.image_size);
        return Ok(Opened::new(arguments, environment, Some(Box::new(policy))));
    }
    let checkpoint = hub::folder(HubType::Model, Path::new(name))?;
    if GoalPolicy::is_in(&checkpoint) {
        let model = GoalPolicy::load(&checkpoint, &device)?;
        let side = model.shape().side;
        let simulator = make(&environment(side))?;
        let policy = GoalCloning::new(model, simulator.spec())?;
        return Ok(Opened::new(
            arguments,
            environment(side),
            Some(Box::new(policy)),
        ));
    }
    let (mut policy, side) = open_trained(&checkpoint, arguments.seed, &environment, &device)?;
    let execution = arguments.execution.chosen(policy.horizons().ensemble);
    if execution != Execution::Receding {
        policy = policy.with_whole_chunks();
    }
    Ok(Opened {
        execution,
        ..Opened::new(arguments, environment(side), Some(Box::new(policy)))
    })
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
    let model = WorldModel::load(&checkpoint, device)?;
    let side = model.shape().image_size;
    let simulator = make(&environment(side))?;
    Ok((
        PlannerPolicy::new(model, PlanConfig { seed, ..plan }, simulator.spec())?,
        side,
    ))
}

/// Opens a policy's checkpoint, for the environment with the camera it wants; and that camera's side.
pub(crate) fn open_trained(
    checkpoint: &Path,
    seed: u64,
    environment: &dyn Fn(usize) -> EnvironmentConfig,
    device: &Device,
) -> Result<(CheckpointPolicy, usize)> {
    let checkpoint = hub::folder(HubType::Model, checkpoint)?;
    let trained = load_policy(&checkpoint, device)?;
    let cameras = &trained.inputs().cameras;
    let side = cameras.first().map_or(BLIND_SIDE, |camera| camera.height);
    let simulator = make(&environment(side))?;
    let policy = CheckpointPolicy::new(trained, simulator.spec(), seed, device)?;
    Ok((policy, side))
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

/// What a floor is called in an environment's table.
fn floor_name(environment: &EnvironmentConfig, script: Script) -> &'static str {
    let by_picture = ["ahead", "object"].contains(&environment.protocol.as_str());
    match (script, environment.name.as_str()) {
        (Script::Nothing, _) => "nothing",
        (Script::Random, _) => "random",
        (Script::Cheat, "two-room") => "straight-line",
        (Script::Cheat, "push-t" | "push-t-moves") => "agent-only",
        (Script::Cheat, "tabletop") if by_picture => "agent-only",
        (Script::Cheat, _) => "reach-only",
        (Script::Expert | Script::NoisyExpert(_), _) => "expert",
        (Script::Planner, _) => "simulator",
    }
}

/// Runs a policy's episodes over the bus: the simulator is served, the policy is its client.
pub(crate) fn over_bus(
    episodes: &Episodes,
    policy: &mut dyn Policy,
    instruction: InstructionControl,
    traces: usize,
    endpoint: Option<&str>,
) -> Result<Evaluation> {
    let served = match endpoint {
        Some(_) => None,
        None => Some(serve(&episodes.environment, None, episodes.parallel)?),
    };
    let endpoint = served
        .as_ref()
        .map_or(endpoint.unwrap_or_default(), |served| served.bus.endpoint())
        .to_owned();
    let client = connect(&endpoint, &episodes.environment.name)?;
    let mut sessions: Vec<Box<dyn Environment>> = Vec::new();
    for _ in 0..episodes.parallel.min(episodes.count) {
        sessions.push(Box::new(client.open_session()));
    }
    let config = EvaluationConfig {
        episodes: episodes.count,
        first_seed: episodes.first_seed(),
        instruction,
        traces,
        execution: episodes.execution,
        delay_steps: episodes.delay_steps,
    };
    let title = match instruction {
        InstructionControl::Own => episodes.title(),
        other => format!("{} ({other:?})", episodes.title()),
    };
    let mut progress = Progress::new(&title, "episodes", episodes.count as u64);
    let evaluation = evaluate(sessions, policy, &config, &mut |done| {
        progress.set(done as u64, "")
    })?;
    progress.finish();
    Ok(evaluation)
}

/// A simulator on the bus, until it is dropped.
pub(crate) struct Served {
    /// The bus it opened.
    pub bus: Bus,
    _server: EnvironmentServer,
}

/// Puts a simulator on the bus.
pub(crate) fn serve(
    environment: &EnvironmentConfig,
    listen: Option<String>,
    sessions: usize,
) -> Result<Served> {
    // Made once here so that a wrong name is told now, not at the first reset.
    make(environment)?;
    let config = environment.clone();
    let factory = move || -> armilla_core::Result<Box<dyn Environment>> {
        let simulator: Box<dyn Environment> = make(&config)?;
        Ok(simulator)
    };
    let bus = Bus::serve(&BusConfig {
        endpoint: listen,
        ..BusConfig::default()
    })?;
    let limits = SessionLimits {
        max_sessions: sessions,
        ..SessionLimits::default()
    };
    let server = EnvironmentServer::start(&bus, &environment.name, Arc::new(factory), limits)?;
    Ok(Served {
        bus,
        _server: server,
    })
}

fn connect(endpoint: &str, name: &str) -> Result<EnvironmentClient> {
    let bus = Bus::connect(&BusConfig::at(endpoint))?;
    Ok(EnvironmentClient::connect(&bus, name)?)
}

/// Runs a script on all episodes, in parallel, by calling the simulator: scripts need its truth, which does not travel.
pub(crate) fn script_outcomes(episodes: &Episodes, script: Script) -> Result<Vec<EpisodeOutcome>> {
    let seeds: Vec<_> = (0..episodes.count as u64)
        .map(|index| episodes.first_seed() + index)
        .collect();
    let outcomes: Vec<Vec<EpisodeOutcome>> = seeds
        .par_chunks(8)
        .map(|seeds| {
            let mut simulator = make(&episodes.environment)?;
            seeds
                .iter()
                .map(|&seed| run_script(simulator.as_mut(), seed, script))
                .collect()
        })
        .collect::<armilla_core::Result<_>>()?;
    Ok(outcomes.into_iter().flatten().collect())
}

/// Puts the floors and the expert beside a row.
pub(crate) fn add_floors(row: &mut ResultRow, episodes: &Episodes) -> Result<()> {
    for script in [
        Script::Nothing,
        Script::Random,
        Script::Cheat,
        Script::Expert,
    ] {
        add_floor(row, episodes, script)?;
    }
    Ok(())
}

/// Puts a script beside a row.
fn add_floor(row: &mut ResultRow, episodes: &Episodes, script: Script) -> Result<()> {
    let outcomes = script_outcomes(episodes, script)?;
    row.add_floor_of(floor_name(&episodes.environment, script), &outcomes);
    Ok(())
}

/// The row of a result table.
pub(crate) fn row(episodes: &Episodes, policy: &str, outcomes: &[EpisodeOutcome]) -> ResultRow {
    let execution = episodes.execution;
    ResultRow {
        execution: (execution != Execution::Receding).then(|| execution.to_string()),
        delay_steps: Some(episodes.delay_steps).filter(|&steps| steps > 0),
        ..ResultRow::of(
            &episodes.environment.name,
            &episodes.environment.protocol,
            policy,
            outcomes,
        )
    }
}

/// Prints a row, and writes it as JSON where asked.
fn report(row: &ResultRow, json: Option<&Path>) -> Result<()> {
    let text = serde_json::to_string_pretty(row)?;
    match json {
        Some(path) if path == Path::new("-") => return Ok(print(&text)?),
        Some(path) => std::fs::write(path, text)
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => {}
    }
    row.lines().iter().try_for_each(|line| print(line))?;
    if let Some(path) = json {
        say(&format!("written to {}", path.display()));
    }
    Ok(())
}

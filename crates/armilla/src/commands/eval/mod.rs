//! `armilla eval`: a policy or a planner, closed-loop over the bus, with the floors on the same episodes.

mod drawn;
mod opened;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use armilla_bus::{Bus, BusConfig, EnvironmentClient, EnvironmentServer, SessionLimits};
use armilla_core::{Environment, EpisodeOutcome, Policy};
use armilla_envs::{EnvironmentConfig, Script, make, run_script};
use armilla_imagine::{Evaluation, EvaluationConfig, Execution, InstructionControl, evaluate};
use armilla_nn::checkpoint::write_atomically;
use rayon::prelude::*;
use serde_json::json;

use crate::cli::{EvalArguments, InstructionChoice, VariationChoice};
use crate::commands::{can_write, viz};
use crate::paired::Other;
use crate::progress::{Progress, print, say};
use crate::results::{ResultRow, scenes};
pub(crate) use opened::{BLIND_SIDE, RECORD, as_it_says, open_planner, open_trained, script};

/// Seeds of two evaluations never overlap as long as each has fewer episodes than this.
pub(crate) const SEEDS_APART: u64 = 1_000_000;
/// What `armilla serve policy` calls its policy on the bus.
pub(crate) const SERVED_POLICY: &str = "policy";
/// How long a simulator of this program may take to answer, s: a busy machine is slow, and one that ends is noticed at once.
const OWN_REPLY_SECS: f64 = 600.0;
/// Episodes that are drawn, of each variation.
const TRACES: usize = 5;

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
    let variations = match arguments.variation.as_slice() {
        [] => &[VariationChoice::Plain],
        chosen => chosen,
    };
    let files = [&arguments.json, &arguments.rerun, &arguments.report];
    can_write(&files.map(|file| file.as_deref()))?;
    let others = arguments.against.as_deref().map(Other::open).transpose()?;
    ensure!(
        others.is_none() || variations.len() == 1,
        "--against: expected one --variation at most, found {}; several are compared with the first",
        variations.len()
    );
    ensure!(
        arguments.connect.is_none() || variations.len() == 1,
        "--connect: expected one --variation at most, as a simulator serves one protocol, found {}",
        variations.len()
    );
    let (mut rows, mut shown, mut ended) = (Vec::new(), Vec::new(), Ok(()));
    for &variation in variations {
        let ran = match evaluated(arguments, variation, others.as_deref()) {
            Ok(ran) => ran,
            Err(error) if rows.is_empty() => return Err(error),
            Err(error) => {
                ended = Err(error);
                break;
            }
        };
        let lines = ran.row.lines();
        rows.push(ran.row);
        if variations.len() > 1 {
            // Told and written now too, for who stops the rest.
            lines.iter().for_each(|line| say(line));
            let file = arguments.json.as_deref();
            if let Some(path) = file.filter(|&path| path != Path::new("-")) {
                write_atomically(path, json_of(&rows, true)?.as_bytes())?;
            }
        }
        shown.extend(ran.shown);
        if ran.beside.is_err() {
            ended = ran.beside;
            break;
        }
    }
    let compared = compare(&mut rows, others.as_deref());
    // Episodes that were run are told, whatever became of the others, of their floors and of what they are compared with, and whether they can
    // be drawn.
    let json = arguments.json.as_deref();
    let told = report(&rows, variations.len() > 1, json);
    let written = told.and_then(|()| drawn::write(arguments, &rows, &shown));
    ended.and(compared).and(written)
}

/// What became of a variation's episodes.
struct Ran {
    row: ResultRow,
    /// The first of them to look at, if a policy acted.
    shown: Option<viz::Shown>,
    /// Whether the floors and the ceiling could be put beside them.
    beside: Result<()>,
}

/// Runs the episodes of a variation.
fn evaluated(
    arguments: &EvalArguments,
    variation: VariationChoice,
    others: Option<&[Other]>,
) -> Result<Ran> {
    let mut opened = opened::open(arguments, variation)?;
    let episodes = opened.episodes(arguments)?;
    opened.check(arguments, &episodes)?;
    if let Some(others) = others {
        let EnvironmentConfig { name, protocol, .. } = &episodes.environment;
        let which = (
            name.as_str(),
            protocol.as_str(),
            episodes.first_seed(),
            episodes.count,
        );
        Other::of(others, which)?;
    }
    let (instruction, heard) = heard(arguments.instruction);
    let bus = arguments.connect.as_deref();
    let bus = bus.map(|endpoint| opened::bus_at(endpoint, arguments.reply_timeout));
    let (mut row, shown) = match opened.actor.policy() {
        Some(policy) => {
            let on_arrival = policy.wants_actions();
            let evaluation = over_bus(&episodes, policy, instruction, TRACES, bus.as_ref())?;
            let mut row = row(&episodes, policy.name(), &evaluation.outcomes);
            row.instruction = heard.map(str::to_owned);
            let shown = viz::Shown {
                environment: episodes.environment.clone(),
                traces: evaluation.traces,
                paths: opened.actor.planned_paths(),
                delay_steps: if on_arrival { episodes.delay_steps } else { 0 },
            };
            (row, Some(shown))
        }
        None => {
            ensure!(
                heard.is_none(),
                "--instruction: expected with a policy or a planner, found with a script, which hears none"
            );
            ensure!(
                arguments.rerun.is_none(),
                "--rerun: expected with a policy or a planner, found with a script, whose episodes are not kept"
            );
            let name = arguments.policy.as_deref().unwrap_or_default();
            let script = script(name).context("no such script")?;
            if let Some(bus) = &bus {
                // Scripts act on the simulator's truth, which does not travel; still, a wrong endpoint must not pass.
                connect(bus, &episodes.environment)?;
            }
            let outcomes = script_outcomes(&episodes, script)?;
            (row(&episodes, name, &outcomes), None)
        }
    };
    let floors = match shown.is_some() && !arguments.no_floors {
        true => add_floors(&mut row, &episodes),
        false => Ok(()),
    };
    let beside = floors.and_then(|()| match arguments.ceiling {
        true => add_floor(&mut row, &episodes, Script::Planner),
        false => Ok(()),
    });
    Ok(Ran { row, shown, beside })
}

/// What a policy hears, and what the row says of it.
fn heard(choice: InstructionChoice) -> (InstructionControl, Option<&'static str>) {
    match choice {
        InstructionChoice::Own => (InstructionControl::Own, None),
        InstructionChoice::Blank => (InstructionControl::Blank, Some("blank")),
        InstructionChoice::Swapped => (InstructionControl::Swapped, Some("swapped")),
    }
}

/// Holds the one row against another file's, or each of several that has the same tasks against the first of them.
fn compare(rows: &mut [ResultRow], others: Option<&[Other]>) -> Result<()> {
    if let (Some(others), [row]) = (others, &mut *rows) {
        row.against = Some(Other::of(others, row.which())?.beside(row)?);
        return Ok(());
    }
    let Some((first, rest)) = rows.split_first_mut() else {
        return Ok(());
    };
    let first = Other::from(&*first);
    for row in rest.iter_mut().filter(|row| first.is_of(row.which())) {
        row.against = Some(first.beside(row)?);
    }
    Ok(())
}

/// What a floor is called in an environment's table.
fn floor_name(environment: &EnvironmentConfig, script: Script) -> &'static str {
    let (protocol, _look) = environment
        .protocol
        .split_once(':')
        .unwrap_or((&environment.protocol, ""));
    let by_picture = ["ahead", "object"].contains(&protocol);
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

/// Runs a policy's episodes over the bus: the simulator is served, here unless there is one on `bus`, and the policy is its client.
pub(crate) fn over_bus(
    episodes: &Episodes,
    policy: &mut dyn Policy,
    instruction: InstructionControl,
    traces: usize,
    bus: Option<&BusConfig>,
) -> Result<Evaluation> {
    let served = match bus {
        Some(_) => None,
        None => {
            let sessions = episodes.parallel.min(episodes.count);
            Some(serve(&episodes.environment, None, sessions)?)
        }
    };
    let own = served.as_ref().map(|served| BusConfig {
        query_timeout_secs: OWN_REPLY_SECS,
        ..BusConfig::at(served.bus.endpoint())
    });
    let bus = bus.cloned().or(own).unwrap_or_default();
    let client = connect(&bus, &episodes.environment)?;
    ensure!(
        client.spec().features == make(&episodes.environment)?.spec().features,
        "{}: expected a simulator served with `--image-size {}`, as the policy's camera, found pictures or values of another shape",
        bus.endpoint.unwrap_or_default(),
        episodes.environment.image_size
    );
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
        InstructionControl::Blank => format!("{} (blank)", episodes.title()),
        InstructionControl::Swapped => format!("{} (swapped)", episodes.title()),
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
    // Dropped first: what it is about to answer still goes out.
    _server: EnvironmentServer,
    /// The bus it opened.
    pub bus: Bus,
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
        _server: server,
        bus,
    })
}

/// A simulator on the bus that has the episodes that are asked for.
fn connect(config: &BusConfig, environment: &EnvironmentConfig) -> Result<EnvironmentClient> {
    let bus = Bus::connect(config)?;
    let client = EnvironmentClient::connect(&bus, &environment.name)?;
    let (expected, found) = (&environment.protocol, &client.spec().protocol);
    ensure!(
        expected == found,
        "{}: expected `--protocol {expected}`, found one that was served with `{found}`",
        bus.endpoint()
    );
    Ok(client)
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
    let scenes = scenes(&outcomes);
    ensure!(
        scenes == row.scenes,
        "floors: expected the scenes that the simulator at --connect showed, {}, found {scenes}: it is of another version",
        row.scenes
    );
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

/// The row, or several as a list.
fn json_of(rows: &[ResultRow], several: bool) -> Result<String> {
    Ok(match rows {
        [row] if !several => serde_json::to_string_pretty(row)?,
        rows => serde_json::to_string_pretty(&json!({ "rows": rows }))?,
    })
}

/// Prints rows, and writes them as JSON where asked: those of several variations as `rows` of one object.
fn report(rows: &[ResultRow], several: bool, json: Option<&Path>) -> Result<()> {
    let text = json_of(rows, several)?;
    if json == Some(Path::new("-")) {
        return Ok(print(&text)?);
    }
    let mut lines = rows.iter().flat_map(ResultRow::lines);
    lines.try_for_each(|line| print(&line))?;
    if let Some(path) = json {
        write_atomically(path, text.as_bytes())?;
        say(&format!("written to {}", path.display()));
    }
    Ok(())
}

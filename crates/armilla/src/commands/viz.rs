//! `armilla viz`, and what other commands write for Rerun.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use armilla_core::{Action, Image, Observation};
use armilla_data::Dataset;
use armilla_envs::{EnvironmentConfig, make};
use armilla_imagine::{Imagination, PlannerPolicy, Trace};
use armilla_viz::filmstrip::{FilmRow, Filmstrip};
use armilla_viz::{EpisodeTitle, Motion, Prediction, Recording, Reel};
use armilla_world::Plan;

use super::dataset;
use crate::cli::VizArguments;
use crate::hub::{self, HubType};
use crate::progress::say;

/// Episodes of a dataset that are written unless told.
const EPISODES: usize = 5;

/// Runs `armilla viz`.
pub(crate) fn run(arguments: &VizArguments) -> Result<()> {
    super::can_write(&[Some(&arguments.out)])?;
    ensure!(
        arguments.episodes != Some(0),
        "--episodes: expected at least 1, found 0"
    );
    let source = hub::folder(HubType::Dataset, &arguments.source)?;
    let mut recording = Recording::create(&arguments.out)?;
    if source.join("meta/info.json").is_file() {
        let dataset = Dataset::open(&source)?;
        let most = arguments.episodes.unwrap_or(EPISODES);
        let episodes: Vec<_> = (0..dataset.episodes().len().min(most)).collect();
        dataset::viz::log(&mut recording, &dataset, &episodes)?;
    } else if source.join("metrics.jsonl").is_file() {
        ensure!(
            arguments.episodes.is_none(),
            "--episodes: expected with a dataset, found a run, of which the curves are written"
        );
        curves(&mut recording, &source)?;
    } else {
        bail!(
            "{}: expected a dataset (with meta/info.json) or a run (with metrics.jsonl), found neither",
            arguments.source.display()
        );
    }
    let bytes = recording.finish()?;
    say(&format!(
        "{} ({:.1} MB): open it with `rerun {0}`",
        arguments.out.display(),
        bytes as f64 / 1e6
    ));
    Ok(())
}

/// Logs the curves of a training run.
pub(crate) fn curves(recording: &mut Recording, run: &Path) -> Result<()> {
    let mut points = Vec::new();
    for line in armilla_train::read_metrics(&run.join("metrics.jsonl"))? {
        points.push((line.step, "loss".to_owned(), line.loss));
        points.push((line.step, "learning_rate".to_owned(), line.learning_rate));
        points.extend(
            line.figures
                .iter()
                .map(|(name, value)| (line.step, name.clone(), *value)),
        );
    }
    let name = run
        .file_name()
        .map_or("run".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(recording.training(&name, &points)?)
}

/// Episodes to look at: what was done, and what a planner meant to do.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Where they happened.
    pub environment: EnvironmentConfig,
    /// Step by step.
    pub traces: Vec<Trace>,
    /// Planned paths, empty for a policy that does not plan.
    pub paths: PlannedPaths,
    /// Steps from a question to the first action of its answer: of who is told what is carried out meanwhile.
    pub delay_steps: usize,
}

/// A planner's actions, one a control step, and their cost, by episode and step.
pub(crate) type PlannedPaths = BTreeMap<u64, BTreeMap<u64, (Vec<Action>, f32)>>;

/// What a planner meant to do in the episodes it keeps.
pub(crate) fn planned_paths(planner: &PlannerPolicy) -> PlannedPaths {
    let repeat = planner.model().shape().action_repeat;
    let path = |plan: &Plan| {
        let actions = plan.environment_actions(repeat);
        (actions.cloned().map(Action).collect(), plan.cost)
    };
    let steps = |plans: &BTreeMap<u64, Plan>| {
        plans
            .iter()
            .map(|(&step, plan)| (step, path(plan)))
            .collect()
    };
    planner
        .plans()
        .iter()
        .map(|(&episode, plans)| (episode, steps(plans)))
        .collect()
}

/// Logs the episodes of an evaluation with the chunk or the plan at each step.
pub(crate) fn log_traces(recording: &mut Recording, shown: &Shown) -> Result<()> {
    let simulator = make(&shown.environment)?;
    let reel = recording.reel(&shown.environment.name);
    reel.describe(&simulator.spec().features)?;
    for trace in &shown.traces {
        log_trace(reel, trace, shown)?;
    }
    Ok(())
}

/// Logs episodes beside what a world model imagines of them.
pub(crate) fn log_imagined(
    recording: &mut Recording,
    episodes: &[Imagination],
    are_held_out: bool,
) -> Result<()> {
    let note = match are_held_out {
        true => "held out, rolled out from its first frames",
        false => "rolled out from its first frames",
    };
    for (index, episode) in episodes.iter().enumerate() {
        let reel = recording.reel("imagination");
        reel.begin_episode(&EpisodeTitle {
            instruction: None,
            number: Some(index),
            note,
            success: None,
        })?;
        for step in 0..episode.real.len() {
            reel.advance(step as f64 * episode.period_secs);
            reel.prediction(&Prediction {
                real: &episode.real[step],
                imagined: &episode.imagined[step],
                error: episode.errors[step],
                copy_error: episode.copy_errors[step],
            })?;
        }
    }
    Ok(())
}

/// The same as filmstrips.
pub(crate) fn filmstrips(episodes: &[Imagination], are_held_out: bool) -> Vec<Filmstrip> {
    let name = if are_held_out {
        "Held-out episode"
    } else {
        "Episode"
    };
    let row = |label: &str, images: &[Image]| FilmRow {
        label: label.to_owned(),
        images: images.to_vec(),
    };
    let strip = |(index, episode): (usize, &Imagination)| {
        Filmstrip {
        title: format!("{name} {index}"),
        caption: "Above what came, below what the world model imagined from its first frames and the actions alone."
            .to_owned(),
        columns: (0..episode.real.len()).map(|step| step.to_string()).collect(),
        rows: vec![row("real", &episode.real), row("imagined", &episode.imagined)],
    }
    };
    episodes.iter().enumerate().map(strip).collect()
}

/// Logs one episode.
fn log_trace(reel: &mut Reel, trace: &Trace, shown: &Shown) -> Result<()> {
    let motion = motion(&shown.environment);
    let first = trace
        .observations
        .first()
        .context("an episode without an observation")?;
    let note = format!("{}, seed {}", shown.environment.protocol, trace.seed);
    let success = trace.success.iter().any(|&success| success);
    let instruction = first.instruction.as_deref();
    reel.begin_episode(&EpisodeTitle {
        instruction,
        number: None,
        note: &note,
        success: Some(success),
    })?;
    let plans = shown.paths.get(&trace.seed);
    let mut chunks = trace.chunks.iter().peekable();
    for (step, observation) in trace.observations.iter().enumerate() {
        reel.observe(observation)?;
        if let Some(action) = trace.actions.get(step) {
            reel.act(action)?;
        }
        let Some((_, chunk)) = chunks.next_if(|(at, _)| *at == step) else {
            continue;
        };
        // What begins when it arrives begins where the robot is by then.
        let begins = trace.observations.get(step + shown.delay_steps);
        let start = position(begins.unwrap_or(observation))?;
        match plans.and_then(|plans| plans.get(&(step as u64))) {
            Some((actions, cost)) => reel.plan(&[motion.path(start, actions)], *cost)?,
            None => reel.chunk(&motion.path(start, &chunk.actions))?,
        }
    }
    Ok(reel.end_episode(success)?)
}

/// The agent's position: the first two values of the state.
fn position(observation: &Observation) -> Result<[f32; 2]> {
    match observation.state[..] {
        [x, y, ..] => Ok([x, y]),
        _ => bail!(
            "the agent's position needs two values of state, found {}",
            observation.state.len()
        ),
    }
}

/// How an environment's actions move the agent across the picture.
fn motion(environment: &EnvironmentConfig) -> Motion {
    let pixels = environment.image_size as f32;
    match environment.name.as_str() {
        "push-t" => Motion::Target {
            pixels_per_unit: pixels / armilla_envs::push_t::WORLD_PX,
        },
        "push-t-moves" => Motion::Displacement {
            // The controller is on its way for one step only: a move that is held takes the agent four tenths of its length a step.
            gain: 0.4 * armilla_envs::push_t::MOVE_PX,
            longest: None,
            pixels_per_unit: pixels / armilla_envs::push_t::WORLD_PX,
        },
        "tabletop" => Motion::Displacement {
            gain: armilla_envs::tabletop::ACTION_SCALE_M,
            longest: Some(1.0),
            pixels_per_unit: pixels,
        },
        _ => Motion::Displacement {
            gain: armilla_envs::two_room::SPEED_PX,
            longest: None,
            pixels_per_unit: pixels / armilla_envs::two_room::WORLD_PX,
        },
    }
}

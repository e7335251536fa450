//! `armilla viz`, and what other commands write for Rerun.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use armilla_core::features::STATE;
use armilla_core::{Action, Observation};
use armilla_data::Dataset;
use armilla_envs::{EnvironmentConfig, make};
use armilla_imagine::Trace;
use armilla_viz::{EpisodeTitle, Motion, Recording};

use crate::cli::VizArguments;
use crate::progress::{Progress, say};

/// Runs `armilla viz`.
pub(crate) fn run(arguments: &VizArguments) -> Result<()> {
    let mut recording = Recording::create(&arguments.out)?;
    if arguments.source.join("meta/info.json").is_file() {
        dataset(&mut recording, &arguments.source, arguments.episodes)?;
    } else if arguments.source.join("metrics.jsonl").is_file() {
        curves(&mut recording, &arguments.source)?;
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

/// Logs episodes of a dataset.
pub(crate) fn dataset(recording: &mut Recording, root: &Path, episodes: usize) -> Result<()> {
    let dataset = Dataset::open(root)?;
    let name = root.file_name().map_or("dataset".to_owned(), |name| {
        name.to_string_lossy().into_owned()
    });
    let camera = dataset.first_camera()?;
    let reel = recording.reel(&name);
    reel.describe(dataset.features())?;
    let count = episodes.min(dataset.episodes().len());
    let mut progress = Progress::new("dataset to Rerun", "episodes", count as u64);
    for index in 0..count {
        let episode = &dataset.episodes()[index];
        let instruction = episode.tasks.first().cloned();
        reel.begin_episode(&EpisodeTitle {
            instruction: instruction.as_deref(),
            note: &name,
            success: None,
        })?;
        let (states, actions) = (dataset.states(index)?, dataset.actions(index)?);
        let images = dataset.images(index, &camera)?;
        for (frame, image) in images.into_iter().enumerate() {
            reel.observe(&Observation {
                images: [(camera.clone(), image)].into(),
                state: states.row(frame).to_vec(),
                captured_at_secs: frame as f64 / f64::from(dataset.fps()),
                ..Observation::default()
            })?;
            reel.act(&Action(actions.row(frame).to_vec()))?;
        }
        progress.set(index as u64 + 1, "");
    }
    progress.finish();
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

/// Writes the episodes of an evaluation as a recording of their own.
pub(crate) fn write_traces(
    path: &Path,
    environment: &EnvironmentConfig,
    traces: &[Trace],
) -> Result<()> {
    let mut recording = Recording::create(path)?;
    log_traces(&mut recording, environment, traces)?;
    let bytes = recording.finish()?;
    say(&format!(
        "{} ({:.1} MB)",
        path.display(),
        bytes as f64 / 1e6
    ));
    Ok(())
}

/// Logs the episodes of an evaluation with the chunk or the plan at each step.
pub(crate) fn log_traces(
    recording: &mut Recording,
    environment: &EnvironmentConfig,
    traces: &[Trace],
) -> Result<()> {
    let simulator = make(environment)?;
    let motion = motion(environment);
    let reel = recording.reel(&environment.name);
    reel.describe(&simulator.spec().features)?;
    for trace in traces {
        let first = trace
            .observations
            .first()
            .context("an episode without an observation")?;
        let note = format!("{}, seed {}", environment.protocol, trace.seed);
        let success = trace.success.iter().any(|&success| success);
        let title = EpisodeTitle {
            instruction: first.instruction.as_deref(),
            note: &note,
            success: Some(success),
        };
        reel.begin_episode(&title)?;
        let mut chunks = trace.chunks.iter().peekable();
        for (step, observation) in trace.observations.iter().enumerate() {
            reel.observe(observation)?;
            if let Some(action) = trace.actions.get(step) {
                reel.act(action)?;
            }
            if let Some((_, chunk)) = chunks.next_if(|(at, _)| *at == step) {
                let start = position(observation, simulator.spec().features.width(STATE))?;
                reel.chunk(&motion.path(start, &chunk.actions))?;
            }
        }
        reel.end_episode(success)?;
    }
    Ok(())
}

/// The agent's position: the first two values of the state.
pub(crate) fn position(observation: &Observation, width: usize) -> Result<[f32; 2]> {
    match observation.state[..] {
        [x, y, ..] => Ok([x, y]),
        _ => bail!("the agent's position needs two values of state, found {width}"),
    }
}

/// How an environment's actions move the agent across the picture.
pub(crate) fn motion(environment: &EnvironmentConfig) -> Motion {
    let pixels = environment.image_size as f32;
    match environment.name.as_str() {
        "push-t" => Motion::Target {
            pixels_per_unit: pixels / armilla_envs::push_t::WORLD_PX,
        },
        "tabletop" => Motion::Displacement {
            gain: armilla_envs::tabletop::ACTION_SCALE_M,
            pixels_per_unit: pixels,
        },
        _ => Motion::Displacement {
            gain: armilla_envs::two_room::SPEED_PX,
            pixels_per_unit: pixels / armilla_envs::two_room::WORLD_PX,
        },
    }
}

//! `armilla record`: episodes of a simulator as a LeRobot v3 dataset.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use armilla_core::{EnvironmentSpec, Reset};
use armilla_data::{EpisodeFrames, Recorder, RecorderConfig};
use armilla_envs::{EnvironmentConfig, Script, make};
use armilla_imagine::{EvaluationConfig, Execution, evaluate};
use armilla_vla::CheckpointPolicy;
use burn::tensor::Device;
use rayon::prelude::*;
use serde::Serialize;

use crate::cli::RecordArguments;
use crate::commands::eval::{self, RECORD, SEEDS_APART};
use crate::commands::{Ended, stop_asked};
use crate::config::{EpisodeGroup, RecordConfig, RecordedAction, Source};
use crate::progress::{Progress, say};

/// Episodes simulated and encoded side by side, then written in order, at most.
const AT_ONCE: usize = 32;
/// Bytes that the pictures of such episodes may take up; a single episode may take more.
const PICTURES_AT_ONCE: usize = 512 << 20;

/// What was recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RecordSummary {
    /// Environment.
    pub env: String,
    /// Episodes written.
    pub episodes: usize,
    /// Whether it was stopped before its last episode.
    #[serde(skip)]
    pub stopped: bool,
    /// Frames written.
    pub frames: usize,
    /// Episodes that reached their goal.
    pub successes: usize,
    /// Hash of what was written.
    pub hash: String,
    /// Hashes of the scenes, to tell splits apart.
    #[serde(skip)]
    pub scenes: Vec<String>,
}

/// Runs `armilla record`.
pub(crate) fn run(arguments: &RecordArguments) -> Result<Ended> {
    let config = resolve(arguments)?;
    let device = armilla_nn::device::parse(&arguments.device)?;
    let summary = record(&config, &arguments.out, &device)?;
    if summary.episodes == 0 {
        return Ok(Ended::Stopped);
    }
    say(&format!(
        "{}: {} episodes, {} frames, {:.0} % reached their goal",
        arguments.out.display(),
        summary.episodes,
        summary.frames,
        100.0 * summary.successes as f64 / summary.episodes.max(1) as f64
    ));
    Ok(Ended::when(summary.stopped))
}

/// The configuration with what was typed in place.
fn resolve(arguments: &RecordArguments) -> Result<RecordConfig> {
    let mut config: RecordConfig = match (&arguments.config, &arguments.env) {
        (Some(name), _) => {
            let mut source = Source::open(name)?;
            source.set(&arguments.set)?;
            source.parse()?
        }
        (None, Some(env)) => RecordConfig {
            env: env.clone(),
            protocol: RECORD.to_owned(),
            image_size: 64,
            seed: 0,
            action: RecordedAction::Executed,
            episodes: vec![EpisodeGroup {
                policy: "expert".to_owned(),
                noise: 0.0,
                count: 10,
            }],
        },
        (None, None) => bail!("record: expected --config or --env, found neither"),
    };
    if let Some(env) = &arguments.env {
        config.env.clone_from(env);
    }
    let episodes: usize = config.episodes.iter().map(|group| group.count).sum();
    ensure!(
        episodes > 0 && arguments.episodes != Some(0),
        "episodes: expected at least one, found none"
    );
    if let Some(policy) = &arguments.policy {
        let noise = config.episodes.iter().map(|group| group.noise);
        config.episodes = vec![EpisodeGroup {
            policy: policy.clone(),
            noise: match policy.as_str() {
                "noisy-expert" => noise.fold(0.0, f32::max),
                _ => 0.0,
            },
            count: episodes,
        }];
    }
    if let Some(episodes) = arguments.episodes {
        share_out(&mut config.episodes, episodes);
    }
    let typed = arguments.seed.map(|seed| seed.wrapping_mul(SEEDS_APART));
    config.seed = typed.unwrap_or(config.seed);
    config.image_size = arguments.image_size.unwrap_or(config.image_size);
    Ok(config)
}

/// Gives groups so many episodes in all, in the proportions that they have.
fn share_out(groups: &mut [EpisodeGroup], episodes: usize) {
    let total: usize = groups.iter().map(|group| group.count).sum();
    let (mut before, mut given) = (0, 0);
    for group in groups {
        before += group.count;
        // Counted up to the end of each group, so that what is rounded away in one is made up for in the next.
        let until = (episodes as f64 * before as f64 / total.max(1) as f64).round() as usize;
        group.count = until - given;
        given = until;
    }
}

/// Who acts in a group's episodes.
enum Actor {
    /// By the simulator's truth.
    Script(Script),
    /// A policy's checkpoint, and how its chunks become actions.
    Policy(Box<CheckpointPolicy>, Execution),
}

impl Actor {
    /// Who acts in a group; what its first episode would find is refused.
    fn open(
        environment: &EnvironmentConfig,
        config: &RecordConfig,
        group: &EpisodeGroup,
        device: &Device,
    ) -> Result<Self> {
        let EpisodeGroup { policy, noise, .. } = group;
        if policy == "noisy-expert" {
            ensure!(
                noise.is_finite() && *noise > 0.0,
                "noisy-expert: expected `noise` above 0, found {noise}; the `episodes` of a configuration say it: --config record/two-room --set env={} --set \"episodes=[{{policy='noisy-expert', noise=0.5, count=100}}]\"",
                environment.name
            );
            return Ok(Self::Script(Script::NoisyExpert(*noise)));
        }
        ensure!(
            *noise == 0.0,
            "`noise`: expected with noisy-expert only, found {noise} with {policy}"
        );
        if let Some(script) = eval::script(policy) {
            let goal_is_a_state = environment.name == "two-room";
            ensure!(
                script != Script::Planner || goal_is_a_state,
                "simulator: expected `--env two-room`, where recordings have a goal to plan to, found {}",
                environment.name
            );
            let mut simulator = make(environment)?;
            simulator.reset(&Reset::default())?;
            simulator.scripted(script)?;
            return Ok(Self::Script(script));
        }
        ensure!(
            Path::new(policy).exists() || policy.contains('/'),
            "{policy}: expected expert, noisy-expert, random, nothing, cheat, simulator or a checkpoint's folder"
        );
        ensure!(
            config.action == RecordedAction::Executed,
            "`action`: expected `executed` with a checkpoint, whose own actions are recorded, found `expert`; --set \"action='executed'\""
        );
        let (folder, fixed) = (Path::new(policy), |_| environment.clone());
        let (policy, _) = eval::open_trained(folder, config.seed, &fixed, device)?;
        let (policy, execution) = eval::as_it_says(policy)?;
        Ok(Self::Policy(Box::new(policy), execution))
    }
}

/// Records everything a configuration asks for. Ctrl-C ends it after the episodes under way, which are kept.
pub(crate) fn record(config: &RecordConfig, out: &Path, device: &Device) -> Result<RecordSummary> {
    ensure!(
        config.protocol == RECORD,
        "`protocol`: expected `{RECORD}`, whose scenes are there to be learnt from, found `{}`, whose scenes are those of evaluations",
        config.protocol
    );
    let environment = EnvironmentConfig {
        name: config.env.clone(),
        protocol: config.protocol.clone(),
        image_size: config.image_size,
    };
    let spec = make(&environment)?.spec().clone();
    if out.exists() {
        bail!(
            "{} exists: expected a new folder for the dataset; remove it or choose another --out",
            out.display()
        );
    }
    let groups = config.episodes.iter();
    let actors = groups.map(|group| Actor::open(&environment, config, group, device));
    let actors: Vec<_> = actors.collect::<Result<_>>()?;
    let recorder = RecorderConfig::new(
        spec.features.clone(),
        spec.rate_hz.round() as u32,
        &config.env,
        &config.env,
    );
    let mut recorder = Recorder::create(out, recorder.with_capture_timestamps())?;
    let filled = fill(&mut recorder, config, &environment, actors);
    let episodes = recorder.episodes();
    if episodes == 0 {
        // An empty dataset would stand in the way of the next try.
        drop(recorder);
        std::fs::remove_dir_all(out).ok();
        let summary = filled?;
        say("stopped before the first episode; nothing is kept");
        return Ok(summary);
    }
    let mut summary = filled.with_context(|| kept(episodes, out))?;
    recorder.finish().with_context(|| kept(episodes, out))?;
    summary.hash = armilla_data::Dataset::open(out)?.content_hash()?;
    Ok(summary)
}

/// Records the groups of a configuration, one after the other.
fn fill(
    recorder: &mut Recorder,
    config: &RecordConfig,
    environment: &EnvironmentConfig,
    actors: Vec<Actor>,
) -> Result<RecordSummary> {
    let at_once = episodes_at_once(make(environment)?.spec());
    let total: usize = config.episodes.iter().map(|group| group.count).sum();
    let mut progress = Progress::new(&format!("record {}", config.env), "episodes", total as u64);
    let mut summary = RecordSummary {
        env: config.env.clone(),
        ..RecordSummary::default()
    };
    let mut seed = config.seed;
    for (group, mut actor) in config.episodes.iter().zip(actors) {
        let mut left = group.count;
        while left > 0 && !stop_asked() {
            let count = left.min(at_once);
            let seeds = seed..seed + count as u64;
            seed = seeds.end;
            let episodes = simulate(environment, config.action, &mut actor, seeds)?;
            left -= count;
            for episode in &episodes {
                summary.frames += episode.frames.actions.len();
                summary.successes += usize::from(episode.success);
                summary.scenes.push(episode.scene.clone());
            }
            summary.episodes += count;
            let frames: Vec<_> = episodes.into_iter().map(|episode| episode.frames).collect();
            recorder.add_episodes(&frames)?;
            progress.set(
                summary.episodes as u64,
                format!("{} frames", summary.frames),
            );
        }
    }
    progress.finish();
    summary.stopped = summary.episodes < total;
    if summary.stopped {
        say(&format!(
            "stopped early: {} of {total} episodes, of the configuration's groups those that come first",
            summary.episodes
        ));
    }
    Ok(summary)
}

/// As many of an environment's longest episodes as there is room for.
fn episodes_at_once(spec: &EnvironmentSpec) -> usize {
    let cameras = spec.features.cameras();
    let step: usize = cameras.map(|(_, feature)| feature.len()).sum();
    let episode = step.saturating_mul(spec.max_steps).max(1);
    (PICTURES_AT_ONCE / episode).clamp(1, AT_ONCE)
}

/// What is left when recording ends early.
fn kept(episodes: usize, out: &Path) -> String {
    format!(
        "recording ended early; {episodes} finished episodes are whole in {}",
        out.display()
    )
}

/// A simulated episode.
struct Episode {
    frames: EpisodeFrames,
    success: bool,
    scene: String,
}

/// Simulates episodes of one group, in parallel.
fn simulate(
    environment: &EnvironmentConfig,
    action: RecordedAction,
    actor: &mut Actor,
    seeds: Range<u64>,
) -> Result<Vec<Episode>> {
    let script = match actor {
        Actor::Script(script) => *script,
        Actor::Policy(policy, execution) => {
            return with_policy(environment, policy, *execution, seeds);
        }
    };
    let seeds: Vec<_> = seeds.collect();
    let episodes: armilla_core::Result<Vec<_>> = seeds
        .into_par_iter()
        .map(|seed| scripted(environment, action, script, seed))
        .collect();
    Ok(episodes?)
}

/// One episode of a script.
fn scripted(
    environment: &EnvironmentConfig,
    kept: RecordedAction,
    script: Script,
    seed: u64,
) -> armilla_core::Result<Episode> {
    let mut simulator = make(environment)?;
    let (mut observation, info) = simulator.reset(&Reset {
        seed,
        instruction: None,
    })?;
    let scene = info.labels.get("scene").cloned().unwrap_or_default();
    let mut episode = Episode {
        frames: EpisodeFrames::default(),
        success: info.success,
        scene,
    };
    loop {
        let action = simulator.scripted(script)?;
        let step = simulator.step(&action.executed)?;
        let label = match kept {
            RecordedAction::Executed => action.executed,
            RecordedAction::Expert => action.label,
        };
        let next = step.observation;
        episode
            .frames
            .push(std::mem::replace(&mut observation, next), label);
        episode.success |= step.info.success;
        if step.terminated || step.truncated {
            return Ok(episode);
        }
    }
}

/// Episodes of a policy's checkpoint.
fn with_policy(
    environment: &EnvironmentConfig,
    policy: &mut CheckpointPolicy,
    execution: Execution,
    seeds: Range<u64>,
) -> Result<Vec<Episode>> {
    let count = (seeds.end - seeds.start) as usize;
    let config = EvaluationConfig {
        episodes: count,
        first_seed: seeds.start,
        traces: count,
        execution,
        ..EvaluationConfig::default()
    };
    let mut sessions: Vec<Box<dyn armilla_core::Environment>> = Vec::new();
    for _ in 0..count {
        sessions.push(make(environment)?);
    }
    let evaluation = evaluate(sessions, policy, &config, &mut |_| ())?;
    let episodes =
        evaluation
            .traces
            .into_iter()
            .zip(evaluation.outcomes)
            .map(|(trace, outcome)| Episode {
                frames: EpisodeFrames {
                    observations: trace
                        .observations
                        .into_iter()
                        .take(trace.actions.len())
                        .collect(),
                    actions: trace.actions,
                    ..EpisodeFrames::default()
                },
                success: outcome.success,
                scene: outcome.labels.get("scene").cloned().unwrap_or_default(),
            });
    Ok(episodes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_episodes_are_of_the_same_mixture() {
        let shared = |counts: [usize; 3], episodes| {
            let mut groups = counts.map(|count| EpisodeGroup {
                policy: "expert".to_owned(),
                noise: 0.0,
                count,
            });
            share_out(&mut groups, episodes);
            groups.map(|group| group.count)
        };
        assert_eq!(shared([200, 500, 300], 100), [20, 50, 30]);
        assert_eq!(shared([1, 1, 1], 10), [3, 4, 3]);
        assert_eq!(shared([40, 100, 60], 1), [0, 1, 0]);
    }
}

//! Evaluating a policy while it is trained, and keeping its best checkpoint.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use armilla_core::{Reset, is_error};
use armilla_envs::{EnvironmentConfig, make};
use armilla_imagine::InstructionControl;
use armilla_train::RunDirectory;
use armilla_vla::lerobot::Processors;
use armilla_vla::{PolicyInputs, check_environment};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::commands::eval::{self, Episodes};
use crate::progress::say;

/// Episodes that choose a checkpoint are none of those that judge it: `armilla eval` begins at seed 0.
const SEED: u64 = 1000;
const FILE: &str = "evaluations.jsonl";

/// Which episodes each checkpoint runs.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluationRunConfig {
    /// Environment.
    pub env: String,
    /// Its protocol.
    pub protocol: String,
    /// Episodes.
    pub episodes: usize,
    /// Which of the environment's figures makes a checkpoint the best, such as `coverage`, or by its smallest value `distance_px`; success
    /// unless given.
    #[serde(default)]
    pub figure: Option<String>,
}

/// What a checkpoint reached.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    step: u64,
    episodes: usize,
    success: f64,
    /// What is compared: success, or the figure.
    score: f64,
}

/// Evaluates a checkpoint, adds a line to `evaluations.jsonl`, and points `checkpoints/best` to it if none was better.
pub(super) fn evaluate(
    config: &EvaluationRunConfig,
    run: &RunDirectory,
    (step, checkpoint): (u64, &Path),
    device: &Device,
) -> Result<()> {
    let environment = |image_size| EnvironmentConfig {
        name: config.env.clone(),
        protocol: config.protocol.clone(),
        image_size,
    };
    let model = checkpoint.join("model");
    let (policy, side) = eval::open_trained(&model, 0, &environment, device)?;
    let (mut policy, execution) = eval::as_it_says(policy)?;
    let episodes = Episodes {
        environment: environment(side),
        count: config.episodes,
        seed: SEED,
        parallel: config.episodes.clamp(1, 50),
        execution,
        delay_steps: 0,
    };
    let own = InstructionControl::Own;
    let outcomes = eval::over_bus(&episodes, &mut policy, own, 0, None)?.outcomes;
    let row = eval::row(&episodes, "policy", &outcomes);
    let success = row.success.success;
    let score = match &config.figure {
        None => success,
        Some(name) => figure(&row.figures, name)?,
    };
    let name = config.figure.as_deref().unwrap_or("success");
    append(
        run,
        &Line {
            step,
            episodes: config.episodes,
            success,
            score,
        },
    )?;
    say(&format!(
        "step {step}: {name} {score:.3}, success {:.1} %",
        100.0 * success
    ));
    mark_best(config, run)
}

/// Refuses what would end a training at its first checkpoint.
pub(super) fn check(config: &EvaluationRunConfig) -> Result<()> {
    ensure!(
        config.episodes > 0,
        "[evaluation] episodes: expected at least 1, found 0"
    );
    ensure!(
        config.protocol != eval::RECORD,
        "[evaluation] protocol: expected episodes that nothing was learnt from, found `{}`",
        config.protocol
    );
    let mut simulator = make(&EnvironmentConfig {
        name: config.env.clone(),
        protocol: config.protocol.clone(),
        image_size: eval::BLIND_SIDE,
    })
    .context("[evaluation]")?;
    let first = Reset {
        seed: SEED.wrapping_mul(eval::SEEDS_APART),
        instruction: None,
    };
    let (_, info) = simulator.reset(&first)?;
    if let Some(name) = &config.figure {
        figure(&info.figures, name)?;
    }
    Ok(())
}

/// Refuses an environment in which the policy that the recordings are for cannot act.
pub(super) fn check_fits(
    config: &EvaluationRunConfig,
    inputs: &PolicyInputs,
    processors: &Processors,
    fps: u32,
) -> Result<()> {
    let camera = inputs.cameras.first();
    let environment = EnvironmentConfig {
        name: config.env.clone(),
        protocol: config.protocol.clone(),
        image_size: camera.map_or(eval::BLIND_SIDE, |camera| camera.height),
    };
    let checked = make(&environment)
        .map_err(anyhow::Error::from)
        .and_then(|simulator| {
            let rate_hz = Some(f64::from(fps));
            Ok(check_environment(
                inputs,
                processors,
                rate_hz,
                simulator.spec(),
            )?)
        });
    checked.with_context(|| {
        format!(
            "[evaluation] in {}: expected an environment that the recordings fit; choose another, or leave [evaluation] out",
            config.env
        )
    })
}

/// Does what a run that ended too early has left: evaluates its last checkpoint, if that was not done, and points to the best.
pub(super) fn make_up(
    config: &EvaluationRunConfig,
    run: &RunDirectory,
    device: &Device,
) -> Result<()> {
    let Some(last) = run.last_checkpoint() else {
        return Ok(());
    };
    let name = last.file_name().and_then(|name| name.to_str());
    let step = name.and_then(|name| name.parse().ok());
    match step {
        Some(step) if lines(run)?.iter().all(|line| line.step != step) => {
            evaluate(config, run, (step, &last), device)
        }
        _ => mark_best(config, run),
    }
}

fn figure(figures: &BTreeMap<String, f64>, name: &str) -> Result<f64> {
    figures.get(name).copied().with_context(|| {
        let known: Vec<_> = figures.keys().map(String::as_str).collect();
        format!(
            "[evaluation] figure: expected one of {}, or none for success, found {name}",
            known.join(", ")
        )
    })
}

/// Points `checkpoints/best` to the first of those with the best score.
fn mark_best(config: &EvaluationRunConfig, run: &RunDirectory) -> Result<()> {
    let smallest = config.figure.as_deref().is_some_and(is_error);
    let better = |line: &Line| if smallest { -line.score } else { line.score };
    let lines = lines(run)?;
    let best = lines
        .iter()
        .rev()
        .max_by(|one, other| better(one).total_cmp(&better(other)));
    if let Some(best) = best {
        let checkpoint = run.checkpoint(best.step);
        if checkpoint.is_dir() {
            run.mark_best(&checkpoint)?;
        }
    }
    Ok(())
}

/// What was evaluated so far.
fn lines(run: &RunDirectory) -> Result<Vec<Line>> {
    let path = run.path().join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines();
    Ok(lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

fn append(run: &RunDirectory, line: &Line) -> Result<()> {
    let path = run.path().join(FILE);
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let before = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // What a line that was cut off left would swallow this one.
    let cut = before.last().is_some_and(|&last| last != b'\n');
    let begin = if cut { "\n" } else { "" };
    let text = format!("{begin}{}\n", serde_json::to_string(line)?);
    let written = file.write_all(text.as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_that_was_cut_off_nothing_else_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDirectory::create(folder.path(), "").unwrap();
        let path = run.path().join(FILE);
        let evaluated = |step| Line {
            step,
            episodes: 2,
            success: 0.5,
            score: 0.25,
        };
        append(&run, &evaluated(10)).unwrap();
        append(&run, &evaluated(20)).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        append(&run, &evaluated(30)).unwrap();
        append(&run, &evaluated(40)).unwrap();
        let found = lines(&run).unwrap();
        let steps: Vec<_> = found.iter().map(|line| line.step).collect();
        assert_eq!(steps, [10, 30, 40]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}

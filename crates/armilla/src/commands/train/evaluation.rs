//! Evaluating a policy while it is trained, and keeping its best checkpoint.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use armilla_envs::EnvironmentConfig;
use armilla_imagine::{Execution, InstructionControl};
use armilla_train::RunDirectory;
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
    /// Which of the environment's figures makes a checkpoint the best, such as `coverage`; success unless given.
    #[serde(default)]
    pub figure: Option<String>,
}

/// What a checkpoint reached.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    step: u64,
    episodes: usize,
    success: f64,
    /// What is compared.
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
    let (mut policy, side) = eval::open_trained(&model, 0, &environment, device)?;
    let episodes = Episodes {
        environment: environment(side),
        count: config.episodes,
        seed: SEED,
        parallel: config.episodes.clamp(1, 50),
        execution: Execution::Receding,
        delay_steps: 0,
    };
    let own = InstructionControl::Own;
    let outcomes = eval::over_bus(&episodes, &mut policy, own, 0, None)?.outcomes;
    let row = eval::row(&episodes, "policy", &outcomes);
    let success = row.success.success;
    let score = match &config.figure {
        None => success,
        Some(name) => *row.figures.get(name).with_context(|| {
            let known: Vec<_> = row.figures.keys().map(String::as_str).collect();
            format!(
                "[evaluation] figure: expected one of {}, found {name}",
                known.join(", ")
            )
        })?,
    };
    let best = best(run)?;
    append(
        run,
        &Line {
            step,
            episodes: config.episodes,
            success,
            score,
        },
    )?;
    let name = config.figure.as_deref().unwrap_or("success");
    say(&format!(
        "step {step}: {name} {score:.3}, success {:.1} %",
        100.0 * success
    ));
    if best.is_none_or(|best| score > best) {
        run.mark_best(checkpoint)?;
    }
    Ok(())
}

/// The highest score so far.
fn best(run: &RunDirectory) -> Result<Option<f64>> {
    let path = run.path().join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    Ok(lines.map(|line| line.score).max_by(f64::total_cmp))
}

fn append(run: &RunDirectory, line: &Line) -> Result<()> {
    let path = run.path().join(FILE);
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let text = serde_json::to_string(line)?;
    writeln!(file, "{text}").with_context(|| format!("cannot write {}", path.display()))
}

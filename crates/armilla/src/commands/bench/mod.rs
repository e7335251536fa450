//! `armilla bench`: how long the work of training and acting takes here.
//!
//! `scripts/bench/compare.py` runs these beside the same work in PyTorch.

mod large;
mod models;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use armilla_train::{
    BatchSource, BoxError, Control, RunDirectory, TrainConfig, Trainable, Training,
};
use serde::Serialize;

use crate::cli::BenchArguments;
use crate::machine::Machine;

/// Repetitions that are not counted.
const WARM_UP: usize = 2;
/// Repetitions at least, however long they take.
const AT_LEAST: usize = 3;

/// One piece of work.
struct Work {
    name: &'static str,
    what: &'static str,
    /// Measures it for about as long.
    measure: fn(Duration) -> Result<Vec<f64>>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    what: &'static str,
    /// Median time of a repetition, ms.
    median_ms: f64,
    /// The fastest, ms.
    fastest_ms: f64,
    repetitions: usize,
    /// The most memory the process has held so far, MiB: the work's own where it is the only one.
    peak_memory_mib: Option<f64>,
}

/// Runs `armilla bench`.
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    let works = || models::ALL.iter().chain(large::ALL);
    let unknown = arguments
        .names
        .iter()
        .find(|name| works().all(|work| work.name != **name));
    if let Some(name) = unknown {
        let known: Vec<_> = works().map(|work| work.name).collect();
        anyhow::bail!("no benchmark `{name}`; there are {}", known.join(", "));
    }
    let time = Duration::try_from_secs_f64(arguments.seconds)
        .with_context(|| format!("--seconds: {} is no time", arguments.seconds))?;
    let mut all = Vec::new();
    for work in works() {
        let wanted = arguments.names.is_empty() || arguments.names.iter().any(|n| n == work.name);
        if !wanted {
            continue;
        }
        let mut times = (work.measure)(time)?;
        times.sort_by(f64::total_cmp);
        let measured = Measured {
            name: work.name,
            what: work.what,
            median_ms: times[times.len() / 2] * 1e3,
            fastest_ms: times[0] * 1e3,
            repetitions: times.len(),
            peak_memory_mib: crate::machine::peak_memory_mib(),
        };
        if !arguments.json {
            crate::progress::print(&format!(
                "{:<20} {:>9.2} ms   fastest {:>9.2}   {}",
                measured.name, measured.median_ms, measured.fastest_ms, measured.what
            ))?;
        }
        all.push(measured);
    }
    if arguments.json {
        let machine = Machine::here();
        let report = serde_json::json!({ "results": all, "machine": machine });
        crate::progress::print(&report.to_string())?;
    }
    Ok(())
}

/// Seconds of each repetition.
fn repeat(time: Duration, mut work: impl FnMut()) -> Vec<f64> {
    (0..WARM_UP).for_each(|_| work());
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < AT_LEAST || begin.elapsed() < time {
        let begin = Instant::now();
        work();
        times.push(begin.elapsed().as_secs_f64());
    }
    times
}

/// The same batch again and again.
struct Same<B>(B);

impl<B: Clone + Send> BatchSource for Same<B> {
    type Batch = B;

    fn batch(&mut self, _: u64) -> Result<B, BoxError> {
        Ok(self.0.clone())
    }
}

/// Seconds of each step of the trainer, optimiser included, where a step has `accumulation` times the batch.
fn steps<M: Trainable>(
    time: Duration,
    model: M,
    batch: M::Batch,
    accumulation: u64,
) -> Result<Vec<f64>>
where
    M::Batch: Clone,
{
    let folder = std::env::temp_dir().join(format!("armilla-bench-{}", std::process::id()));
    let run = RunDirectory::create(&folder, "")?;
    let config = TrainConfig {
        steps: u64::MAX,
        warmup_steps: 0,
        accumulation,
        log_every: u64::MAX,
        checkpoint_every: 0,
        ..TrainConfig::default()
    };
    let mut times = Vec::new();
    let (begin, mut last) = (Instant::now(), Instant::now());
    let mut progress = |_: &armilla_train::Progress| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
        match times.len() >= WARM_UP + AT_LEAST && begin.elapsed() >= time {
            true => Control::Stop,
            false => Control::Continue,
        }
    };
    let training = Training {
        source: &mut Same(batch),
        config: &config,
        run: &run,
        export: &|_, _| Ok(()),
        progress: &mut progress,
    };
    let trained = armilla_train::train(model, training);
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot remove {}", folder.display()))?;
    trained?;
    Ok(times.split_off(WARM_UP))
}

//! `armilla bench`: how long the work of training and acting takes here.
//!
//! `scripts/bench/compare.py` runs these beside the same work in PyTorch.

mod large;
mod loader;
pub(crate) mod models;
mod policies;
mod recorder;

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use armilla_nn::Precision;
use armilla_nn::device::is_cpu;
use armilla_train::{
    BatchSource, BoxError, Control, RunDirectory, TrainConfig, Trainable, Training,
};
use burn::tensor::Device;
use serde::Serialize;

use crate::cli::{BenchArguments, LoaderBenchArguments};
use crate::machine::Machine;

/// Repetitions that are not counted.
const WARM_UP: usize = 2;
/// Repetitions at least, however long they take.
const AT_LEAST: usize = 3;

/// What several are called together, and how their names begin.
const GROUPS: [(&str, &[&str]); 3] = [
    ("policy", &["policy-", "act-", "diffusion-"]),
    ("world", &["world-model-", "lewm-"]),
    ("plan", &["world-model-plan", "lewm-plan"]),
];

/// One piece of work.
struct Work {
    name: &'static str,
    what: &'static str,
    /// Measures it.
    measure: fn(&Settings) -> Result<Vec<f64>>,
}

/// How it is measured.
struct Settings {
    /// For how long, about.
    time: Duration,
    device: Device,
    precision: Precision,
    loader: LoaderBenchArguments,
    /// What the loader says beside its times.
    costs: Cell<Option<loader::Costs>>,
}

impl Settings {
    /// Batches of a training step: two side by side on the CPU, one elsewhere.
    fn accumulation(&self) -> usize {
        1 + usize::from(is_cpu(&self.device))
    }
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
    /// The most memory held so far, MiB, of the process or on a GPU of its pools: the work's own where it is the only one.
    peak_memory_mib: Option<f64>,
    /// Of the loader.
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<loader::Costs>,
}

impl Work {
    /// Whether a name is its own or its group's.
    fn answers_to(&self, name: &str) -> bool {
        let group = GROUPS.iter().find(|(group, _)| *group == name);
        self.name == name
            || group.is_some_and(|(_, starts)| starts.iter().any(|s| self.name.starts_with(s)))
    }

    fn run(&self, settings: &Settings) -> Result<Measured> {
        let mut times = (self.measure)(settings)?;
        times.sort_by(f64::total_cmp);
        Ok(Measured {
            name: self.name,
            what: self.what,
            median_ms: times[times.len() / 2] * 1e3,
            fastest_ms: times[0] * 1e3,
            repetitions: times.len(),
            peak_memory_mib: crate::machine::peak_memory_mib(&settings.device),
            costs: settings.costs.take(),
        })
    }
}

fn works() -> impl Iterator<Item = &'static Work> {
    let models = models::ALL.iter().chain(large::ALL).chain(policies::ALL);
    models.chain(loader::ALL)
}

/// Runs `armilla bench`.
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    // By itself, so that the memory is its own.
    if arguments.names == ["recorder"] {
        return recorder::run(arguments);
    }
    let unknown = arguments
        .names
        .iter()
        .find(|name| !works().any(|work| work.answers_to(name)));
    if let Some(name) = unknown {
        let known: Vec<_> = works().map(|work| work.name).collect();
        anyhow::bail!(
            "no benchmark `{name}`; there are {}, {} for all of a kind, and `recorder` by itself",
            known.join(", "),
            GROUPS.map(|(group, _)| group).join(", ")
        );
    }
    let time = Duration::try_from_secs_f64(arguments.seconds)
        .with_context(|| format!("--seconds: {} is no time", arguments.seconds))?;
    let settings = Settings {
        time,
        device: armilla_nn::device::parse(&arguments.device)?,
        precision: arguments.precision.into(),
        loader: arguments.loader.clone(),
        costs: Cell::default(),
    };
    if !settings.precision.runs_on(&settings.device) {
        anyhow::bail!("--precision bf16: {} has no bf16", arguments.device);
    }
    let mut all = Vec::new();
    for work in works() {
        let names = &arguments.names;
        let wanted = names.is_empty() || names.iter().any(|name| work.answers_to(name));
        if !wanted {
            continue;
        }
        let measured = work.run(&settings)?;
        if !arguments.json {
            crate::progress::print(&format!(
                "{:<20} {:>9.2} ms   fastest {:>9.2}   {}",
                measured.name, measured.median_ms, measured.fastest_ms, measured.what
            ))?;
            let lines = measured.costs.as_ref().map(loader::Costs::lines);
            for line in lines.iter().flatten() {
                crate::progress::print(line)?;
            }
        }
        all.push(measured);
    }
    if arguments.json {
        let machine = Machine::here();
        let report = serde_json::json!({
            "results": all,
            "machine": machine,
            "device": armilla_nn::device::describe(&settings.device),
            "precision": settings.precision,
        });
        crate::progress::print(&report.to_string())?;
    }
    Ok(())
}

/// Seconds of each repetition, until the device is done with it.
fn repeat<T>(settings: &Settings, mut work: impl FnMut() -> T) -> Result<Vec<f64>> {
    let mut once = || {
        let begin = Instant::now();
        let made = black_box(settings.precision.scope(&mut work));
        settings.device.sync()?;
        drop(made);
        Ok::<_, anyhow::Error>(begin.elapsed().as_secs_f64())
    };
    (0..WARM_UP).try_for_each(|_| once().map(drop))?;
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < AT_LEAST || begin.elapsed() < settings.time {
        times.push(once()?);
    }
    Ok(times)
}

/// The same batch again and again.
pub(crate) struct Same<B>(pub(crate) B);

impl<B: Clone + Send> BatchSource for Same<B> {
    type Batch = B;

    fn batch(&mut self, _: u64) -> Result<B, BoxError> {
        Ok(self.0.clone())
    }
}

/// Seconds of each step of the trainer, optimiser included.
fn steps<M: Trainable>(settings: &Settings, model: M, batch: M::Batch) -> Result<Vec<f64>>
where
    M::Batch: Clone,
{
    let folder = std::env::temp_dir().join(format!("armilla-bench-{}", std::process::id()));
    let run = RunDirectory::create(&folder, "")?;
    let config = TrainConfig {
        steps: u64::MAX,
        warmup_steps: 0,
        accumulation: settings.accumulation() as u64,
        precision: settings.precision,
        log_every: u64::MAX,
        checkpoint_every: 0,
        ..TrainConfig::default()
    };
    let mut times = Vec::new();
    let (begin, mut last) = (Instant::now(), Instant::now());
    let mut progress = |_: &armilla_train::Progress| {
        times.push(last.elapsed().as_secs_f64());
        last = Instant::now();
        match times.len() >= WARM_UP + AT_LEAST && begin.elapsed() >= settings.time {
            true => Control::Stop,
            false => Control::Continue,
        }
    };
    let training = Training {
        source: &mut Same(batch),
        config: &config,
        run: &run,
        export: &|_, _| Ok(()),
        validation: None,
        saved: &mut |_, _| Ok(()),
        progress: &mut progress,
    };
    let trained = armilla_train::train(model, training);
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot remove {}", folder.display()))?;
    trained?;
    Ok(times.split_off(WARM_UP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_all_of_a_kind() {
        let named = |name: &str| -> Vec<_> {
            let found = works().filter(|work| work.answers_to(name));
            found.map(|work| work.name).collect()
        };
        assert_eq!(named("plan"), ["world-model-plan", "lewm-plan"]);
        assert_eq!(named("act-chunk"), ["act-chunk"]);
        let policies = named("policy");
        assert!(policies.contains(&"policy-step") && policies.contains(&"diffusion-ddpm"));
        let sum = policies.len() + named("world").len();
        assert_eq!(named("nothing"), <[&str; 0]>::default());
        // Besides there are four of layers and the loader.
        assert_eq!(sum + 5, works().count());
    }
}

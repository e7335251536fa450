//! `armilla demo`: record, learn, plan, train, evaluate and report, each stage the same as the command of that name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use armilla_core::Policy;
use armilla_envs::EnvironmentConfig;
use armilla_imagine::{Execution, InstructionControl, Trace};
use burn::tensor::Device;
use serde::Deserialize;

use crate::cli::DemoArguments;
use crate::commands::eval::{self, Episodes};
use crate::commands::report::{self, Findings};
use crate::commands::{record, stop_asked, train, viz};
use crate::config::{RecordConfig, Source};
use crate::progress::{print, say};
use crate::results::{ResultRow, Success};

/// Marks a folder as the demo's, so that `--force` empties no other.
const MARK: &str = ".armilla-demo";

/// The stages of a demo.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoConfig {
    /// Episodes an evaluation.
    episodes: usize,
    /// Sessions side by side.
    parallel: usize,
    /// Episodes of each evaluation that are shown.
    traces: usize,
    /// Datasets to record.
    record: Vec<DemoRecord>,
    /// The world model, planned in.
    #[serde(rename = "world-model")]
    world_model: DemoTraining,
    /// The policy.
    policy: DemoTraining,
}

/// A dataset to record.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoRecord {
    /// Folder below `datasets/`.
    name: String,
    /// Configuration of `armilla record`.
    config: String,
    /// Settings replaced in it.
    #[serde(default)]
    set: Vec<String>,
}

/// A model to train and to evaluate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoTraining {
    /// Folder below `runs/`.
    name: String,
    /// Configuration of `armilla train`.
    config: String,
    /// Name of the dataset.
    dataset: String,
    /// Settings replaced in the configuration.
    #[serde(default)]
    set: Vec<String>,
    /// How it is evaluated.
    evaluate: DemoEvaluation,
}

/// Protocols to evaluate on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DemoEvaluation {
    /// Environment.
    env: String,
    /// Its protocols.
    protocols: Vec<String>,
    /// How to plan, for a world model.
    plan: Option<String>,
    /// Settings replaced in the plan.
    #[serde(default)]
    set: Vec<String>,
    /// Protocols whose pooled success is a row of its own, with the blank and the swapped instruction beside it.
    #[serde(default)]
    pooled: Vec<String>,
}

/// Runs `armilla demo`.
pub(crate) fn run(arguments: &DemoArguments) -> Result<()> {
    let config: DemoConfig = Source::open(if arguments.quick {
        "demo-quick"
    } else {
        "demo"
    })?
    .parse()?;
    let device = armilla_nn::device::parse(&arguments.device)?;
    // Configurations have signed integers.
    ensure!(
        i64::try_from(arguments.seed).is_ok(),
        "--seed: expected at most {}, found {}",
        i64::MAX,
        arguments.seed
    );
    prepare(&arguments.out, arguments.force)?;
    let mut demo = Demo {
        out: arguments.out.clone(),
        seed: arguments.seed,
        device,
        config,
        findings: Findings::new(arguments.seed, &arguments.device, arguments.quick),
        began: Instant::now(),
    };
    demo.record()?;
    let world_model = demo.train(&demo.config.world_model.clone())?;
    demo.evaluate_planner(&world_model)?;
    let policy = demo.train(&demo.config.policy.clone())?;
    demo.evaluate_policy(&policy)?;
    demo.report()
}

/// Makes the output folder, or empties it when it is a demo's and that is asked for.
fn prepare(out: &Path, force: bool) -> Result<()> {
    if out.exists()
        && out
            .read_dir()
            .with_context(|| format!("cannot read {}", out.display()))?
            .next()
            .is_some()
    {
        if !force || !out.join(MARK).is_file() {
            bail!(
                "{} is not empty: expected a new folder; choose another with --out{}",
                out.display(),
                if out.join(MARK).is_file() {
                    ", or empty this demo's with --force"
                } else {
                    ""
                }
            );
        }
        std::fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    std::fs::write(out.join(MARK), "").with_context(|| format!("cannot write to {}", out.display()))
}

/// The demo under way.
struct Demo {
    out: PathBuf,
    seed: u64,
    device: Device,
    config: DemoConfig,
    findings: Findings,
    began: Instant,
}

impl Demo {
    /// Runs a stage and notes its seconds.
    fn stage<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if stop_asked() {
            bail!(
                "stopped before {name}; what was finished is in {}",
                self.out.display()
            );
        }
        let began = Instant::now();
        let result = work(self).with_context(|| format!("stage {name}"))?;
        self.findings
            .stages
            .push((name.to_owned(), began.elapsed().as_secs_f64()));
        Ok(result)
    }

    fn dataset(&self, name: &str) -> PathBuf {
        self.out.join("datasets").join(name)
    }

    fn record(&mut self) -> Result<()> {
        for dataset in self.config.record.clone() {
            let out = self.dataset(&dataset.name);
            let (seed, device) = (self.seed, self.device.clone());
            let summary = self.stage(&format!("record {}", dataset.name), |_| {
                let mut source = Source::open(&dataset.config)?;
                source.set(&dataset.set)?;
                let config: RecordConfig = source.parse()?;
                record::record(
                    &RecordConfig {
                        seed: config.seed.wrapping_add(seed.wrapping_mul(1_000_000)),
                        ..config
                    },
                    &out,
                    &device,
                )
            })?;
            self.findings.datasets.insert(dataset.name, summary);
        }
        Ok(())
    }

    /// Trains a model; gives back its checkpoint.
    fn train(&mut self, training: &DemoTraining) -> Result<PathBuf> {
        let run = self.out.join("runs").join(&training.name);
        let dataset = self.dataset(&training.dataset);
        let (seed, device) = (self.seed, self.device.clone());
        self.findings
            .runs
            .insert(training.name.clone(), run.clone());
        self.stage(&format!("train {}", training.name), |_| {
            let mut source = Source::open(&training.config)?;
            source.set(&training.set)?;
            source.set(&[format!("train.seed={seed}")])?;
            let outcome = train::train(&source, &dataset, &run, &device)?;
            if outcome.stopped {
                bail!(
                    "stopped; go on with `armilla train --resume {}`",
                    run.display()
                );
            }
            Ok(outcome.checkpoint)
        })
    }

    fn episodes(&self, env: &str, protocol: &str, image_size: usize) -> Episodes {
        Episodes {
            execution: Execution::Receding,
            delay_steps: 0,
            environment: EnvironmentConfig {
                name: env.to_owned(),
                protocol: protocol.to_owned(),
                image_size,
            },
            count: self.config.episodes,
            seed: self.seed,
            parallel: self.config.parallel,
        }
    }

    fn evaluate_planner(&mut self, checkpoint: &Path) -> Result<()> {
        let evaluation = self.config.world_model.evaluate.clone();
        let plan = evaluation
            .plan
            .as_deref()
            .context("[world-model.evaluate]: `plan` is missing")?;
        let mut plan = Source::open(plan)?;
        plan.set(&evaluation.set)?;
        let environment = |image_size| EnvironmentConfig {
            name: evaluation.env.clone(),
            protocol: evaluation.protocols.first().cloned().unwrap_or_default(),
            image_size,
        };
        let device = self.device.clone();
        let (mut planner, image_size) =
            eval::open_planner(checkpoint, plan.parse()?, self.seed, &environment, &device)?;
        for protocol in &evaluation.protocols {
            let episodes = self.episodes(&evaluation.env, protocol, image_size);
            let (row, traces) = self.evaluate(&mut planner, &episodes)?;
            self.keep([row])?;
            let paths = viz::planned_paths(&planner);
            self.findings.shown.push(viz::Shown {
                environment: episodes.environment,
                traces,
                paths,
                delay_steps: 0,
            });
        }
        let dataset = self.dataset(&self.config.world_model.dataset);
        // What this very run kept from training.
        let run = self
            .out
            .join("runs")
            .join(&self.config.world_model.name)
            .join("config.toml");
        let trained: train::TrainRunConfig = Source::open(&run.to_string_lossy())?.parse()?;
        let imagined = self.stage("look into the world model", |_| {
            report::look_into(checkpoint, &dataset, &trained, &device)
        })?;
        self.findings.imagined = Some(imagined);
        Ok(())
    }

    fn evaluate_policy(&mut self, checkpoint: &Path) -> Result<()> {
        let evaluation = self.config.policy.evaluate.clone();
        let environment = |image_size| EnvironmentConfig {
            name: evaluation.env.clone(),
            protocol: evaluation.protocols.first().cloned().unwrap_or_default(),
            image_size,
        };
        let (mut policy, image_size) =
            eval::open_trained(checkpoint, self.seed, &environment, &self.device)?;
        let mut pool = Pool::default();
        for protocol in &evaluation.protocols {
            let episodes = self.episodes(&evaluation.env, protocol, image_size);
            let (mut row, traces) = self.evaluate(&mut policy, &episodes)?;
            if evaluation.pooled.contains(protocol) {
                self.add_controls(&mut row, &mut policy, &episodes)?;
                pool.add(&row);
            }
            self.keep([row])?;
            let paths = viz::PlannedPaths::new();
            self.findings.shown.push(viz::Shown {
                environment: episodes.environment,
                traces,
                paths,
                delay_steps: 0,
            });
        }
        self.keep(pool.row(&evaluation.pooled.join("+")))
    }

    /// Keeps what was measured, on the disk too: a later stage may be stopped, or fail.
    fn keep(&mut self, rows: impl IntoIterator<Item = ResultRow>) -> Result<()> {
        self.findings.rows.extend(rows);
        report::write_figures(&self.findings, &self.out)
    }

    /// Puts the same policy without words, and with another task's words, beside its row.
    fn add_controls(
        &mut self,
        row: &mut ResultRow,
        policy: &mut dyn Policy,
        episodes: &Episodes,
    ) -> Result<()> {
        let controls = [
            ("blank-instruction", InstructionControl::Blank),
            ("swapped-instruction", InstructionControl::Swapped),
        ];
        for (name, control) in controls {
            let stage = format!("{name} on {}", episodes.environment.protocol);
            let evaluation = self.stage(&stage, |_| {
                eval::over_bus(episodes, policy, control, 0, None)
            })?;
            row.add_floor(
                name,
                Success::of(evaluation.outcomes.iter().map(|outcome| outcome.success)),
            );
        }
        Ok(())
    }

    /// A policy's episodes over the bus with its floors.
    fn evaluate(
        &mut self,
        policy: &mut dyn Policy,
        episodes: &Episodes,
    ) -> Result<(ResultRow, Vec<Trace>)> {
        let title = format!(
            "{} {}",
            episodes.environment.name, episodes.environment.protocol
        );
        let traces = self.config.traces;
        let evaluation = self.stage(&format!("evaluate {title}"), |_| {
            eval::over_bus(episodes, policy, InstructionControl::Own, traces, None)
        })?;
        let mut row = eval::row(episodes, policy.name(), &evaluation.outcomes);
        self.stage(&format!("floors of {title}"), |_| {
            eval::add_floors(&mut row, episodes)
        })?;
        row.lines().iter().for_each(|line| say(line));
        Ok((row, evaluation.traces))
    }

    fn report(&mut self) -> Result<()> {
        let out = self.out.clone();
        self.stage("report", |demo| {
            report::draw(&demo.findings, &out, demo.began)
        })?;
        report::write_figures(&self.findings, &out)?;
        print("")?;
        for row in &self.findings.rows {
            row.lines().iter().try_for_each(|line| print(line))?;
        }
        print(&format!(
            "\n{:.0} s in all. Look at:",
            self.began.elapsed().as_secs_f64()
        ))?;
        print(&format!(
            "  {}   in a browser",
            out.join("report.html").display()
        ))?;
        print(&format!(
            "  {}      with `rerun` (pip install rerun-sdk==0.36.3)",
            out.join("demo.rrd").display()
        ))?;
        print(&format!(
            "  {}   every figure",
            out.join("report.json").display()
        ))?;
        Ok(())
    }
}

/// Rows counted together.
#[derive(Default)]
struct Pool {
    rows: Vec<ResultRow>,
}

impl Pool {
    fn add(&mut self, row: &ResultRow) {
        self.rows.push(row.clone());
    }

    /// One row over all episodes of the pooled ones.
    fn row(&self, protocol: &str) -> Option<ResultRow> {
        let first = self.rows.first()?;
        let pooled =
            |parts: &dyn Fn(&ResultRow) -> BTreeMap<String, Success>| -> BTreeMap<String, Success> {
                let mut counts: BTreeMap<String, Vec<Success>> = BTreeMap::new();
                for (name, success) in self.rows.iter().flat_map(parts) {
                    counts.entry(name).or_default().push(success);
                }
                counts
                    .into_iter()
                    .map(|(name, parts)| (name, Success::pooled(&parts)))
                    .collect()
            };
        let own: Vec<_> = self.rows.iter().map(|row| row.success).collect();
        let at_end: Vec<_> = self.rows.iter().map(|row| row.success_at_end).collect();
        let family_intervals = pooled(&|row| row.family_intervals.clone());
        let mut row = ResultRow {
            protocol: protocol.to_owned(),
            success: Success::pooled(&own),
            success_at_end: Success::pooled(&at_end),
            mean_steps: self.rows.iter().map(|row| row.mean_steps).sum::<f64>()
                / self.rows.len() as f64,
            families: family_intervals
                .iter()
                .map(|(name, success)| (name.clone(), success.success))
                .collect(),
            family_intervals,
            scenes: crate::results::scene_hash(self.rows.iter().map(|row| &row.scenes)),
            successes: self.rows.iter().map(|row| row.successes.as_str()).collect(),
            // Of one protocol each.
            figures: BTreeMap::new(),
            floor_figures: BTreeMap::new(),
            ..first.clone()
        };
        for (name, success) in pooled(&|row| row.floor_intervals.clone()) {
            row.add_floor(&name, success);
        }
        Some(row)
    }
}

//! What the demo found, as `report.json`, `report.html` and `demo.rrd`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use armilla_core::WilsonInterval;
use armilla_data::{Dataset, LoaderConfig, LoaderSource, WindowLoader, deterministic};
use armilla_imagine::{Imagination, imagine};
use armilla_nn::checkpoint::write_atomically;
use armilla_viz::report::{self as page, Estimate, ReportData};
use armilla_viz::{LineChart, Recording, Series};
use armilla_world::{Diagnostics, TrainingBatch, WorldModel};
use burn::tensor::Device;
use serde_json::{Value, json};

use crate::commands::record::RecordSummary;
use crate::commands::train::{self, TrainRunConfig};
use crate::commands::world::episodes::{TransformedDataset, recorded, spread};
use crate::commands::{viz, world};
use crate::machine::{Machine, versions};
use crate::paired::Other;
use crate::results::{ResultRow, Success, scene_hash};

/// Everything the demo found out.
pub(crate) struct Findings {
    /// Seed of everything random.
    pub seed: u64,
    /// Where models computed, as typed.
    pub device: String,
    /// Whether it was the short version.
    pub quick: bool,
    /// Stages and their seconds.
    pub stages: Vec<(String, f64)>,
    /// Datasets by name.
    pub datasets: BTreeMap<String, RecordSummary>,
    /// Runs by name.
    pub runs: BTreeMap<String, PathBuf>,
    /// Evaluations.
    pub rows: Vec<ResultRow>,
    /// The first episodes of each evaluation.
    pub shown: Vec<viz::Shown>,
    /// What the world model imagines, and the health of its latents.
    pub imagined: Option<Imagined>,
}

/// A world model's dreams beside reality, and the health of its latents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imagined {
    /// Held-out episodes, rolled out open-loop from their beginning.
    pub episodes: Vec<Imagination>,
    /// Effective rank, smallest standard deviation, action-shuffle ratio and more, by name.
    pub latents: BTreeMap<String, f64>,
}

/// Held-out episodes that are imagined, and model steps of each.
const DREAMS: (usize, usize) = (3, 9);
/// Windows that the latents are measured on.
const WINDOWS: usize = 256;

/// Looks into a trained world model on the episodes that its training never saw.
pub(crate) fn look_into(
    checkpoint: &Path,
    dataset: &Path,
    trained: &TrainRunConfig,
    device: &Device,
) -> Result<Imagined> {
    let model = WorldModel::load(checkpoint, device)?;
    let seen = TransformedDataset {
        dataset: Arc::new(Dataset::open(dataset)?),
        transforms: deterministic(&trained.transforms),
    };
    let (_, kept) = trained.split(&seen.dataset);
    let mut episodes = Vec::new();
    let shape = model.shape();
    let least = shape.history.max(5) * shape.action_repeat;
    let is_long = |&episode: &usize| seen.dataset.episodes()[episode].length > least;
    let long: Vec<_> = kept.iter().copied().filter(is_long).collect();
    for episode in spread(&long, DREAMS.0.min(long.len())) {
        let footage = recorded(&seen, episode, &model)?;
        episodes.push(imagine(&model, footage, DREAMS.1)?);
    }
    let found = diagnose(&model, &seen, kept, WINDOWS, device)?;
    let latents = world::check::figures(&found);
    Ok(Imagined {
        episodes,
        latents: latents.map(|(name, value)| (name.to_owned(), value)).into(),
    })
}

/// The health of a model's latents on windows of some episodes of a dataset.
pub(crate) fn diagnose(
    model: &WorldModel,
    seen: &TransformedDataset,
    episodes: Vec<usize>,
    windows: usize,
    device: &Device,
) -> Result<Diagnostics> {
    let config = &model.model().config();
    // Straightness takes three frames.
    let loader = |windows| {
        let mut settings = LoaderConfig::new(train::world_model_windows(config, 3), windows, 0);
        settings.cameras = Some(model.interface().cameras.clone());
        settings.transforms.clone_from(&seen.transforms);
        let source = LoaderSource {
            episodes: Some(episodes.clone()),
            ..LoaderSource::new(Arc::clone(&seen.dataset))
        };
        WindowLoader::new(vec![source], settings)
    };
    // Beyond all that there are, windows would come again.
    let windows = windows.min(loader(1)?.len());
    let windows = loader(windows)?.batch(0)?;
    let batch = TrainingBatch::from_windows(&windows, model.interface(), config, device)?;
    Ok(Diagnostics::measure(model.model(), &batch))
}

impl Findings {
    /// Nothing yet.
    pub(crate) fn new(seed: u64, device: &str, quick: bool) -> Self {
        Self {
            seed,
            device: device.to_owned(),
            quick,
            stages: Vec::new(),
            datasets: BTreeMap::new(),
            runs: BTreeMap::new(),
            rows: Vec::new(),
            shown: Vec::new(),
            imagined: None,
        }
    }

    /// Hash of the scenes of each split: training datasets and evaluations.
    fn splits(&self) -> BTreeMap<String, String> {
        let training = self.datasets.iter().map(|(name, dataset)| {
            (
                format!("{name} training"),
                scene_hash(dataset.scenes.iter()),
            )
        });
        let evaluated = self
            .rows
            .iter()
            .map(|row| (format!("{} {}", row.env, row.protocol), row.scenes.clone()));
        training.chain(evaluated).collect()
    }

    /// `report.json`: every figure.
    fn json(&self) -> Value {
        let stage = |(name, seconds): &(String, f64)| json!({ "name": name, "seconds": seconds });
        json!({
            "seed": self.seed,
            "device": self.device,
            "quick": self.quick,
            "machine": Machine::here(),
            "versions": versions(),
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "seconds": self.stages.iter().map(|(_, seconds)| seconds).sum::<f64>(),
            "datasets": self.datasets,
            "results": self.rows,
            "latents": self.imagined.as_ref().map(|imagined| &imagined.latents),
            "splits": self.splits(),
        })
    }
}

/// Writes what people look at: `demo.rrd`, `report.html` and a still of the filmstrip.
pub(crate) fn draw(findings: &Findings, out: &Path, began: Instant) -> Result<()> {
    recording(findings, &out.join("demo.rrd"))?;
    let data = page_data(findings, curves(findings)?, began.elapsed().as_secs_f64());
    write_atomically(&out.join("report.html"), page::render(&data)?.as_bytes())?;
    if let Some(strip) = data.filmstrips.first() {
        let picture = armilla_viz::filmstrip::png(strip)?;
        write_atomically(&out.join("imagined.png"), &picture)?;
    }
    Ok(())
}

/// Writes what programs read: `report.json`, after each evaluation and once more at last, so that it holds every stage.
pub(crate) fn write_figures(findings: &Findings, out: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(&findings.json())?;
    Ok(write_atomically(&out.join("report.json"), text.as_bytes())?)
}

/// `demo.rrd`: episodes, predictions, plans, chunks, curves.
fn recording(findings: &Findings, path: &Path) -> Result<()> {
    let mut recording = Recording::create(path)?;
    for shown in &findings.shown {
        viz::log_traces(&mut recording, shown)?;
    }
    if let Some(imagined) = &findings.imagined {
        viz::log_imagined(&mut recording, &imagined.episodes, true)?;
    }
    for run in findings.runs.values() {
        viz::curves(&mut recording, run)?;
    }
    for row in &findings.rows {
        recording.rates(&aimed_row(row))?;
    }
    let lines: Vec<_> = findings.rows.iter().flat_map(ResultRow::lines).collect();
    recording.results(&format!("# Results\n\n```\n{}\n```\n", lines.join("\n")))?;
    recording.finish()?;
    Ok(())
}

/// Loss curves by run.
fn curves(findings: &Findings) -> Result<Vec<page::Plot>> {
    findings
        .runs
        .iter()
        .map(|(name, run)| plot(name, run))
        .collect()
}

fn plot(name: &str, run: &Path) -> Result<page::Plot> {
    let lines = armilla_train::read_metrics(&run.join("metrics.jsonl"))?;
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for line in &lines {
        let step = line.step as f64;
        series
            .entry("loss".to_owned())
            .or_default()
            .push((step, line.loss));
        for (figure, value) in &line.figures {
            series
                .entry(figure.clone())
                .or_default()
                .push((step, *value));
        }
    }
    let series = series
        .into_iter()
        .map(|(name, points)| Series {
            name,
            points,
            dashed: false,
        })
        .collect();
    let chart = LineChart {
        title: format!("Training {name}"),
        x_label: "step".to_owned(),
        y_label: "value".to_owned(),
        logarithmic: true,
        series,
    };
    Ok(page::Plot {
        chart,
        caption: String::new(),
    })
}

/// What a reader needs to know of a run, by name.
fn facts(findings: &Findings, seconds: f64) -> Vec<(String, String)> {
    let machine = Machine::here();
    let Machine {
        processor,
        threads,
        platform,
    } = &machine;
    let facts = [
        ("seed", findings.seed.to_string()),
        (
            "machine",
            format!("{processor}, {threads} threads, {platform}"),
        ),
        ("device", findings.device.clone()),
        ("time", format!("{seconds:.0} s")),
    ];
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    facts.into_iter().chain(versions()).collect()
}

fn page_data(findings: &Findings, plots: Vec<page::Plot>, seconds: f64) -> ReportData {
    let latents = findings
        .imagined
        .iter()
        .flat_map(|imagined| &imagined.latents);
    ReportData {
        title: "Armilla demo".to_owned(),
        summary: summary(findings).to_owned(),
        facts: facts(findings, seconds),
        results: findings.rows.iter().map(aimed_row).collect(),
        latents: latents.map(|(name, &value)| figure(name, value)).collect(),
        filmstrips: findings
            .imagined
            .as_ref()
            .map_or_else(Vec::new, |imagined| {
                viz::filmstrips(&imagined.episodes, true)
            }),
        curves: Vec::new(),
        episodes: Vec::new(),
        lines: Vec::new(),
        plots,
        stages: findings
            .stages
            .iter()
            .map(|(name, seconds)| page::Stage {
                name: name.clone(),
                seconds: *seconds,
            })
            .collect(),
        datasets: findings
            .datasets
            .iter()
            .map(|(name, dataset)| page::DatasetRow {
                name: name.clone(),
                episodes: dataset.episodes,
                frames: dataset.frames,
                hash: dataset.hash.clone(),
            })
            .collect(),
        splits: findings.splits().into_iter().collect(),
        reproduce: vec![page::Command {
            purpose: "The same figures on the same kind of machine".to_owned(),
            line: format!(
                "cargo run --release -- demo --seed {} --device {}{}",
                findings.seed,
                findings.device,
                if findings.quick { " --quick" } else { "" }
            ),
        }],
    }
}

fn summary(findings: &Findings) -> &'static str {
    if findings.quick {
        "The quick version: it checks the path, its figures mean nothing."
    } else {
        "A world model learned from video, planned in on layouts it never saw; and a policy that listens, on scenes it never \
         saw. Every episode ran over the bus; floors ran on the same episodes."
    }
}

fn figure(name: &str, value: f64) -> page::Figure {
    page::Figure {
        name: name.replace('_', " "),
        value,
        at_least: at_least(name),
    }
}

/// From where on a figure of the latents is healthy, where that is known.
pub(crate) fn at_least(name: &str) -> Option<f64> {
    match name {
        "effective_rank" => Some(8.0),
        "smallest_std" => Some(0.1),
        "action_shuffle_ratio" => Some(2.0),
        // The error of copying over the model's.
        "copy_ratio" => Some(1.0),
        _ => None,
    }
}

fn estimate(success: &Success) -> Estimate {
    let interval = WilsonInterval {
        low: success.ci_low,
        high: success.ci_high,
    };
    Estimate {
        value: success.success,
        low: interval.low,
        high: interval.high,
        episodes: success.episodes,
    }
}

/// A row of the demo, with what it aims at.
fn aimed_row(row: &ResultRow) -> page::ResultRow {
    let target = match (row.env.as_str(), row.protocol.as_str()) {
        ("two-room", "crossing") => Some(0.6),
        ("two-room", "ahead") => Some(0.9),
        ("tabletop", "new-scenes+new-templates") => Some(0.8),
        ("tabletop", "unseen-pairs") => Some(0.5),
        _ => None,
    };
    page::ResultRow {
        target,
        ..page_row(row)
    }
}

/// A row as the page has it.
pub(crate) fn page_row(row: &ResultRow) -> page::ResultRow {
    let list = |parts: &BTreeMap<String, Success>| -> Vec<(String, Estimate)> {
        parts
            .iter()
            .map(|(name, success)| (name.clone(), estimate(success)))
            .collect()
    };
    page::ResultRow {
        env: row.env.clone(),
        protocol: row.protocol.clone(),
        policy: Other::from(row).who(),
        success: estimate(&row.success),
        success_at_end: Some(estimate(&row.success_at_end)),
        target: None,
        floors: list(&row.floor_intervals),
        families: list(&row.family_intervals),
    }
}

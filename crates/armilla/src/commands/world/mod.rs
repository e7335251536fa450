//! `armilla world`: looking inside a world model, and taking in others', one file a verb.

pub(super) mod check;
pub(super) mod episodes;
mod import;
mod kept;
mod probe;
mod rollout;
mod surprise;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use armilla_imagine::Imagination;
use armilla_nn::checkpoint::write_atomically;
use armilla_viz::report::Plot;
use armilla_viz::{LineChart, Recording, ReportData, Series, render};
use armilla_world::WorldModel;
use burn::tensor::Device;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::commands::checkpoint::expect_world_model;
use crate::commands::{can_write, viz};
use crate::hub::{self, HubType};
use crate::progress::{print, say};

/// What can be asked of a world model.
#[derive(Debug, Subcommand)]
pub(crate) enum WorldCommand {
    /// How far ahead it predicts: latents and pictures of open-loop rollouts beside keeping the last frame.
    Rollout(rollout::RolloutArguments),
    /// What its latents know: where things are, read by a linear map and by a small network, from latents and predicted latents.
    Probe(probe::ProbeArguments),
    /// Whether the impossible surprises it: teleports and changed colours beside the same episodes without.
    Surprise(surprise::SurpriseArguments),
    /// Whether its latents are alive and heed the action.
    Check(check::CheckArguments),
    /// Make a checkpoint of a LeWorldModel as stable-worldmodel publishes it.
    Import(import::ImportArguments),
}

/// Runs `armilla world`.
pub(crate) fn run(command: &WorldCommand) -> Result<()> {
    match command {
        WorldCommand::Rollout(arguments) => rollout::run(arguments),
        WorldCommand::Probe(arguments) => probe::run(arguments),
        WorldCommand::Surprise(arguments) => surprise::run(arguments),
        WorldCommand::Check(arguments) => check::run(arguments),
        WorldCommand::Import(arguments) => import::run(arguments),
    }
}

/// The model that is looked into.
#[derive(Args, Debug)]
pub(crate) struct ModelArguments {
    /// The world model's checkpoint folder, or OWNER/NAME on the hub.
    pub checkpoint: PathBuf,
    /// Where to compute: cpu, or with its cargo feature cuda:N or vulkan.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Write the figures to this file as JSON ("-" for standard output).
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write curves and pictures as a Rerun recording.
    #[arg(long, value_name = "FILE.rrd")]
    pub rerun: Option<PathBuf>,
    /// Write curves and pictures as a page of HTML.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
}

/// What was found.
#[derive(Default)]
struct Findings {
    /// For people.
    lines: Vec<String>,
    /// For programs.
    figures: Value,
    /// To look at.
    page: ReportData,
    /// Rollouts, to look at in Rerun beside the page's curves.
    dreams: Vec<Imagination>,
    /// Whether they are of episodes that training did not see.
    are_held_out: bool,
}

/// An opened model.
struct Opened {
    model: WorldModel,
    folder: PathBuf,
    device: Device,
}

impl ModelArguments {
    fn open(&self) -> Result<Opened> {
        can_write(&[&self.json, &self.rerun, &self.report].map(|file| file.as_deref()))?;
        let device = armilla_nn::device::parse(&self.device)?;
        let folder = hub::folder(HubType::Model, &self.checkpoint)?;
        expect_world_model(&folder)?;
        let model = WorldModel::load(&folder, &device)?;
        Ok(Opened {
            model,
            folder,
            device,
        })
    }

    /// Whether anything is to be drawn.
    fn draws(&self) -> bool {
        self.rerun.is_some() || self.report.is_some()
    }

    /// Prints what was found for people, and writes the rest where asked.
    fn report(&self, findings: &Findings) -> Result<()> {
        // First of all: what was measured is told, whether or not it can be drawn.
        let text = serde_json::to_string_pretty(&findings.figures)?;
        match self.json.as_deref() {
            Some(path) if path == Path::new("-") => print(&text)?,
            path => {
                findings.lines.iter().try_for_each(|line| print(line))?;
                path.map_or(Ok(()), |path| write(path, &text))?;
            }
        }
        if let Some(path) = &self.rerun {
            let mut recording = Recording::create(path)?;
            viz::log_imagined(&mut recording, &findings.dreams, findings.are_held_out)?;
            for plot in &findings.page.curves {
                recording.chart(&plot.chart)?;
            }
            let text = findings.lines.join("\n");
            recording.results(&format!("```\n{text}\n```"))?;
            let bytes = recording.finish()?;
            say(&format!(
                "{} ({:.1} MB)",
                path.display(),
                bytes as f64 / 1e6
            ));
        }
        if let Some(path) = &self.report {
            let page = ReportData {
                lines: findings.lines.clone(),
                ..findings.page.clone()
            };
            write(path, &render(&page)?)?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, text.as_bytes())?;
    say(&format!("written to {}", path.display()));
    Ok(())
}

/// A chart over whole numbers, and what is to be seen in it.
fn plot(title: &str, x_label: &str, caption: &str, series: Vec<Series>) -> Plot {
    Plot {
        chart: LineChart {
            title: title.to_owned(),
            x_label: x_label.to_owned(),
            y_label: title.to_owned(),
            logarithmic: false,
            series,
        },
        caption: caption.to_owned(),
    }
}

/// Fails for a number of nothing.
fn at_least_one(option: &str, value: usize) -> Result<()> {
    ensure!(value > 0, "--{option}: expected at least 1, found 0");
    Ok(())
}

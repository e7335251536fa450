//! `armilla dataset`: looking into datasets and making new ones of them, one file a verb.

mod check;
mod convert;
mod delete;
mod frame;
mod info;
mod merge;
mod repair;
mod split;
mod stats;
pub(super) mod viz;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use armilla_data::{EpisodesDone, Target};
use clap::{Args, Subcommand};

use super::stop_asked;
use crate::progress::{Progress, say};

/// What can be done with a dataset.
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Features, episodes, tasks and statistics.
    Info(info::InfoArguments),
    /// Compare metadata, frame tables and videos with each other; fails if anything is wrong, changes nothing.
    Check(check::CheckArguments),
    /// Make a sound dataset of what can be saved of a broken one.
    Repair(repair::RepairArguments),
    /// Make a LeRobot v3.0 dataset of one in LeRobot's v2.1 layout, or of a video folder of stable-worldmodel.
    Convert(convert::ConvertArguments),
    /// Make one dataset of several.
    Merge(merge::MergeArguments),
    /// Make several datasets of one, by shares or by episodes.
    Split(split::SplitArguments),
    /// Make a dataset without some episodes.
    Delete(delete::DeleteArguments),
    /// Show the statistics, or count them anew.
    Stats(stats::StatsArguments),
    /// Write one frame: its pictures as PNG, all else as JSON.
    Frame(frame::FrameArguments),
    /// Look at episodes in Rerun.
    Viz(viz::VizArguments),
}

impl DatasetCommand {
    /// Whether it stops by itself when asked to, see `with_progress`; to look into a dataset has nothing to lose.
    pub(crate) fn has_safe_points(&self) -> bool {
        !matches!(self, Self::Info(_) | Self::Frame(_))
    }
}

/// Runs `armilla dataset`.
pub(crate) fn run(command: &DatasetCommand) -> Result<()> {
    match command {
        DatasetCommand::Info(arguments) => info::run(arguments),
        DatasetCommand::Check(arguments) => check::run(arguments),
        DatasetCommand::Repair(arguments) => repair::run(arguments),
        DatasetCommand::Convert(arguments) => convert::run(arguments),
        DatasetCommand::Merge(arguments) => merge::run(arguments),
        DatasetCommand::Split(arguments) => split::run(arguments),
        DatasetCommand::Delete(arguments) => delete::run(arguments),
        DatasetCommand::Stats(arguments) => stats::run(arguments),
        DatasetCommand::Frame(arguments) => frame::run(arguments),
        DatasetCommand::Viz(arguments) => viz::run(arguments),
    }
}

/// Where a changed dataset goes: one of the two must be said.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Place {
    /// The new dataset's folder; must not exist.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Replace the dataset: the new one is written beside it, then takes its place in one step.
    #[arg(long)]
    pub in_place: bool,
}

/// The folder that was given, or the dataset's own.
fn target(out: Option<&PathBuf>, dataset: &Path) -> Target {
    match out {
        Some(out) => Target::New(out.clone()),
        None => Target::Replace(dataset.to_owned()),
    }
}

/// Does long work and shows how much of it is done. Ctrl-C ends it after the episode in hand.
fn with_progress<T>(
    name: &str,
    unit: &str,
    work: impl FnOnce(EpisodesDone<'_>) -> armilla_data::Result<T>,
) -> Result<T> {
    let shown: Mutex<Option<Progress>> = Mutex::new(None);
    let result = work(&|done, total| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = shown.get_or_insert_with(|| Progress::new(name, unit, total as u64));
        bar.set(done as u64, "");
        if stop_asked() {
            // A dataset gets its name, or takes the old one's, only after the last episode.
            say(
                "stopped: no dataset was changed; a hidden folder that was begun goes with the next try",
            );
            std::process::exit(super::STOPPED.into());
        }
    })?;
    let shown = shown.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(progress) = shown {
        progress.finish();
    }
    Ok(result)
}

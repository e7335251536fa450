//! `armilla dataset merge`: several datasets into one.

use std::path::PathBuf;

use anyhow::Result;
use armilla_data::{Dataset, Target, merge};
use clap::Args;

use super::with_progress;
use crate::progress::{print, say};

/// Arguments of `dataset merge`.
#[derive(Args, Debug)]
pub(crate) struct MergeArguments {
    /// The datasets' folders, in the order that their episodes shall have; same rate, same features.
    #[arg(required = true, num_args = 2.., value_name = "DATASET")]
    pub datasets: Vec<PathBuf>,
    /// The new dataset's folder; must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// Runs `armilla dataset merge`.
pub(super) fn run(arguments: &MergeArguments) -> Result<()> {
    let opened: armilla_data::Result<Vec<_>> =
        arguments.datasets.iter().map(Dataset::open).collect();
    let opened = opened?;
    let target = Target::New(arguments.out.clone());
    let merged = with_progress("merge", "episodes", |progress| {
        merge(&opened.iter().collect::<Vec<_>>(), &target, progress)
    })?;
    merged.notes.iter().for_each(|note| say(note));
    Ok(print(&format!(
        "{}: {} episodes, {} tasks of {} datasets",
        arguments.out.display(),
        merged.episodes,
        merged.tasks,
        opened.len()
    ))?)
}

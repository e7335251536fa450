//! `armilla dataset repair`: a sound dataset of what can be saved of a broken one.

use std::path::PathBuf;

use anyhow::Result;
use armilla_data::repair;
use clap::Args;

use super::with_progress;
use crate::progress::{print, say};

/// Arguments of `dataset repair`.
#[derive(Args, Debug)]
pub(crate) struct RepairArguments {
    /// The broken dataset's folder; nothing in it is changed.
    pub dataset: PathBuf,
    /// The new dataset's folder; must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// Runs `armilla dataset repair`.
pub(super) fn run(arguments: &RepairArguments) -> Result<()> {
    let repaired = with_progress("repair", "episodes (looked at, then written)", |progress| {
        repair(&arguments.dataset, &arguments.out, progress)
    })?;
    repaired.notes.iter().for_each(|note| say(note));
    for lost in &repaired.lost {
        print(&format!(
            "episode {} could not be saved: {}",
            lost.episode, lost.reason
        ))?;
    }
    print(&format!(
        "{}: {} episodes, {} frames saved, {} episodes could not be",
        arguments.out.display(),
        repaired.episodes,
        repaired.frames,
        repaired.lost.len()
    ))?;
    Ok(())
}

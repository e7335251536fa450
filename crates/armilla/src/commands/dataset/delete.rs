//! `armilla dataset delete`: a dataset without some of its episodes.

use std::path::PathBuf;

use anyhow::Result;
use armilla_data::{Dataset, delete, parse_episodes};
use clap::Args;

use super::{Place, target, with_progress};
use crate::progress::print;

/// Arguments of `dataset delete`.
#[derive(Args, Debug)]
pub(crate) struct DeleteArguments {
    /// The dataset's folder.
    pub dataset: PathBuf,
    /// The episodes that go, such as `3,5-7`; those that stay are numbered anew.
    #[arg(long)]
    pub episodes: String,
    /// Where the new dataset goes.
    #[command(flatten)]
    pub place: Place,
}

/// Runs `armilla dataset delete`.
pub(super) fn run(arguments: &DeleteArguments) -> Result<()> {
    let dataset = Dataset::open(&arguments.dataset)?;
    let count = dataset.episodes().len();
    let episodes = parse_episodes(&arguments.episodes, count)?;
    let target = target(arguments.place.out.as_ref(), &arguments.dataset);
    with_progress("delete", "episodes kept", |progress| {
        delete(&dataset, &episodes, &target, progress)
    })?;
    Ok(print(&format!(
        "{}: {} episodes, {} are gone",
        target.folder().display(),
        count - episodes.len(),
        episodes.len()
    ))?)
}

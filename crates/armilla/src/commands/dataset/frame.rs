//! `armilla dataset frame`: one frame to PNG and JSON.

use std::path::PathBuf;

use anyhow::Result;
use armilla_data::Dataset;
use clap::Args;

use crate::hub::{self, HubType};
use crate::progress::print;

/// Arguments of `dataset frame`.
#[derive(Args, Debug)]
pub(crate) struct FrameArguments {
    /// The dataset's folder, or OWNER/NAME on the hub.
    pub dataset: PathBuf,
    /// Number of the frame in the whole dataset.
    #[arg(long)]
    pub index: usize,
    /// Folder to write into.
    #[arg(long)]
    pub out: PathBuf,
}

/// Runs `armilla dataset frame`.
pub(super) fn run(arguments: &FrameArguments) -> Result<()> {
    let frame = Dataset::open(hub::folder(HubType::Dataset, &arguments.dataset)?)?
        .frame(arguments.index)?;
    for path in frame.write(&arguments.out)? {
        print(&path.display().to_string())?;
    }
    Ok(())
}

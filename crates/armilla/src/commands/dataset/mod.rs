//! `armilla dataset`: looking into datasets and making new ones of them, one file a verb.

mod convert;
mod frame;
mod info;

use anyhow::Result;
use clap::Subcommand;

/// What can be done with a dataset.
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetCommand {
    /// Features, episodes, tasks and statistics.
    Info(info::InfoArguments),
    /// Write one frame: its pictures as PNG, all else as JSON.
    Frame(frame::FrameArguments),
    /// Make a LeRobot v3.0 dataset of one in LeRobot's v2.1 layout, or of a video folder of stable-worldmodel.
    Convert(convert::ConvertArguments),
}

/// Runs `armilla dataset`.
pub(crate) fn run(command: &DatasetCommand) -> Result<()> {
    match command {
        DatasetCommand::Info(arguments) => info::run(arguments),
        DatasetCommand::Frame(arguments) => frame::run(arguments),
        DatasetCommand::Convert(arguments) => convert::run(arguments),
    }
}

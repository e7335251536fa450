//! `armilla dataset convert`: other layouts to LeRobot v3.0.

use std::path::PathBuf;

use anyhow::Result;
use armilla_data::{ConvertOptions, FileLimits, convert};
use clap::Args;

use super::with_progress;
use crate::progress::say;

/// Arguments of `dataset convert`.
#[derive(Args, Debug)]
pub(crate) struct ConvertArguments {
    /// The folder to convert: LeRobot v2.1 or v2.0, or a `video` folder of stable-worldmodel.
    pub source: PathBuf,
    /// The new dataset's folder; must not exist.
    #[arg(long)]
    pub out: PathBuf,
    /// The instruction of episodes that have none; the source folder's name unless given.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub task: String,
    /// Size that a frame table does not pass, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = FileLimits::default().data_files_size_in_mb)]
    pub data_files_size: u64,
    /// Size that a video file does not pass, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = FileLimits::default().video_files_size_in_mb)]
    pub video_files_size: u64,
}

/// Runs `armilla dataset convert`.
pub(super) fn run(arguments: &ConvertArguments) -> Result<()> {
    let options = ConvertOptions {
        task: arguments.task.clone(),
        limits: FileLimits {
            data_files_size_in_mb: arguments.data_files_size,
            video_files_size_in_mb: arguments.video_files_size,
            ..FileLimits::default()
        },
    };
    let converted = with_progress("convert", "episodes", |progress| {
        convert(&arguments.source, &arguments.out, &options, progress)
    })?;
    converted.notes.iter().for_each(|note| say(note));
    say(&format!(
        "{}: {} episodes from {}",
        arguments.out.display(),
        converted.episodes,
        converted.from
    ));
    Ok(())
}

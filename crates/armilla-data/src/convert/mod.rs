//! Datasets in other layouts, laid out as LeRobotDataset v3.0.
//!
//! - LeRobot v2.1 and v2.0: one parquet and one mp4 a camera for each episode, metadata in lines of JSON.
//! - stable-worldmodel's `video` folders (read in version 0.1.1): columns as npz, one mp4 a camera for each episode.
//!
//! Videos are copied, not encoded anew. The new dataset is written under another name beside its place and renamed once
//! it is whole.

mod npz;
mod stable_worldmodel;
mod v21;

use std::fs;
use std::path::{Path, PathBuf};

use armilla_core::FeatureStatistics;

use crate::assemble::{Source, assemble};
use crate::error::{Error, Result};
use crate::info::FileLimits;
use crate::layout::{INFO, make_parent, remove_folder};
use crate::statistics::PictureCounter;
use crate::video::decode::decode;
use crate::video::demux::VideoIndex;

/// How to convert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvertOptions {
    /// The instruction of episodes that have none; the name of the source's folder if empty.
    pub task: String,
    /// When new files and folders are begun.
    pub limits: FileLimits,
}

/// What was converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// The layout that was found, such as `LeRobot v2.1`.
    pub from: String,
    /// Episodes.
    pub episodes: usize,
    /// What could not be carried over as it was, in words.
    pub notes: Vec<String>,
}

/// Converts a dataset into a folder that does not exist yet. `progress` is told how many episodes of how many are done.
///
/// # Errors
///
/// When the source is of no known layout, a file of it is missing or broken, a kind of data in it is not supported
/// (named), or the target exists.
pub fn convert(
    source: &Path,
    target: &Path,
    options: &ConvertOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Conversion> {
    if target.exists() {
        return Err(Error::File {
            path: target.to_owned(),
            problem: "something is there already".to_owned(),
            remedy: "give a new folder".to_owned(),
        });
    }
    let opened = open(source, options)?;
    let episodes = opened.source.info().total_episodes;
    let partial = partial_name(target)?;
    remove_folder(&partial)?;
    make_parent(&partial)?;
    let assembled = assemble(&*opened.source, &partial, &|done| progress(done, episodes));
    let renamed = assembled.and_then(|()| {
        fs::rename(&partial, target).map_err(Error::io("rename the finished dataset to", target))
    });
    if renamed.is_err() {
        remove_folder(&partial)?;
    }
    renamed?;
    Ok(Conversion {
        from: opened.layout,
        episodes,
        notes: opened.notes,
    })
}

/// A dataset to be converted.
pub(crate) struct Opened {
    source: Box<dyn Source>,
    layout: String,
    notes: Vec<String>,
}

pub(crate) fn open(source: &Path, options: &ConvertOptions) -> Result<Opened> {
    if source.join(INFO).exists() {
        v21::open(source, options)
    } else if source.join(stable_worldmodel::LENGTHS).exists() {
        stable_worldmodel::open(source, options)
    } else {
        Err(Error::File {
            path: source.to_owned(),
            problem: format!(
                "neither a LeRobot dataset (`{INFO}`) nor a stable-worldmodel folder (`{}`)",
                stable_worldmodel::LENGTHS
            ),
            remedy: "give the folder that holds one of these files".to_owned(),
        })
    }
}

/// Whether an array of stable-worldmodel's can be read.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_npz(path: &Path) -> Result<()> {
    match npz::read(path) {
        Err(npz::Refused::Broken(error)) => Err(error),
        Ok(_) | Err(npz::Refused::Kind(_)) => Ok(()),
    }
}

/// A name beside the target that says that it is not whole.
fn partial_name(target: &Path) -> Result<PathBuf> {
    let name = target.file_name();
    let name = name.ok_or_else(|| Error::invalid("target", "a folder's name", target.display()))?;
    Ok(target.with_file_name(format!(".{}.converting", name.to_string_lossy())))
}

/// The statistics of a video whose pictures nobody has counted yet, decoded a few at a time.
fn count_pictures(index: &VideoIndex, frames: usize) -> Result<Option<FeatureStatistics>> {
    let mut counter = PictureCounter::new();
    for from in (0..frames).step_by(FRAMES_AT_ONCE) {
        for image in decode(index, from..frames.min(from + FRAMES_AT_ONCE))? {
            counter.add(&image);
        }
    }
    Ok(counter.finish())
}

/// Pictures that are held decoded.
const FRAMES_AT_ONCE: usize = 64;

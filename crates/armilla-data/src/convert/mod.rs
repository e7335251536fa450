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

use std::ops::Range;
use std::path::Path;

use armilla_core::FeatureStatistics;

use crate::assemble::{Source, Target, assemble};
use crate::error::{Error, Result};
use crate::info::FileLimits;
use crate::layout::INFO;
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
    let target = Target::New(target.to_owned());
    target.check()?;
    options.limits.check()?;
    let opened = open(source, options)?;
    let episodes = opened.source.info().total_episodes;
    target.build(|folder| assemble(&*opened.source, folder, &|done| progress(done, episodes)))?;
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

/// The statistics of a video whose pictures, of some shape, nobody has counted yet, decoded a few at a time.
pub(crate) fn count_pictures(
    index: &VideoIndex,
    shown: Range<usize>,
    shape: &[usize],
) -> Result<Option<FeatureStatistics>> {
    let mut counter = PictureCounter::new();
    for from in shown.clone().step_by(FRAMES_AT_ONCE) {
        for image in decode(
            index,
            from..shown.end.min(from + FRAMES_AT_ONCE),
            Some(shape),
        )? {
            counter.add(&image);
        }
    }
    Ok(counter.finish())
}

/// Pictures that are held decoded.
pub(crate) const FRAMES_AT_ONCE: usize = 64;

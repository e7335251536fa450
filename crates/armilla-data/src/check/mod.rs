//! Checks a dataset: metadata against frame tables against videos. Nothing stops it and nothing is changed.
//!
//! # Tolerances
//!
//! Numbers, indices and lengths must be equal. A timestamp may be off its frame's nominal time by 0.1 ms (LeRobot's
//! tolerance) and what single precision loses. Statistics: see [`counted`].

mod counted;
mod files;
pub(crate) mod finding;
pub(crate) mod look;
mod metadata;
mod rows;
mod statistics;
mod videos;

pub(crate) use files::check as unused_files;
pub use finding::{Finding, Severity};

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::layout::INFO;
use crate::survey::Survey;
use crate::types::videos as camera_videos;

/// Seconds by which a frame's time may be off, as LeRobot allows.
const TOLERANCE_SECS: f64 = 1e-4;

/// Whether a number is as expected; one that is not finite never is.
fn is_within(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance
}

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// Decodes every frame of every camera, and compares the statistics of pictures with some of them.
    pub decode: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Episodes that were looked at.
    pub episodes: usize,
    /// Frames in them, as the metadata counts them.
    pub frames: usize,
    /// What is wrong, errors first; empty for a sound dataset.
    pub findings: Vec<Finding>,
    /// What could not be looked at, in words.
    pub notes: Vec<String>,
}

/// What the parts of a check gather.
#[derive(Default)]
struct Gathered {
    findings: Vec<Finding>,
    notes: Vec<String>,
}

/// Told of each piece of work that is done.
struct Steps<'a> {
    done: AtomicUsize,
    total: usize,
    progress: &'a (dyn Fn(usize, usize) + Sync),
}

impl Steps<'_> {
    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.progress)(done, self.total);
    }
}

/// Checks a dataset of LeRobot v3.0. `progress` is told how much of how much work is done.
///
/// # Errors
///
/// When there is no such folder, or the system does not let one look into it. Anything wrong with the dataset is a
/// finding.
pub fn check(
    root: &Path,
    options: CheckOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<CheckReport> {
    let metadata = root.join("meta");
    if !metadata.is_dir() {
        return Err(Error::File {
            path: root.to_owned(),
            problem: "no dataset here: there is no folder `meta`".to_owned(),
            remedy: "give the folder that holds `meta`, `data` and `videos`".to_owned(),
        });
    }
    let mut survey = match Survey::read(root) {
        Ok(survey) => survey,
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(error) => {
            let finding = Finding::broken(INFO, &error)
                .remedied_by("without the description nothing else can be checked; copy it again");
            return Ok(CheckReport {
                findings: vec![finding],
                ..CheckReport::default()
            });
        }
    };
    let cameras = camera_videos(&survey.info.features).count();
    let steps = Steps {
        done: AtomicUsize::new(0),
        total: survey.episodes.len() * (1 + cameras),
        progress,
    };
    let mut gathered = Gathered {
        findings: std::mem::take(&mut survey.findings),
        notes: Vec::new(),
    };
    if survey.being_recorded {
        let note = "it is being recorded at this moment: only what is finished was looked at";
        gathered.notes.push(note.to_owned());
    }
    gathered.findings.extend(metadata::check(&survey));
    let numbers = rows::check(&survey, options, &steps, &mut gathered);
    let pictures = videos::check(&survey, options, &steps, &mut gathered);
    if !survey.being_recorded {
        let counted = statistics::join(numbers, pictures);
        statistics::check(&survey, &counted, &mut gathered);
        gathered.findings.extend(files::check(&survey)?);
        gathered.findings.extend(files::beside(root));
    }
    gathered.findings.sort();
    gathered.findings.dedup();
    Ok(CheckReport {
        episodes: survey.episodes.len(),
        frames: lengths(&survey).sum(),
        findings: gathered.findings,
        notes: gathered.notes,
    })
}

/// The episodes' lengths, as the metadata has them; one that cannot be is none.
fn lengths(survey: &Survey) -> impl Iterator<Item = usize> {
    let records = survey.episodes.values().map(|surveyed| &surveyed.record);
    records
        .map(|record| record.episode.length)
        .filter(|length| *length < 1 << 40)
}

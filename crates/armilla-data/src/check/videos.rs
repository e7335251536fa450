//! The videos: where each episode lies in them, when its frames are shown, and whether they can be decoded.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::counted::Counted;
use super::finding::{Finding, inside};
use super::look::look;
use super::rows::NumberCounts;
use super::{CheckOptions, Gathered, Steps, TOLERANCE_SECS};
use crate::episodes::{Episode, VideoPlace};
use crate::error::{Error, Result};
use crate::survey::Survey;
use crate::types::videos;
use crate::video::demux::{Codec, VideoIndex};

/// Pictures of an episode that are counted, about.
const SAMPLES: usize = 100;

/// An episode in a camera's video file.
struct Shown<'a> {
    episode: &'a Episode,
    place: VideoPlace,
    key: &'a str,
    path: PathBuf,
}

pub(super) fn check(
    survey: &Survey,
    options: CheckOptions,
    steps: &Steps<'_>,
    gathered: &mut Gathered,
) -> NumberCounts {
    let mut by_file: BTreeMap<PathBuf, Vec<Shown<'_>>> = BTreeMap::new();
    for (key, _) in videos(&survey.info.features) {
        for surveyed in survey.episodes.values() {
            let episode = &surveyed.record.episode;
            let place = episode.videos.get(key).copied();
            let path = place.and_then(|place| {
                survey
                    .video_path(place.file, key)
                    .ok()
                    .map(|path| (place, path))
            });
            if let Some((place, path)) = path {
                let shown = Shown {
                    episode,
                    place,
                    key,
                    path: path.clone(),
                };
                by_file.entry(path).or_default().push(shown);
            }
        }
    }
    for (path, shown) in &by_file {
        file(survey, path, shown, gathered);
    }
    let all: Vec<_> = by_file.into_values().flatten().collect();
    let checked: Vec<_> = all
        .into_par_iter()
        .map(|shown| {
            let mut findings = Vec::new();
            let counted = episode(survey, &shown, options, &mut findings);
            steps.step();
            let index = shown.episode.index;
            let findings: Vec<_> = findings.into_iter().map(|one| one.of([index])).collect();
            (
                index,
                counted.map(|counted| (shown.key.to_owned(), counted)),
                findings,
            )
        })
        .collect();
    let mut counts = NumberCounts::new();
    for (index, counted, findings) in checked {
        gathered.findings.extend(findings);
        counts.entry(index).or_default().extend(counted);
    }
    counts
}

/// What concerns a file as a whole.
fn file(survey: &Survey, path: &Path, shown: &[Shown<'_>], gathered: &mut Gathered) {
    let file = inside(&survey.root, path);
    let video = survey.video(path);
    let video = match &*video {
        Ok(video) => video,
        Err(error) => {
            let episodes = shown.iter().map(|shown| shown.episode.index);
            gathered
                .findings
                .push(Finding::broken(file, error).of(episodes));
            return;
        }
    };
    if !video.is_whole() {
        let problem = "the file is cut short";
        let missing = shown.iter().filter(|shown| {
            let range = range(survey, shown, &video.index);
            range.is_ok_and(|range| !video.holds(&range))
        });
        let missing = missing.map(|shown| shown.episode.index);
        let error = Error::file(path, problem);
        gathered
            .findings
            .push(Finding::broken(&file, &error).of(missing));
    }
    if let Codec::Other { name, .. } = &video.index.codec {
        gathered.notes.push(format!(
            "{}: its pictures were not looked at, since `{name}` cannot be decoded here",
            file.display()
        ));
    }
    let (expected, found) = (
        shown.iter().fold(0_usize, |sum, shown| {
            sum.saturating_add(shown.episode.length)
        }),
        video.index.shown.len(),
    );
    if found > expected && !survey.being_recorded {
        let problem = format!("it has {found} frames, of which episodes have {expected}");
        gathered.findings.push(Finding::warning(&file, problem));
    }
    gathered.findings.extend(overlaps(&file, shown));
}

/// Episodes that share frames of a file.
fn overlaps(file: &Path, shown: &[Shown<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut places: Vec<_> = shown
        .iter()
        .map(|shown| (shown.place, shown.episode.index))
        .collect();
    places.sort_by(|one, other| one.0.from_secs.total_cmp(&other.0.from_secs));
    for pair in places.windows(2) {
        let [(one, first), (other, second)] = pair else {
            continue;
        };
        if other.from_secs < one.to_secs - TOLERANCE_SECS {
            let problem = format!(
                "they overlap: one ends at {:.4} s, the other begins at {:.4} s",
                one.to_secs, other.from_secs
            );
            let mut episodes = [*first, *second];
            episodes.sort_unstable();
            findings.push(Finding::error(file, problem).of(episodes));
        }
    }
    findings
}

/// The positions of an episode's frames.
fn range(survey: &Survey, shown: &Shown<'_>, index: &VideoIndex) -> Result<Range<usize>> {
    let what = format!("episode {}", shown.episode.index);
    index.frames(
        shown.place.from_secs,
        shown.episode.length,
        survey.info.fps,
        &what,
    )
}

/// Checks an episode's frames in one camera; gives back what was counted of the pictures.
fn episode(
    survey: &Survey,
    shown: &Shown<'_>,
    options: CheckOptions,
    findings: &mut Vec<Finding>,
) -> Option<Counted> {
    let file = inside(&survey.root, &shown.path);
    let video = survey.video(&shown.path);
    // A file that cannot be read is a finding already.
    let video = video.as_ref().as_ref().ok()?;
    let range = match range(survey, shown, &video.index) {
        Ok(range) => range,
        Err(error) => {
            findings.push(Finding::broken(file, &error));
            return None;
        }
    };
    findings.extend(
        times(survey, shown, &video.index, &range).map(|problem| Finding::error(&file, problem)),
    );
    let feature = survey.info.features.0.get(shown.key)?;
    if !options.decode || !video.holds(&range) || matches!(video.index.codec, Codec::Other { .. }) {
        return None;
    }
    match look(video, range, &feature.shape, SAMPLES) {
        Ok(counter) => counter.finish().map(Counted::Pictures),
        Err(error) => {
            findings.push(Finding::broken(file, &error));
            None
        }
    }
}

/// The frame that is furthest from when it should be shown, if that is too far.
fn times(
    survey: &Survey,
    shown: &Shown<'_>,
    index: &VideoIndex,
    range: &Range<usize>,
) -> Option<String> {
    let timescale = index.timescale as f64;
    let off = |frame: usize, position: usize| {
        let expected = shown.place.from_secs + frame as f64 / f64::from(survey.info.fps);
        let found = index.packets[index.shown[position]].time as f64 / timescale;
        (frame, expected, found)
    };
    let frames = range
        .clone()
        .enumerate()
        .map(|(frame, position)| off(frame, position));
    let distance = |one: &(usize, f64, f64)| (one.1 - one.2).abs();
    let (frame, expected, found) =
        frames.max_by(|one, other| distance(one).total_cmp(&distance(other)))?;
    // A file whose unit of time is coarser cannot do better.
    let allowed = TOLERANCE_SECS.max(1.0 / timescale);
    ((expected - found).abs() > allowed).then(|| {
        format!(
            "frame {frame} of `{}` is shown at {found:.4} s, expected at {expected:.4} s",
            shown.key
        )
    })
}

//! Makes a sound dataset of what can be saved of a broken one, in a new folder; the old one stays as it is.
//!
//! The rows of the frame tables are what counts: an episode is saved if all of them are there, finite and of the
//! declared types, its instruction is known, and every camera shows all of its frames and they can be decoded. Indices,
//! timestamps, statistics and the description are made anew. Metadata that is lost is made anew too, as far as the
//! places in the videos follow from the other episodes.

mod candidates;
mod episode;
mod places;
mod salvage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::assemble::{Source as _, Target, assemble};
use crate::check::unused_files;
use crate::edit::{EpisodesDone, write_episodes};
use crate::error::{Error, Result};
use crate::survey::Survey;
use crate::types::videos;
use candidates::{Candidate, candidates};
use episode::SavedEpisode;
use places::{Step, frames_in, infer, overlapping};
use salvage::Salvage;

/// What became of a broken dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Episodes that were saved.
    pub episodes: usize,
    /// Frames in them.
    pub frames: usize,
    /// Episodes that could not be saved.
    pub lost: Vec<Lost>,
    /// What was made anew or left out, in words.
    pub notes: Vec<String>,
}

/// An episode that could not be saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its number in the broken dataset.
    pub episode: usize,
    /// Why.
    pub reason: String,
}

/// Saves what can be saved of a dataset in a folder that does not exist yet. `progress` counts episodes that were looked
/// at, then episodes that were written.
///
/// # Errors
///
/// When the description is missing or not understood, no episode can be saved, it is being recorded, or the target
/// exists.
pub fn repair(root: &Path, target: &Path, progress: EpisodesDone<'_>) -> Result<Repaired> {
    let target = Target::New(target.to_owned());
    target.check()?;
    let survey = Survey::read(root)?;
    if survey.being_recorded {
        return Err(Error::File {
            path: root.to_owned(),
            problem: "it is being recorded at this moment".to_owned(),
            remedy: "try again when the recording has ended".to_owned(),
        });
    }
    let (mut candidates, mut lost) = candidates(&survey);
    place(&survey, &mut candidates);
    let (count, done) = (candidates.len(), AtomicUsize::new(0));
    let looked_at: Vec<_> = candidates
        .into_par_iter()
        .map(|candidate| {
            let episode = candidate.episode;
            let saved = SavedEpisode::save(&survey, candidate);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, 2 * count);
            saved.map_err(|reason| Lost { episode, reason })
        })
        .collect();
    let mut saved = Vec::new();
    for found in looked_at {
        match found {
            Ok(episode) => saved.push(episode),
            Err(episode) => lost.push(episode),
        }
    }
    lost.sort_by_key(|lost| lost.episode);
    if saved.is_empty() {
        let first = lost
            .first()
            .map(|lost| format!(", episode {} because: {}", lost.episode, lost.reason));
        return Err(Error::file(
            root,
            format!("no episode can be saved{}", first.unwrap_or_default()),
        ));
    }
    let notes = notes(&survey, &saved)?;
    let frames = saved.iter().map(SavedEpisode::length).sum();
    let salvage = Salvage::new(&survey, saved);
    let episodes = salvage.info().total_episodes;
    target.build(|folder| {
        assemble(&salvage, folder, &|done| {
            progress(count + done, count + episodes)
        })
    })?;
    Ok(Repaired {
        episodes,
        frames,
        lost,
        notes,
    })
}

/// Finds where the candidates lie in the videos.
fn place(survey: &Survey, candidates: &mut [Candidate]) {
    let fps = f64::from(survey.info.fps);
    let rows: BTreeMap<_, _> = candidates
        .iter()
        .map(|one| (one.episode, one.run.length))
        .collect();
    let numbers: BTreeSet<_> = rows.keys().chain(survey.episodes.keys()).copied().collect();
    for (key, _) in videos(&survey.info.features) {
        let told = |episode: usize| {
            let place = survey
                .episodes
                .get(&episode)?
                .record
                .episode
                .videos
                .get(key)?;
            Some((place.file, (place.from_secs * fps).round() as usize))
        };
        let places = rows
            .iter()
            .filter_map(|(&episode, &length)| Some((told(episode)?, length, episode)));
        // Of two that share frames one has the other's pictures, and nothing tells which.
        let contested = overlapping(places.collect());
        let known = |episode: usize| told(episode).filter(|_| !contested.contains(&episode));
        let steps: Vec<_> = numbers
            .iter()
            .map(|&episode| {
                let metadata = survey.episodes.get(&episode);
                let length = metadata.map_or(0, |surveyed| surveyed.record.episode.length);
                Step {
                    episode,
                    frames: rows.get(&episode).copied().unwrap_or(length),
                    begins: known(episode),
                }
            })
            .collect();
        let found = infer(&steps, survey.info.limits.chunks_size, |place| {
            frames_in(survey, key, place)
        });
        for candidate in &mut *candidates {
            let begins =
                known(candidate.episode).or_else(|| found.get(&candidate.episode).copied());
            candidate
                .begins
                .extend(begins.map(|begins| (key.to_owned(), begins)));
        }
    }
}

/// What was made anew and what is left out.
fn notes(survey: &Survey, saved: &[SavedEpisode]) -> Result<Vec<String>> {
    let mut notes: Vec<_> = survey
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.file.display(), finding.problem))
        .collect();
    let rebuilt: Vec<_> = saved
        .iter()
        .map(SavedEpisode::number)
        .filter(|episode| !survey.episodes.contains_key(episode))
        .collect();
    if !rebuilt.is_empty() {
        let episodes = write_episodes(&rebuilt);
        notes.push(format!(
            "the metadata of episodes {episodes} was lost and is made anew"
        ));
    }
    let kept: BTreeSet<_> = saved.iter().flat_map(SavedEpisode::files).collect();
    for finding in unused_files(survey)? {
        if !kept.contains(survey.root.join(&finding.file).as_path()) {
            notes.push(format!(
                "{}: left out: {}",
                finding.file.display(),
                finding.problem
            ));
        }
    }
    Ok(notes)
}

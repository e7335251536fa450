//! The episodes that there is anything of: those whose rows can be read may be saved.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Lost;
use super::places::Begins;
use crate::check::finding::{inside, problem_of};
use crate::survey::{Run, Survey, Surveyed};

/// An episode's rows in a frame table that can be read.
pub(super) struct Candidate {
    pub(super) episode: usize,
    pub(super) path: PathBuf,
    pub(super) run: Run,
    /// Where it begins in each camera's video file.
    pub(super) begins: BTreeMap<String, Begins>,
}

/// The rows of each episode, wherever they lie.
type Parts = BTreeMap<usize, Vec<(PathBuf, Run)>>;

/// The episodes whose rows can be read, in the order of their numbers, and those of which there is only a trace.
pub(super) fn candidates(survey: &Survey) -> (Vec<Candidate>, Vec<Lost>) {
    let mut found = Parts::new();
    for (path, table) in &survey.tables {
        for (&episode, runs) in &table.runs {
            let runs = runs.iter().map(|run| (path.clone(), *run));
            found.entry(episode).or_default().extend(runs);
        }
    }
    let (mut candidates, mut lost) = (Vec::new(), traces(survey, &found));
    for (episode, parts) in found {
        let parts = named_by_metadata(survey, episode, parts);
        match <[_; 1]>::try_from(parts) {
            Ok([(path, run)]) => candidates.push(Candidate {
                episode,
                path,
                run,
                begins: BTreeMap::new(),
            }),
            Err(_) => {
                let reason = "its rows lie in several parts".to_owned();
                lost.push(Lost { episode, reason });
            }
        }
    }
    (candidates, lost)
}

/// Of several parts, the one that the metadata names.
fn named_by_metadata(
    survey: &Survey,
    episode: usize,
    mut parts: Vec<(PathBuf, Run)>,
) -> Vec<(PathBuf, Run)> {
    let surveyed = survey.episodes.get(&episode);
    if let Some(Surveyed { record, .. }) = surveyed.filter(|_| parts.len() > 1) {
        let named = survey.table_path(record).ok();
        let is_named = |path: &PathBuf| Some(path) == named.as_ref();
        parts.retain(|(path, run)| is_named(path) && run.length == record.episode.length);
    }
    parts
}

/// Episodes that are known of, but whose rows cannot be read.
fn traces(survey: &Survey, found: &Parts) -> Vec<Lost> {
    let mut lost = Vec::new();
    let without_rows = survey.episodes.iter();
    for (&episode, surveyed) in without_rows.filter(|(episode, _)| !found.contains_key(episode)) {
        let reason = match survey.table_path(&surveyed.record) {
            Ok(path) if survey.broken.contains(&path) => {
                let file = inside(&survey.root, &path);
                format!("{} is missing or cannot be read", file.display())
            }
            Ok(_) => "no frame table holds its rows".to_owned(),
            Err(error) => problem_of(&error),
        };
        lost.push(Lost { episode, reason });
    }
    let known: BTreeSet<_> = found.keys().chain(survey.episodes.keys()).collect();
    // A count that is far off is not a list of millions.
    let most = known.len().saturating_mul(2).saturating_add(100_000);
    let promised = 0..survey.info.total_episodes.min(most);
    lost.extend(
        promised
            .filter(|episode| !known.contains(episode))
            .map(|episode| Lost {
                episode,
                reason: "neither its metadata nor its rows are there".to_owned(),
            }),
    );
    lost
}

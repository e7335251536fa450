//! The description and the episodes' metadata against each other.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::{TOLERANCE_SECS, is_within, lengths};
use crate::layout::{EPISODES, INFO, TASKS};
use crate::survey::{Survey, Surveyed};

const FOLDER: &str = "meta/episodes";

pub(super) fn check(survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(numbering(survey));
    let known = survey.tasks.iter().flatten();
    let known: BTreeSet<_> = known.map(String::as_str).collect();
    let mut first_index = 0;
    for (&index, surveyed) in &survey.episodes {
        let mut wrong = episode(survey, surveyed, first_index);
        if survey.tasks.is_some() {
            wrong.extend(unknown_tasks(surveyed, &known));
        }
        findings.extend(wrong.into_iter().map(|finding| finding.of([index])));
        let end = surveyed.record.episode.first_index;
        first_index = end.saturating_add(surveyed.record.episode.length);
    }
    findings.extend(totals(survey));
    findings.extend(tasks(survey));
    findings
}

/// Episodes that are missing between the first and the last.
fn numbering(survey: &Survey) -> Option<Finding> {
    let last = survey.episodes.keys().next_back();
    let known_end = last.map_or(0, |last| last.saturating_add(1));
    let end = known_end.max(survey.info.total_episodes);
    // A number that is far off is one finding, not millions.
    let known = survey.episodes.len();
    if end > known.saturating_mul(2).saturating_add(100_000) {
        let problem = format!("{known} episodes are described, but their numbers end before {end}");
        return Some(Finding::error(FOLDER, problem));
    }
    let missing: Vec<_> = (0..end)
        .filter(|index| !survey.episodes.contains_key(index))
        .collect();
    let problem = "their metadata is missing";
    (!missing.is_empty()).then(|| Finding::error(FOLDER, problem).of(missing))
}

/// What is wrong with an episode's own numbers; the one before ends at `first_index`.
fn episode(survey: &Survey, surveyed: &Surveyed, first_index: usize) -> Vec<Finding> {
    let (episode, file) = (&surveyed.record.episode, &surveyed.file);
    let mut findings = Vec::new();
    let mut wrong = |problem: String| findings.push(Finding::error(file, problem));
    if episode.length == 0 {
        wrong("its length is 0".to_owned());
    }
    if episode.first_index != first_index {
        let found = episode.first_index;
        wrong(format!(
            "expected dataset_from_index {first_index}, where the episode before ends, found {found}"
        ));
    }
    let end = episode.first_index.saturating_add(episode.length);
    if surveyed.end_index != Some(end as f64) {
        let found = surveyed.end_index;
        let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
        wrong(format!(
            "expected dataset_to_index {end}, its length beyond dataset_from_index, found {found}"
        ));
    }
    let lasts = episode.length as f64 / f64::from(survey.info.fps);
    for (key, place) in &episode.videos {
        let found = place.to_secs - place.from_secs;
        if !is_within(found, lasts, TOLERANCE_SECS) {
            wrong(format!(
                "in the video of `{key}` it lasts {found:.4} s (from_timestamp {:.4}, to_timestamp {:.4}), but {} frames last {lasts:.4} s",
                place.from_secs, place.to_secs, episode.length
            ));
        }
    }
    if episode.tasks.is_empty() {
        findings.push(Finding::warning(file, "it has no task"));
    }
    findings
}

/// Instructions that only the episode's metadata knows.
fn unknown_tasks(surveyed: &Surveyed, known: &BTreeSet<&str>) -> Vec<Finding> {
    let tasks = surveyed.record.episode.tasks.iter();
    let unknown = tasks.filter(|task| !known.contains(task.as_str()));
    unknown
        .map(|task| {
            let problem = format!("its task {task:?} is not in {TASKS}");
            Finding::error(&surveyed.file, problem)
        })
        .collect()
}

/// What `info.json` counts.
fn totals(survey: &Survey) -> Vec<Finding> {
    let (info, mut counted) = (&survey.info, Vec::new());
    counted.push(("total_episodes", info.total_episodes, survey.episodes.len()));
    counted.push(("total_frames", info.total_frames, lengths(survey).sum()));
    if let Some(tasks) = &survey.tasks {
        counted.push(("total_tasks", info.total_tasks, tasks.len()));
    }
    let differs = counted.into_iter().filter(|(_, kept, found)| kept != found);
    let place = EPISODES.split("/chunk").next().unwrap_or(FOLDER);
    let finding = |(name, kept, found): (&str, usize, usize)| {
        let source = if name == "total_tasks" { TASKS } else { place };
        Finding::error(INFO, format!("{name} is {kept}, but {source} has {found}"))
    };
    differs.map(finding).collect()
}

/// Instructions that are there twice.
fn tasks(survey: &Survey) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let tasks = survey.tasks.iter().flatten();
    let repeated = tasks.filter(|task| !seen.insert(*task));
    repeated
        .map(|task| Finding::warning(TASKS, format!("the task {task:?} is there more than once")))
        .collect()
}

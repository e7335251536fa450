//! The statistics that are kept of episodes and of the whole dataset.

use std::collections::BTreeMap;

use armilla_core::{FeatureStatistics, Statistics};

use super::Gathered;
use super::counted::{Counted, Element, OF_WHOLE_PICTURES, differs, pictures_differ};
use super::finding::{Finding, RECOUNT, inside, problem_of};
use super::rows::NumberCounts;
use crate::layout::STATS;
use crate::statistics;
use crate::survey::Survey;
use crate::types::{AUTOMATIC, is_counted};

/// What was counted in tables and in videos.
pub(super) fn join(mut numbers: NumberCounts, pictures: NumberCounts) -> NumberCounts {
    for (episode, counted) in pictures {
        numbers.entry(episode).or_default().extend(counted);
    }
    numbers
}

pub(super) fn check(survey: &Survey, counted: &NumberCounts, gathered: &mut Gathered) {
    let mut wrong: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    let mut missing: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (&index, surveyed) in &survey.episodes {
        let kept = &surveyed.record.statistics;
        for key in missing_keys(survey, kept) {
            missing.entry(key).or_default().push(index);
        }
        for (key, counted) in counted.get(&index).into_iter().flatten() {
            if let Some(problem) = kept.get(key).and_then(|kept| differs(counted, kept)) {
                let file = surveyed.file.display().to_string();
                let problem = format!("statistics of `{key}`: {problem}");
                wrong.entry((file, problem)).or_default().push(index);
            }
        }
    }
    for ((file, problem), episodes) in wrong {
        let finding = Finding::warning(file, problem).of(episodes);
        gathered.findings.push(finding.remedied_by(RECOUNT));
    }
    for (key, episodes) in missing {
        let problem = format!("there are no statistics of `{key}`");
        let finding = Finding::warning("meta/episodes", problem).of(episodes);
        gathered.findings.push(finding.remedied_by(RECOUNT));
    }
    let whole = whole(survey, counted);
    gathered
        .findings
        .extend(whole.into_iter().map(|one| one.remedied_by(RECOUNT)));
}

/// Features that should have statistics, but have none. The automatic features' are not needed by anybody.
fn missing_keys<'a>(survey: &'a Survey, kept: &Statistics) -> Vec<&'a str> {
    let features = survey.info.features.0.iter();
    let counted = features.filter(|(_, feature)| is_counted(feature));
    let keys = counted.map(|(key, _)| key.as_str());
    keys.filter(|key| !kept.contains_key(*key)).collect()
}

/// What is wrong with `meta/stats.json`.
fn whole(survey: &Survey, counted: &NumberCounts) -> Vec<Finding> {
    let path = survey.root.join(STATS);
    if survey.episodes.is_empty() {
        return Vec::new();
    }
    if !path.exists() {
        return vec![Finding::warning(STATS, "the file is missing")];
    }
    let kept = match statistics::read(&survey.root) {
        Ok(kept) => kept,
        Err(error) => {
            return vec![Finding::error(
                inside(&survey.root, &path),
                problem_of(&error),
            )];
        }
    };
    let mut findings: Vec<_> = missing_keys(survey, &kept)
        .into_iter()
        .map(|key| Finding::warning(STATS, format!("there are no statistics of `{key}`")))
        .collect();
    let keys = survey.info.features.0.keys().map(String::as_str);
    for key in keys.chain(AUTOMATIC) {
        let problem = kept
            .get(key)
            .and_then(|kept| whole_differs(survey, counted, key, kept));
        let problem = problem.map(|problem| format!("statistics of `{key}`: {problem}"));
        findings.extend(problem.map(|problem| Finding::warning(STATS, problem)));
    }
    findings
}

/// What is wrong with a feature's statistics over all episodes; nothing is said where an episode could not be counted.
fn whole_differs(
    survey: &Survey,
    counted: &NumberCounts,
    key: &str,
    kept: &FeatureStatistics,
) -> Option<String> {
    if statistics::is_picture(survey.info.features.0.get(key)) {
        let records = survey.episodes.values().map(|surveyed| &surveyed.record);
        let parts: Option<Vec<_>> = records.map(|record| record.statistics.get(key)).collect();
        let joined = statistics::merge(parts?.into_iter())?;
        return pictures_differ(&joined, kept, OF_WHOLE_PICTURES);
    }
    let mut joined: Option<Vec<Element>> = None;
    for index in survey.episodes.keys() {
        let Some(Counted::Numbers(elements)) = counted.get(index)?.get(key) else {
            return None;
        };
        joined = Some(match joined {
            None => elements.clone(),
            Some(before) => before
                .iter()
                .zip(elements)
                .map(|(one, other)| one.join(other))
                .collect(),
        });
    }
    differs(&Counted::Numbers(joined?), kept)
}

//! The frame tables: every row of every episode.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use armilla_core::features::{DataType, Feature};
use rayon::prelude::*;

use super::counted::Counted;
use super::finding::{Finding, inside, problem_of};
use super::look::{Rows, not_finite, pictures};
use super::{CheckOptions, Gathered, Steps, TOLERANCE_SECS, is_within};
use crate::survey::{Run, Survey, Surveyed, Table};
use crate::types::{AUTOMATIC, is_counted, statistics_width, table_features};

/// What is counted of the features in the tables, by episode and key.
pub(super) type NumberCounts = BTreeMap<usize, BTreeMap<String, Counted>>;

pub(super) fn check(
    survey: &Survey,
    options: CheckOptions,
    steps: &Steps<'_>,
    gathered: &mut Gathered,
) -> NumberCounts {
    for (path, table) in &survey.tables {
        gathered.findings.extend(columns(survey, path, table));
    }
    let episodes: Vec<_> = survey.episodes.values().collect();
    let checked: Vec<_> = episodes
        .into_par_iter()
        .map(|surveyed| {
            let index = surveyed.record.episode.index;
            let mut findings = Vec::new();
            let counted = episode(survey, surveyed, options, &mut findings);
            steps.step();
            let findings: Vec<_> = findings.into_iter().map(|one| one.of([index])).collect();
            (index, counted, findings)
        })
        .collect();
    let mut counts = NumberCounts::new();
    for (index, counted, findings) in checked {
        gathered.findings.extend(findings);
        counts.insert(index, counted);
    }
    counts
}

/// Columns that are missing or unknown, and rows of episodes without metadata.
fn columns(survey: &Survey, path: &Path, table: &Table) -> Vec<Finding> {
    let file = inside(&survey.root, path);
    let declared: BTreeSet<_> = table_features(&survey.info.features)
        .map(|(key, _)| key)
        .chain(AUTOMATIC)
        .collect();
    let mut findings = Vec::new();
    for key in &declared {
        if !table.has(key) {
            findings.push(Finding::error(
                &file,
                format!("the column `{key}` is missing"),
            ));
        }
    }
    for field in table.footer.schema().fields() {
        if !declared.contains(field.name().as_str()) {
            let problem = format!("the column `{}` is not in the schema", field.name());
            findings.push(Finding::warning(&file, problem));
        }
    }
    let unknown: Vec<_> = table
        .runs
        .keys()
        .copied()
        .filter(|episode| !survey.episodes.contains_key(episode))
        .collect();
    if !unknown.is_empty() && !survey.being_recorded {
        let problem = "it holds their rows, but there is no metadata of them";
        findings.push(Finding::error(&file, problem).of(unknown));
    }
    findings
}

/// Checks an episode's rows; gives back what was counted of them.
fn episode(
    survey: &Survey,
    surveyed: &Surveyed,
    options: CheckOptions,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Counted> {
    let mut counted = BTreeMap::new();
    let Ok(path) = survey.table_path(&surveyed.record) else {
        return counted;
    };
    // A table that cannot be read is a finding already.
    let Some(table) = survey.tables.get(&path) else {
        return counted;
    };
    let file = inside(&survey.root, &path);
    let Some(run) = find_run(survey, surveyed, table, findings, &file) else {
        return counted;
    };
    let rows = match Rows::read(&path, table, run) {
        Ok(rows) => rows,
        Err(error) => {
            findings.push(Finding::broken(&file, &error));
            return counted;
        }
    };
    for key in AUTOMATIC {
        match rows.numbers(key) {
            None => {}
            Some(Err(error)) => findings.push(Finding::error(&file, problem_of(&error))),
            Some(Ok(values)) => {
                let problem = automatic(survey, surveyed, key, &values);
                findings.extend(problem.map(|problem| Finding::error(&file, problem)));
                let found = Counted::numbers(&values, 1, run.length);
                counted.extend(found.map(|found| (key.to_owned(), found)));
            }
        }
    }
    for (key, feature) in table_features(&survey.info.features) {
        if !table.has(key) {
            continue;
        }
        match look_at(&rows, key, feature, options) {
            Ok(found) => counted.extend(found.map(|found| (key.to_owned(), found))),
            Err(problem) => findings.push(Finding::error(&file, problem)),
        }
    }
    counted
}

/// Checks the values of a feature and counts them; gives back what is wrong with them otherwise.
fn look_at(
    rows: &Rows<'_>,
    key: &str,
    feature: &Feature,
    options: CheckOptions,
) -> std::result::Result<Option<Counted>, String> {
    let column = rows
        .column(key, feature)
        .map_err(|error| problem_of(&error))?;
    let named = |problem: String| format!("`{key}`: {problem}");
    if feature.data_type == DataType::Image {
        return match options.decode {
            true => pictures(&column, &feature.shape)
                .map(|counter| counter.finish().map(Counted::Pictures))
                .map_err(named),
            false => Ok(None),
        };
    }
    let Some(values) = column.numbers().filter(|_| is_counted(feature)) else {
        return Ok(None);
    };
    match not_finite(&values, feature.len()) {
        Some(problem) => Err(named(problem)),
        None => Ok(Counted::numbers(
            &values,
            statistics_width(feature),
            column.len() / feature.len().max(1),
        )),
    }
}

/// The episode's rows, where they are and as many as they should be.
fn find_run(
    survey: &Survey,
    surveyed: &Surveyed,
    table: &Table,
    findings: &mut Vec<Finding>,
    file: &Path,
) -> Option<Run> {
    let episode = &surveyed.record.episode;
    let runs = table
        .runs
        .get(&episode.index)
        .map_or(&[][..], Vec::as_slice);
    let [run] = runs else {
        let problem = match runs.len() {
            0 => "the table holds no row of it".to_owned(),
            parts => format!("its rows lie in {parts} parts, with others between them"),
        };
        findings.push(Finding::error(file, problem));
        return None;
    };
    if run.length != episode.length {
        let (expected, found) = (episode.length, run.length);
        let problem = format!("expected {expected} rows of it, as in its metadata, found {found}");
        findings.push(Finding::error(file, problem));
    }
    let first = survey.first_indices.get(&episode.data).copied();
    let expected = episode.first_index.saturating_sub(first.unwrap_or(0));
    if run.from != expected {
        let problem = format!(
            "its rows begin at row {}, but by its metadata at row {expected}",
            run.from
        );
        findings.push(Finding::error(file, problem));
    }
    Some(*run)
}

/// What is wrong with an automatic column: the first row that is, and how many are.
fn automatic(survey: &Survey, surveyed: &Surveyed, key: &str, values: &[f64]) -> Option<String> {
    let episode = &surveyed.record.episode;
    if key == "task_index" {
        return task_indices(survey, surveyed, values);
    }
    let expected = |frame: usize| match key {
        "timestamp" => frame as f64 / f64::from(survey.info.fps),
        "frame_index" => frame as f64,
        "episode_index" => episode.index as f64,
        _ => episode.first_index.saturating_add(frame) as f64,
    };
    let allowed = |frame: usize| match key {
        "timestamp" => TOLERANCE_SECS + expected(frame) * f64::from(f32::EPSILON),
        _ => 0.0,
    };
    let mut wrong = values
        .iter()
        .enumerate()
        .filter(|&(frame, value)| !is_within(*value, expected(frame), allowed(frame)));
    let (frame, value) = wrong.next()?;
    let count = 1 + wrong.count();
    let expected = expected(frame);
    Some(format!(
        "`{key}` of {count} frames is wrong: expected {expected} at frame {frame}, found {value}"
    ))
}

/// Task indices that no instruction has, or an instruction that the metadata does not name.
fn task_indices(survey: &Survey, surveyed: &Surveyed, values: &[f64]) -> Option<String> {
    let known = survey.tasks.as_ref()?;
    let named = &surveyed.record.episode.tasks;
    for (frame, &value) in values.iter().enumerate() {
        let task = known.get(value as usize).filter(|_| value >= 0.0);
        let Some(task) = task else {
            let count = known.len();
            return Some(format!(
                "`task_index` of frame {frame} is {value}, but there are {count} tasks"
            ));
        };
        if !named.contains(task) {
            return Some(format!(
                "`task_index` of frame {frame} says {task:?}, but its metadata says {named:?}"
            ));
        }
    }
    None
}

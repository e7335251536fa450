//! The numbers of a dataset's episodes, in memory.

use std::collections::BTreeMap;

use armilla_core::features::{ACTION, STATE};
use rayon::prelude::*;

use crate::dataset::{Dataset, Rows};
use crate::error::Result;
use crate::layout::FilePlace;

/// States, actions and instructions of some episodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct EpisodeRows {
    /// Proprioception, `[time, state]`.
    pub(super) states: Rows,
    /// Actions, `[time, action]`.
    pub(super) actions: Rows,
    /// Which of the dataset's instructions each frame follows; one where all follow the same.
    pub(super) tasks: Vec<u32>,
}

/// Bytes that the rows of a frame take.
pub(super) fn bytes_a_frame(dataset: &Dataset) -> usize {
    let width = |key: &str| dataset.features().width(key);
    4 * (width(STATE) + width(ACTION) + 1)
}

/// Reads the rows of episodes, each file once and side by side; in the order in which they were asked for.
pub(super) fn read(dataset: &Dataset, episodes: &[usize]) -> Result<Vec<EpisodeRows>> {
    let mut files: BTreeMap<FilePlace, Vec<usize>> = BTreeMap::new();
    for (place, &number) in episodes.iter().enumerate() {
        let episode = dataset.reader().episode(number)?;
        files.entry(episode.data).or_default().push(place);
    }
    let features = dataset.features();
    let keys: Vec<_> = [STATE, ACTION]
        .into_iter()
        .filter(|key| features.0.contains_key(*key))
        .chain(["task_index"])
        .collect();
    let files: Vec<_> = files.into_iter().collect();
    let read = files.into_par_iter().map(|(file, places)| {
        let numbers: Vec<_> = places.iter().map(|&place| episodes[place]).collect();
        let rows = read_file(dataset, file, &numbers, &keys)?;
        Ok(places.into_iter().zip(rows).collect::<Vec<_>>())
    });
    let mut found: Vec<_> = read.collect::<Result<Vec<_>>>()?.concat();
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, rows)| rows).collect())
}

/// The rows of some episodes of a file.
fn read_file(
    dataset: &Dataset,
    file: FilePlace,
    episodes: &[usize],
    keys: &[&str],
) -> Result<Vec<EpisodeRows>> {
    let columns = dataset.reader().numbers_of_file(file, episodes, keys)?;
    let rows = |columns: Vec<Vec<f64>>| {
        let mut rows = EpisodeRows::default();
        for (key, values) in keys.iter().zip(columns) {
            match *key {
                STATE => rows.states = numbers(dataset, key, &values),
                ACTION => rows.actions = numbers(dataset, key, &values),
                _ => {
                    rows.tasks = values.into_iter().map(|task| task as u32).collect();
                    rows.tasks.shrink_to_fit();
                    if rows
                        .tasks
                        .iter()
                        .all(|task| Some(task) == rows.tasks.first())
                    {
                        rows.tasks.truncate(1);
                    }
                }
            }
        }
        rows
    };
    Ok(columns.into_iter().map(rows).collect())
}

fn numbers(dataset: &Dataset, key: &str, values: &[f64]) -> Rows {
    Rows {
        width: dataset.features().width(key),
        values: values.iter().map(|&value| value as f32).collect(),
    }
}

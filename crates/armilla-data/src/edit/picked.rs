//! Episodes picked out of open datasets, in an order: what merging, splitting and deleting lay out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use armilla_core::Statistics;
use rayon::prelude::*;

use crate::assemble::{Recorded, Source, SourceRows};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::info::Info;
use crate::reader::Reader;
use crate::video::demux::VideoIndex;

/// A dataset whose episodes are picked from, with their statistics.
pub(super) struct Origin {
    reader: Reader,
    tasks: Vec<String>,
    /// The new index of each of its instructions; none of one that is left out.
    new_indices: Vec<Option<i64>>,
}

impl Origin {
    pub(super) fn open(dataset: &Dataset) -> Result<Self> {
        if dataset
            .recovered()
            .is_some_and(|found| found.being_recorded)
        {
            return Err(Error::File {
                path: dataset.root().to_owned(),
                problem: "it is being recorded at this moment".to_owned(),
                remedy: "try again when the recording has ended".to_owned(),
            });
        }
        Ok(Self {
            reader: Reader::open(dataset.root(), dataset.info().clone(), true)?,
            tasks: dataset.tasks().to_vec(),
            new_indices: Vec::new(),
        })
    }

    pub(super) fn info(&self) -> &Info {
        &self.reader.info
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    fn recorded(&self) -> Recorded<'_> {
        Recorded {
            reader: &self.reader,
            tasks: &self.tasks,
        }
    }

    /// Which of its instructions some of its episodes have.
    fn used_tasks(&self, episodes: &[usize]) -> Result<Vec<bool>> {
        let indices: Result<Vec<_>> = episodes
            .par_iter()
            .map(|&episode| Ok(self.reader.numbers(episode, &["task_index"])?.concat()))
            .collect();
        let mut used = vec![false; self.tasks.len()];
        for index in indices?.into_iter().flatten() {
            match used.get_mut(index as usize) {
                Some(used) if index >= 0.0 => *used = true,
                _ => return Err(self.unknown_task(index)),
            }
        }
        Ok(used)
    }

    fn unknown_task(&self, index: f64) -> Error {
        let known = self.tasks.len();
        Error::File {
            path: self.reader.root.clone(),
            problem: format!("a frame has task_index {index}, but there are {known} tasks"),
            remedy: "`armilla dataset check` says more, `armilla dataset repair` puts it right"
                .to_owned(),
        }
    }
}

/// Picked episodes.
pub(super) struct Picked {
    info: Info,
    tasks: Vec<String>,
    origins: Vec<Origin>,
    /// Number of the origin and of the episode there, in the new order.
    episodes: Vec<(usize, usize)>,
    /// Statistics that replace what the origins know, one an episode.
    counted: Vec<Statistics>,
}

impl Picked {
    /// All episodes of datasets, one dataset after another; instructions are joined by their text.
    pub(super) fn all(info: Info, mut origins: Vec<Origin>) -> Self {
        let (mut tasks, mut episodes) = (Tasks::default(), Vec::new());
        for (number, origin) in origins.iter_mut().enumerate() {
            origin.new_indices = origin
                .tasks
                .iter()
                .map(|task| Some(tasks.index_of(task)))
                .collect();
            episodes.extend((0..origin.reader.records.len()).map(|episode| (number, episode)));
        }
        Self::of(info, tasks, origins, episodes)
    }

    /// Some episodes of a dataset, with the instructions that they have.
    pub(super) fn some(mut origin: Origin, episodes: &[usize]) -> Result<Self> {
        let used = origin.used_tasks(episodes)?;
        let mut tasks = Tasks::default();
        origin.new_indices = origin
            .tasks
            .iter()
            .zip(used)
            .map(|(task, used)| used.then(|| tasks.index_of(task)))
            .collect();
        let episodes = episodes.iter().map(|&episode| (0, episode)).collect();
        Ok(Self::of(
            origin.info().clone(),
            tasks,
            vec![origin],
            episodes,
        ))
    }

    fn of(
        mut info: Info,
        tasks: Tasks,
        origins: Vec<Origin>,
        episodes: Vec<(usize, usize)>,
    ) -> Self {
        info.total_episodes = episodes.len();
        Self {
            info,
            tasks: tasks.texts,
            origins,
            episodes,
            counted: Vec::new(),
        }
    }

    /// The same with statistics that were counted anew.
    pub(super) fn with_statistics(mut self, counted: Vec<Statistics>) -> Self {
        self.counted = counted;
        self
    }

    fn at(&self, episode: usize) -> Result<(&Origin, usize)> {
        let found = self.episodes.get(episode);
        let found = found.map(|&(origin, episode)| (&self.origins[origin], episode));
        found.ok_or_else(|| Error::invalid("episode", "one that was picked", episode))
    }
}

/// Instructions in the order in which they are first met.
#[derive(Default)]
struct Tasks {
    texts: Vec<String>,
    indices: BTreeMap<String, i64>,
}

impl Tasks {
    /// The index of an instruction, which is added if it is new.
    fn index_of(&mut self, task: &str) -> i64 {
        if let Some(&index) = self.indices.get(task) {
            return index;
        }
        let index = self.texts.len() as i64;
        self.texts.push(task.to_owned());
        self.indices.insert(task.to_owned(), index);
        index
    }
}

impl Source for Picked {
    fn info(&self) -> &Info {
        &self.info
    }

    fn tasks(&self) -> &[String] {
        &self.tasks
    }

    fn rows(&self, episode: usize) -> Result<SourceRows> {
        let (origin, old) = self.at(episode)?;
        let mut rows = origin.recorded().rows(old)?;
        for index in &mut rows.task_indices {
            let new = usize::try_from(*index).ok();
            let new = new.and_then(|index| origin.new_indices.get(index).copied().flatten());
            *index = new.ok_or_else(|| origin.unknown_task(*index as f64))?;
        }
        if let Some(counted) = self.counted.get(episode) {
            rows.statistics.clone_from(counted);
        }
        Ok(rows)
    }

    fn video(&self, episode: usize, key: &str) -> Result<(Arc<VideoIndex>, Range<usize>)> {
        let (origin, old) = self.at(episode)?;
        origin
            .reader
            .episode_video(origin.reader.episode(old)?, key)
    }
}

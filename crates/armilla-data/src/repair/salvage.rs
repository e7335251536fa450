//! The saved episodes as a source to be laid out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::episode::{NO_INDEX, SavedEpisode};
use crate::assemble::{Source, SourceRows};
use crate::error::{Error, Result};
use crate::info::Info;
use crate::survey::Survey;
use crate::video::demux::VideoIndex;

/// What can be saved of a dataset.
pub(super) struct Salvage<'a> {
    survey: &'a Survey,
    info: Info,
    tasks: Vec<String>,
    /// The index of each instruction.
    indices: BTreeMap<String, i64>,
    episodes: Vec<SavedEpisode>,
}

impl<'a> Salvage<'a> {
    pub(super) fn new(survey: &'a Survey, episodes: Vec<SavedEpisode>) -> Self {
        let mut info = survey.info.clone();
        info.total_episodes = episodes.len();
        let mut salvage = Self {
            survey,
            info,
            tasks: Vec::new(),
            indices: BTreeMap::new(),
            episodes,
        };
        salvage.number_tasks();
        salvage
    }

    /// Instructions that are used keep their order; those that only the metadata knew follow.
    fn number_tasks(&mut self) {
        let of_episodes = self
            .episodes
            .iter()
            .flat_map(|episode| episode.tasks.values());
        let used: std::collections::BTreeSet<_> = of_episodes.clone().collect();
        let known = self.survey.tasks.iter().flatten();
        let ordered = known.filter(|task| used.contains(task)).chain(of_episodes);
        for task in ordered {
            if !self.indices.contains_key(task) {
                self.indices.insert(task.clone(), self.tasks.len() as i64);
                self.tasks.push(task.clone());
            }
        }
    }

    fn episode(&self, episode: usize) -> Result<&SavedEpisode> {
        let found = self.episodes.get(episode);
        found.ok_or_else(|| Error::invalid("episode", "one that was saved", episode))
    }
}

impl Source for Salvage<'_> {
    fn info(&self) -> &Info {
        &self.info
    }

    fn tasks(&self) -> &[String] {
        &self.tasks
    }

    fn rows(&self, episode: usize) -> Result<SourceRows> {
        let saved = self.episode(episode)?;
        let (columns, indices) = saved.rows(self.survey)?;
        let indices = indices.unwrap_or_else(|| vec![NO_INDEX; saved.length()]);
        let (mut task_indices, mut tasks) = (Vec::with_capacity(indices.len()), Vec::new());
        for index in indices {
            let text = saved.tasks.get(&index);
            let found = text.and_then(|text| Some((text, *self.indices.get(text)?)));
            let Some((text, new)) = found else {
                return Err(Error::invalid("task_index", "one that was found", index));
            };
            if !tasks.contains(text) {
                tasks.push(text.clone());
            }
            task_indices.push(new);
        }
        Ok(SourceRows {
            columns,
            task_indices,
            tasks,
            statistics: saved.statistics.clone(),
        })
    }

    fn video(&self, episode: usize, key: &str) -> Result<(Arc<VideoIndex>, Range<usize>)> {
        let found = self.episode(episode)?.videos.get(key);
        let (path, shown) =
            found.ok_or_else(|| Error::invalid("camera", "one of the episode", key))?;
        match &*self.survey.video(path) {
            Ok(video) => Ok((Arc::clone(&video.index), shown.clone())),
            Err(error) => Err(Error::file(path, error)),
        }
    }
}

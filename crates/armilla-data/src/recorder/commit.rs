//! Brings finished episodes to their names, in the order that makes a crash harmless.
//!
//! Waiting for the disk takes longer than all else here, so a batch of episodes waits once: every file of it is
//! written, then all of them are synced side by side, and only then does the first one get its name.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::episode::PreparedEpisode;
use super::{Places, Recorder};
use crate::assemble::count;
use crate::episodes::{self, Episode, EpisodeRecord, VideoPlace};
use crate::error::Result;
use crate::frames_table::{EpisodeColumns, EpisodePlace, episode_batch, huggingface_entry};
use crate::info::Info;
use crate::layout::{EPISODES, FilePlace, RECORDING, TASKS, remove_folder, rename, sync_files};
use crate::statistics::is_picture;
use crate::table::write_table;
use crate::tasks;

/// A file that is written under one name and finished under another.
struct Move {
    from: PathBuf,
    to: PathBuf,
}

impl Move {
    fn rename(&self) -> Result<()> {
        rename(&self.from, &self.to)
    }
}

/// An episode that knows its place among the others; nothing of it bears its final name yet.
struct PlacedEpisode {
    folder: PathBuf,
    columns: EpisodeColumns,
    task_indices: Vec<i64>,
    record: EpisodeRecord,
    videos: Vec<Move>,
    table: Move,
    metadata: Move,
    metadata_place: FilePlace,
}

impl PlacedEpisode {
    /// Writes the frame table and the metadata under their first names, without waiting for the disk.
    fn write(&mut self, info: &Info) -> Result<()> {
        let features = &info.features;
        let place = EpisodePlace {
            episode_index: self.record.episode.index,
            first_index: self.record.episode.first_index,
            fps: info.fps,
            task_indices: &self.task_indices,
        };
        let path = &self.table.from;
        let batch = episode_batch(path, features, &self.columns, &place)?;
        write_table(path, &batch, Some(huggingface_entry(features)))?;
        count(info, &self.columns, &place, &mut self.record.statistics)?;
        let picture = |key: &str| is_picture(features.0.get(key));
        let (path, records) = (&self.metadata.from, std::slice::from_ref(&self.record));
        let columns = episodes::statistics_columns(records);
        let batch = episodes::batch(path, records, self.metadata_place, &columns, picture)?;
        write_table(path, &batch, None)
    }

    /// All its files, by their first names.
    fn written(&self) -> impl Iterator<Item = &Path> {
        let files = self.videos.iter().chain([&self.table, &self.metadata]);
        files.map(|file| file.from.as_path())
    }
}

/// What a batch makes of the dataset. It is kept apart until files are renamed, so that a refused write changes nothing.
struct Plan {
    tasks: Vec<String>,
    places: Places,
    first_index: usize,
    episodes: Vec<PlacedEpisode>,
}

impl Recorder {
    /// Finishes episodes in their order; `info.json` comes last and once.
    pub(super) fn commit(&mut self, prepared: Vec<PreparedEpisode>) -> Result<()> {
        let committed = self.write_and_rename(prepared);
        // A folder that has vanished is the cause of whatever else went wrong.
        committed.or_else(|error| self.check_folder().and(Err(error)))
    }

    fn write_and_rename(&mut self, prepared: Vec<PreparedEpisode>) -> Result<()> {
        self.check_folder()?;
        let mut plan = self.plan(prepared)?;
        let episodes = plan.episodes.par_iter_mut();
        episodes.try_for_each(|episode| episode.write(&self.info))?;
        let mut instructions = None;
        if plan.tasks.len() > self.tasks.len() {
            let from = self.root.join(RECORDING).join("tasks.parquet");
            tasks::write(&from, &plan.tasks)?;
            let to = self.root.join(TASKS);
            instructions = Some(Move { from, to });
        }
        let written = plan.episodes.iter().flat_map(PlacedEpisode::written);
        let instructions_path = instructions.iter().map(|file| file.from.as_path());
        sync_files(&written.chain(instructions_path).collect::<Vec<_>>())?;
        for episode in plan.episodes {
            // Renaming makes folders, which must not become a second dataset.
            self.check_folder()?;
            for video in &episode.videos {
                video.rename()?;
            }
            episode.table.rename()?;
            // All the batch's instructions at once: one that no finished episode has harms nobody.
            if let Some(instructions) = instructions.take() {
                instructions.rename()?;
                self.tasks.clone_from(&plan.tasks);
            }
            episode.metadata.rename()?;
            self.count(&episode);
            remove_folder(&episode.folder)?;
        }
        self.info.total_tasks = self.tasks.len();
        self.info.write(&self.root)
    }

    /// Gives each episode its place, without touching the disk.
    fn plan(&self, prepared: Vec<PreparedEpisode>) -> Result<Plan> {
        let mut plan = Plan {
            tasks: self.tasks.clone(),
            places: self.places,
            first_index: self.info.total_frames,
            episodes: Vec::with_capacity(prepared.len()),
        };
        for (offset, episode) in prepared.into_iter().enumerate() {
            let length = episode.columns.length;
            let placed = self.place(self.info.total_episodes + offset, episode, &mut plan)?;
            plan.episodes.push(placed);
            plan.places = plan.places.next(self.info.limits.chunks_size);
            plan.first_index += length;
        }
        Ok(plan)
    }

    /// Gives one episode the plan's next place.
    fn place(
        &self,
        index: usize,
        prepared: PreparedEpisode,
        plan: &mut Plan,
    ) -> Result<PlacedEpisode> {
        let (places, folder) = (plan.places, prepared.folder);
        let length = prepared.columns.length;
        let video = VideoPlace {
            file: places.videos,
            from_secs: 0.0,
            to_secs: length as f64 / f64::from(self.info.fps),
        };
        let keys = prepared.videos.keys();
        let episode = Episode {
            index,
            length,
            tasks: distinct(&prepared.tasks),
            first_index: plan.first_index,
            data: places.data,
            videos: keys.map(|key| (key.clone(), video)).collect(),
        };
        let target = |place: FilePlace, template: &str, key: &str| {
            place.path(template, key).map(|path| self.root.join(path))
        };
        let mut videos = Vec::with_capacity(prepared.videos.len());
        for (key, from) in prepared.videos {
            let to = target(places.videos, &self.info.video_path, &key)?;
            videos.push(Move { from, to });
        }
        Ok(PlacedEpisode {
            videos,
            table: Move {
                from: folder.join("data.parquet"),
                to: target(places.data, &self.info.data_path, "")?,
            },
            metadata: Move {
                from: folder.join("episode.parquet"),
                to: target(places.episodes, EPISODES, "")?,
            },
            metadata_place: places.episodes,
            task_indices: task_indices(&mut plan.tasks, &prepared.tasks),
            record: EpisodeRecord {
                episode,
                statistics: prepared.statistics,
            },
            columns: prepared.columns,
            folder,
        })
    }

    /// Counts an episode whose metadata has its name.
    fn count(&mut self, episode: &PlacedEpisode) {
        self.places = self.places.next(self.info.limits.chunks_size);
        self.info.total_episodes += 1;
        self.info.total_frames += episode.columns.length;
    }
}

/// The index of each frame's instruction; new ones are numbered as they come.
fn task_indices(tasks: &mut Vec<String>, names: &[String]) -> Vec<i64> {
    let mut indices = Vec::with_capacity(names.len());
    for name in names {
        let known = tasks.iter().position(|task| task == name);
        let index = known.unwrap_or_else(|| {
            tasks.push(name.clone());
            tasks.len() - 1
        });
        indices.push(index as i64);
    }
    indices
}

/// The instructions of an episode, each once, in the order in which they come up.
fn distinct(names: &[String]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

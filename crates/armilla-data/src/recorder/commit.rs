//! Brings finished episodes to their names, in the order that makes a crash harmless.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_core::FeatureStatistics;

use super::Recorder;
use super::episode::PreparedEpisode;
use crate::episodes::{self, Episode, EpisodeRecord, VideoPlace};
use crate::error::Result;
use crate::frames_table::{EpisodePlace, episode_batch, huggingface_entry};
use crate::info::AUTOMATIC;
use crate::layout::{EPISODES, FilePlace, TASKS, remove_folder, rename};
use crate::statistics::is_picture;
use crate::table::write_table;
use crate::tasks;

impl Recorder {
    /// Finishes episodes in their order; `info.json` comes last and once.
    pub(super) fn commit(&mut self, prepared: Vec<PreparedEpisode>) -> Result<()> {
        for episode in prepared {
            self.place(&episode)?;
            remove_folder(&episode.folder)?;
        }
        self.info.total_tasks = self.tasks.len();
        self.info.write(&self.root)
    }

    /// Renames one episode's files into place, up to its metadata.
    fn place(&mut self, prepared: &PreparedEpisode) -> Result<()> {
        let index = self.info.total_episodes;
        let (length, known_tasks) = (prepared.columns.length, self.tasks.len());
        let task_indices = self.task_indices(&prepared.tasks);
        let place = EpisodePlace {
            episode_index: index,
            first_index: self.info.total_frames,
            fps: self.info.fps,
            task_indices: &task_indices,
        };
        let videos = self.place_videos(prepared)?;
        self.place_table(prepared, &place)?;
        if self.tasks.len() > known_tasks {
            let partial = prepared.folder.join("tasks.parquet");
            tasks::write(&partial, &self.tasks)?;
            rename(&partial, &self.root.join(TASKS))?;
        }
        let mut record = EpisodeRecord {
            episode: Episode {
                index,
                length,
                tasks: distinct(&prepared.tasks),
                first_index: self.info.total_frames,
                data: self.places.data,
                videos,
            },
            statistics: prepared.statistics.clone(),
        };
        for key in AUTOMATIC {
            let counted = automatic_statistics(key, &place, length)?;
            record.statistics.insert(key.to_owned(), counted);
        }
        self.place_metadata(&prepared.folder, record)?;
        self.places.data = self.places.data.next(self.info.chunks_size);
        self.places.videos = self.places.videos.next(self.info.chunks_size);
        self.places.episodes = self.places.episodes.next(self.info.chunks_size);
        self.info.total_episodes += 1;
        self.info.total_frames += length;
        Ok(())
    }

    /// The index of each frame's instruction; new ones are numbered as they come.
    fn task_indices(&mut self, names: &[String]) -> Vec<i64> {
        let mut indices = Vec::with_capacity(names.len());
        for name in names {
            let known = self.tasks.iter().position(|task| task == name);
            let index = known.unwrap_or_else(|| {
                self.tasks.push(name.clone());
                self.tasks.len() - 1
            });
            indices.push(index as i64);
        }
        indices
    }

    fn place_videos(&self, prepared: &PreparedEpisode) -> Result<BTreeMap<String, VideoPlace>> {
        let file = self.places.videos;
        let mut places = BTreeMap::new();
        for (key, partial) in &prepared.videos {
            rename(
                partial,
                &self.root.join(file.path(&self.info.video_path, key)?),
            )?;
            let place = VideoPlace {
                file,
                from_secs: 0.0,
                to_secs: prepared.columns.length as f64 / f64::from(self.info.fps),
            };
            places.insert(key.clone(), place);
        }
        Ok(places)
    }

    fn place_table(&self, prepared: &PreparedEpisode, place: &EpisodePlace<'_>) -> Result<()> {
        let features = &self.config.features;
        let partial = prepared.folder.join("data.parquet");
        let batch = episode_batch(&partial, features, &prepared.columns, place)?;
        write_table(&partial, &batch, Some(huggingface_entry(features)))?;
        let path = self.places.data.path(&self.info.data_path, "")?;
        rename(&partial, &self.root.join(path))
    }

    fn place_metadata(&self, folder: &Path, record: EpisodeRecord) -> Result<()> {
        let place: FilePlace = self.places.episodes;
        let partial = folder.join("episode.parquet");
        let picture = |key: &str| is_picture(self.config.features.0.get(key));
        let batch = episodes::batch(&partial, &[record], place, picture)?;
        write_table(&partial, &batch, None)?;
        rename(&partial, &self.root.join(place.path(EPISODES, "")?))
    }
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

fn automatic_statistics(
    key: &str,
    place: &EpisodePlace<'_>,
    length: usize,
) -> Result<FeatureStatistics> {
    let value = |frame: usize| match key {
        "timestamp" => f64::from(place.timestamp(frame)),
        _ => place.automatic(key, frame) as f64,
    };
    let rows: Vec<_> = (0..length).map(|frame| vec![value(frame)]).collect();
    Ok(FeatureStatistics::of_rows(&rows, 1)?)
}

//! Records episodes into a dataset, so that a crash at any moment loses at most the episode in progress.
//!
//! While recording, each finished episode is one parquet and one mp4 a camera. They are written under `.recording`
//! and, once they are on the disk, renamed into place in the order video, frame table, instructions, episode metadata;
//! that last rename is what finishes the episode. `info.json`, which counts the episodes, follows once for all that are
//! recorded together. [`Recorder::finish`] joins them into few files and writes the statistics.
//!
//! Step by step, each camera's pictures go through a bounded queue to a thread of its own that encodes and counts them.
//! [`Recorder::add`] waits when a queue is full; [`Recorder::try_add`] leaves the step out, for all cameras, and counts it.

mod camera;
mod commit;
pub(crate) mod compact;
mod config;
mod episode;
mod steps;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::info::Info;
use crate::layout::{FilePlace, LOCK, RECORDING, remove_folder};
use camera::Encoding;
pub use config::{Added, CAPTURE_TIMESTAMP, EpisodeFrames, Frame, RecorderConfig, SavedEpisode};
use episode::{EpisodeInProgress, PreparedEpisode};

/// Writes a dataset, episode by episode.
pub struct Recorder {
    root: PathBuf,
    config: RecorderConfig,
    info: Info,
    tasks: Vec<String>,
    places: Places,
    current: Option<EpisodeInProgress>,
    /// Why the episode in progress cannot go on, until the caller has given it up.
    failed: Option<String>,
    /// Held as long as the recorder lives, so that a reader can tell a recording from a crash.
    _lock: File,
}

/// Where the next episode's files go.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    data: FilePlace,
    videos: FilePlace,
    episodes: FilePlace,
}

impl Places {
    /// The places of the episode that follows.
    fn next(self, chunks_size: u64) -> Self {
        Self {
            data: self.data.next(chunks_size),
            videos: self.videos.next(chunks_size),
            episodes: self.episodes.next(chunks_size),
        }
    }
}

impl Recorder {
    /// Begins a dataset in a folder that is empty or does not exist yet.
    ///
    /// # Errors
    ///
    /// When the configuration names what cannot be recorded, or the folder is not empty or not writable.
    pub fn create(root: impl AsRef<Path>, config: RecorderConfig) -> Result<Self> {
        let root = root.as_ref();
        config.check()?;
        fs::create_dir_all(root).map_err(Error::io("create the folder", root))?;
        let mut entries = fs::read_dir(root).map_err(Error::io("list", root))?;
        if entries.next().is_some() {
            return Err(Error::File {
                path: root.to_owned(),
                problem: "the folder is not empty".to_owned(),
                remedy: "give a new folder, or resume the dataset in it".to_owned(),
            });
        }
        let lock = lock(root)?;
        let mut info = Info::empty(config.features.clone(), config.fps, &config.robot_type);
        info.limits = config.limits;
        info.write(root)?;
        Ok(Self {
            root: root.to_owned(),
            config,
            info,
            tasks: Vec::new(),
            places: Places::default(),
            current: None,
            failed: None,
            _lock: lock,
        })
    }

    /// Goes on with a dataset, after recovering what a crash left in it.
    ///
    /// # Errors
    ///
    /// When there is no dataset, another process records it, its schema or rate differ from the configuration's, or its
    /// videos are coded so that new ones cannot be joined to them.
    pub fn resume(root: impl AsRef<Path>, config: RecorderConfig) -> Result<Self> {
        let root = root.as_ref();
        config.check()?;
        let dataset = Dataset::open(root)?;
        let info = dataset.info().clone();
        if info.features != config.features || info.fps != config.fps {
            return Err(Error::invalid(
                format!("{}: schema of the dataset to go on with", root.display()),
                format!("{} fps, {:?}", config.fps, config.features),
                format!("{} fps, {:?}", info.fps, info.features),
            ));
        }
        compact::check_joinable(dataset.reader())?;
        let lock = lock(root)?;
        let mut places = Places::default();
        let next = |place: FilePlace| place.next(info.limits.chunks_size);
        for episode in dataset.episodes() {
            places.data = places.data.max(next(episode.data));
            for video in episode.videos.values() {
                places.videos = places.videos.max(next(video.file));
            }
            places.episodes = next(places.episodes);
        }
        Ok(Self {
            root: root.to_owned(),
            config,
            info,
            tasks: dataset.tasks().to_vec(),
            places,
            current: None,
            failed: None,
            _lock: lock,
        })
    }

    /// Episodes that are finished.
    #[must_use]
    pub fn episodes(&self) -> usize {
        self.info.total_episodes
    }

    /// Frames of the finished episodes.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.info.total_frames
    }

    /// Checks that the folder is still where it was, lest a dataset of its last episodes alone comes about.
    fn check_folder(&self) -> Result<()> {
        if self.root.join(RECORDING).join(LOCK).exists() {
            return Ok(());
        }
        Err(Error::File {
            path: self.root.clone(),
            problem: "the folder that is recorded into was moved or removed meanwhile".to_owned(),
            remedy: "put it back and open it, which recovers its finished episodes; then resume recording, or begin anew"
                .to_owned(),
        })
    }

    /// Records a whole episode.
    ///
    /// # Errors
    ///
    /// As [`Self::add_episodes`].
    pub fn add_episode(&mut self, frames: &EpisodeFrames) -> Result<()> {
        self.add_episodes(std::slice::from_ref(frames))
    }

    /// Records whole episodes in their order, encoding them side by side on rayon's threads and waiting for the disk
    /// once for all of them: many at a time are recorded faster than one by one.
    ///
    /// # Errors
    ///
    /// When an episode is in progress, an episode is empty or does not fit the schema (none of them is recorded
    /// then), or the disk refuses.
    pub fn add_episodes(&mut self, episodes: &[EpisodeFrames]) -> Result<()> {
        self.check_folder()?;
        if self.current.is_some() {
            let problem =
                "whole episodes cannot be added while one is in progress: save or discard it";
            return Err(Error::OutOfOrder(problem.to_owned()));
        }
        let first = self.info.total_episodes;
        let prepared: Result<Vec<PreparedEpisode>> = episodes
            .par_iter()
            .enumerate()
            .map(|(offset, frames)| self.prepare(first + offset, frames))
            .collect();
        self.commit(prepared?)
    }

    fn prepare(&self, index: usize, frames: &EpisodeFrames) -> Result<PreparedEpisode> {
        let (observations, actions) = (frames.observations.len(), frames.actions.len());
        if observations != actions || observations == 0 {
            return Err(Error::invalid(
                format!("episode {index}"),
                "as many observations as actions, at least one",
                format!("{observations} observations, {actions} actions"),
            ));
        }
        for (key, column) in &frames.others {
            if column.len() % actions != 0 {
                let what = format!("feature `{key}` of episode {index}");
                let expected = format!("rows for {actions} steps");
                return Err(Error::invalid(
                    what,
                    expected,
                    format!("{} values", column.len()),
                ));
            }
        }
        let begun = EpisodeInProgress::begin(&self.root, index, &self.config, Encoding::Here);
        let mut episode = begun?;
        let steps = frames.observations.iter().zip(&frames.actions);
        for (step, (observation, action)) in steps.enumerate() {
            let frame = Frame {
                observation,
                action,
                others: &frames.others_at(step),
            };
            episode::check(&frame, &self.config)?;
            episode.push(&frame, &self.config)?;
        }
        episode.finish(&self.config)
    }

    /// Ends recording: joins the episodes into few files and writes the statistics. An episode in progress is
    /// discarded.
    ///
    /// # Errors
    ///
    /// When the disk refuses (joining takes as much room again as the episodes); the finished episodes stay readable as
    /// they are.
    pub fn finish(mut self) -> Result<()> {
        self.discard_episode();
        self.check_folder()?;
        if self.info.total_episodes > 0 {
            compact::compact(&self.root, &self.info, &self.tasks)?;
        }
        remove_folder(&self.root.join(RECORDING))
    }
}

/// Marks a dataset as being recorded.
fn lock(root: &Path) -> Result<File> {
    let folder = root.join(RECORDING);
    fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(Error::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::File {
            path: root.to_owned(),
            problem: "another process is recording here".to_owned(),
            remedy: "end it first, or record into another folder".to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}

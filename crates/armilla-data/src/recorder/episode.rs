//! An episode while it is recorded: its pictures are encoded as they come, its columns wait in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use armilla_core::Statistics;
use armilla_core::features::{ACTION, Feature, IMAGE_PREFIX, STATE};

use super::camera::{Camera, Encoded, Encoding};
use super::config::CAPTURE_TIMESTAMP;
use super::{Frame, RecorderConfig, SavedEpisode};
use crate::column::{Column, Columns};
use crate::error::{Error, Result};
use crate::frames_table::EpisodeColumns;
use crate::layout::{RECORDING, remove_folder};
use crate::types::table_features;

/// An episode that is being recorded.
pub(super) struct EpisodeInProgress {
    index: usize,
    folder: PathBuf,
    /// By name.
    cameras: Vec<(String, Camera)>,
    vectors: BTreeMap<&'static str, Vec<f32>>,
    /// When each observation was taken, in seconds.
    captured: Vec<f64>,
    others: BTreeMap<String, Vec<Column>>,
    tasks: Vec<String>,
    dropped: usize,
}

/// An episode whose pictures are written, under a name that is not final; nothing is synced yet.
pub(super) struct PreparedEpisode {
    pub(super) folder: PathBuf,
    /// Video files by feature key.
    pub(super) videos: BTreeMap<String, PathBuf>,
    pub(super) columns: EpisodeColumns,
    /// The instruction of each frame.
    pub(super) tasks: Vec<String>,
    /// Statistics of the cameras; the columns are counted once the episode has its place.
    pub(super) statistics: Statistics,
}

impl EpisodeInProgress {
    /// Opens the videos.
    pub(super) fn begin(
        root: &Path,
        index: usize,
        config: &RecorderConfig,
        encoding: Encoding,
    ) -> Result<Self> {
        let folder = root.join(RECORDING).join(format!("episode-{index:06}"));
        std::fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        let mut cameras = Vec::new();
        for (name, feature) in config.features.robot_cameras() {
            let camera = Camera::begin(name, feature, &folder, config, encoding)?;
            cameras.push((name.to_owned(), camera));
        }
        Ok(Self {
            index,
            folder,
            cameras,
            vectors: BTreeMap::new(),
            captured: Vec::new(),
            others: BTreeMap::new(),
            tasks: Vec::new(),
            dropped: 0,
        })
    }

    /// A camera that would make a step wait.
    pub(super) fn full_camera(&self) -> Option<&str> {
        let mut cameras = self.cameras.iter();
        let full = cameras.find(|(_, camera)| !camera.has_room());
        full.map(|(name, _)| name.as_str())
    }

    /// Leaves a step out; gives back how many are by now.
    pub(super) fn leave_out(&mut self) -> usize {
        self.dropped += 1;
        self.dropped
    }

    /// What it is so far, once it is saved.
    pub(super) fn summary(&self) -> SavedEpisode {
        SavedEpisode {
            index: self.index,
            frames: self.tasks.len(),
            dropped: self.dropped,
        }
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a step that [`check`] has found right. After an error the episode cannot go on.
    pub(super) fn push(&mut self, frame: &Frame<'_>, config: &RecorderConfig) -> Result<()> {
        for (name, camera) in &mut self.cameras {
            if let Some(image) = frame.observation.images.get(name) {
                camera.push(image)?;
            }
        }
        for (key, values) in [(STATE, &frame.observation.state), (ACTION, &frame.action.0)] {
            self.vectors
                .entry(key)
                .or_default()
                .extend_from_slice(values);
        }
        self.captured.push(frame.observation.captured_at_secs);
        for (key, column) in frame.others {
            let columns = self.others.entry(key.clone()).or_default();
            columns.push(column.clone());
        }
        let instruction = frame.observation.instruction.as_ref();
        self.tasks.push(instruction.unwrap_or(&config.task).clone());
        Ok(())
    }

    /// Closes the videos; the commit brings them to the disk.
    pub(super) fn finish(self, config: &RecorderConfig) -> Result<PreparedEpisode> {
        let (mut videos, mut statistics) = (BTreeMap::new(), Statistics::new());
        let mut columns = Columns::new();
        for (name, camera) in self.cameras {
            let key = format!("{IMAGE_PREFIX}{name}");
            let file = camera.finish()?;
            let counted = file.statistics.map(|counted| (key.clone(), counted));
            statistics.extend(counted);
            match file.pictures {
                Encoded::Video(path) => drop(videos.insert(key, path)),
                Encoded::Table(column) => drop(columns.insert(key, column)),
            }
        }
        for (key, values) in self.vectors {
            if config.features.0.contains_key(key) {
                columns.insert(key.to_owned(), Column::from(values));
            }
        }
        if config.features.0.contains_key(CAPTURE_TIMESTAMP) {
            let captured = Column::from(self.captured);
            columns.insert(CAPTURE_TIMESTAMP.to_owned(), captured);
        }
        for (key, feature) in others(config) {
            let parts = self.others.get(key).map(Vec::as_slice).unwrap_or_default();
            columns.insert(key.to_owned(), Column::concat(parts, feature.data_type)?);
        }
        Ok(PreparedEpisode {
            folder: self.folder,
            videos,
            columns: EpisodeColumns {
                length: self.tasks.len(),
                columns,
            },
            tasks: self.tasks,
            statistics,
        })
    }

    /// Ends its encoders and removes what was written.
    pub(super) fn discard(self) {
        let Self {
            folder, cameras, ..
        } = self;
        drop(cameras);
        clean_up(&folder);
    }
}

/// Removes files that are of no use any more; what cannot be removed now, the next open removes.
pub(super) fn clean_up(folder: &Path) {
    if let Err(error) = remove_folder(folder) {
        tracing::warn!("files of no use stay until the next open: {error}");
    }
}

/// Checks that a step is what the schema asks for.
pub(super) fn check(frame: &Frame<'_>, config: &RecorderConfig) -> Result<()> {
    frame.observation.check(&config.features)?;
    frame.action.check(config.features.width(ACTION))?;
    let captured = frame.observation.captured_at_secs;
    if config.features.0.contains_key(CAPTURE_TIMESTAMP) && !captured.is_finite() {
        let expected = "a capture time in seconds";
        return Err(Error::invalid(CAPTURE_TIMESTAMP, expected, captured));
    }
    check_others(frame.others, config)
}

/// The features that neither an observation nor an action carries.
fn others(config: &RecorderConfig) -> impl Iterator<Item = (&str, &Feature)> {
    let carried = [STATE, ACTION, CAPTURE_TIMESTAMP];
    table_features(&config.features)
        .filter(move |(key, _)| !key.starts_with(IMAGE_PREFIX) && !carried.contains(key))
}

/// Checks that a frame's other columns are those of the schema, one row of each.
fn check_others(columns: &Columns, config: &RecorderConfig) -> Result<()> {
    for (key, feature) in others(config) {
        let column = columns.get(key).ok_or_else(|| {
            let found: Vec<_> = columns.keys().collect();
            Error::invalid(
                format!("feature `{key}`"),
                "a value",
                format!("only {found:?}"),
            )
        })?;
        column.check(key, feature, 1)?;
        let numbers = column.numbers().unwrap_or_default();
        if let Some(value) = numbers.iter().find(|value| !value.is_finite()) {
            return Err(Error::invalid(
                format!("feature `{key}`"),
                "finite numbers",
                value,
            ));
        }
    }
    match columns
        .keys()
        .find(|key| !others(config).any(|(known, _)| known == *key))
    {
        Some(key) => Err(Error::invalid(
            "other columns",
            "those of the schema that no observation or action carries",
            format!("`{key}`"),
        )),
        None => Ok(()),
    }
}

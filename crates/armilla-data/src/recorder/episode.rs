//! An episode while it is recorded: its pictures are encoded as they come, the rest waits in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE};
use armilla_core::{FeatureStatistics, Statistics};

use super::{Frame, RecorderConfig};
use crate::error::{Error, Result};
use crate::frames_table::EpisodeColumns;
use crate::layout::{RECORDING, remove_folder};
use crate::statistics::PictureCounter;
use crate::video::encode::VideoWriter;

/// One camera of the episode.
struct CameraWriter {
    name: String,
    path: PathBuf,
    writer: VideoWriter,
    counter: PictureCounter,
}

/// An episode that is being recorded.
pub(super) struct EpisodeInProgress {
    folder: PathBuf,
    cameras: Vec<CameraWriter>,
    columns: EpisodeColumns,
    tasks: Vec<String>,
}

/// An episode whose pictures are written, under a name that is not final; nothing is synced yet.
pub(super) struct PreparedEpisode {
    pub(super) folder: PathBuf,
    /// Video files by feature key.
    pub(super) videos: BTreeMap<String, PathBuf>,
    pub(super) columns: EpisodeColumns,
    /// The instruction of each frame.
    pub(super) tasks: Vec<String>,
    /// Statistics of pictures and vectors; the automatic features' come with the episode's place.
    pub(super) statistics: Statistics,
}

impl EpisodeInProgress {
    /// Opens the videos.
    pub(super) fn begin(root: &Path, index: usize, config: &RecorderConfig) -> Result<Self> {
        let folder = root.join(RECORDING).join(format!("episode-{index:06}"));
        std::fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        let mut cameras = Vec::new();
        for (name, _) in config.features.cameras() {
            let path = folder.join(format!("{name}.mp4"));
            cameras.push(CameraWriter {
                name: name.to_owned(),
                writer: VideoWriter::create(&path, config.fps, config.quality)?,
                path,
                counter: PictureCounter::new(),
            });
        }
        Ok(Self {
            folder,
            cameras,
            columns: EpisodeColumns::default(),
            tasks: Vec::new(),
        })
    }

    /// Adds a step after checking all of it.
    pub(super) fn add(&mut self, frame: &Frame<'_>, config: &RecorderConfig) -> Result<()> {
        frame.observation.check(&config.features)?;
        frame.action.check(config.features.width(ACTION))?;
        for camera in &mut self.cameras {
            if let Some(image) = frame.observation.images.get(&camera.name) {
                camera.writer.push(image)?;
                camera.counter.add(image);
            }
        }
        for (key, values) in [(STATE, &frame.observation.state), (ACTION, &frame.action.0)] {
            if config.features.0.contains_key(key) {
                let column = self.columns.vectors.entry(key.to_owned()).or_default();
                column.extend_from_slice(values);
            }
        }
        let task = frame
            .observation
            .instruction
            .as_ref()
            .unwrap_or(&config.task);
        self.tasks.push(task.clone());
        self.columns.length += 1;
        Ok(())
    }

    /// Closes the videos; the commit brings them to the disk.
    pub(super) fn finish(self) -> Result<PreparedEpisode> {
        let (mut videos, mut statistics) = (BTreeMap::new(), Statistics::new());
        for camera in self.cameras {
            let key = format!("{IMAGE_PREFIX}{}", camera.name);
            camera.writer.finish()?;
            statistics.extend(
                camera
                    .counter
                    .finish()
                    .map(|counted| (key.clone(), counted)),
            );
            videos.insert(key, camera.path);
        }
        for (key, values) in &self.columns.vectors {
            let width = values.len() / self.columns.length.max(1);
            statistics.insert(key.clone(), rows_statistics(values, width)?);
        }
        Ok(PreparedEpisode {
            folder: self.folder,
            videos,
            columns: self.columns,
            tasks: self.tasks,
            statistics,
        })
    }

    /// Removes what was written.
    pub(super) fn discard(self) {
        if let Err(error) = remove_folder(&self.folder) {
            tracing::warn!("a discarded episode's files stay until the next open: {error}");
        }
    }
}

/// Exact statistics of values that lie row after row.
pub(crate) fn rows_statistics(values: &[f32], width: usize) -> Result<FeatureStatistics> {
    let rows: Vec<Vec<f64>> = values
        .chunks_exact(width.max(1))
        .map(|row| row.iter().map(|&value| f64::from(value)).collect())
        .collect();
    Ok(FeatureStatistics::of_rows(&rows, width)?)
}

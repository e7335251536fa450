//! An episode while it is recorded: its pictures are encoded as they come, the rest waits in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use armilla_core::features::{ACTION, DataType, Feature, IMAGE_PREFIX, STATE};
use armilla_core::{Image, Statistics};

use super::{Frame, RecorderConfig};
use crate::column::{Column, Columns};
use crate::error::{Error, Result};
use crate::frames_table::EpisodeColumns;
use crate::layout::{RECORDING, remove_folder};
use crate::pictures;
use crate::statistics::PictureCounter;
use crate::types::table_features;
use crate::video::encode::VideoWriter;

/// One camera of the episode.
struct CameraWriter {
    name: String,
    pictures: Pictures,
    counter: PictureCounter,
}

/// Where a camera's pictures go.
enum Pictures {
    /// Into a video file, encoded at once.
    Video(PathBuf, Box<VideoWriter>),
    /// Into the frame table, as PNG files that wait in memory.
    Table(Vec<Vec<u8>>),
}

impl Pictures {
    fn push(&mut self, image: &Image) -> Result<()> {
        match self {
            Self::Video(_, writer) => writer.push(image)?,
            Self::Table(files) => files.push(pictures::encode(image)?),
        }
        Ok(())
    }
}

/// An episode that is being recorded.
pub(super) struct EpisodeInProgress {
    folder: PathBuf,
    cameras: Vec<CameraWriter>,
    vectors: BTreeMap<&'static str, Vec<f32>>,
    others: BTreeMap<String, Vec<Column>>,
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
    /// Statistics of the cameras; the columns are counted once the episode has its place.
    pub(super) statistics: Statistics,
}

impl EpisodeInProgress {
    /// Opens the videos.
    pub(super) fn begin(root: &Path, index: usize, config: &RecorderConfig) -> Result<Self> {
        let folder = root.join(RECORDING).join(format!("episode-{index:06}"));
        std::fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        let mut cameras = Vec::new();
        for (name, feature) in config.features.cameras() {
            let pictures = match feature.data_type {
                DataType::Video => {
                    let path = folder.join(format!("{name}.mp4"));
                    let writer = VideoWriter::create(&path, config.fps, config.quality)?;
                    Pictures::Video(path, Box::new(writer))
                }
                _ => Pictures::Table(Vec::new()),
            };
            cameras.push(CameraWriter {
                name: name.to_owned(),
                pictures,
                counter: PictureCounter::new(),
            });
        }
        Ok(Self {
            folder,
            cameras,
            vectors: BTreeMap::new(),
            others: BTreeMap::new(),
            tasks: Vec::new(),
        })
    }

    /// Adds a step after checking all of it.
    pub(super) fn add(&mut self, frame: &Frame<'_>, config: &RecorderConfig) -> Result<()> {
        frame.observation.check(&config.features)?;
        frame.action.check(config.features.width(ACTION))?;
        check_others(frame.others, config)?;
        for camera in &mut self.cameras {
            if let Some(image) = frame.observation.images.get(&camera.name) {
                camera.pictures.push(image)?;
                camera.counter.add(image);
            }
        }
        for (key, values) in [(STATE, &frame.observation.state), (ACTION, &frame.action.0)] {
            self.vectors
                .entry(key)
                .or_default()
                .extend_from_slice(values);
        }
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
        for camera in self.cameras {
            let key = format!("{IMAGE_PREFIX}{}", camera.name);
            let counted = camera.counter.finish();
            statistics.extend(counted.map(|counted| (key.clone(), counted)));
            match camera.pictures {
                Pictures::Video(path, writer) => {
                    writer.finish()?;
                    videos.insert(key, path);
                }
                Pictures::Table(files) => {
                    columns.insert(key, Column(pictures::array(&files)?));
                }
            }
        }
        for (key, values) in self.vectors {
            if config.features.0.contains_key(key) {
                columns.insert(key.to_owned(), Column::from(values));
            }
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

    /// Removes what was written.
    pub(super) fn discard(self) {
        if let Err(error) = remove_folder(&self.folder) {
            tracing::warn!("a discarded episode's files stay until the next open: {error}");
        }
    }
}

/// The features that neither an observation nor an action carries.
fn others(config: &RecorderConfig) -> impl Iterator<Item = (&str, &Feature)> {
    table_features(&config.features)
        .filter(|(key, _)| !key.starts_with(IMAGE_PREFIX) && ![STATE, ACTION].contains(key))
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

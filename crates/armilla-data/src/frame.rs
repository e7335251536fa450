//! One frame of a dataset with all that belongs to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use armilla_core::Image;
use serde_json::{Map, Value, json};

use crate::column::{Column, Columns};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::layout::replace_file;
use crate::pictures;
use crate::types::{AUTOMATIC, table_features};

/// One frame: its pictures, its values, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameRecord {
    /// Number in the whole dataset.
    pub index: usize,
    /// Episode.
    pub episode: usize,
    /// Number in the episode.
    pub frame: usize,
    /// Nominal time since the episode's start, in seconds.
    pub timestamp_secs: f64,
    /// Its instruction.
    pub task: String,
    /// Pictures by feature key.
    pub images: BTreeMap<String, Image>,
    /// All other features, one row of each.
    pub columns: Columns,
}

impl Dataset {
    /// Reads one frame of the whole dataset.
    ///
    /// # Errors
    ///
    /// When there are not that many frames, or a file is missing, broken or of a codec that is not supported.
    pub fn frame(&self, index: usize) -> Result<FrameRecord> {
        let (episode, frame) = self.find(index)?;
        let (mut images, mut columns) = (BTreeMap::new(), Columns::new());
        for key in self.cameras() {
            images.insert(key.to_owned(), self.image(episode, key, frame)?);
        }
        for (key, feature) in table_features(self.features()) {
            if !feature.data_type.is_picture() {
                let column = self.column(episode, key)?;
                let row = column.slice(frame * feature.len(), feature.len());
                columns.insert(key.to_owned(), row);
            }
        }
        let task = self.numbers(episode, "task_index")?[frame];
        let task = self.tasks().get(task as usize);
        let unknown = || {
            Error::file(
                self.root(),
                format!("frame {index} has no known instruction"),
            )
        };
        Ok(FrameRecord {
            index,
            episode,
            frame,
            timestamp_secs: self.numbers(episode, AUTOMATIC[0])?[frame],
            task: task.cloned().ok_or_else(unknown)?,
            images,
            columns,
        })
    }
}

impl FrameRecord {
    /// Writes `frame-INDEX.json`, and `frame-INDEX.KEY.png` for each camera; gives back what was written.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let name = |rest: &str| folder.join(format!("frame-{:06}{rest}", self.index));
        let mut written = Vec::new();
        for (key, image) in &self.images {
            let path = name(&format!(".{}.png", key.replace(['/', '\\'], "_")));
            replace_file(&path, &pictures::encode(image)?)?;
            written.push(path);
        }
        let path = name(".json");
        let text = serde_json::to_string_pretty(&self.to_json());
        let text = text.map_err(|error| Error::write(&path, error))?;
        replace_file(&path, text.as_bytes())?;
        written.push(path);
        Ok(written)
    }

    fn to_json(&self) -> Value {
        let values = self
            .columns
            .iter()
            .map(|(key, column)| (key.clone(), json_of(column)));
        json!({
            "index": self.index,
            "episode_index": self.episode,
            "frame_index": self.frame,
            "timestamp": self.timestamp_secs,
            "task": self.task,
            "images": self.images.keys().collect::<Vec<_>>(),
            "values": values.collect::<Map<_, _>>(),
        })
    }
}

/// A row's values in row-major order; a single one by itself.
fn json_of(column: &Column) -> Value {
    let values: Vec<Value> = if let Some(texts) = column.values::<String>() {
        texts.into_iter().map(Value::from).collect()
    } else if let Some(truths) = column.values::<bool>() {
        truths.into_iter().map(Value::from).collect()
    } else if let Some(large) = column.values::<u64>() {
        large.into_iter().map(Value::from).collect()
    } else if let Some(integers) = column.integers() {
        integers.into_iter().map(Value::from).collect()
    } else if let Some(singles) = column.values::<f32>() {
        singles.into_iter().map(Value::from).collect()
    } else {
        column
            .numbers()
            .unwrap_or_default()
            .into_iter()
            .map(Value::from)
            .collect()
    };
    match <[Value; 1]>::try_from(values) {
        Ok([value]) => value,
        Err(values) => Value::from(values),
    }
}

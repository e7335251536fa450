//! The frame tables: one row a frame, all columns but the videos.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use armilla_core::features::{DataType as FeatureType, Features};
use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::info::{AUTOMATIC, automatic_type};
use crate::table::{Entry, element, schema, vectors};

/// An episode's columns before they become a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct EpisodeColumns {
    /// Frames.
    pub(crate) length: usize,
    /// Values by feature, row after row.
    pub(crate) vectors: BTreeMap<String, Vec<f32>>,
}

/// What is known of an episode only once its place among the others is.
pub(crate) struct EpisodePlace<'a> {
    pub(crate) episode_index: usize,
    /// Number of its first frame in the whole dataset.
    pub(crate) first_index: usize,
    pub(crate) fps: u32,
    /// Index of the instruction of each frame.
    pub(crate) task_indices: &'a [i64],
}

impl EpisodePlace<'_> {
    /// An automatic feature of one frame.
    pub(crate) fn automatic(&self, key: &str, frame: usize) -> i64 {
        match key {
            "frame_index" => frame as i64,
            "episode_index" => self.episode_index as i64,
            "index" => (self.first_index + frame) as i64,
            _ => self.task_indices[frame],
        }
    }

    /// Nominal time of a frame in seconds since the episode's start.
    pub(crate) fn timestamp(&self, frame: usize) -> f32 {
        (frame as f64 / f64::from(self.fps)) as f32
    }
}

/// The features that have a column here, with the number of their values.
pub(crate) fn vector_features(features: &Features) -> impl Iterator<Item = (&str, usize)> {
    features
        .0
        .iter()
        .filter(|(_, feature)| feature.data_type != FeatureType::Video)
        .map(|(key, feature)| (key.as_str(), feature.len()))
}

/// The columns' types.
pub(crate) fn table_schema(features: &Features) -> SchemaRef {
    let mut fields = Vec::new();
    for (key, width) in vector_features(features) {
        let data_type = match width {
            1 => DataType::Float32,
            _ => DataType::FixedSizeList(element(DataType::Float32), width as i32),
        };
        fields.push((key.to_owned(), data_type));
    }
    for key in AUTOMATIC {
        let data_type = match automatic_type(key) {
            "float32" => DataType::Float32,
            _ => DataType::Int64,
        };
        fields.push((key.to_owned(), data_type));
    }
    schema(fields)
}

/// The entry `huggingface` that the Python package `datasets` keeps beside the schema.
pub(crate) fn huggingface_entry(features: &Features) -> Entry {
    let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
    let mut entries = Map::new();
    for (key, width) in vector_features(features) {
        let entry = match width {
            1 => value("float32"),
            _ => json!({"feature": value("float32"), "length": width, "_type": "List"}),
        };
        entries.insert(key.to_owned(), entry);
    }
    for key in AUTOMATIC {
        entries.insert(key.to_owned(), value(automatic_type(key)));
    }
    let entry = json!({"info": {"features": Value::Object(entries)}});
    ("huggingface", entry.to_string())
}

/// An episode's rows.
pub(crate) fn episode_batch(
    path: &Path,
    features: &Features,
    columns: &EpisodeColumns,
    place: &EpisodePlace<'_>,
) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (key, width) in vector_features(features) {
        let values = columns.vectors.get(key).cloned().unwrap_or_default();
        if values.len() != width * columns.length {
            return Err(Error::invalid(
                format!("feature `{key}` of episode {}", place.episode_index),
                format!("{width} values in each of {} frames", columns.length),
                format!("{} values", values.len()),
            ));
        }
        arrays.push(vectors(Arc::new(Float32Array::from(values)), width));
    }
    for key in AUTOMATIC {
        let frames = 0..columns.length;
        arrays.push(if key == "timestamp" {
            Arc::new(Float32Array::from_iter_values(
                frames.map(|frame| place.timestamp(frame)),
            ))
        } else {
            let values = frames.map(|frame| place.automatic(key, frame));
            Arc::new(Int64Array::from_iter_values(values))
        });
    }
    RecordBatch::try_new(table_schema(features), arrays).map_err(|error| Error::write(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::features::Feature;

    #[test]
    fn columns_are_lerobots() {
        let features = Features::robot(
            ("top", Feature::camera(16, 16)),
            Feature::vector(&["x", "y"]),
            Feature::vector(&["dx"]),
        );
        let schema = table_schema(&features);
        let names: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            names,
            [&["action", "observation.state"][..], &AUTOMATIC].concat()
        );
        assert_eq!(*schema.field(0).data_type(), DataType::Float32);
        let (key, entry) = huggingface_entry(&features);
        let entry: Value = serde_json::from_str(&entry).unwrap();
        let state = &entry["info"]["features"]["observation.state"];
        assert_eq!((key, &state["length"]), ("huggingface", &json!(2)));
    }
}

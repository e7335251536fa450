//! The frame tables: one row a frame, all columns but the videos.

use std::path::Path;
use std::sync::Arc;

use armilla_core::features::{DataType as FeatureType, Feature, Features};
use arrow::array::{Array as _, ArrayRef, Float32Array, Int64Array, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use serde_json::{Map, Value, json};

use crate::column::{Column, Columns};
use crate::error::{Error, Result};
use crate::nesting::{elements, is_even, nested, nested_type};
use crate::pictures;
use crate::table::{Entry, schema};
use crate::types::{AUTOMATIC, automatic_type, element_type, table_features};

/// An episode's columns before they become a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct EpisodeColumns {
    /// Frames.
    pub(crate) length: usize,
    /// Values by feature.
    pub(crate) columns: Columns,
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

/// The axes of a feature's cells; a picture is one value.
fn cell_shape(feature: &Feature) -> &[usize] {
    match feature.data_type {
        FeatureType::Image => &[1],
        _ => &feature.shape,
    }
}

/// The columns' types.
pub(crate) fn table_schema(features: &Features) -> SchemaRef {
    let mut fields = Vec::new();
    for (key, feature) in table_features(features) {
        let value = element_type(feature.data_type);
        fields.push((key.to_owned(), nested_type(value, cell_shape(feature))));
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
    let mut entries = Map::new();
    for (key, feature) in table_features(features) {
        entries.insert(key.to_owned(), huggingface_feature(feature));
    }
    for key in AUTOMATIC {
        let entry = json!({"dtype": automatic_type(key), "_type": "Value"});
        entries.insert(key.to_owned(), entry);
    }
    let entry = json!({"info": {"features": Value::Object(entries)}});
    ("huggingface", entry.to_string())
}

fn huggingface_feature(feature: &Feature) -> Value {
    let dtype = feature.data_type.name();
    let value = json!({"dtype": dtype, "_type": "Value"});
    match cell_shape(feature) {
        _ if feature.data_type == FeatureType::Image => json!({"_type": "Image"}),
        [] | [1] => value,
        [width] => json!({"feature": value, "length": width, "_type": "List"}),
        shape => {
            json!({"shape": shape, "dtype": dtype, "_type": format!("Array{}D", shape.len())})
        }
    }
}

/// An episode's rows.
pub(crate) fn episode_batch(
    path: &Path,
    features: &Features,
    columns: &EpisodeColumns,
    place: &EpisodePlace<'_>,
) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (key, feature) in table_features(features) {
        let column = columns.columns.get(key).cloned();
        let column = column.unwrap_or_else(|| Column::empty(feature.data_type));
        let name = format!("{key}` of episode `{}", place.episode_index);
        column.check(&name, feature, columns.length)?;
        arrays.push(nested(column.0, cell_shape(feature))?);
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

/// A feature's values in some rows of a table, however they are nested and however wide they are kept.
pub(crate) fn read_column(
    path: &Path,
    key: &str,
    feature: &Feature,
    array: &ArrayRef,
) -> Result<Column> {
    let wrong = |problem: String| Error::file(path, format!("column `{key}`: {problem}"));
    if !is_even(array) {
        let problem = format!("the rows are not all of shape {:?}", feature.shape);
        return Err(wrong(problem));
    }
    let values = elements(array);
    let values = match feature.data_type {
        FeatureType::Image => pictures::normalized(&values).map_err(wrong)?,
        _ => converted(feature, &values).map_err(wrong)?,
    };
    let column = Column(values);
    column
        .check(key, feature, array.len())
        .map_err(|error| Error::file(path, error))?;
    Ok(column)
}

/// Values of the type that a feature declares, if they are of its kind; none may change.
fn converted(feature: &Feature, values: &ArrayRef) -> std::result::Result<ArrayRef, String> {
    let (found, wanted) = (values.data_type(), element_type(feature.data_type));
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8);
    let same_kind = *found == wanted
        || (found.is_integer() && wanted.is_integer())
        || (found.is_floating() && wanted.is_floating())
        || (is_text(found) && is_text(&wanted));
    if !same_kind {
        let declared = feature.data_type.name();
        return Err(format!("expected {declared}, as declared, found {found}"));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    if values.null_count() > 0 {
        return Err(format!("{} values are missing", values.null_count()));
    }
    cast_with_options(values, &wanted, &options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_lerobots() {
        let mut features = Features::robot(
            ("top", Feature::camera(16, 16)),
            Feature::vector(&["x", "y"]),
            Feature::vector(&["dx"]),
        );
        let mut grid = Feature::vector(&["a", "b", "c"]);
        grid.shape = vec![2, 3];
        features.0.insert("grid".to_owned(), grid);
        let schema = table_schema(&features);
        let names: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(
            names,
            [&["action", "grid", "observation.state"][..], &AUTOMATIC].concat()
        );
        assert_eq!(*schema.field(0).data_type(), DataType::Float32);
        let (key, entry) = huggingface_entry(&features);
        let entry: Value = serde_json::from_str(&entry).unwrap();
        let found = &entry["info"]["features"];
        assert_eq!(
            (key, &found["observation.state"]["length"]),
            ("huggingface", &json!(2))
        );
        assert_eq!(found["grid"]["_type"], "Array2D");
    }

    #[test]
    fn columns_come_back_or_are_named() {
        let (path, mut feature) = (Path::new("a.parquet"), Feature::vector(&["x"]));
        feature.shape = vec![2, 3];
        let column = Column::from((0..12_u8).map(f32::from).collect::<Vec<_>>());
        let rows = nested(Arc::clone(&column.0), &feature.shape).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(read_column(path, "grid", &feature, &rows).unwrap(), column);
        // Kept wider than declared.
        let wide = Column::from((0..12_u8).map(f64::from).collect::<Vec<_>>());
        let rows = nested(wide.0, &feature.shape).unwrap();
        assert_eq!(read_column(path, "grid", &feature, &rows).unwrap(), column);
        feature.data_type = FeatureType::Int64;
        let error = read_column(path, "grid", &feature, &rows).unwrap_err();
        assert!(error.to_string().contains("int64"), "{error}");
        feature.data_type = FeatureType::Float64;
        feature.shape = vec![5];
        let error = read_column(path, "grid", &feature, &rows).unwrap_err();
        assert!(error.to_string().contains("5 values"), "{error}");
    }
}

//! The types of features: what Arrow keeps them as, and what is kept where.

use std::sync::Arc;

use armilla_core::features::{DataType as FeatureType, Feature, Features};
use arrow::datatypes::{DataType, Field, Fields};

/// Features that every dataset has besides its own, in LeRobot's order.
pub const AUTOMATIC: [&str; 5] = [
    "timestamp",
    "frame_index",
    "episode_index",
    "index",
    "task_index",
];

/// LeRobot's name of an automatic feature's type.
pub(crate) fn automatic_type(key: &str) -> &'static str {
    if key == "timestamp" {
        "float32"
    } else {
        "int64"
    }
}

/// The features that are kept as video, by key.
pub(crate) fn videos(features: &Features) -> impl Iterator<Item = (&str, &Feature)> {
    of_kind(features, |data_type| data_type == FeatureType::Video)
}

/// The features that have a column in the frame tables, by key.
pub(crate) fn table_features(features: &Features) -> impl Iterator<Item = (&str, &Feature)> {
    of_kind(features, |data_type| data_type != FeatureType::Video)
}

fn of_kind(
    features: &Features,
    is_wanted: impl Fn(FeatureType) -> bool,
) -> impl Iterator<Item = (&str, &Feature)> {
    let features = features.0.iter();
    features
        .filter(move |(_, feature)| is_wanted(feature.data_type))
        .map(|(key, feature)| (key.as_str(), feature))
}

/// Whether a feature has statistics: numbers and pictures do, text does not.
pub(crate) fn is_counted(feature: &Feature) -> bool {
    feature.data_type != FeatureType::String
}

/// Values that share one set of statistics, as LeRobot counts them: a frame's last axis.
pub(crate) fn statistics_width(feature: &Feature) -> usize {
    feature.shape.last().copied().unwrap_or(1)
}

/// What Arrow keeps one value as; pictures are encoded files with a name, as the Python package `datasets` has them.
pub(crate) fn element_type(data_type: FeatureType) -> DataType {
    match data_type {
        FeatureType::Float32 => DataType::Float32,
        FeatureType::Float64 => DataType::Float64,
        FeatureType::Int64 => DataType::Int64,
        FeatureType::Int32 => DataType::Int32,
        FeatureType::Int16 => DataType::Int16,
        FeatureType::Int8 => DataType::Int8,
        FeatureType::UInt64 => DataType::UInt64,
        FeatureType::UInt32 => DataType::UInt32,
        FeatureType::UInt16 => DataType::UInt16,
        FeatureType::UInt8 => DataType::UInt8,
        FeatureType::Bool => DataType::Boolean,
        FeatureType::String => DataType::Utf8,
        FeatureType::Video | FeatureType::Image => DataType::Struct(picture_fields()),
    }
}

/// The fields of a picture in a table.
pub(crate) fn picture_fields() -> Fields {
    Fields::from(vec![
        Arc::new(Field::new("bytes", DataType::Binary, true)),
        Arc::new(Field::new("path", DataType::Utf8, true)),
    ])
}

//! Statistics of episodes and datasets, and `meta/stats.json`.
//!
//! Numbers are counted exactly, along a frame's last axis, as LeRobot counts them; values that are not finite are left
//! out. Pictures are counted by a histogram of their bytes, every frame of them, thinned to
//! about 150 pixels a side as LeRobot thins them. Over a dataset, a picture's quantiles are the mean of its episodes'
//! quantiles, weighted by their frames, as LeRobot has it; all else is exact.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_core::features::Feature;
use armilla_core::{FeatureStatistics, Image, Statistics};
use serde_json::{Map, Value, json};

use crate::column::Column;
use crate::error::{Error, Result};
use crate::layout::{STATS, replace_file};
use crate::pictures::decode_at;

/// The statistics that are kept of a feature, besides the count.
pub(crate) const NAMES: [&str; 9] = [
    "min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99",
];

/// Reads one statistic by its name.
pub(crate) fn get<'a>(statistics: &'a FeatureStatistics, name: &str) -> &'a Vec<f64> {
    match name {
        "min" => &statistics.min,
        "max" => &statistics.max,
        "mean" => &statistics.mean,
        "std" => &statistics.std,
        "q01" => &statistics.q01,
        "q10" => &statistics.q10,
        "q50" => &statistics.q50,
        "q90" => &statistics.q90,
        _ => &statistics.q99,
    }
}

/// Gives one statistic to be set, by its name.
pub(crate) fn get_mut<'a>(
    statistics: &'a mut FeatureStatistics,
    name: &str,
) -> Option<&'a mut Vec<f64>> {
    Some(match name {
        "min" => &mut statistics.min,
        "max" => &mut statistics.max,
        "mean" => &mut statistics.mean,
        "std" => &mut statistics.std,
        "q01" => &mut statistics.q01,
        "q10" => &mut statistics.q10,
        "q50" => &mut statistics.q50,
        "q90" => &mut statistics.q90,
        "q99" => &mut statistics.q99,
        _ => return None,
    })
}

/// Whether a feature's statistics are kept per channel, `[3, 1, 1]`.
pub(crate) fn is_picture(feature: Option<&Feature>) -> bool {
    feature.is_some_and(|feature| feature.data_type.is_picture())
}

/// Exact statistics of numbers, `width` of which share an element; `frames` is what they are counted as.
pub(crate) fn of_numbers(values: &[f64], width: usize, frames: usize) -> Result<FeatureStatistics> {
    let rows: Vec<Vec<f64>> = values
        .chunks_exact(width.max(1))
        .map(<[f64]>::to_vec)
        .collect();
    let mut statistics = FeatureStatistics::of_rows(&rows, width)?;
    statistics.count = frames as u64;
    Ok(statistics)
}

/// The statistics of a column of pictures, kept one by one.
pub(crate) fn of_pictures(column: &Column) -> Result<Option<FeatureStatistics>> {
    let mut counter = PictureCounter::new();
    for frame in 0..column.len() {
        counter.add(&decode_at(&column.0, frame)?);
    }
    Ok(counter.finish())
}

/// Counts a camera's bytes, channel by channel.
#[derive(Clone)]
pub(crate) struct PictureCounter {
    counts: Vec<[u64; 256]>,
    frames: u64,
}

impl PictureCounter {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![[0; 256]; 3],
            frames: 0,
        }
    }

    /// Counts a picture, thinned as LeRobot thins large ones.
    pub(crate) fn add(&mut self, image: &Image) {
        let larger = image.height().max(image.width());
        let stride = if larger < 300 { 1 } else { larger / 150 };
        let (row_bytes, [red, green, blue]) = (image.width() * 3, self.split());
        for row in image.data().chunks_exact(row_bytes).step_by(stride) {
            for pixel in row.chunks_exact(3).step_by(stride) {
                red[pixel[0] as usize] += 1;
                green[pixel[1] as usize] += 1;
                blue[pixel[2] as usize] += 1;
            }
        }
        self.frames += 1;
    }

    fn split(&mut self) -> [&mut [u64; 256]; 3] {
        let (first, rest) = self.counts.split_at_mut(1);
        let (second, third) = rest.split_at_mut(1);
        [&mut first[0], &mut second[0], &mut third[0]]
    }

    /// The statistics of what was counted, in [0, 1]; none if nothing was.
    pub(crate) fn finish(&self) -> Option<FeatureStatistics> {
        let mut statistics = FeatureStatistics {
            count: self.frames,
            ..FeatureStatistics::default()
        };
        for counts in &self.counts {
            let total: u64 = counts.iter().sum();
            let pick = |share: f64| byte_at(counts, share * total.checked_sub(1)? as f64);
            let sum = |f: &dyn Fn(f64) -> f64| {
                counts
                    .iter()
                    .enumerate()
                    .map(|(byte, &count)| f(byte as f64 / 255.0) * count as f64)
                    .sum::<f64>()
            };
            let mean = sum(&|value| value) / total as f64;
            let variance = sum(&|value| (value - mean).powi(2)) / total as f64;
            statistics.mean.push(mean);
            statistics.std.push(variance.sqrt());
            statistics.min.push(pick(0.0)?);
            statistics.q01.push(pick(0.01)?);
            statistics.q10.push(pick(0.10)?);
            statistics.q50.push(pick(0.50)?);
            statistics.q90.push(pick(0.90)?);
            statistics.q99.push(pick(0.99)?);
            statistics.max.push(pick(1.0)?);
        }
        Some(statistics)
    }
}

/// The value at a position of the sorted bytes, interpolated, in [0, 1].
fn byte_at(counts: &[u64; 256], position: f64) -> Option<f64> {
    let at = |index: u64| {
        let mut seen = 0;
        counts.iter().position(|&count| {
            seen += count;
            seen > index
        })
    };
    let (below, above) = (at(position.floor() as u64)?, at(position.ceil() as u64)?);
    Some((below as f64 + (above as f64 - below as f64) * position.fract()) / 255.0)
}

/// The statistics of several datasets together, of the features that all of them have alike.
pub(crate) fn merge_all<'a>(datasets: impl Iterator<Item = &'a Statistics> + Clone) -> Statistics {
    let keys = datasets
        .clone()
        .next()
        .into_iter()
        .flat_map(|first| first.keys());
    let of = |key: &String| {
        let parts: Option<Vec<_>> = datasets
            .clone()
            .map(|statistics| statistics.get(key))
            .collect();
        merge(parts?.into_iter()).map(|joined| (key.clone(), joined))
    };
    keys.filter_map(of).collect()
}

/// Joins episodes' statistics of one feature: count, mean, deviation and ends exactly, quantiles by weighted mean.
pub(crate) fn merge<'a>(
    parts: impl Iterator<Item = &'a FeatureStatistics> + Clone,
) -> Option<FeatureStatistics> {
    let first = parts.clone().next()?;
    let total: f64 = parts.clone().map(|part| part.count as f64).sum();
    let width = first.mean.len();
    let known = |name: &str| parts.clone().all(|part| get(part, name).len() == width);
    if total == 0.0 || !["min", "max", "mean", "std"].iter().all(|name| known(name)) {
        return None;
    }
    // Datasets of older versions have no quantiles.
    let quantiles = ["q01", "q10", "q50", "q90", "q99"];
    let quantiles: Vec<_> = quantiles.into_iter().filter(|name| known(name)).collect();
    let mean_of = |name: &str, element: usize| {
        parts
            .clone()
            .map(|part| get(part, name)[element] * part.count as f64)
            .sum::<f64>()
            / total
    };
    let mut result = FeatureStatistics {
        count: total as u64,
        ..FeatureStatistics::default()
    };
    for element in 0..width {
        let mean = mean_of("mean", element);
        let variance = parts
            .clone()
            .map(|part| {
                let offset = part.mean[element] - mean;
                (part.std[element].powi(2) + offset * offset) * part.count as f64
            })
            .sum::<f64>()
            / total;
        result.mean.push(mean);
        result.std.push(variance.sqrt());
        let ends = |name| parts.clone().map(move |part| get(part, name)[element]);
        result.min.push(ends("min").fold(f64::INFINITY, f64::min));
        result
            .max
            .push(ends("max").fold(f64::NEG_INFINITY, f64::max));
        for &name in &quantiles {
            if let Some(values) = get_mut(&mut result, name) {
                values.push(mean_of(name, element));
            }
        }
    }
    Some(result)
}

/// Writes `meta/stats.json`; `is_picture` says which features are shaped `[3, 1, 1]`.
pub(crate) fn write(
    root: &Path,
    statistics: &Statistics,
    is_picture: impl Fn(&str) -> bool,
) -> Result<()> {
    let mut file = Map::new();
    for (key, feature) in statistics {
        let mut entry = Map::new();
        for name in NAMES {
            let values = get(feature, name);
            if values.is_empty() {
                continue;
            }
            let value = if is_picture(key) {
                values.iter().map(|value| json!([[value]])).collect()
            } else {
                json!(values)
            };
            entry.insert(name.to_owned(), value);
        }
        entry.insert("count".to_owned(), json!([feature.count]));
        file.insert(key.clone(), Value::Object(entry));
    }
    let path = root.join(STATS);
    let text = serde_json::to_string_pretty(&file).map_err(|error| Error::write(&path, error))?;
    replace_file(&path, text.as_bytes())
}

/// Reads `meta/stats.json`; a dataset without one has no statistics.
pub(crate) fn read(root: &Path) -> Result<Statistics> {
    let path = root.join(STATS);
    if !path.exists() {
        return Ok(Statistics::new());
    }
    parse(&path, crate::json::read(&path)?)
}

/// Statistics by feature, as JSON holds them.
pub(crate) fn parse(path: &Path, value: Value) -> Result<Statistics> {
    let file: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_value(value)
        .map_err(|error| Error::file(path, format!("not statistics: {error}")))?;
    let mut statistics = Statistics::new();
    for (key, entry) in file {
        let mut feature = FeatureStatistics::default();
        for (name, value) in entry {
            let mut values = Vec::new();
            numbers(&value, &mut values);
            if name == "count" {
                feature.count = values.first().copied().unwrap_or(0.0) as u64;
            } else if let Some(place) = get_mut(&mut feature, &name) {
                *place = values;
            }
        }
        statistics.insert(key, feature);
    }
    Ok(statistics)
}

/// The numbers in nested lists, in order.
fn numbers(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| numbers(value, found)),
        Value::Null => found.push(f64::NAN),
        Value::Bool(truth) => found.push(f64::from(u8::from(*truth))),
        _ => found.extend(value.as_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_by_hand() {
        let mut counter = PictureCounter::new();
        assert!(counter.finish().is_none());
        counter.add(&Image::new(1, 2, vec![0, 255, 51, 255, 255, 51]).unwrap());
        counter.add(&Image::filled(1, 2, [255, 0, 51]));
        let found = counter.finish().unwrap();
        assert_eq!((found.count, found.min[0], found.max[0]), (2, 0.0, 1.0));
        assert_eq!((found.mean[0], found.mean[1]), (0.75, 0.5));
        assert!((found.std[0] - 0.1875_f64.sqrt()).abs() < 1e-12);
        // Sorted greens are 0 0 255 255: numpy's median lies half way.
        assert_eq!((found.q50[1], found.q10[2]), (0.5, 0.2));
    }

    #[test]
    fn parts_join_to_the_whole() {
        let rows: Vec<_> = (0..10).map(|i| vec![f64::from(i * i)]).collect();
        let whole = FeatureStatistics::of_rows(&rows, 1).unwrap();
        let parts =
            [&rows[..3], &rows[3..]].map(|part| FeatureStatistics::of_rows(part, 1).unwrap());
        let joined = merge(parts.iter()).unwrap();
        assert_eq!((joined.count, joined.max[0]), (whole.count, whole.max[0]));
        assert!((joined.mean[0] - whole.mean[0]).abs() < 1e-9);
        assert!((joined.std[0] - whole.std[0]).abs() < 1e-9);
    }

    #[test]
    fn there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut counter = PictureCounter::new();
        counter.add(&Image::filled(2, 2, [1, 2, 3]));
        let statistics = Statistics::from([
            ("camera".to_owned(), counter.finish().unwrap()),
            (
                "state".to_owned(),
                FeatureStatistics::of_rows(&[vec![0.1, 2.0]], 2).unwrap(),
            ),
        ]);
        write(folder.path(), &statistics, |key| key == "camera").unwrap();
        let found = read(folder.path()).unwrap();
        assert_eq!(found["state"], statistics["state"]);
        for (name, value) in NAMES.iter().flat_map(|name| [(name, 0), (name, 2)]) {
            let values = [&found, &statistics].map(|s| get(&s["camera"], name)[value]);
            // The last digit may be lost on the way through JSON.
            assert!((values[0] - values[1]).abs() < 1e-15, "{name} {values:?}");
        }
        let text = std::fs::read_to_string(folder.path().join(STATS)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["camera"]["mean"][2][0][0].is_f64(), "{text}");
    }
}

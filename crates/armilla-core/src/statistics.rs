//! Per-feature statistics, and the scaling they define.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// How a feature is brought into a model's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalization {
    /// Left as it is.
    #[default]
    Identity,
    /// `(x - mean) / (std + 1e-8)`; back by `x * std + mean`, as LeRobot does it.
    MeanStd,
    /// min and max to -1 and 1.
    MinMax,
}

/// Statistics of one feature, one value per element (per channel for pictures, in [0, 1]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureStatistics {
    /// Smallest value.
    pub min: Vec<f64>,
    /// Largest value.
    pub max: Vec<f64>,
    /// Mean.
    pub mean: Vec<f64>,
    /// Standard deviation over the whole population (divided by the count).
    pub std: Vec<f64>,
    /// Number of frames that were looked at.
    pub count: u64,
    /// 1 % quantile.
    pub q01: Vec<f64>,
    /// 10 % quantile.
    pub q10: Vec<f64>,
    /// Median.
    pub q50: Vec<f64>,
    /// 90 % quantile.
    pub q90: Vec<f64>,
    /// 99 % quantile.
    pub q99: Vec<f64>,
}

/// Statistics by feature key.
pub type Statistics = BTreeMap<String, FeatureStatistics>;

const EPSILON: f64 = 1e-8;

impl FeatureStatistics {
    /// Exact statistics of `rows`, each one frame of `width` values. Quantiles interpolate linearly. Values that are not
    /// finite are left out; an element that has no other is all zero.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no row or a row has another width.
    pub fn of_rows(rows: &[Vec<f64>], width: usize) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::invalid("statistics", "at least one frame", "none"));
        }
        let mut result = Self {
            count: rows.len() as u64,
            ..Self::default()
        };
        for element in 0..width {
            let mut column = Vec::with_capacity(rows.len());
            for row in rows {
                let value = row
                    .get(element)
                    .filter(|_| row.len() == width)
                    .ok_or_else(|| {
                        Error::invalid("statistics", format!("{width} values a frame"), row.len())
                    })?;
                column.push(*value);
            }
            result.push_column(column);
        }
        Ok(result)
    }

    /// Adds one element's statistics.
    fn push_column(&mut self, mut column: Vec<f64>) {
        column.retain(|value| value.is_finite());
        if column.is_empty() {
            column.push(0.0);
        }
        let count = column.len() as f64;
        let mean = column.iter().sum::<f64>() / count;
        let variance = column
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / count;
        column.sort_by(f64::total_cmp);
        self.min.push(column[0]);
        self.max.push(column[column.len() - 1]);
        self.mean.push(mean);
        self.std.push(variance.sqrt());
        self.q01.push(quantile(&column, 0.01));
        self.q10.push(quantile(&column, 0.10));
        self.q50.push(quantile(&column, 0.50));
        self.q90.push(quantile(&column, 0.90));
        self.q99.push(quantile(&column, 0.99));
    }

    /// Brings values into the model's range, in place. Longer slices are taken row by row.
    pub fn normalize(&self, mode: Normalization, values: &mut [f32]) {
        self.apply(mode, values, |value, low, span| {
            (value - low) / (span + EPSILON)
        });
    }

    /// The way back from [`Self::normalize`].
    pub fn unnormalize(&self, mode: Normalization, values: &mut [f32]) {
        self.apply(mode, values, |value, low, span| value * span + low);
    }

    /// Applies `f(value, offset, scale)` with the offset and scale of each element.
    fn apply(&self, mode: Normalization, values: &mut [f32], f: impl Fn(f64, f64, f64) -> f64) {
        let width = self.mean.len().max(1);
        for (index, value) in values.iter_mut().enumerate() {
            let element = index % width;
            let (offset, scale) = match mode {
                Normalization::Identity => return,
                Normalization::MeanStd => (self.mean[element], self.std[element]),
                Normalization::MinMax => {
                    let half = (self.max[element] - self.min[element]) / 2.0;
                    (self.min[element] + half, half)
                }
            };
            *value = f(f64::from(*value), offset, scale) as f32;
        }
    }
}

/// Linear interpolation between order statistics, as numpy's default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, fraction) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> FeatureStatistics {
        let rows: Vec<_> = (0..5)
            .map(|i| vec![f64::from(i), 10.0 * f64::from(i)])
            .collect();
        FeatureStatistics::of_rows(&rows, 2).unwrap()
    }

    #[test]
    fn values_by_hand() {
        let statistics = example();
        assert_eq!(statistics.mean, [2.0, 20.0]);
        assert!((statistics.std[0] - 2.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(
            (statistics.min[1], statistics.max[1], statistics.count),
            (0.0, 40.0, 5)
        );
        assert!((statistics.q10[0] - 0.4).abs() < 1e-12);
    }

    #[test]
    fn there_and_back() {
        for mode in [
            Normalization::Identity,
            Normalization::MeanStd,
            Normalization::MinMax,
        ] {
            let mut values = [0.5, 33.0, 4.0, 0.0];
            example().normalize(mode, &mut values);
            example().unnormalize(mode, &mut values);
            for (value, expected) in values.iter().zip([0.5, 33.0, 4.0, 0.0]) {
                assert!(
                    (value - expected).abs() < 1e-4,
                    "{mode:?} {value} {expected}"
                );
            }
        }
    }

    #[test]
    fn min_max_reaches_the_ends() {
        let mut values = [0.0, 40.0];
        example().normalize(Normalization::MinMax, &mut values);
        assert!((values[0] + 1.0).abs() < 1e-6 && (values[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let rows = [
            vec![1.0, f64::NAN],
            vec![f64::NAN, f64::NAN],
            vec![3.0, f64::INFINITY],
        ];
        let found = FeatureStatistics::of_rows(&rows, 2).unwrap();
        assert_eq!((found.mean.as_slice(), found.count), (&[2.0, 0.0][..], 3));
        assert_eq!((found.max[0], found.std[1]), (3.0, 0.0));
    }

    #[test]
    fn a_ragged_row_is_refused() {
        let error = FeatureStatistics::of_rows(&[vec![1.0]], 2)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("2 values a frame") && error.contains("found 1"),
            "{error}"
        );
    }
}

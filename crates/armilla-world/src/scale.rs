//! The units of actions and of proprioception.

use armilla_core::{FeatureStatistics, Normalization};

use crate::error::{Result, ensure};

/// Units of actions: what the model divides by, and within which a planner searches. One value an element of an action.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionScale {
    /// Mean in the recordings.
    pub mean: Vec<f32>,
    /// Standard deviation in the recordings.
    pub std: Vec<f32>,
    /// Smallest value a planner may try.
    pub low: Vec<f32>,
    /// Largest value a planner may try.
    pub high: Vec<f32>,
}

impl ActionScale {
    /// Takes mean and deviation, and the extremes as bounds.
    #[must_use]
    pub fn from_statistics(statistics: &FeatureStatistics) -> Self {
        let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Self {
            mean: narrow(&statistics.mean),
            std: narrow(&statistics.std),
            low: narrow(&statistics.min),
            high: narrow(&statistics.max),
        }
    }

    /// Checks widths, finiteness and order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid).
    pub fn validate(&self, width: usize) -> Result<()> {
        for (key, values) in [
            ("action mean", &self.mean),
            ("action std", &self.std),
            ("action low", &self.low),
            ("action high", &self.high),
        ] {
            finite(key, values, width)?;
        }
        let ordered = self
            .low
            .iter()
            .zip(&self.high)
            .all(|(low, high)| low <= high);
        let found = format!("{:?} and {:?}", self.low, self.high);
        ensure(ordered, "action bounds", "low at most high", found)
    }

    /// Brings actions, one after the other, into the model's range.
    pub fn normalize(&self, actions: &mut [f32]) {
        normalize(&self.mean, &self.std, actions);
    }
}

/// Units of proprioception: what the model divides by. One value an element of the state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateScale {
    /// Mean in the recordings.
    pub mean: Vec<f32>,
    /// Standard deviation in the recordings.
    pub std: Vec<f32>,
}

impl StateScale {
    /// Takes mean and deviation.
    #[must_use]
    pub fn from_statistics(statistics: &FeatureStatistics) -> Self {
        let ActionScale { mean, std, .. } = ActionScale::from_statistics(statistics);
        Self { mean, std }
    }

    /// Checks widths and finiteness.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid).
    pub fn validate(&self, width: usize) -> Result<()> {
        finite("state mean", &self.mean, width)?;
        finite("state std", &self.std, width)
    }

    /// Brings states, one after the other, into the model's range.
    pub fn normalize(&self, states: &mut [f32]) {
        normalize(&self.mean, &self.std, states);
    }
}

fn finite(key: &str, values: &[f32], width: usize) -> Result<()> {
    let holds = values.len() == width && values.iter().all(|value| value.is_finite());
    let expected = format!("{width} finite numbers");
    ensure(holds, key, expected, format!("{values:?}"))
}

fn normalize(mean: &[f32], std: &[f32], values: &mut [f32]) {
    if mean.is_empty() {
        return;
    }
    let widen = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    let statistics = FeatureStatistics {
        mean: widen(mean),
        std: widen(std),
        ..FeatureStatistics::default()
    };
    statistics.normalize(Normalization::MeanStd, values);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_become_a_scale() {
        let rows = [vec![-1.0, 0.0], vec![1.0, 4.0]];
        let statistics = FeatureStatistics::of_rows(&rows, 2).unwrap();
        let scale = ActionScale::from_statistics(&statistics);
        assert_eq!((scale.low[0], scale.high[1]), (-1.0, 4.0));
        let mut actions = [1.0, 2.0, -1.0, 4.0];
        scale.normalize(&mut actions);
        assert_eq!(actions, [1.0, 0.0, -1.0, 1.0]);
        assert!(scale.validate(2).is_ok());
        let error = scale.validate(3).unwrap_err().to_string();
        assert!(error.contains("3 finite numbers"), "{error}");
        let turned = ActionScale {
            low: vec![2.0, 5.0],
            ..scale
        };
        let error = turned.validate(2).unwrap_err().to_string();
        assert!(error.contains("low at most high"), "{error}");
    }
}

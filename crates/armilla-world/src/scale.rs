//! The units of actions and of proprioception.

use armilla_core::{FeatureStatistics, Normalization};

use crate::error::{Result, ensure};

/// What normalisation adds to a deviation: a value that spreads no further did not move.
const EPSILON: f32 = 1e-8;

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

    /// Brings actions, one after the other, into the model's range. A value that never moved in the recordings becomes 0.
    pub fn normalize(&self, actions: &mut [f32]) {
        normalize(&self.mean, &self.std, actions);
    }

    /// The same with other bounds, but for a value that never moved in the recordings: it stays where it was, as far as they allow it.
    /// What else would do is nothing that a model can know.
    ///
    /// # Errors
    ///
    /// As [`Self::validate`], for as many values as the bounds have.
    pub(crate) fn within(&self, low: &[f32], high: &[f32]) -> Result<Self> {
        let mut within = Self {
            low: low.to_vec(),
            high: high.to_vec(),
            ..self.clone()
        };
        within.validate(low.len())?;
        for at in (0..low.len()).filter(|&at| self.is_still(at)) {
            // A mean may be rounded, as the deviation of what is always the same.
            let was = if self.low[at] == self.high[at] {
                self.low[at]
            } else {
                self.mean[at]
            };
            let held = was.clamp(low[at], high[at]);
            (within.low[at], within.high[at]) = (held, held);
            (within.mean[at], within.std[at]) = (held, 0.0);
        }
        Ok(within)
    }

    /// Whether a value never moved in the recordings. Their extremes tell it where a deviation was rounded.
    #[must_use]
    pub fn is_still(&self, at: usize) -> bool {
        self.low[at] >= self.high[at] || self.std[at] <= EPSILON
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

    /// Brings states, one after the other, into the model's range. A value that never moved in the recordings becomes 0.
    pub fn normalize(&self, states: &mut [f32]) {
        normalize(&self.mean, &self.std, states);
    }
}

fn finite(key: &str, values: &[f32], width: usize) -> Result<()> {
    let holds = values.len() == width && values.iter().all(|value| value.is_finite());
    let expected = format!("{width} finite numbers");
    ensure(holds, key, expected, format!("{values:?}"))
}

/// What distances from the mean are divided by. Of a value that never moved any distance is unknown to the model: over infinity it is 0,
/// where over next to nothing it would drown all other values.
pub(crate) fn divisors(std: &[f32]) -> Vec<f32> {
    let divisor = |&std: &f32| if std > EPSILON { std } else { f32::INFINITY };
    std.iter().map(divisor).collect()
}

fn normalize(mean: &[f32], std: &[f32], values: &mut [f32]) {
    if mean.is_empty() {
        return;
    }
    let widen = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
    let statistics = FeatureStatistics {
        mean: widen(mean),
        std: widen(&divisors(std)),
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

    #[test]
    fn a_value_that_never_moved_says_nothing_and_stays() {
        let scale = ActionScale {
            mean: vec![1.0, 0.25, 0.5, 0.0],
            std: vec![2.0, 0.0, 1e-9, 1e-3],
            low: vec![-1.0, 0.25, 0.4, 0.0],
            high: vec![3.0, 0.25, 0.6, 0.0],
        };
        let mut actions = [3.0, 0.75, -7.0, 1e-3];
        scale.normalize(&mut actions);
        assert_eq!(actions[..3], [1.0, 0.0, 0.0]);
        let mut states = [0.75];
        let still = StateScale {
            mean: vec![0.25],
            std: vec![0.0],
        };
        still.normalize(&mut states);
        assert_eq!(states, [0.0]);
        let within = scale.within(&[-2.0, -1.0, -1.0, -1.0], &[2.0, 1.0, 0.375, 1.0]);
        let within = within.unwrap();
        assert_eq!(within.low, [-2.0, 0.25, 0.375, 0.0]);
        assert_eq!(within.high, [2.0, 0.25, 0.375, 0.0]);
        assert_eq!(within.mean, [1.0, 0.25, 0.375, 0.0]);
        assert_eq!(within.std, [2.0, 0.0, 0.0, 0.0]);
        let rounded = ActionScale {
            mean: vec![0.3],
            std: vec![1e-7],
            low: vec![0.25],
            high: vec![0.25],
        };
        let held = rounded.within(&[-1.0], &[1.0]).unwrap();
        assert_eq!((held.low[0], held.mean[0], held.std[0]), (0.25, 0.25, 0.0));
        let error = scale.within(&[0.0; 3], &[1.0; 3]).unwrap_err().to_string();
        assert!(error.contains("3 finite numbers"), "{error}");
        let turned = scale.within(&[1.0; 4], &[0.0; 4]).unwrap_err();
        assert!(turned.to_string().contains("low at most high"), "{turned}");
    }
}

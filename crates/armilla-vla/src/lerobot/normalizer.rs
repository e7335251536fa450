//! LeRobot's normalisation, with the quantiles that ours has not.

use std::collections::{BTreeMap, BTreeSet};

use armilla_nn::checkpoint::Weights;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::features::{FeatureKind, Features};
use crate::error::{Error, Result};

/// How a feature is brought into a policy's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Mode {
    /// Left as it is.
    Identity,
    /// `(x - mean) / (std + eps)`; back by `x * std + mean`.
    MeanStd,
    /// min and max to -1 and 1.
    MinMax,
    /// 1 % and 99 % quantile to -1 and 1.
    Quantiles,
    /// 10 % and 90 % quantile to -1 and 1.
    Quantile10,
}

/// A step of a processor, as its file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalizer {
    /// Keeps denominators from zero.
    #[serde(rename = "eps")]
    pub epsilon: f64,
    /// What is normalised.
    pub features: Features,
    /// By which mode; kinds that are not here are left as they are.
    #[serde(rename = "norm_map")]
    pub modes: BTreeMap<FeatureKind, Mode>,
    /// If given, other observations are left as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize_observation_keys: Option<BTreeSet<String>>,
    /// Statistics under `<feature>.<statistic>`; a feature without any is left as it is.
    #[serde(skip)]
    pub statistics: Weights,
}

impl Normalizer {
    /// Brings a feature into the policy's range; its values lie on the last axis, of pictures the channels.
    ///
    /// # Shapes
    ///
    /// - values and output: `[..., feature]`
    ///
    /// # Errors
    ///
    /// [`Error::Core`] when statistics are missing or of another width.
    pub fn normalize<const D: usize>(&self, key: &str, values: Tensor<D>) -> Result<Tensor<D>> {
        Ok(match self.factors(key, &values)? {
            None => values,
            Some(Factors::Spread([mean, std])) => (values - mean) / (std + self.epsilon),
            Some(Factors::Range([low, width])) => (values - low) * 2.0 / width - 1.0,
        })
    }

    /// The way back of [`Self::normalize`].
    ///
    /// # Shapes
    ///
    /// - values and output: `[..., feature]`
    ///
    /// # Errors
    ///
    /// As [`Self::normalize`].
    pub fn unnormalize<const D: usize>(&self, key: &str, values: Tensor<D>) -> Result<Tensor<D>> {
        Ok(match self.factors(key, &values)? {
            None => values,
            Some(Factors::Spread([mean, std])) => values * std + mean,
            Some(Factors::Range([low, width])) => (values + 1.0) / 2.0 * width + low,
        })
    }

    /// The least and the largest value of each element of a feature in the recordings, if its file tells them.
    #[must_use]
    pub fn extremes(&self, key: &str) -> Option<[Vec<f32>; 2]> {
        let read = |statistic| {
            let values = self.statistics.get(&format!("{key}.{statistic}"))?;
            values.try_to_vec::<f32>().ok()
        };
        Some([read("min")?, read("max")?])
    }

    fn factors<const D: usize>(
        &self,
        key: &str,
        values: &Tensor<D>,
    ) -> Result<Option<Factors<Tensor<D>>>> {
        let kind = self.features.kind(key);
        let mode = kind.and_then(|kind| self.modes.get(&kind).copied());
        let chosen = self.normalize_observation_keys.as_ref();
        let left =
            chosen.is_some_and(|chosen| !chosen.contains(key)) && kind != Some(FeatureKind::Action);
        let prefix = format!("{key}.");
        let known = self
            .statistics
            .keys()
            .any(|name| name.starts_with(&prefix) && !name[prefix.len()..].contains('.'));
        let names = match mode {
            _ if left || !known => return Ok(None),
            None | Some(Mode::Identity) => return Ok(None),
            Some(Mode::MeanStd) => ["mean", "std"],
            Some(Mode::MinMax) => ["min", "max"],
            Some(Mode::Quantiles) => ["q01", "q99"],
            Some(Mode::Quantile10) => ["q10", "q90"],
        };
        let [first, second] = names.map(|name| format!("{key}.{name}"));
        let (first, second) = (self.read(&first, values)?, self.read(&second, values)?);
        if mode == Some(Mode::MeanStd) {
            return Ok(Some(Factors::Spread([first, second])));
        }
        let width = second - first.clone();
        let nothing = width.clone().equal_elem(0.0);
        let width = width.mask_fill(nothing, self.epsilon);
        Ok(Some(Factors::Range([first, width])))
    }

    /// A statistic, ready to stand beside values.
    fn read<const D: usize>(&self, name: &str, values: &Tensor<D>) -> Result<Tensor<D>> {
        let width = values.dims()[D - 1];
        let found = self.statistics.get(name);
        let fits = found.filter(|data| data.num_elements() == width);
        let Some(data) = fits else {
            let found = found.map_or("none".to_owned(), |data| {
                format!("{} values", data.num_elements())
            });
            let what = format!("statistic {name}");
            let expected = format!("{width} values");
            return Err(Error::Core(armilla_core::Error::invalid(
                what, expected, found,
            )));
        };
        let mut shape = [1; D];
        shape[D - 1] = width;
        let numbers: Vec<f32> = data.iter::<f32>().collect();
        Ok(Tensor::from_data(
            TensorData::new(numbers, shape),
            &values.device(),
        ))
    }
}

enum Factors<T> {
    /// Mean and deviation.
    Spread([T; 2]),
    /// Lower end and width.
    Range([T; 2]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lerobot::Feature;
    use burn::tensor::Device;

    fn normalizer(mode: Mode) -> Normalizer {
        let feature = Feature {
            kind: FeatureKind::Action,
            shape: vec![2],
        };
        let statistics = [
            ("mean", [1.0f32, 2.0]),
            ("std", [2.0, 4.0]),
            ("min", [0.0, 3.0]),
            ("max", [4.0, 3.0]),
        ];
        let statistics = statistics.map(|(name, row)| (format!("action.{name}"), row.into()));
        Normalizer {
            epsilon: 0.5,
            features: Features(vec![("action".to_owned(), feature)]),
            modes: [(FeatureKind::Action, mode)].into(),
            normalize_observation_keys: None,
            statistics: statistics.into(),
        }
    }

    #[test]
    fn values_by_hand() {
        let row = || Tensor::<2>::from_floats([[3.0, 3.0]], &Device::flex());
        let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
        let spread = normalizer(Mode::MeanStd);
        // 2 / 2.5 and 1 / 4.5; the way back leaves the epsilon out.
        let found = values(spread.normalize("action", row()).unwrap());
        assert!((found[0] - 0.8).abs() < 1e-6 && (found[1] - 1.0 / 4.5).abs() < 1e-6);
        let found = values(spread.unnormalize("action", row()).unwrap());
        assert_eq!(found, [7.0, 14.0]);
        let range = normalizer(Mode::MinMax);
        let found = values(range.normalize("action", row()).unwrap());
        assert_eq!(found, [0.5, -1.0]);
        let found = values(range.unnormalize("action", row()).unwrap());
        assert_eq!(found, [8.0, 4.0]);
        let other = spread.normalize("observation.state", row()).unwrap();
        assert_eq!(values(other), [3.0, 3.0]);
        let error = normalizer(Mode::Quantiles).normalize("action", row());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("action.q01"), "{error}");
    }
}

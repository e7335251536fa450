//! The moving average of weights, which usually evaluates better than the last ones.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_nn::checkpoint::{Weights, weights, with_weights};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::error::{Error, Result};

/// A moving average of every parameter and running statistic, by path.
#[derive(Clone, Debug)]
pub struct Average {
    decay: f64,
    by_path: BTreeMap<String, Tensor<1>>,
}

impl Average {
    /// Starts at the model's weights.
    #[must_use]
    pub fn new<M: Module>(model: &M, decay: f64) -> Self {
        Self {
            decay,
            by_path: flattened(model),
        }
    }

    /// Moves towards the model's weights after a step, counted from 0.
    ///
    /// The decay is `min(decay, (1 + step) / (10 + step))`, so that the average of a short run is not of its random start.
    pub fn update<M: Module>(&mut self, model: &M, step: u64) {
        let decay = self.decay.min((1 + step) as f64 / (10 + step) as f64);
        for (path, value) in flattened(model) {
            let Some(average) = self.by_path.remove(&path) else {
                continue; // Cannot be: the model's paths do not change.
            };
            // In this order what never changes stays as it is, to the bit.
            let moved = (value - average.clone()).mul_scalar(1.0 - decay) + average;
            self.by_path.insert(path, moved);
        }
    }

    /// A copy of the averages, in the shapes of the model's weights.
    #[must_use]
    pub fn state<M: Module>(&self, model: &M) -> Weights {
        let mut state = weights(model);
        for (path, data) in &mut state {
            if let Some(average) = self.by_path.get(path) {
                let (bytes, _, dtype) = average.to_data().into_parts();
                *data = burn::tensor::TensorData::from_bytes(bytes, data.shape().clone(), dtype);
            }
        }
        state
    }

    /// The averages of [`Average::state`]; `origin` is where errors say they came from.
    ///
    /// # Errors
    ///
    /// If they are not exactly the model's.
    pub fn with_state<M: Module>(
        model: &M,
        decay: f64,
        state: Weights,
        origin: &Path,
    ) -> Result<Self> {
        let averaged = with_weights(model.valid(), state, origin).map_err(Error::Weights)?;
        Ok(Self::new(&averaged, decay))
    }
}

fn flattened<M: Module>(model: &M) -> BTreeMap<String, Tensor<1>> {
    let mut flatten = Flatten::default();
    // `valid` also settles running statistics, which otherwise lag behind by one update.
    model.valid().visit(&mut flatten);
    flatten.by_path
}

#[derive(Default)]
struct Flatten {
    path: Vec<String>,
    by_path: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Flatten {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base().flatten(0, D - 1);
        self.by_path.insert(self.path.join("."), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_nn::layers::{Linear, LinearConfig};
    use burn::tensor::{Device, Tolerance};

    fn model(weight: f32) -> Linear {
        let device = Device::flex().autodiff();
        let mut linear = LinearConfig::new(1, 1).with_bias(false).init(&device);
        linear.weight = Param::from_data([[weight]], &device);
        linear
    }

    #[test]
    fn values_by_hand() {
        let mut average = Average::new(&model(1.0), 0.5);
        average.update(&model(2.0), 0); // decay 1/10: 0.1 * 1 + 0.9 * 2
        average.update(&model(4.0), 1); // decay 2/11: 1.9 * 2/11 + 4 * 9/11
        average.update(&model(0.0), 90); // decay 0.5
        let expected = (1.9 * 2.0 + 4.0 * 9.0) / 11.0 / 2.0;
        let state = average.state(&model(0.0));
        state["weight"]
            .assert_approx_eq::<f32>(&[[expected as f32]].into(), Tolerance::absolute(1e-6));
        let restored =
            Average::with_state(&model(0.0), 0.5, state.clone(), Path::new("ema")).unwrap();
        assert_eq!(restored.state(&model(0.0)), state);
    }

    #[test]
    fn what_never_changes_stays_as_it_is() {
        let still = model(0.7);
        let mut average = Average::new(&still, 0.998);
        (0..2000).for_each(|step| average.update(&still, step));
        let expected = Average::new(&still, 0.998).state(&still);
        assert_eq!(average.state(&still), expected);
    }
}

//! AdamW (<https://arxiv.org/abs/1711.05101>) with moments keyed by parameter path.
//!
//! Our own, because burn's keys moments by an id that a safetensors file does not carry, and a restored optimiser silently
//! starts a parameter's moments anew.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_nn::checkpoint::Weights;
use armilla_nn::optimization::{AdamWStep, adamw};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

use crate::config::{TrainConfig, is_below};
use crate::error::{Error, Result};
use crate::gradients::Gradients;

const FIRST: &str = ".first_moment";
const SECOND: &str = ".second_moment";

/// A parameter's moments, flattened.
#[derive(Clone, Debug)]
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
}

/// The optimiser and its moments.
#[derive(Clone, Debug)]
pub struct AdamW {
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// Zero moments for every trainable parameter.
    #[must_use]
    pub fn new<M: Module>(model: &M) -> Self {
        let parameters = parameters(model);
        let zeros = |(path, (count, device)): (String, (usize, Device))| {
            let zeros = Tensor::zeros([count], &device);
            let (first, second) = (zeros.clone(), zeros);
            (path, Moments { first, second })
        };
        Self {
            moments: parameters.into_iter().map(zeros).collect(),
        }
    }

    /// Checks that each path of [`TrainConfig::learning_rate_ratios`] leads to a parameter.
    ///
    /// # Errors
    ///
    /// For the first that leads to none.
    pub fn check_ratios(&self, config: &TrainConfig) -> Result<()> {
        let leads_nowhere = |path: &&String| {
            let mut parameters = self.moments.keys();
            parameters.all(|parameter| !is_below(parameter, path))
        };
        match config.learning_rate_ratios.keys().find(leads_nowhere) {
            None => Ok(()),
            Some(path) => Err(Error::Config {
                key: "learning_rate_ratios",
                expected: "paths of trainable parameters",
                found: path.clone(),
            }),
        }
    }

    /// One step, counted from 0. A parameter without a gradient stays as it is.
    #[must_use]
    pub fn step<M: Module>(
        &mut self,
        model: M,
        gradients: Gradients,
        config: &TrainConfig,
        step: u64,
    ) -> M {
        let count = (step + 1) as f64;
        model.map(&mut Update {
            path: Vec::new(),
            moments: &mut self.moments,
            gradients,
            config,
            learning_rate: config.learning_rate_at(step),
            correction1: 1.0 - config.beta1.powf(count),
            correction2: 1.0 - config.beta2.powf(count),
        })
    }

    /// A copy of all moments, by path and moment.
    #[must_use]
    pub fn state(&self) -> Weights {
        let mut state = Weights::new();
        for (path, moments) in &self.moments {
            state.insert(format!("{path}{FIRST}"), moments.first.to_data());
            state.insert(format!("{path}{SECOND}"), moments.second.to_data());
        }
        state
    }

    /// The optimiser with the moments of [`AdamW::state`]; `origin` is where errors say they came from.
    ///
    /// # Errors
    ///
    /// If a trainable parameter's moments are missing or misshapen, or moments belong to none.
    pub fn with_state<M: Module>(model: &M, mut state: Weights, origin: &Path) -> Result<Self> {
        let mut problems = Vec::new();
        let mut moments = BTreeMap::new();
        for (path, (count, device)) in parameters(model) {
            let mut take = |moment: &str| match state.remove(&format!("{path}{moment}")) {
                Some(data) if data.num_elements() == count => {
                    Some(Tensor::from_data(data, &device))
                }
                Some(data) => {
                    let found = data.num_elements();
                    problems.push(format!(
                        "`{path}{moment}` has {found} values, expected {count}"
                    ));
                    None
                }
                None => {
                    problems.push(format!("`{path}{moment}` is missing"));
                    None
                }
            };
            if let (Some(first), Some(second)) = (take(FIRST), take(SECOND)) {
                moments.insert(path, Moments { first, second });
            }
        }
        problems.extend(
            state
                .keys()
                .map(|key| format!("`{key}` belongs to no trainable parameter")),
        );
        if problems.is_empty() {
            return Ok(Self { moments });
        }
        let path = origin.to_path_buf();
        Err(Error::Mismatch { path, problems })
    }
}

/// How many values each trainable parameter has, and where they live.
fn parameters<M: Module>(model: &M) -> BTreeMap<String, (usize, Device)> {
    let mut sizes = Sizes::default();
    model.visit(&mut sizes);
    sizes.by_path
}

#[derive(Default)]
struct Sizes {
    path: Vec<String>,
    by_path: BTreeMap<String, (usize, Device)>,
}

impl ModuleVisitor for Sizes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        if value.is_require_grad() {
            let entry = (value.dims().iter().product(), value.device().inner());
            self.by_path.insert(self.path.join("."), entry);
        }
    }
}

struct Update<'a> {
    path: Vec<String>,
    moments: &'a mut BTreeMap<String, Moments>,
    gradients: Gradients,
    config: &'a TrainConfig,
    learning_rate: f64,
    correction1: f64,
    correction2: f64,
}

impl Update<'_> {
    /// What the step does to a parameter's values.
    fn step(&self, path: &str, decay: f64) -> AdamWStep {
        let learning_rate = self.learning_rate * self.config.learning_rate_ratio_of(path);
        let TrainConfig {
            beta1,
            beta2,
            epsilon,
            ..
        } = *self.config;
        AdamWStep {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            epsilon: epsilon as f32,
            rate: (learning_rate / self.correction1) as f32,
            root_correction: self.correction2.sqrt() as f32,
            kept: (1.0 - learning_rate * decay) as f32,
        }
    }
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let Some(gradient) = self.gradients.remove(&path) else {
            return param;
        };
        let Some(moments) = self.moments.remove(&path) else {
            return param; // Cannot be: only trainable parameters have gradients.
        };
        let decay = if D > 1 { self.config.weight_decay } else { 0.0 };
        param.map(|value| {
            let shape = value.dims();
            let flat = value.inner().reshape([gradient.dims()[0]]);
            let parameter = [flat, moments.first, moments.second];
            let [value, first, second] = adamw(parameter, gradient, self.step(&path, decay));
            self.moments.insert(path, Moments { first, second });
            Tensor::from_inner(value.reshape(shape)).require_grad()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_nn::layers::{Linear, LinearConfig};
    use burn::tensor::{TensorData, Tolerance};

    fn linear(device: &Device) -> Linear {
        let mut linear = LinearConfig::new(1, 2).init(device);
        linear.weight = Param::from_data([[1.0, -2.0]], device);
        linear.bias = Some(Param::from_data([0.5, 0.5], device));
        linear
    }

    /// A loss that is linear in the parameters, so that its gradients are these factors.
    fn gradients(linear: &Linear, weight: [f32; 2], bias: [f32; 2], device: &Device) -> Gradients {
        let factor = |values: [f32; 2]| Tensor::<1>::from_floats(values, device);
        let loss = (linear.weight.val().reshape([2]) * factor(weight)).sum()
            + (linear.bias.as_ref().unwrap().val() * factor(bias)).sum();
        let mut gradients = Gradients::default();
        gradients.add(linear, loss.backward());
        gradients
    }

    /// Values of `torch.optim.AdamW` 2.x, the bias in a group without decay, the second step at half the rate.
    #[test]
    fn two_steps_agree_with_pytorch() {
        let device = Device::flex().autodiff();
        let config = TrainConfig {
            learning_rate: 0.1,
            warmup_steps: 0,
            steps: 2,
            min_learning_rate_ratio: 0.0,
            weight_decay: 0.1,
            beta2: 0.95,
            ..TrainConfig::default()
        };
        assert_eq!(config.learning_rate_at(1), 0.05);
        let mut model = linear(&device);
        let mut optimizer = AdamW::new(&model);
        let expected = [
            ([[0.89f32, -2.08]], [0.6f32, 0.6]),
            ([[0.913_22, -2.103_532_3]], [0.620_215_4, 0.620_215_4]),
        ];
        let steps = [([0.1, 0.2], [-0.3; 2]), ([-0.4, 0.0], [0.1; 2])];
        for (step, (weight, bias)) in steps.into_iter().enumerate() {
            let gradients = gradients(&model, weight, bias, &device);
            model = optimizer.step(model, gradients, &config, step as u64);
            let close = |found: TensorData, expected: TensorData| {
                found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
            };
            close(model.weight.val().into_data(), expected[step].0.into());
            close(
                model.bias.as_ref().unwrap().val().into_data(),
                expected[step].1.into(),
            );
        }
        let state = optimizer.state();
        let names: Vec<&str> = state.keys().map(String::as_str).collect();
        let expected = [
            "bias.first_moment",
            "bias.second_moment",
            "weight.first_moment",
            "weight.second_moment",
        ];
        assert_eq!(names, expected);
        state["weight.first_moment"]
            .assert_approx_eq::<f32>(&[-0.031f32, 0.018].into(), Tolerance::absolute(1e-6));
    }

    #[test]
    fn a_group_has_a_learning_rate_of_its_own() {
        let device = Device::flex().autodiff();
        let mut config = TrainConfig {
            warmup_steps: 0,
            learning_rate_ratios: [("bias".to_owned(), 0.0), ("weigh".to_owned(), 5.0)].into(),
            ..TrainConfig::default()
        };
        let model = linear(&device);
        let mut optimizer = AdamW::new(&model);
        let error = optimizer.check_ratios(&config).unwrap_err().to_string();
        assert!(
            error.contains("learning_rate_ratios") && error.contains("weigh"),
            "{error}"
        );
        config.learning_rate_ratios.remove("weigh");
        optimizer.check_ratios(&config).unwrap();
        let gradients = gradients(&model, [0.1; 2], [0.1; 2], &device);
        let moved = optimizer.step(model.clone(), gradients, &config, 0);
        let bias = |model: &Linear| model.bias.as_ref().unwrap().val().into_data();
        assert_eq!(bias(&moved), bias(&model));
        assert_ne!(
            moved.weight.val().into_data(),
            model.weight.val().into_data()
        );
    }

    #[test]
    fn the_longest_path_counts() {
        let ratios = [("a", 0.5), ("a.b", 0.1), ("a.bc", 9.0)];
        let config = TrainConfig {
            learning_rate_ratios: ratios.map(|(path, ratio)| (path.to_owned(), ratio)).into(),
            ..TrainConfig::default()
        };
        let found = ["a.b.c", "a.x", "b", "ab"].map(|path| config.learning_rate_ratio_of(path));
        assert_eq!(found, [0.1, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn state_must_fit_the_model() {
        let device = Device::flex().autodiff();
        let model = linear(&device);
        let mut state = AdamW::new(&model).state();
        let origin = Path::new("moments.safetensors");
        assert!(AdamW::with_state(&model, state.clone(), origin).is_ok());
        state.remove("weight.second_moment");
        state.insert("other.first_moment".to_owned(), [0.0f32].into());
        state.insert("bias.first_moment".to_owned(), [0.0f32].into());
        let message = AdamW::with_state(&model, state, origin)
            .unwrap_err()
            .to_string();
        for part in [
            "moments.safetensors",
            "`weight.second_moment` is missing",
            "`bias.first_moment` has 1 values, expected 2",
            "`other.first_moment` belongs to no trainable parameter",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}

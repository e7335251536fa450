//! Walking a module's tensors by path.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

use super::Weights;
use crate::error::{Error, Result};

/// All of a module's float tensors.
pub(super) fn collect<M: Module>(module: &M) -> Weights {
    // `valid` also settles running statistics, which otherwise lag behind by one update.
    let mut collector = Collector::default();
    module.valid().visit(&mut collector);
    collector.weights
}

#[derive(Default)]
struct Collector {
    path: Vec<String>,
    weights: Weights,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.weights
            .insert(self.path.join("."), param.base().into_data());
    }
}

/// What flows back to each of a module's parameters.
pub(super) fn gradients<M: Module>(module: &M, gradients: &Gradients) -> Weights {
    let mut collector = GradientCollector {
        gradients,
        path: Vec::new(),
        found: Weights::new(),
    };
    module.visit(&mut collector);
    collector.found
}

struct GradientCollector<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    found: Weights,
}

impl ModuleVisitor for GradientCollector<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.insert(self.path.join("."), gradient.into_data());
        }
    }
}

/// The shape of each of a module's float tensors, without drawing any.
pub(super) fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    shapes.shapes
}

/// Replaces all of a module's float tensors.
pub(super) fn apply<M: Module>(module: M, weights: Weights, origin: &Path) -> Result<M> {
    let mut shapes = Shapes::default();
    module.visit(&mut shapes);
    let problems = problems(&shapes.shapes, &weights);
    if !problems.is_empty() {
        let path = origin.to_path_buf();
        return Err(Error::Mismatch { path, problems });
    }
    // A module in training holds updates of running statistics that are not settled yet, which would undo what is loaded:
    // its validation copy has none.
    let loaded = module.valid().map(&mut Loader {
        path: Vec::new(),
        weights,
    });
    Ok(if shapes.training {
        loaded.train()
    } else {
        loaded
    })
}

fn problems(expected: &BTreeMap<String, Vec<usize>>, found: &Weights) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, shape) in expected {
        match found.get(name) {
            None => problems.push(format!("`{name}` is missing (expected shape {shape:?})")),
            Some(data) if data.shape().to_vec() != *shape => problems.push(format!(
                "`{name}` has shape {:?}, expected {shape:?}",
                data.shape().to_vec()
            )),
            Some(data) => {
                let values = data.as_slice::<f32>().unwrap_or_default();
                let wrong = values.iter().filter(|value| !value.is_finite()).count();
                if wrong > 0 {
                    problems.push(format!(
                        "`{name}` expected finite numbers, found {wrong} that are none"
                    ));
                }
            }
        }
    }
    for (name, data) in found
        .iter()
        .filter(|(name, _)| !expected.contains_key(*name))
    {
        let shape = data.shape().to_vec();
        problems.push(format!("`{name}` of shape {shape:?} is not in the model"));
    }
    problems
}

#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    shapes: BTreeMap<String, Vec<usize>>,
    training: bool,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.training |= param.lazy_device().is_autodiff();
        self.shapes
            .insert(self.path.join("."), param.lazy_shape().to_vec());
    }
}

struct Loader {
    path: Vec<String>,
    weights: Weights,
}

impl ModuleMapper for Loader {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let data: Option<TensorData> = self.weights.remove(&self.path.join("."));
        let Some(data) = data else {
            return param; // Cannot be: every name was checked.
        };
        let device = param.lazy_device();
        param.map(|_| Tensor::from_data(data, &device))
    }
}

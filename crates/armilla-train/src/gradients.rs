//! Gradients by parameter path: their mean over batches and their global norm.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients as Backward, Tensor};

/// The gradients of all trainable parameters that the loss reaches, each flattened, by path.
#[derive(Debug, Default)]
pub struct Gradients {
    by_path: BTreeMap<String, Tensor<1>>,
}

impl Gradients {
    /// Adds the gradients of one backward pass.
    pub fn add<M: Module>(&mut self, model: &M, backward: Backward) {
        model.visit(&mut Collector {
            path: Vec::new(),
            backward,
            by_path: &mut self.by_path,
        });
    }

    /// Adds the gradients of another batch, of a copy of the same model.
    pub fn merge(&mut self, other: Self) {
        for (path, gradient) in other.by_path {
            let sum = match self.by_path.remove(&path) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.by_path.insert(path, sum);
        }
    }

    /// Leaves those of parameters out that do not learn.
    pub fn keep(&mut self, learns: impl Fn(&str) -> bool) {
        self.by_path.retain(|path, _| learns(path));
    }

    /// Multiplies all gradients.
    pub fn scale(&mut self, factor: f64) {
        // Taken, not shared, so that the backend works in place.
        let taken = std::mem::take(&mut self.by_path).into_iter();
        self.by_path = taken
            .map(|(path, gradient)| (path, gradient.mul_scalar(factor)))
            .collect();
    }

    /// The length of all gradients as one vector, summed in a fixed order.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.squares().iter().sum::<f64>().sqrt()
    }

    /// The path of the first gradient that is not finite.
    #[must_use]
    pub fn first_not_finite(&self) -> Option<&str> {
        let squares = self.squares();
        let index = squares.iter().position(|square| !square.is_finite())?;
        self.by_path.keys().nth(index).map(String::as_str)
    }

    /// Takes the gradient of a path.
    pub fn remove(&mut self, path: &str) -> Option<Tensor<1>> {
        self.by_path.remove(path)
    }

    /// The sum of squares of each gradient, read from the device at once.
    fn squares(&self) -> Vec<f64> {
        let squares: Vec<Tensor<1>> = self
            .by_path
            .values()
            .map(|gradient| (gradient.clone() * gradient.clone()).sum_dim(0))
            .collect();
        if squares.is_empty() {
            return Vec::new();
        }
        Tensor::cat(squares, 0).into_data().iter().collect()
    }
}

struct Collector<'a> {
    path: Vec<String>,
    backward: Backward,
    by_path: &'a mut BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Collector<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.base().grad_remove(&mut self.backward) else {
            return;
        };
        let path = self.path.join(".");
        let gradient = gradient.flatten(0, D - 1);
        let sum = match self.by_path.remove(&path) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.by_path.insert(path, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_nn::layers::{Linear, LinearConfig};
    use burn::tensor::Device;

    fn gradients(linear: &Linear, inputs: &[[f32; 2]], device: &Device) -> Gradients {
        let mut gradients = Gradients::default();
        for input in inputs {
            let output = linear.forward(Tensor::<2>::from_floats([*input], device));
            gradients.add(linear, output.sum().backward());
        }
        gradients
    }

    #[test]
    fn the_norm_spans_all_parameters() {
        let device = Device::flex().autodiff();
        let linear = LinearConfig::new(2, 1).init(&device);
        // The weight's gradient is the input, the bias's 1.
        let mut gradients = gradients(&linear, &[[2.0, 4.0], [2.0, 0.0]], &device);
        assert!((gradients.norm() - 36f64.sqrt()).abs() < 1e-6);
        gradients.scale(0.5);
        assert!((gradients.norm() - 3.0).abs() < 1e-6);
        let weight = gradients.remove("weight").unwrap().into_data();
        weight.assert_eq(&[2.0f32, 2.0].into(), true);
        assert!((gradients.norm() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_first_gradient_not_finite_is_named() {
        let device = Device::flex().autodiff();
        let linear = LinearConfig::new(2, 1).init(&device);
        assert_eq!(
            gradients(&linear, &[[1.0, 1.0]], &device).first_not_finite(),
            None
        );
        let broken = gradients(&linear, &[[1.0, f32::INFINITY]], &device);
        assert_eq!(broken.first_not_finite(), Some("weight"));
    }
}

//! Normalisation of rows by their mean square alone.

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::grouped;
use super::layer_norm::normalized;
use crate::fused;

/// How to build an [`RmsNorm`].
#[derive(Config, Debug)]
pub struct RmsNormConfig {
    /// Features of a row.
    pub width: usize,
    /// Added to the mean square.
    #[config(default = 1e-6)]
    pub epsilon: f64,
}

impl RmsNormConfig {
    /// Builds it; a fresh one scales by 1.
    #[must_use]
    pub fn init(&self, device: &Device) -> RmsNorm {
        RmsNorm {
            gamma: Initializer::Ones.init([self.width], device),
            epsilon: self.epsilon,
        }
    }
}

/// Root-mean-square normalisation (<https://arxiv.org/abs/1910.07467>).
#[derive(Module, Debug)]
pub struct RmsNorm {
    /// The scale, `[width]`.
    pub gamma: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl RmsNorm {
    /// Normalises each row, then scales it.
    ///
    /// # Shapes
    ///
    /// - input and output: `[..., width]`
    #[must_use]
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let scale = self.gamma.val();
        if fused::runs_on(&input.device()) {
            let shift = Tensor::zeros(scale.dims(), &scale.device());
            return normalized(input, [scale, shift], self.epsilon, false);
        }
        let square = input.clone().square().mean_dim(D - 1);
        grouped::scale(input / (square + self.epsilon).sqrt(), scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{TensorData, Tolerance};

    #[test]
    fn rows_by_hand() {
        let device = Device::flex();
        let mut norm = RmsNormConfig::new(2).with_epsilon(0.0).init(&device);
        norm.gamma = Param::from_data(TensorData::from([1.0f32, 10.0]), &device);
        let input = Tensor::<2>::from_floats([[3.0, 4.0], [-1.0, 1.0]], &device);
        // The root of the mean square is 5 / sqrt(2), then 1.
        let expected = [[0.848_528_1f32, 11.313_708], [-1.0, 10.0]];
        norm.forward(input)
            .into_data()
            .assert_approx_eq::<f32>(&expected.into(), Tolerance::absolute(1e-5));
    }
}

//! Normalisation of rows by their own mean and variance.

use armilla_kernels::RowSettings;
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::grouped;

/// How to build a [`LayerNorm`].
#[derive(Config, Debug)]
pub struct LayerNormConfig {
    /// Features of a row.
    pub width: usize,
    /// Added to the variance.
    #[config(default = 1e-5)]
    pub epsilon: f64,
}

impl LayerNormConfig {
    /// Builds it; a fresh one scales by 1 and shifts by 0.
    #[must_use]
    pub fn init(&self, device: &Device) -> LayerNorm {
        LayerNorm {
            gamma: Initializer::Ones.init([self.width], device),
            beta: Initializer::Zeros.init([self.width], device),
            epsilon: self.epsilon,
        }
    }
}

/// Layer normalisation (<https://arxiv.org/abs/1607.06450>).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// The scale, `[width]`.
    pub gamma: Param<Tensor<1>>,
    /// The shift, `[width]`.
    pub beta: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// Normalises each row, then scales and shifts it.
    ///
    /// # Shapes
    ///
    /// - input and output: `[..., width]`
    #[must_use]
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        layer_norm(input, [self.gamma.val(), self.beta.val()], self.epsilon)
    }
}

/// Normalises each row, then scales and shifts it.
///
/// # Shapes
///
/// - input and output: `[..., width]`
/// - scale, shift: `[width]`
#[must_use]
pub fn layer_norm<const D: usize>(
    input: Tensor<D>,
    [scale, shift]: [Tensor<1>; 2],
    epsilon: f64,
) -> Tensor<D> {
    if crate::fused::runs_on(&input.device()) {
        return normalized(input, [scale, shift], epsilon, true);
    }
    let centered = input.clone() - input.mean_dim(D - 1);
    let variance = centered.clone().square().mean_dim(D - 1);
    let rows = centered / (variance + epsilon).sqrt();
    grouped::shift(grouped::scale(rows, scale), shift)
}

/// Normalises rows on the CPU, with or without taking their mean away.
pub(crate) fn normalized<const D: usize>(
    input: Tensor<D>,
    factors: [Tensor<1>; 2],
    epsilon: f64,
    centered: bool,
) -> Tensor<D> {
    let shape = input.dims();
    let rows = shape[..D - 1].iter().product();
    let rows: Tensor<2> = input.reshape([rows, shape[D - 1]]);
    let settings = RowSettings {
        epsilon: epsilon as f32,
        centered,
    };
    armilla_kernels::normalize_rows(rows, factors, settings).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normal;
    use armilla_core::random::stream;
    use burn::tensor::{Tolerance, module};

    #[test]
    fn it_is_burns() {
        let device = Device::flex();
        let draw = |name, shape| normal(&mut stream(0, name, 0), shape, &device);
        let input = normal(&mut stream(0, "input", 0), [2, 3, 20], &device);
        let [scale, shift] = [draw("scale", [20]), draw("shift", [20])];
        let expected = module::layer_norm(input.clone(), scale.clone(), Some(shift.clone()), 1e-5);
        let expected = expected.into_data();
        let found = || layer_norm(input.clone(), [scale.clone(), shift.clone()], 1e-5);
        for found in [found(), crate::fused::plain(found)] {
            let close = Tolerance::absolute(1e-5);
            found.into_data().assert_approx_eq::<f32>(&expected, close);
        }
    }
}

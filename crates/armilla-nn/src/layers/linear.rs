//! Linear layers, with the activation that follows them.

use armilla_kernels::Function;
use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::grouped;
use crate::Activation;
use crate::fused;
use crate::precision::{narrow, widen};

/// How to build a [`Linear`].
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// Features of the input.
    pub input: usize,
    /// Features of the output.
    pub output: usize,
    /// Whether each output has a bias.
    #[config(default = true)]
    pub bias: bool,
    /// Where weights and bias begin. Without it, uniform in `±1 / sqrt(input)`, as in PyTorch.
    pub initializer: Option<Initializer>,
}

impl LinearConfig {
    /// Builds it.
    #[must_use]
    pub fn init(&self, device: &Device) -> Linear {
        let config = burn::nn::LinearConfig::new(self.input, self.output).with_bias(self.bias);
        let built = match &self.initializer {
            Some(initializer) => config.with_initializer(initializer.clone()).init(device),
            None => config.init(device),
        };
        Linear {
            weight: built.weight,
            bias: built.bias,
        }
    }
}

/// A linear layer. burn's, but on the CPU with bias and activation in one pass, forwards and backwards.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[input, output]`.
    pub weight: Param<Tensor<2>>,
    /// `[output]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Applies the layer to each row.
    ///
    /// # Shapes
    ///
    /// - input: `[..., input]`
    /// - output: `[..., output]`
    #[must_use]
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.apply(input, None)
    }

    /// Applies the layer, then the activation, to each row.
    ///
    /// # Shapes
    ///
    /// - input: `[..., input]`
    /// - output: `[..., output]`
    #[must_use]
    pub fn activated<const D: usize>(&self, input: Tensor<D>, activation: Activation) -> Tensor<D> {
        self.apply(input, Some(activation))
    }

    fn apply<const D: usize>(&self, input: Tensor<D>, activation: Option<Activation>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        let mut shape = input.dims();
        let features = shape[D - 1];
        let rows = shape[..D - 1].iter().product();
        shape[D - 1] = weight.dims()[1];
        let fused = fused::multiplies_on(&input.device());
        let input: Tensor<2> = input.reshape([rows, features]);
        let output = if fused {
            let function = activation.map_or(Function::Identity, Activation::fused);
            armilla_kernels::linear(input, weight, bias, function)
        } else {
            let output = grouped::product(narrow(input), narrow(weight));
            finish(widen(output), bias, activation)
        };
        output.reshape(shape)
    }
}

/// Adds the bias of a product and applies the activation, by burn's operations.
pub(super) fn finish<const D: usize>(
    product: Tensor<D>,
    bias: Option<Tensor<1>>,
    activation: Option<Activation>,
) -> Tensor<D> {
    let shifted = match bias {
        Some(bias) => grouped::shift(product, bias),
        None => product,
    };
    match activation {
        Some(activation) => activation.forward(shifted),
        None => shifted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;
    use crate::random::{normal, seeded};
    use armilla_core::random::stream;
    use burn::tensor::{Tolerance, module};

    #[test]
    fn it_is_burns_and_then_the_activation() {
        let device = Device::flex();
        let layer = seeded(&device, 0, || LinearConfig::new(5, 3).init(&device));
        let input = normal(&mut stream(0, "input", 0), [2, 4, 5], &device);
        let bias = layer.bias.as_ref().map(Param::val);
        let expected = module::linear(input.clone(), layer.weight.val(), bias);
        let close = Tolerance::absolute(1e-6);
        let found = layer.forward(input.clone()).into_data();
        found.assert_approx_eq::<f32>(&expected.clone().into_data(), close);
        let found = layer.activated(input, Activation::Silu).into_data();
        let expected = burn::tensor::activation::silu(expected).into_data();
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }

    #[test]
    fn in_bf16_the_result_is_close_and_weights_and_gradients_stay_f32() {
        let device = Device::flex().autodiff();
        let layer = seeded(&device, 0, || LinearConfig::new(20, 3).init(&device));
        let input = normal(&mut stream(0, "input", 0), [2, 4, 20], &device).require_grad();
        let run = |precision: Precision| {
            let output = precision.scope(|| layer.activated(input.clone(), Activation::Gelu));
            let gradients = (output.clone() * output.clone()).sum().backward();
            let weight = layer.weight.val().grad(&gradients).unwrap();
            [
                output.into_data(),
                weight.reshape([60]).into_data(),
                input.grad(&gradients).unwrap().into_data(),
            ]
        };
        let [exact, rounded] = [Precision::F32, Precision::Bf16].map(run);
        for (exact, rounded) in exact.iter().zip(&rounded) {
            assert_ne!(exact, rounded);
            rounded.assert_approx_eq::<f32>(exact, Tolerance::rel_abs(0.02, 0.05));
        }
    }

    #[test]
    fn weights_begin_where_they_are_told_to() {
        let device = Device::flex();
        let config = LinearConfig::new(4, 2).with_bias(false);
        let layer = config.with_initializer(Some(Initializer::Ones));
        let layer = layer.init(&device);
        assert!(layer.bias.is_none());
        let sum = layer.forward(Tensor::<1>::ones([4], &device));
        sum.into_data().assert_eq(&[4.0f32, 4.0].into(), true);
    }
}

//! The non-linearity between two layers.

use armilla_kernels::Function;
use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

/// Which non-linearity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
    /// The exact GELU, by the error function.
    Gelu,
    /// `x * tanh(ln(1 + exp(x)))`.
    Mish,
}

impl Activation {
    /// Applies it to every value.
    ///
    /// # Shapes
    ///
    /// - input and output: any
    #[must_use]
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        if crate::fused::runs_on(&input.device()) {
            return armilla_kernels::activate(input, self.fused());
        }
        match self {
            Self::Relu => activation::relu(input),
            Self::Silu => activation::silu(input),
            Self::Gelu => activation::gelu(input),
            Self::Mish => activation::mish(input),
        }
    }

    /// Its name among the CPU's fused operations.
    pub(crate) fn fused(self) -> Function {
        match self {
            Self::Relu => Function::Relu,
            Self::Silu => Function::Silu,
            Self::Gelu => Function::Gelu,
            Self::Mish => Function::Mish,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn values_by_hand() {
        let forward = |activation: Activation| {
            let input = Tensor::<1>::from_floats([-1.0, 0.0, 2.0], &Device::flex());
            activation.forward(input).into_data()
        };
        let expect = |activation, values: [f32; 3]| {
            forward(activation)
                .assert_approx_eq::<f32>(&TensorData::from(values), Tolerance::absolute(1e-5));
        };
        expect(Activation::Relu, [0.0, 0.0, 2.0]);
        expect(Activation::Silu, [-0.268_941, 0.0, 1.761_594]);
        expect(Activation::Gelu, [-0.158_655, 0.0, 1.954_5]);
        expect(Activation::Mish, [-0.303_401, 0.0, 1.943_959]);
    }
}

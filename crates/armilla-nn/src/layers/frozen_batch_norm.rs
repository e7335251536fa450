//! Batch normalisation by statistics that training leaves alone.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// How to build a [`FrozenBatchNorm`].
#[derive(Config, Debug)]
pub struct FrozenBatchNormConfig {
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    #[config(default = 1e-5)]
    pub epsilon: f64,
}

impl FrozenBatchNormConfig {
    /// Builds it; a fresh one changes nothing.
    #[must_use]
    pub fn init(&self, device: &Device) -> FrozenBatchNorm {
        let frozen = |value: f64| {
            Param::from_tensor(Tensor::full([self.channels], value, device)).set_require_grad(false)
        };
        FrozenBatchNorm {
            weight: frozen(1.0),
            bias: frozen(0.0),
            running_mean: frozen(0.0),
            running_var: frozen(1.0),
            epsilon: self.epsilon,
        }
    }
}

/// Batch normalisation whose scale, shift, mean and variance come with a checkpoint and stay as they are, as torchvision's
/// `FrozenBatchNorm2d`.
#[derive(Module, Debug)]
pub struct FrozenBatchNorm {
    /// `[channel]`.
    pub weight: Param<Tensor<1>>,
    /// `[channel]`.
    pub bias: Param<Tensor<1>>,
    /// `[channel]`.
    pub running_mean: Param<Tensor<1>>,
    /// `[channel]`.
    pub running_var: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl FrozenBatchNorm {
    /// What each channel is multiplied by, and what is then added, `[channel]` each.
    #[must_use]
    pub fn factors(&self) -> [Tensor<1>; 2] {
        let scale = self.weight.val() / (self.running_var.val() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        [scale, shift]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{TensorData, Tolerance};

    #[test]
    fn factors_by_hand() {
        let device = Device::flex();
        let mut norm = FrozenBatchNormConfig::new(2)
            .with_epsilon(0.0)
            .init(&device);
        let set = |values: [f32; 2]| Param::from_data(TensorData::from(values), &device);
        (norm.weight, norm.bias) = (set([6.0, 1.0]), set([1.0, 0.0]));
        (norm.running_mean, norm.running_var) = (set([5.0, 2.0]), set([4.0, 0.25]));
        // 6 / 2 and 1 - 5 * 3; 1 / 0.5 and -2 * 2.
        for (found, expected) in norm
            .factors()
            .into_iter()
            .zip([[3.0f32, 2.0], [-14.0, -4.0]])
        {
            let close = Tolerance::absolute(1e-5);
            found
                .into_data()
                .assert_approx_eq::<f32>(&expected.into(), close);
        }
    }
}

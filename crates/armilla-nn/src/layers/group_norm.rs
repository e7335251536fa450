//! Normalisation of groups of channels by their own mean and variance.

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::{grouped, layer_norm};
use crate::fused;

/// How to build a [`GroupNorm`].
#[derive(Config, Debug)]
pub struct GroupNormConfig {
    /// Groups, which share the channels evenly.
    pub groups: usize,
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    #[config(default = 1e-5)]
    pub epsilon: f64,
}

impl GroupNormConfig {
    /// Builds it; a fresh one scales by 1 and shifts by 0.
    #[must_use]
    pub fn init(&self, device: &Device) -> GroupNorm {
        assert!(
            self.groups > 0 && self.channels.is_multiple_of(self.groups),
            "{} channels cannot be shared by {} groups",
            self.channels,
            self.groups
        );
        GroupNorm {
            gamma: Initializer::Ones.init([self.channels], device),
            beta: Initializer::Zeros.init([self.channels], device),
            groups: self.groups,
            epsilon: self.epsilon,
        }
    }
}

/// Group normalisation (<https://arxiv.org/abs/1803.08494>) of channels-last pictures and sequences.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// The scale, `[channel]`.
    pub gamma: Param<Tensor<1>>,
    /// The shift, `[channel]`.
    pub beta: Param<Tensor<1>>,
    groups: usize,
    #[module(skip)]
    epsilon: f64,
}

impl GroupNorm {
    /// Normalises each group of channels over all cells of a picture or steps of a sequence, then scales and shifts each channel.
    ///
    /// # Shapes
    ///
    /// - input and output: `[batch, ..., channel]`
    #[must_use]
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let (shape, device) = (input.dims(), input.device());
        let (batch, channels) = (shape[0], shape[D - 1]);
        let (cells, width) = (shape[1..D - 1].iter().product(), channels / self.groups);
        let groups: Tensor<4> = input.reshape([batch, cells, self.groups, width]);
        let [scale, shift] = [self.gamma.val(), self.beta.val()];
        if fused::runs_on(&device) {
            let normalized = self.by_rows(groups).reshape(shape);
            return normalized * scale.unsqueeze() + shift.unsqueeze();
        }
        let normalized = self.by_cells(groups).reshape(shape);
        grouped::shift(grouped::scale(normalized, scale), shift)
    }

    /// Normalises groups as rows, which is one fused operation.
    fn by_rows(&self, groups: Tensor<4>) -> Tensor<4> {
        let ([batch, cells, count, width], device) = (groups.dims(), groups.device());
        let rows = groups.swap_dims(1, 2);
        let rows = rows.reshape([batch, count, cells * width]);
        let unit = [
            Tensor::ones([cells * width], &device),
            Tensor::zeros([cells * width], &device),
        ];
        layer_norm(rows, unit, self.epsilon)
            .reshape([batch, count, cells, width])
            .swap_dims(1, 2)
    }

    /// The same by burn's operations: channel by channel first, as a GPU reads neighbours at once.
    fn by_cells(&self, groups: Tensor<4>) -> Tensor<4> {
        let mean = |values: Tensor<4>| values.mean_dim(1).mean_dim(3);
        let centered = groups.clone() - mean(groups);
        let variance = mean(centered.clone().square());
        centered / (variance + self.epsilon).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{expect, pattern};
    use super::*;

    #[test]
    fn values_and_gradients_are_pytorchs() {
        check_against_pytorch();
        fused::plain(check_against_pytorch);
    }

    fn check_against_pytorch() {
        let device = Device::flex().autodiff();
        let mut norm = GroupNormConfig::new(2, 4).init(&device);
        norm.gamma = Param::from_data([1.0, 2.0, -1.0, 0.5], &device);
        norm.beta = Param::from_data([0.0, 1.0, 0.5, -1.0], &device);
        let input = pattern([2, 3, 4], (3, 2.0), &device).require_grad();
        let output = norm.forward(input.clone());
        let loss = (output.clone() * pattern([2, 3, 4], (5, 1.0), &device)).sum();
        let gradients = loss.backward();
        expect(
            output,
            &[
                -1.46384, 1.58554, 0.7052, -0.64091, -0.8783, 2.75661, 0.3974, -0.48701, -0.29277,
                3.92768, 0.08961, -2.02598, -1.46384, 1.58554, -0.74222, -1.40693, -0.8783,
                2.75661, -0.99923, -1.27843, -0.29277, 3.92768, 1.57088, -1.14992,
            ],
        );
        expect(
            input.grad(&gradients).unwrap(),
            &[
                -7.13792, 2.83287, -1.61834, 0.81646, 4.77354, -0.47961, -0.49895, 0.0891, 3.80321,
                -3.79209, 0.62045, 0.59128, 1.67291, 8.56557, -0.32256, -0.12544, -2.27526,
                2.27526, 0.7451, -0.59985, -6.22342, -4.01505, 1.37702, -1.07426,
            ],
        );
        let scale = norm.gamma.val().grad(&gradients).unwrap();
        expect(scale, &[6.14813, -2.04938, -0.69331, 2.09446]);
    }
}

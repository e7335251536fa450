//! A small network of linear layers.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};

use super::{Linear, LinearConfig, batch_norm};
use crate::Activation;
use crate::dropout::Dropout;

/// How to build an [`Mlp`].
#[derive(Config, Debug)]
pub struct MlpConfig {
    /// Features of the input.
    pub input: usize,
    /// Features of every hidden layer.
    pub hidden: usize,
    /// Features of the output.
    pub output: usize,
    /// Linear layers, at least one; all but the last are followed by the activation.
    #[config(default = 2)]
    pub depth: usize,
    /// Whether batch normalisation stands before each activation.
    #[config(default = false)]
    pub batch_norm: bool,
    /// The non-linearity.
    #[config(default = "Activation::Relu")]
    pub activation: Activation,
}

impl MlpConfig {
    /// Weights uniform in `±1 / sqrt(features in)`.
    #[must_use]
    pub fn init(&self, device: &Device) -> Mlp {
        assert!(self.depth > 0, "an Mlp needs at least one linear layer");
        let features = |layer: usize, edge: usize| {
            if layer == edge {
                None
            } else {
                Some(self.hidden)
            }
        };
        let linears = (0..self.depth)
            .map(|layer| {
                let input = features(layer, 0).unwrap_or(self.input);
                let output = features(layer, self.depth - 1).unwrap_or(self.output);
                LinearConfig::new(input, output).init(device)
            })
            .collect();
        let norms = if self.batch_norm { self.depth - 1 } else { 0 };
        Mlp {
            linears,
            norms: (0..norms)
                .map(|_| BatchNormConfig::new(self.hidden).init(device))
                .collect(),
            activation: self.activation,
        }
    }
}

/// Linear layers with a non-linearity, and by configuration batch normalisation, between them.
#[derive(Module, Debug)]
pub struct Mlp {
    linears: Vec<Linear>,
    /// Empty, or one before each activation.
    norms: Vec<BatchNorm>,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// Applies the network to each row.
    ///
    /// # Shapes
    ///
    /// - input: `[..., input]`
    /// - output: `[..., output]`
    #[must_use]
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_with(input, &mut Dropout::Off)
    }

    /// [`Self::forward`] in training: drops from what each layer puts out.
    ///
    /// # Shapes
    ///
    /// - as [`Self::forward`]
    #[must_use]
    pub fn forward_with<const D: usize>(
        &self,
        input: Tensor<D>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<D> {
        let mut dims = input.dims();
        let features = dims[D - 1];
        let rows: usize = dims[..D - 1].iter().product();
        let mut hidden = input.reshape([rows, features]); // [rows, input]
        for (index, linear) in self.linears.iter().enumerate() {
            let last = index + 1 == self.linears.len();
            hidden = dropout.apply(match self.norms.get(index) {
                _ if last => linear.forward(hidden),
                Some(norm) => batch_norm(norm, linear.forward(hidden), Some(self.activation)),
                None => linear.activated(hidden, self.activation),
            });
        }
        dims[D - 1] = hidden.dims()[1];
        hidden.reshape(dims) // [..., output]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::TensorData;

    #[test]
    fn values_by_hand() {
        let device = Device::flex();
        let mut mlp = MlpConfig::new(2, 2, 1).init(&device);
        let mut set = |index: usize, weight: TensorData, bias: TensorData| {
            mlp.linears[index].weight = Param::from_data(weight, &device);
            mlp.linears[index].bias = Some(Param::from_data(bias, &device));
        };
        set(
            0,
            [[1.0f32, -1.0], [2.0, -2.0]].into(),
            [0.0f32, 1.0].into(),
        );
        set(1, [[10.0f32], [1.0]].into(), [0.5f32].into());
        let input = Tensor::<3>::from_floats([[[1.0, 1.0]], [[-1.0, 0.0]]], &device);
        // [1, 1] -> [3, -2] -> [3, 0] -> 30.5; [-1, 0] -> [-1, 2] -> [0, 2] -> 2.5.
        let expected = TensorData::from([[[30.5f32]], [[2.5]]]);
        mlp.forward(input).into_data().assert_eq(&expected, true);
    }

    #[test]
    fn depth_and_normalisation_follow_the_configuration() {
        let device = Device::flex().autodiff();
        let config = MlpConfig::new(4, 6, 3).with_depth(3).with_batch_norm(true);
        let mlp = config.init(&device);
        assert_eq!((mlp.linears.len(), mlp.norms.len()), (3, 2));
        assert_eq!(
            mlp.forward(Tensor::<2>::ones([5, 4], &device)).dims(),
            [5, 3]
        );
        let flat = config.with_depth(1).init(&device);
        assert_eq!(
            flat.forward(Tensor::<2>::ones([5, 4], &device)).dims(),
            [5, 3]
        );
    }
}

//! Inverse dynamics: which actions led from one latent to the next.
//!
//! Decoding from the displacement `z' - z`, not from the pair, is Delta-JEPA's finding; that planning in two rooms fails without any
//! inverse dynamics is EB-JEPA's (arXiv 2602.03604).

use armilla_nn::Activation;
use armilla_nn::layers::{Linear, LinearConfig, Mlp, MlpConfig};
use armilla_nn::transformer::{AdaLnBlock, AdaLnBlockConfig};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::config::{InverseConfig, JepaConfig};

/// Blocks, heads and width of the feed-forward networks of [`ActionDecoder`], as in Delta-JEPA.
const DEPTH: usize = 3;
const HEADS: usize = 8;
const HIDDEN: usize = 512;

/// What an [`InverseConfig`] names.
#[expect(
    clippy::large_enum_variant,
    reason = "a model holds one of them, in place"
)]
#[derive(Module, Debug)]
pub enum Inverse {
    /// See [`InverseConfig::Mean`].
    Mean(Mlp),
    /// See [`InverseConfig::Actions`].
    Actions(ActionDecoder),
}

impl Inverse {
    /// Builds it over the part of latents that the projector makes.
    #[must_use]
    pub fn new(config: &JepaConfig, device: &Device) -> Self {
        let free = config.free();
        match config.loss.inverse {
            InverseConfig::Mean => {
                let network = MlpConfig::new(free, config.projector_hidden, config.action)
                    .with_activation(config.activation);
                Self::Mean(network.init(device))
            }
            InverseConfig::Actions => Self::Actions(ActionDecoder::new(config, device)),
        }
    }

    /// What it recovers, normalised.
    ///
    /// # Shapes
    ///
    /// - displacement: `[rows, free]`
    /// - output: `[rows, action]`, the mean of the block's, or `[rows, action_repeat * action]`
    #[must_use]
    pub fn forward(&self, displacement: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Mean(network) => network.forward(displacement),
            Self::Actions(decoder) => decoder.forward(displacement),
        }
    }
}

/// A transformer with a query for each action of a block, conditioned by the displacement.
#[derive(Module, Debug)]
pub struct ActionDecoder {
    queries: Param<Tensor<2>>,
    condition: Linear,
    blocks: Vec<AdaLnBlock>,
    action: Linear,
}

impl ActionDecoder {
    fn new(config: &JepaConfig, device: &Device) -> Self {
        // As wide as the latent, rounded up to what the heads can share.
        let width = config.free().next_multiple_of(HEADS);
        let start = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        };
        let block = AdaLnBlockConfig::new(width, HEADS)
            .with_hidden(Some(HIDDEN))
            .with_activation(Activation::Gelu);
        Self {
            queries: start.init([config.action_repeat, width], device),
            condition: LinearConfig::new(config.free(), width).init(device),
            blocks: (0..DEPTH).map(|_| block.init(device)).collect(),
            action: LinearConfig::new(width, config.action).init(device),
        }
    }

    fn forward(&self, displacement: Tensor<2>) -> Tensor<2> {
        let rows = displacement.dims()[0];
        let queries = self.queries.val();
        let [count, width] = queries.dims();
        let condition = self.condition.forward(displacement).unsqueeze_dim(1);
        let mut tokens = queries.unsqueeze::<3>().expand([rows, count, width]);
        for block in &self.blocks {
            tokens = block.forward(tokens, Clone::clone(&condition), None);
        }
        self.action.forward(tokens).flatten(1, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jepa::predictor::tests::opened;
    use armilla_core::random::stream;
    use armilla_nn::random::{normal, seeded};

    #[test]
    fn shapes_follow_the_configuration() {
        let device = Device::flex();
        let mut config = JepaConfig::nano();
        for (inverse, width) in [(InverseConfig::Mean, 2), (InverseConfig::Actions, 10)] {
            config.loss.inverse = inverse;
            let network = seeded(&device, 0, || Inverse::new(&config, &device));
            let actions = network.forward(Tensor::ones([3, config.free()], &device));
            assert_eq!(actions.dims(), [3, width]);
        }
    }

    #[test]
    fn each_action_has_its_own_query_and_heeds_the_displacement() {
        let device = Device::flex();
        let mut config = JepaConfig::nano();
        config.loss.inverse = InverseConfig::Actions;
        let network = opened(seeded(&device, 0, || Inverse::new(&config, &device)));
        let displacement = normal(&mut stream(0, "test", 0), [2, config.free()], &device);
        let actions: Tensor<3> = network.forward(displacement).reshape([2, 5, 2]);
        for axis in [0_usize, 1] {
            let [one, other] = [0, 1].map(|at| actions.clone().narrow(axis, at, 1));
            let apart: f32 = (one - other).abs().max().into_scalar();
            assert!(apart > 1e-3, "{axis} {apart}");
        }
    }
}

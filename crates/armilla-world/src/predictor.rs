//! The network that a planner evaluates by the million: the predictor.

use armilla_nn::Activation;
use armilla_nn::layers::{Linear, LinearConfig, Mlp, MlpConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::config::JepaConfig;

/// The next latent from the last ones and an action block, as a residual network that predicts the change.
///
/// LeWorldModel's predictor is a causal transformer with AdaLN-zero conditioning; this one is as wide as planning on a CPU allows.
#[derive(Module, Debug)]
pub struct Predictor {
    state: Linear,
    action: Mlp,
    layers: Vec<Linear>,
    change: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Predictor {
    /// Builds it.
    #[must_use]
    pub fn new(config: &JepaConfig, device: &Device) -> Self {
        let hidden = config.predictor_hidden;
        let layer = |input, output| LinearConfig::new(input, output).init(device);
        let action = MlpConfig::new(config.block(), config.action_embedding, hidden)
            .with_activation(config.activation);
        Self {
            state: layer(config.history * config.latent, hidden),
            action: action.init(device),
            layers: (0..config.predictor_depth)
                .map(|_| layer(hidden, hidden))
                .collect(),
            change: layer(hidden, config.latent),
            activation: config.activation,
        }
    }

    /// One model step.
    ///
    /// # Shapes
    ///
    /// - context: `[rows, history, latent]`, oldest first
    /// - block: `[rows, action_repeat * action]`
    /// - output: `[rows, latent]`
    #[must_use]
    pub fn forward(&self, context: Tensor<3>, block: Tensor<2>) -> Tensor<2> {
        let [rows, history, latent] = context.dims();
        let last = context
            .clone()
            .narrow(1, history - 1, 1)
            .reshape([rows, latent]);
        let state = self
            .state
            .forward(context.reshape([rows, history * latent]));
        let mut hidden = self.activation.forward(state + self.action.forward(block));
        for layer in &self.layers {
            hidden = hidden.clone() + layer.activated(hidden, self.activation);
        }
        last + self.change.forward(hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;
    use armilla_nn::random::{normal, seeded};

    #[test]
    fn the_predictor_sees_all_its_history() {
        let device = Device::flex();
        let config = JepaConfig {
            history: 2,
            ..JepaConfig::nano()
        };
        let predictor = seeded(&device, 0, || Predictor::new(&config, &device));
        let block = Tensor::zeros([1, 10], &device);
        let context = normal(&mut stream(0, "test", 1), [1, 2, 128], &device);
        let other = context.clone().slice_fill([0..1, 0..1], 0.0);
        let change = predictor.forward(context, block.clone()) - predictor.forward(other, block);
        assert!(change.abs().max().into_scalar::<f32>() > 1e-3);
    }
}

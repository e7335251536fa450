//! The two networks that a planner evaluates by the million: the predictor and the temporal distance.

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
            hidden = hidden.clone() + self.activation.forward(layer.forward(hidden));
        }
        last + self.change.forward(hidden)
    }
}

/// Steps from one latent to another along ways like those in the recordings, in model steps (action blocks).
///
/// Why there is one: the distance between latents knows nothing of walls, so a planner that minimises it runs against them.
/// How long a recording took from a frame to a later one of the same episode needs no label, and near-expert recordings make it nearly
/// the shortest. This is the idea of temporal-distance and quasimetric methods (Quasimetric RL, Wang et al., ICML 2023;
/// hindsight relabelling). Here both latents are embedded and the distance is Euclidean between the embeddings: symmetric, zero
/// for equal latents, and true to the triangle inequality, which a network over pairs would have to learn from far more data. A
/// wandering recording still teaches distances that are too long.
#[derive(Module, Debug)]
pub struct Distance {
    layers: Vec<Linear>,
    embedding: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Distance {
    /// Values of an embedding.
    const EMBEDDING: usize = 64;

    /// Builds it.
    #[must_use]
    pub fn new(config: &JepaConfig, device: &Device) -> Self {
        let hidden = config.distance_hidden;
        let layers = [(config.latent, hidden), (hidden, hidden)];
        Self {
            layers: layers
                .map(|(input, output)| LinearConfig::new(input, output).init(device))
                .into(),
            embedding: LinearConfig::new(hidden, Self::EMBEDDING).init(device),
            activation: config.activation,
        }
    }

    /// Predicted model steps, at least 0, from many latents to the one goal of their group.
    ///
    /// # Shapes
    ///
    /// - latents: `[groups, rows, latent]`
    /// - goals: `[groups, latent]`
    /// - output: `[groups, rows]`
    #[must_use]
    pub fn forward(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        let [groups, rows, latent] = latents.dims();
        let from = self.embed(latents.reshape([groups * rows, latent]));
        let goal = self.embed(goals).reshape([groups, 1, Self::EMBEDDING]);
        let apart = from.reshape([groups, rows, Self::EMBEDDING]) - goal;
        // The root's slope is unbounded at 0, where every goal lies.
        (apart.square().sum_dim(2) + 1e-4)
            .sqrt()
            .sub_scalar(1e-2)
            .reshape([groups, rows])
    }

    /// `[rows, latent]` to `[rows, embedding]`.
    fn embed(&self, latents: Tensor<2>) -> Tensor<2> {
        let hidden = self.layers.iter().fold(latents, |hidden, layer| {
            self.activation.forward(layer.forward(hidden))
        });
        self.embedding.forward(hidden) * 4.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;
    use armilla_nn::random::{normal, seeded};

    #[test]
    fn a_groups_goal_is_every_rows_goal() {
        let (config, device) = (JepaConfig::nano(), Device::flex());
        let head = seeded(&device, 0, || Distance::new(&config, &device));
        let mut generator = stream(0, "test", 0);
        let latents = normal(&mut generator, [2, 3, 128], &device);
        let goals = normal(&mut generator, [2, 128], &device);
        let grouped = head.forward(latents.clone(), goals.clone()).into_data();
        let each_goal = goals
            .reshape([2, 1, 128])
            .expand([2, 3, 128])
            .reshape([6, 128]);
        let single = head.forward(latents.reshape([6, 1, 128]), each_goal);
        let values = grouped
            .iter::<f32>()
            .zip(single.into_data().iter::<f32>().collect::<Vec<_>>());
        for (grouped, single) in values {
            assert!(grouped >= 0.0 && (grouped - single).abs() < 1e-4);
        }
    }

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

//! Latents and an action block to the next latent: what a planner evaluates by the million.

use armilla_nn::Activation;
use armilla_nn::attention::{AttentionConfig, causal_mask};
use armilla_nn::dropout::Dropout;
use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, MlpConfig};
use armilla_nn::transformer::{AdaLnBlock, AdaLnBlockConfig};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::config::{JepaConfig, PredictorConfig, ResidualConfig, TransformerConfig};
use crate::context::Context;
use crate::transition::by_windows;

/// Added to the variances of the normalisations that the action sets, as upstream.
const EPSILON: f64 = 1e-6;

/// The predictor that a [`PredictorConfig`] names.
#[derive(Module, Debug)]
pub enum Predictor {
    /// See [`PredictorConfig::Residual`].
    Residual(ResidualPredictor),
    /// See [`PredictorConfig::Transformer`].
    Transformer(TransformerPredictor),
}

impl Predictor {
    /// Builds it.
    #[must_use]
    pub fn new(config: &JepaConfig, device: &Device) -> Self {
        match &config.predictor {
            PredictorConfig::Residual(residual) => {
                Self::Residual(ResidualPredictor::new(config, residual, device))
            }
            PredictorConfig::Transformer(transformer) => {
                Self::Transformer(TransformerPredictor::new(config, transformer, device))
            }
        }
    }

    /// [`Transition::step`](crate::Transition::step).
    #[must_use]
    pub fn forward(
        &self,
        context: &Context,
        block: Tensor<2>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<2> {
        match self {
            Self::Residual(predictor) => predictor.forward(context.latents.clone(), block),
            Self::Transformer(predictor) => {
                let blocks = context.blocks_with(block);
                let next = predictor.forward(context.latents.clone(), blocks, dropout);
                let [rows, frames, latent] = next.dims();
                next.narrow(1, frames - 1, 1).reshape([rows, latent])
            }
        }
    }

    /// [`Transition::step_each_frame`](crate::Transition::step_each_frame).
    #[must_use]
    pub fn step_each_frame(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let [batch, time, latent] = latents.dims();
        let transitions = time - 1;
        match self {
            Self::Residual(predictor) => {
                let (history, block) = (predictor.history, blocks.dims()[2]);
                let contexts = (0..transitions).map(|frame| {
                    let context = latents.clone().narrow(1, 0, frame + 1);
                    padded(context, history).unsqueeze_dim::<4>(1)
                });
                let contexts = Tensor::cat(contexts.collect(), 1); // [batch, transitions, history, latent]
                let next = predictor.forward(
                    contexts.reshape([batch * transitions, history, latent]),
                    blocks.reshape([batch * transitions, block]),
                );
                next.reshape([batch, transitions, latent])
            }
            Self::Transformer(predictor) => {
                let history = predictor.positions.dims()[0];
                let pass = |latents, blocks| predictor.forward(latents, blocks, dropout);
                by_windows(&latents, &blocks, history, pass)
            }
        }
    }
}

/// The last `history` latents, the first one repeated where there are fewer. `[rows, frames, latent]` to `[rows, history, latent]`
fn padded(latents: Tensor<3>, history: usize) -> Tensor<3> {
    let frames = latents.dims()[1];
    if frames >= history {
        return latents.narrow(1, frames - history, history);
    }
    let first = latents.clone().narrow(1, 0, 1);
    Tensor::cat(vec![first.repeat_dim(1, history - frames), latents], 1)
}

/// A residual network over the last latents that predicts the change, as wide as planning on a CPU allows.
#[derive(Module, Debug)]
pub struct ResidualPredictor {
    state: Linear,
    action: Mlp,
    layers: Vec<Linear>,
    change: Linear,
    #[module(skip)]
    activation: Activation,
    history: usize,
}

impl ResidualPredictor {
    fn new(config: &JepaConfig, sizes: &ResidualConfig, device: &Device) -> Self {
        let hidden = sizes.hidden;
        let layer = |input, output| LinearConfig::new(input, output).init(device);
        let action = MlpConfig::new(config.block(), sizes.action_embedding, hidden)
            .with_activation(config.activation);
        Self {
            state: layer(config.history * config.latent, hidden),
            action: action.init(device),
            layers: (0..sizes.depth).map(|_| layer(hidden, hidden)).collect(),
            change: layer(hidden, config.latent),
            activation: config.activation,
            history: config.history,
        }
    }

    /// `[rows, frames, latent]` and `[rows, block]` to `[rows, latent]`.
    fn forward(&self, latents: Tensor<3>, block: Tensor<2>) -> Tensor<2> {
        let context = padded(latents, self.history);
        let [rows, history, latent] = context.dims();
        let last = context.clone().narrow(1, history - 1, 1);
        let last = last.reshape([rows, latent]);
        let context = context.reshape([rows, history * latent]);
        let state = self.state.forward(context);
        let mut hidden = self.activation.forward(state + self.action.forward(block));
        for layer in &self.layers {
            hidden = hidden.clone() + layer.activated(hidden, self.activation);
        }
        last + self.change.forward(hidden)
    }
}

/// A causal transformer over the last latents, each conditioned by the block that follows it; LeWorldModel's.
#[derive(Module, Debug)]
pub struct TransformerPredictor {
    pub(crate) action: ActionEncoder,
    pub(crate) positions: Param<Tensor<2>>,
    blocks: Vec<AdaLnBlock>,
    norm: LayerNorm,
    projector: Mlp,
}

/// An action block to the condition of a frame.
#[derive(Module, Debug)]
pub struct ActionEncoder {
    embedding: Linear,
    network: Mlp,
}

impl TransformerPredictor {
    fn new(config: &JepaConfig, sizes: &TransformerConfig, device: &Device) -> Self {
        let latent = config.latent;
        let attention = AttentionConfig::new(latent, sizes.heads)
            .with_inner(Some(sizes.heads * sizes.head_width))
            .with_bias(false);
        let block = AdaLnBlockConfig::new(latent, sizes.heads)
            .with_hidden(Some(sizes.hidden))
            .with_attention(Some(attention))
            .with_inner_norm(true)
            .with_epsilon(EPSILON)
            .with_activation(Activation::Gelu);
        let start = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        };
        let projector = MlpConfig::new(latent, config.projector_hidden, latent)
            .with_batch_norm(true)
            .with_activation(Activation::Gelu);
        Self {
            action: ActionEncoder {
                embedding: LinearConfig::new(config.block(), sizes.action_embedding).init(device),
                network: MlpConfig::new(sizes.action_embedding, sizes.action_hidden, latent)
                    .with_activation(Activation::Silu)
                    .init(device),
            },
            positions: start.init([config.history, latent], device),
            blocks: (0..sizes.depth).map(|_| block.init(device)).collect(),
            norm: LayerNormConfig::new(latent).init(device),
            projector: projector.init(device),
        }
    }

    /// The latent after each frame: `[rows, frames, latent]` and `[rows, frames, block]` to `[rows, frames, latent]`.
    fn forward(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let frames = latents.dims()[1];
        let condition = self.action.embedding.forward(blocks);
        let condition = self.action.network.forward(condition);
        let positions = self.positions.val().narrow(0, 0, frames).unsqueeze();
        let mask = causal_mask(frames, &latents.device());
        let mut tokens = latents + positions;
        for block in &self.blocks {
            tokens = block.forward_with(tokens, condition.clone(), Some(mask.clone()), dropout);
        }
        self.projector.forward(self.norm.forward(tokens))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use armilla_core::random::stream;
    use armilla_nn::random::{normal, seeded};

    fn predictors() -> [Predictor; 2] {
        let transformer = TransformerConfig {
            depth: 2,
            heads: 2,
            head_width: 4,
            hidden: 16,
            action_hidden: 16,
            ..TransformerConfig::default()
        };
        let residual = ResidualConfig {
            hidden: 16,
            ..ResidualConfig::default()
        };
        let device = Device::flex();
        [
            PredictorConfig::Residual(residual),
            PredictorConfig::Transformer(transformer),
        ]
        .map(|predictor| {
            let config = JepaConfig {
                latent: 8,
                history: 2,
                predictor,
                ..JepaConfig::lewm()
            };
            let predictor = seeded(&device, 0, || Predictor::new(&config, &device));
            opened(predictor)
        })
    }

    /// A fresh conditioned block passes its tokens on: gates away from zero let it act.
    pub(crate) fn opened<M: Module>(predictor: M) -> M {
        let mut generator = stream(0, "weights", 0);
        let mut weights = armilla_nn::checkpoint::weights(&predictor);
        for (_, data) in weights
            .iter_mut()
            .filter(|(name, _)| name.contains("modulation"))
        {
            let shape = data.shape().to_vec();
            let values = armilla_core::random::normals(&mut generator, shape.iter().product());
            let values = values.iter().map(|value| 0.3 * value).collect::<Vec<f32>>();
            *data = burn::tensor::TensorData::new(values, shape);
        }
        armilla_nn::checkpoint::with_weights(predictor, weights, std::path::Path::new("test"))
            .unwrap()
    }

    fn draw<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
        normal(&mut stream(0, name, 0), shape, &Device::flex())
    }

    fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn a_predictor_sees_all_its_history() {
        for predictor in predictors() {
            let block = draw("block", [1, 10]);
            let context = Context {
                latents: draw("latents", [1, 2, 8]),
                blocks: Some(draw("blocks", [1, 1, 10])),
            };
            let predict =
                |context: &Context| predictor.forward(context, block.clone(), &mut Dropout::Off);
            let known = predict(&context);
            let mut other = context.clone();
            other.latents = other.latents.slice_fill([0..1, 0..1], 0.0);
            assert!(apart(predict(&other), known.clone()) > 1e-3);
            if matches!(predictor, Predictor::Transformer(_)) {
                let mut other = context.clone();
                other.blocks = Some(draw("other blocks", [1, 1, 10]));
                assert!(
                    apart(predict(&other), known) > 1e-4,
                    "the actions between, too"
                );
            }
        }
    }

    #[test]
    fn each_frame_is_predicted_as_it_would_be_alone() {
        for predictor in predictors() {
            let (latents, blocks) = (draw("latents", [3, 5, 8]), draw("blocks", [3, 4, 10]));
            let all = predictor.step_each_frame(latents.clone(), blocks.clone(), &mut Dropout::Off);
            assert_eq!(all.dims(), [3, 4, 8]);
            for frame in 0..4_usize {
                let first = frame.saturating_sub(1);
                let context = Context {
                    latents: latents.clone().narrow(1, first, frame + 1 - first),
                    blocks: (frame > 0).then(|| blocks.clone().narrow(1, first, 1)),
                };
                let block = blocks.clone().narrow(1, frame, 1).reshape([3, 10]);
                let alone = predictor.forward(&context, block, &mut Dropout::Off);
                let found = all.clone().narrow(1, frame, 1).reshape([3, 8]);
                assert!(apart(alone, found) < 1e-5, "frame {frame}");
            }
        }
    }

    #[test]
    fn dropout_acts_in_training_alone() {
        let [_, predictor] = predictors();
        let (latents, blocks) = (draw("latents", [3, 3, 8]), draw("blocks", [3, 2, 10]));
        let mut generator = stream(0, "dropout", 0);
        let mut predict = |rate: f64, trains: bool| {
            let dropout = &mut Dropout::new(rate, &mut generator);
            let (latents, blocks) = (latents.clone(), blocks.clone());
            match trains {
                false => predictor.step_each_frame(latents, blocks, dropout),
                true => {
                    let [latents, blocks] = [latents, blocks].map(Tensor::from_inner);
                    let predictor = predictor.clone().train();
                    predictor.step_each_frame(latents, blocks, dropout).inner()
                }
            }
        };
        assert!(apart(predict(0.0, true), predict(0.0, true)) == 0.0);
        assert!(apart(predict(0.5, true), predict(0.5, true)) > 1e-3);
        assert!(apart(predict(0.5, false), predict(0.5, false)) == 0.0);
    }
}

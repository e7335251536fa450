//! DINO-WM (arXiv 2411.04983): a world model over the patch tokens of a frozen encoder.
//!
//! An observation is the tokens that DINOv2, or another encoder that is not trained here, makes of its pictures, each joined by an
//! embedding of proprioception; a causal transformer over the tokens of the last frames, each joined by an embedding of the action
//! block too, predicts those of the next. What differs from the published code:
//!
//! - a latent holds no action: its embedding is joined at each step, where upstream keeps it in the latent and overwrites it;
//! - the decoder is a network for each token and its square of the picture, where upstream's is a convolutional VQ-VAE (quantisation off);
//! - pictures are in ImageNet's units, as DINOv2 was trained on, where upstream scales them to -1 to 1;
//! - positions of another grid are interpolated as transformers does, where torch.hub's DINOv2 adds 0.1 to the target's sides;
//! - the encoder may be any of ours: on a CPU that of a small JEPA, see [`DinoWm::with_encoder`].

pub mod config;
pub mod published;

use armilla_nn::Activation;
use armilla_nn::attention::AttentionConfig;
use armilla_nn::dropout::Dropout;
use armilla_nn::images::CHANNELS;
use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, MlpConfig};
use armilla_nn::random::seeded;
use armilla_nn::reduction::mean_squared_error;
use armilla_nn::transformer::{Block, BlockConfig};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use self::config::DinoWmConfig;
use crate::batch::TrainingBatch;
use crate::context::Context;
use crate::encoder::Encoder;
use crate::error::Result;
use crate::loss::{ModelLoss, Terms, prediction_errors};
use crate::observations::Observations;
use crate::transition::{Transition, by_windows};

/// The model.
#[derive(Module, Debug)]
pub struct DinoWm {
    encoder: Encoder,
    state: Option<Linear>,
    action: Linear,
    positions: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    decoder: Option<Mlp>,
    #[module(skip)]
    config: DinoWmConfig,
}

impl DinoWmConfig {
    /// Builds the model, its weights from the seed alone, the encoder's too: see [`DinoWm::with_encoder`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a setting is out of range.
    pub fn init(&self, seed: u64, device: &Device) -> Result<DinoWm> {
        self.validate()?;
        Ok(seeded(device, seed, || self.build(device)))
    }

    /// Builds the model for weights that are loaded, drawing none.
    pub(crate) fn init_to_load(&self, device: &Device) -> Result<DinoWm> {
        self.validate()?;
        Ok(self.build(device))
    }

    fn build(&self, device: &Device) -> DinoWm {
        let (token, predictor) = (self.token(), &self.predictor);
        let width = token + self.action_embedding;
        let attention = AttentionConfig::new(width, predictor.heads)
            .with_inner(Some(predictor.heads * predictor.head_width))
            .with_bias(false);
        let block = BlockConfig::new(width, predictor.heads)
            .with_hidden(Some(predictor.hidden))
            .with_attention(Some(attention))
            .with_activation(Activation::Gelu);
        let linear = |input, output| LinearConfig::new(input, output).init(device);
        let start = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        };
        let square = (self.image_size / self.encoder.grid(self.image_size)).pow(2) * CHANNELS;
        let decoder =
            || MlpConfig::new(token, self.decoder_hidden, square).with_activation(Activation::Gelu);
        DinoWm {
            encoder: Encoder::new(&self.encoder, self.image_size, self.activation, device),
            state: (self.state > 0).then(|| linear(self.state, self.state_embedding)),
            action: linear(self.block(), self.action_embedding),
            positions: start.init([self.history * self.tokens(), width], device),
            blocks: (0..predictor.depth).map(|_| block.init(device)).collect(),
            norm: LayerNormConfig::new(width).init(device),
            decoder: (self.decoder_hidden > 0).then(|| decoder().init(device)),
            config: self.clone(),
        }
    }
}

impl DinoWm {
    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &DinoWmConfig {
        &self.config
    }

    /// Its encoder.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The same with a trained encoder of the same configuration, and the activation that it was built with.
    #[must_use]
    pub fn with_encoder(self, encoder: Encoder, activation: Activation) -> Self {
        let config = DinoWmConfig {
            activation,
            ..self.config
        };
        Self {
            encoder,
            config,
            ..self
        }
    }

    /// Observations to latents, token after token. The encoder passes no gradient on; proprioception's embedding does.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, tokens * token]`
    #[must_use]
    pub fn encode(&self, observations: Observations) -> Tensor<2> {
        let images = observations.images;
        let [batch, cameras, height, width, channel] = images.dims();
        let images = images.reshape([batch * cameras, height, width, channel]);
        // Out of training, so that batch normalisation stays as it is too.
        let encoder = self.encoder.valid();
        let tokens = match images.is_autodiff() {
            true => Tensor::from_inner(encoder.tokens(images.inner())),
            false => encoder.tokens(images),
        };
        let count = self.config.tokens();
        let tokens = tokens.reshape([batch, count, self.config.encoder.width()]);
        let tokens = match (&self.state, observations.states) {
            (Some(embedding), Some(states)) => {
                let states: Tensor<3> = embedding.forward(states).unsqueeze_dim(1);
                Tensor::cat(vec![tokens, states.repeat_dim(1, count)], 2)
            }
            _ => tokens,
        };
        tokens.flatten(1, 2)
    }

    /// Latents to pictures of the first camera, if the model has a decoder.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, latent]`
    /// - output: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    #[must_use]
    pub fn decode(&self, latents: Tensor<2>) -> Option<Tensor<4>> {
        let decoder = self.decoder.as_ref()?;
        Some(self.draw(decoder, latents).clamp(-0.5, 0.5))
    }

    /// Each token of the first camera becomes its square of the picture.
    fn draw(&self, decoder: &Mlp, latents: Tensor<2>) -> Tensor<4> {
        let (batch, config) = (latents.dims()[0], &self.config);
        let grid = config.encoder.grid(config.image_size);
        let side = config.image_size / grid;
        let tokens: Tensor<3> = latents.reshape([batch, config.tokens(), config.token()]);
        let squares = decoder.forward(tokens.narrow(1, 0, grid * grid));
        squares
            .reshape([batch * grid, grid, side, side * CHANNELS])
            .swap_dims(1, 2) // rows of pixels across the squares of a row
            .reshape([batch, config.image_size, config.image_size, CHANNELS])
    }

    /// What latents cost: mean squared error of their tokens to the goal's, and of the proprioception that the first token carries by its
    /// weight.
    ///
    /// # Shapes
    ///
    /// - latents: `[groups, rows, latent]`
    /// - goals: `[groups, latent]`
    /// - output: `[groups, rows]`
    #[must_use]
    pub fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        let ([groups, rows, _], config) = (latents.dims(), &self.config);
        let (count, token, width) = (config.tokens(), config.token(), config.encoder.width());
        let apart: Tensor<3> = (latents - goals.unsqueeze_dim(1)).square();
        let apart: Tensor<3> = apart.reshape([groups * rows, count, token]);
        let mean = |part: Tensor<3>| part.mean_dim(2).mean_dim(1).reshape([groups, rows]);
        let pictures = mean(apart.clone().narrow(2, 0, width));
        if token == width || config.state_cost_weight == 0.0 {
            return pictures;
        }
        let states = apart.narrow(1, 0, 1).narrow(2, width, token - width);
        pictures + mean(states) * config.state_cost_weight
    }

    /// The tokens after each frame: `[rows, frames, latent]` and `[rows, frames, block]` to `[rows, frames, latent]`.
    fn predict(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let [rows, frames, latent] = latents.dims();
        let (count, token) = (self.config.tokens(), self.config.token());
        let action: Tensor<4> = self.action.forward(blocks).unsqueeze_dim(2);
        let tokens = latents.reshape([rows, frames, count, token]);
        let tokens = Tensor::cat(vec![tokens, action.repeat_dim(2, count)], 3); // [rows, frames, tokens, token + action]
        let width = tokens.dims()[3];
        let positions = self.positions.val().narrow(0, 0, frames * count);
        let mask = frame_causal_mask(frames, count, &tokens.device());
        let mut tokens: Tensor<3> =
            tokens.reshape([rows, frames * count, width]) + positions.unsqueeze();
        for block in &self.blocks {
            tokens = block.forward_with(tokens, Some(mask.clone()), dropout);
        }
        let next = self.norm.forward(tokens).narrow(2, 0, token);
        next.reshape([rows, frames, latent])
    }

    /// What a training step minimises; targets pass no gradient on. `generator` draws the decoder's frames and what is dropped.
    #[must_use]
    pub fn loss(&self, batch: TrainingBatch, generator: &mut ChaCha8Rng) -> ModelLoss {
        let weights = &self.config.loss;
        let latents = self.encode(batch.observations.clone());
        let [rows, latent] = latents.dims();
        let mut terms = Terms::default();
        terms.add("decoder", weights.decoder_weight, || {
            self.decoder_loss(latents.clone(), &batch.observations.images, generator)
        });
        let frames = latents.reshape([rows / batch.frames, batch.frames, latent]);
        let frames = frames.narrow(1, 0, batch.time);
        let dropout = &mut Dropout::new(self.config.predictor.dropout, generator);
        let predictions = self.look_ahead(frames.clone(), batch.blocks, weights.rollout, dropout);
        terms.finish(prediction_errors(
            &predictions,
            &frames.detach(),
            &batch.weight,
        ))
    }

    /// Mean squared error of some of the first camera's pictures, decoded from latents that pass no gradient on.
    fn decoder_loss(
        &self,
        latents: Tensor<2>,
        images: &Tensor<5>,
        generator: &mut ChaCha8Rng,
    ) -> Tensor<1> {
        let [rows, _, height, width, channel] = images.dims();
        let wanted = self.config.loss.decoder_frames.min(rows);
        let (Some(decoder), true) = (&self.decoder, wanted > 0) else {
            return Tensor::zeros([1], &latents.device());
        };
        let chosen = (0..wanted).map(|_| generator.random_range(0..rows) as i64);
        let chosen = TensorData::new(chosen.collect::<Vec<_>>(), [wanted]);
        let chosen = Tensor::<1, Int>::from_data(chosen, &latents.device());
        let latents = latents.detach().select(0, chosen.clone());
        let images = images.clone().narrow(1, 0, 1).select(0, chosen);
        let images = images.reshape([wanted, height, width, channel]);
        mean_squared_error(self.draw(decoder, latents), images)
    }
}

impl Transition for DinoWm {
    fn history(&self) -> usize {
        self.config.history
    }

    fn step(&self, context: &Context, block: Tensor<2>, dropout: &mut Dropout<'_>) -> Tensor<2> {
        let blocks = context.blocks_with(block);
        let next = self.predict(context.latents.clone(), blocks, dropout);
        let [rows, frames, latent] = next.dims();
        next.narrow(1, frames - 1, 1).reshape([rows, latent])
    }

    fn step_each_frame(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        let pass = |latents, blocks| self.predict(latents, blocks, dropout);
        by_windows(&latents, &blocks, self.config.history, pass)
    }
}

/// The mask under which a token sees all tokens of its own frame and of those before it.
///
/// # Shapes
///
/// - output: `[1, frames * tokens, frames * tokens]`
fn frame_causal_mask(frames: usize, tokens: usize, device: &Device) -> Tensor<3, Bool> {
    let all = frames * tokens;
    let hidden = (0..all * all).map(|at| (at % all) / tokens > (at / all) / tokens);
    let hidden = TensorData::new(hidden.collect::<Vec<_>>(), [1, all, all]);
    Tensor::from_data(hidden, device)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use armilla_core::random::stream;
    use armilla_nn::random::normal;

    pub(crate) fn tiny() -> DinoWmConfig {
        DinoWmConfig {
            image_size: 16,
            encoder: crate::jepa::tests::small_encoder(),
            state: 3,
            state_embedding: 4,
            ..DinoWmConfig::nano()
        }
    }

    fn random<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
        normal(&mut stream(0, name, 0), shape, &Device::flex())
    }

    #[test]
    fn shapes_follow_the_configuration() {
        for cameras in [1, 2] {
            let config = DinoWmConfig { cameras, ..tiny() };
            let model = config.init(0, &Device::flex()).unwrap();
            let latents = model.encode(Observations {
                images: random("images", [2, cameras, 16, 16, 3]),
                states: Some(random("states", [2, 3])),
            });
            assert_eq!(latents.dims(), [2, cameras * 16 * (8 + 4)]);
            assert_eq!(latents.dims()[1], config.latent());
            let decoded = model.decode(latents.clone()).map(|images| images.dims());
            assert_eq!(decoded, Some([2, 16, 16, 3]));
            let blocks = random("blocks", [2, 3, 10]);
            let rollout = model.rollout(Context::of_one(latents.clone()), blocks);
            assert_eq!(rollout.dims(), [2, 3, config.latent()]);
            let cost = model.cost(
                rollout.reshape([1, 6, config.latent()]),
                latents.narrow(0, 0, 1),
            );
            assert_eq!(cost.dims(), [1, 6]);
        }
    }

    #[test]
    fn a_token_decodes_to_its_square() {
        let model = tiny().init(0, &Device::flex()).unwrap();
        let latents = random("latents", [1, 16 * 12]);
        // The token of the second row and third column.
        let other = latents.clone().slice_fill([0..1, 6 * 12..7 * 12], 3.0);
        let [one, two] = [latents, other].map(|latents| model.decode(latents).unwrap());
        let apart = (one - two).abs().sum_dim(3).into_data();
        let moved = apart
            .iter::<f32>()
            .enumerate()
            .filter(|(_, apart)| *apart > 0.0);
        let places: Vec<_> = moved.map(|(at, _)| (at / 16 / 4, at % 16 / 4)).collect();
        assert!(
            !places.is_empty() && places.iter().all(|&place| place == (1, 2)),
            "{places:?}"
        );
    }

    #[test]
    fn a_frame_sees_no_later_one() {
        let mask = frame_causal_mask(2, 2, &Device::flex()).into_data();
        let hidden: Vec<bool> = mask.iter().collect();
        let (t, f) = (true, false);
        assert_eq!(hidden, [f, f, t, t, f, f, t, t, f, f, f, f, f, f, f, f]);
    }

    #[test]
    fn proprioception_counts_by_its_weight() {
        let cost = |state_cost_weight: f64| {
            let config = DinoWmConfig {
                state_cost_weight,
                ..tiny()
            };
            let model = config.init(0, &Device::flex()).unwrap();
            let latents = Tensor::<3>::ones([1, 1, 16 * 12], &Device::flex());
            let goals = Tensor::zeros([1, 16 * 12], &Device::flex());
            model.cost(latents, goals).into_scalar::<f32>()
        };
        assert!((cost(0.0) - 1.0).abs() < 1e-6 && (cost(0.5) - 1.5).abs() < 1e-6);
    }

    #[test]
    fn the_encoder_is_not_trained_and_all_else_is() {
        let device = Device::flex().autodiff();
        let (batch, _) = crate::batch::tests::training_batch(3, &device);
        let model = tiny().init(0, &device).unwrap();
        let loss = model.loss(batch, &mut stream(0, "test", 0));
        let reached = crate::jepa::loss::tests::reached(&model, &loss.total);
        let expected = ["action", "blocks", "decoder", "norm", "positions", "state"];
        assert_eq!(reached, expected);
    }

    #[test]
    fn the_decoder_trains_nothing_but_itself() {
        let device = Device::flex().autodiff();
        let (batch, _) = crate::batch::tests::training_batch(3, &device);
        let model = tiny().init(0, &device).unwrap();
        let images = batch.observations.images.clone();
        let latents = model.encode(batch.observations);
        let loss = model.decoder_loss(latents, &images, &mut stream(0, "test", 0));
        let reached = crate::jepa::loss::tests::reached(&model, &loss);
        assert_eq!(reached, ["decoder"]);
    }
}

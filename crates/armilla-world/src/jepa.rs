//! A joint-embedding predictive world model, small enough to plan in on a CPU.
//!
//! LeWorldModel (arXiv 2603.19312) at another size: encoder to one latent a picture with a batch-normalised projector, an
//! action-conditioned predictor, mean squared error to the *encoded* next picture with no stop-gradient and no moving
//! average, and SIGReg so that the encoder cannot make that easy by collapsing. What differs, and why:
//!
//! - a strided convolutional encoder and a residual MLP predictor in place of transformers: two CPU cores;
//! - the loss also rolls the predictor out over the whole window, as a planner will (JEPA-WMs, arXiv 2512.24497);
//! - inverse dynamics from the displacement of the latent, `z' - z` to the block's mean action (Delta-JEPA; EB-JEPA finds that planning
//!   in two rooms fails without): SIGReg alone is weak where a world has few degrees of freedom;
//! - the last values of a latent are a place in a space whose Euclidean distances are steps: a temporal distance, see below;
//! - a pixel decoder on detached latents: back-propagating it costs LeWorldModel ten points of success.
//!
//! # The temporal distance
//!
//! The distance between latents knows nothing of walls, so a planner that minimises it runs against them. How long a recording
//! took from a frame to a later one of the same episode needs no label, and near-expert recordings make it nearly the shortest.
//! This is the idea of temporal-distance and quasimetric methods (Quasimetric RL, Wang et al., ICML 2023; hindsight
//! relabelling). Here a network of its own, on the encoder's features, places each picture in a space, and the distance is
//! Euclidean there: symmetric, zero for equal pictures, and true to the triangle inequality, which a network over pairs would
//! have to learn from far more data. The place is a part of the latent: the predictor predicts it, but only the distances of
//! recorded pictures train it. As a head on the rest of the latent it failed: what SIGReg and the prediction ask of a latent
//! kept it at the straight line. A wandering recording still teaches distances that are too long.
//!
//! Here is the model; [`loss`](crate::loss) goes with it.

use armilla_nn::images::CHANNELS;
use armilla_nn::layers::{ConvBlock, ConvBlockConfig, Mlp, MlpConfig, StridedConvConfig};
use armilla_nn::random::seeded;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::config::JepaConfig;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::predictor::Predictor;

/// Model steps that a unit of the embedding stands for: keeps its values of the order of the latent's others.
const STEPS_A_UNIT: f64 = 2.0;
/// Linear layers from features to the embedding.
const EMBEDDER_DEPTH: usize = 4;

/// The model.
#[derive(Module, Debug)]
pub struct Jepa {
    encoder: Vec<ConvBlock>,
    projector: Mlp,
    embedder: Mlp,
    predictor: Predictor,
    inverse: Mlp,
    pub(crate) decoder: Decoder,
    #[module(skip)]
    config: JepaConfig,
}

impl JepaConfig {
    /// Builds the model, its weights from the seed alone.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a setting is out of range.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Jepa> {
        self.validate()?;
        Ok(seeded(device, seed, || self.build(device)))
    }

    /// Builds the model for weights that are loaded: what it would draw is not drawn, so that settings larger than the
    /// weights cost no memory.
    ///
    /// # Errors
    ///
    /// As [`Self::init`].
    pub(crate) fn init_to_load(&self, device: &Device) -> Result<Jepa> {
        self.validate()?;
        Ok(self.build(device))
    }

    /// Builds the model of a valid configuration.
    fn build(&self, device: &Device) -> Jepa {
        let inputs = [CHANNELS].into_iter().chain(self.channels.iter().copied());
        let layers = inputs.zip(&self.channels).enumerate();
        let encoder = layers.map(|(layer, (input, &output))| {
            let conv = StridedConvConfig::new(input, output);
            let conv = match layer == 0 && self.patch > 1 {
                true => conv
                    .with_side(self.patch)
                    .with_stride(self.patch)
                    .with_padding(0),
                false => conv,
            };
            ConvBlockConfig::new(conv, self.activation).init(device)
        });
        let features =
            self.smallest_side() * self.smallest_side() * self.channels[self.channels.len() - 1];
        let network = |input, output| {
            MlpConfig::new(input, self.projector_hidden, output).with_activation(self.activation)
        };
        Jepa {
            encoder: encoder.collect(),
            projector: network(features, self.free())
                .with_batch_norm(true)
                .init(device),
            embedder: network(features, self.embedding)
                .with_depth(EMBEDDER_DEPTH)
                .with_batch_norm(true)
                .init(device),
            inverse: network(self.free(), self.action).init(device),
            predictor: Predictor::new(self, device),
            decoder: Decoder::new(self, device),
            config: self.clone(),
        }
    }
}

impl Jepa {
    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &JepaConfig {
        &self.config
    }

    /// Pictures to latents, their embedding last.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    /// - output: `[batch, latent]`
    #[must_use]
    pub fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let layers = self.encoder.iter();
        let features = layers.fold(images, |images, layer| layer.forward(images));
        let features: Tensor<2> = features.flatten(1, 3);
        let free = self.projector.forward(features.clone());
        Tensor::cat(vec![free, self.embedder.forward(features)], 1)
    }

    /// The part of latents that the temporal distance is taken in, `[..., embedding]`.
    #[must_use]
    pub fn embedding<const D: usize>(&self, latents: Tensor<D>) -> Tensor<D> {
        latents.narrow(D - 1, self.config.free(), self.config.embedding)
    }

    /// The rest of latents, `[..., latent - embedding]`.
    #[must_use]
    pub fn free<const D: usize>(&self, latents: Tensor<D>) -> Tensor<D> {
        latents.narrow(D - 1, 0, self.config.free())
    }

    /// One model step, `action_repeat` environment steps.
    ///
    /// # Shapes
    ///
    /// - context: `[rows, history, latent]`, oldest first; at an episode's start its first latent fills the history
    /// - block: `[rows, action_repeat * action]`, normalised
    /// - output: `[rows, latent]`
    #[must_use]
    pub fn predict(&self, context: Tensor<3>, block: Tensor<2>) -> Tensor<2> {
        self.predictor.forward(context, block)
    }

    /// Many model steps, each from the predictions before it.
    ///
    /// # Shapes
    ///
    /// - context: `[rows, history, latent]`
    /// - blocks: `[rows, horizon, action_repeat * action]`, normalised
    /// - output: `[rows, horizon, latent]`
    #[must_use]
    pub fn rollout(&self, context: Tensor<3>, blocks: Tensor<3>) -> Tensor<3> {
        let horizon = blocks.dims()[1];
        let mut context = context;
        let mut latents = Vec::with_capacity(horizon);
        for step in 0..horizon {
            let next = self.predict(context.clone(), blocks.clone().select_dim(1, step));
            let next: Tensor<3> = next.unsqueeze_dim(1);
            context = shifted(context, next.clone());
            latents.push(next);
        }
        Tensor::cat(latents, 1)
    }

    /// Latents to pictures.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, latent]`
    /// - output: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    #[must_use]
    pub fn decode(&self, latents: Tensor<2>) -> Tensor<4> {
        self.decoder.forward(latents).clamp(-0.5, 0.5)
    }

    /// Predicted model steps from many latents to the goal of their group.
    ///
    /// # Shapes
    ///
    /// - latents: `[groups, rows, latent]`
    /// - goals: `[groups, latent]`
    /// - output: `[groups, rows]`, at least 0
    #[must_use]
    pub fn distance(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        let [groups, rows, _] = latents.dims();
        let goals: Tensor<3> = self.embedding(goals).unsqueeze_dim(1);
        let apart = self.embedding(latents) - goals; // [groups, rows, embedding]
        // The root's slope is unbounded at 0, where every goal lies.
        let distance = (apart.square().sum_dim(2) * STEPS_A_UNIT.powi(2) + 1e-4).sqrt();
        distance.sub_scalar(1e-2).reshape([groups, rows])
    }

    /// The block's mean action, normalised, from the latents before and after it.
    ///
    /// # Shapes
    ///
    /// - before, after: `[..., latent]`
    /// - output: `[..., action]`
    #[must_use]
    pub fn inverse<const D: usize>(&self, before: Tensor<D>, after: Tensor<D>) -> Tensor<D> {
        self.inverse.forward(self.free(after - before))
    }

    /// All frames of a batch.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, frames, height, width, 3]`
    /// - output: `[batch, frames, latent]`
    #[must_use]
    pub fn encode_frames(&self, images: Tensor<5>) -> Tensor<3> {
        let [batch, frames, height, width, channel] = images.dims();
        let latents = self.encode(images.reshape([batch * frames, height, width, channel]));
        latents.reshape([batch, frames, self.config.latent])
    }

    /// Predictions from every frame of a window: element `k` holds those `k + 1` model steps ahead.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, time, latent]`
    /// - blocks: `[batch, time - 1, action_repeat * action]`
    /// - output `k`: `[batch, time - 1 - k, latent]`, a prediction of frames `k + 1` on
    #[must_use]
    pub fn multi_step(&self, latents: Tensor<3>, blocks: Tensor<3>) -> Vec<Tensor<3>> {
        let [batch, time, latent] = latents.dims();
        let (transitions, width) = (time - 1, blocks.dims()[2]);
        let history = self.config.history;
        // The history of frame t is t + 1 - history ..= t, with frame 0 where there is none.
        let frames = (0..transitions)
            .flat_map(|t| (0..history).map(move |h| (t + h + 1).saturating_sub(history) as i64));
        let frames = Tensor::<1, Int>::from_data(
            TensorData::new(frames.collect::<Vec<_>>(), [transitions * history]),
            &latents.device(),
        );
        let mut contexts = latents
            .select(1, frames)
            .reshape([batch, transitions, history, latent]);
        let mut predictions = Vec::with_capacity(transitions);
        for ahead in 0..transitions {
            let starts = transitions - ahead;
            let context = contexts
                .narrow(1, 0, starts)
                .reshape([batch * starts, history, latent]);
            let block = blocks
                .clone()
                .narrow(1, ahead, starts)
                .reshape([batch * starts, width]);
            let next = self.predict(context.clone(), block);
            predictions.push(next.clone().reshape([batch, starts, latent]));
            contexts =
                shifted(context, next.unsqueeze_dim(1)).reshape([batch, starts, history, latent]);
        }
        predictions
    }
}

/// A context one step on: its oldest latent dropped, the next one added. `[rows, history, latent]`
fn shifted(context: Tensor<3>, next: Tensor<3>) -> Tensor<3> {
    let history = context.dims()[1];
    if history == 1 {
        return next;
    }
    Tensor::cat(vec![context.narrow(1, 1, history - 1), next], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;
    use armilla_nn::random::normal;

    fn jepa(history: usize) -> Jepa {
        let config = JepaConfig {
            image_size: 16,
            patch: 1,
            channels: vec![8, 8],
            decoder_channels: vec![8, 8],
            latent: 12,
            embedding: 4,
            history,
            ..JepaConfig::nano()
        };
        let device = Device::flex();
        config.init(0, &device).unwrap()
    }

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        normal(&mut stream(0, "test", D as u64), shape, &Device::flex())
    }

    fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> bool {
        (a - b).abs().max().into_scalar::<f32>() < 1e-5
    }

    #[test]
    fn shapes_follow_the_configuration() {
        let jepa = jepa(2);
        assert_eq!(jepa.encode(random([3, 16, 16, 3])).dims(), [3, 12]);
        assert_eq!(
            jepa.predict(random([3, 2, 12]), random([3, 10])).dims(),
            [3, 12]
        );
        assert_eq!(
            jepa.rollout(random([3, 2, 12]), random([3, 4, 10])).dims(),
            [3, 4, 12]
        );
        assert_eq!(jepa.decode(random([3, 12])).dims(), [3, 16, 16, 3]);
        assert_eq!(
            jepa.distance(random([2, 5, 12]), random([2, 12])).dims(),
            [2, 5]
        );
        assert_eq!(
            jepa.inverse(random([3, 12]), random([3, 12])).dims(),
            [3, 2]
        );
        let sizes = JepaConfig {
            latent: 0,
            ..JepaConfig::nano()
        };
        assert!(sizes.init(0, &Device::flex()).is_err());
    }

    #[test]
    fn patches_are_squares_of_the_picture() {
        let config = JepaConfig {
            image_size: 16,
            patch: 4,
            channels: vec![8, 8],
            decoder_channels: vec![8, 8, 8],
            latent: 12,
            embedding: 4,
            ..JepaConfig::nano()
        };
        let jepa = config.init(0, &Device::flex()).unwrap();
        assert_eq!(jepa.encode(random([3, 16, 16, 3])).dims(), [3, 12]);
        // A patch layer sees no other patch: moving one leaves the first layer's other outputs alone.
        let images = random([1, 16, 16, 3]);
        let other = images.clone().slice_fill([0..1, 8..12, 4..8, 0..3], 0.0);
        let apart = jepa.encoder[0].forward(images) - jepa.encoder[0].forward(other);
        let moved = apart
            .abs()
            .sum_dim(3)
            .into_data()
            .iter::<f32>()
            .collect::<Vec<_>>();
        let moved: Vec<_> = (0..16).filter(|&patch| moved[patch] > 0.0).collect();
        assert_eq!(moved, [9], "the second patch of the third row");
    }

    #[test]
    fn the_distance_is_a_metric_of_the_embedding_alone() {
        let jepa = jepa(1);
        let latents = random([1, 2, 12]);
        let goal = latents.clone().slice([0..1, 1..2, 0..12]).reshape([1, 12]);
        let found = jepa.distance(latents.clone(), goal.clone()).into_data();
        let found: Vec<f32> = found.iter::<f32>().collect();
        assert!(found[0] > 0.1 && found[1].abs() < 1e-6, "{found:?}");
        let same = latents.slice_fill([0..1, 0..2, 0..8], 7.0);
        assert!(close(
            jepa.distance(same, goal),
            Tensor::from_floats([[found[0], found[1]]], &Device::flex())
        ));
    }

    #[test]
    fn a_nano_predictor_is_small() {
        let device = Device::flex();
        let jepa = JepaConfig::nano().init(0, &device).unwrap();
        let parameters = jepa.predictor.num_params();
        assert!((150_000..300_000).contains(&parameters), "{parameters}");
        assert!(jepa.num_params() < 1_500_000, "{}", jepa.num_params());
    }

    #[test]
    fn looking_ahead_from_a_window_is_a_rollout_from_each_frame() {
        for history in [1, 2] {
            let jepa = jepa(history);
            let (latents, blocks) = (
                random([3, 4, 12]),
                normal(&mut stream(0, "b", 0), [3, 3, 10], &Device::flex()),
            );
            let ahead = jepa.multi_step(latents.clone(), blocks.clone());
            // From frame 1, with frame 0 in its history.
            let context = latents.clone().narrow(1, 2 - history, history);
            let rollout = jepa.rollout(context, blocks.clone().narrow(1, 1, 2));
            assert!(close(
                rollout.clone().narrow(1, 0, 1),
                ahead[0].clone().narrow(1, 1, 1)
            ));
            assert!(close(
                rollout.narrow(1, 1, 1),
                ahead[1].clone().narrow(1, 1, 1)
            ));
            // From frame 0, which fills its own history.
            let context = latents.narrow(1, 0, 1).repeat_dim(1, history);
            let last = jepa.rollout(context, blocks).narrow(1, 2, 1);
            assert!(close(last, ahead[2].clone()));
        }
    }
}

//! A joint-embedding predictive world model: LeWorldModel as published, and sizes small enough to train and plan in on a CPU.
//!
//! LeWorldModel (arXiv 2603.19312, [`JepaConfig::lewm`]): a vision transformer to one latent a picture with a batch-normalised
//! projector, an action-conditioned causal transformer, mean squared error to the *encoded* next picture with no stop-gradient
//! and no moving average, and SIGReg so that the encoder cannot make that easy by collapsing. What [`JepaConfig::nano`] does
//! otherwise, and why:
//!
//! - a strided convolutional encoder and a residual MLP predictor in place of transformers: two CPU cores;
//! - the loss also rolls the predictor out over the whole window, as a planner will (JEPA-WMs, arXiv 2512.24497);
//! - inverse dynamics from the displacement of the latent (see [`inverse`]): SIGReg alone is weak where a world has few
//!   degrees of freedom;
//! - the last values of a latent are a place in a space whose Euclidean distances are steps: a temporal distance, see below;
//! - where asked for, sprites that paint the picture (see [`sprites`]) and points that move as it does (see [`plane`]): how a thing is
//!   turned, and where, which nothing else makes a latent hold readably;
//! - a pixel decoder on detached latents: back-propagating it costs LeWorldModel ten points of success (`decoder_trains_encoder` does so).
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
//! Here is the model; [`config`] are its settings, [`loss`] what it minimises, [`published`] LeWorldModel's own checkpoints.

pub mod config;
pub mod inverse;
pub mod loss;
pub mod plane;
pub mod predictor;
pub mod published;
pub mod regularization;
pub mod sprites;

use armilla_nn::dropout::Dropout;
use armilla_nn::layers::{Mlp, MlpConfig};
use armilla_nn::random::seeded;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use self::config::JepaConfig;
use self::inverse::Inverse;
use self::plane::Plane;
use self::predictor::Predictor;
use crate::context::Context;
use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::error::Result;
use crate::evaluation::{Cost as _, LatentCost};
use crate::observations::Observations;
use crate::transition::Transition;

/// Model steps that a unit of the embedding stands for: keeps its values of the order of the latent's others.
const STEPS_A_UNIT: f64 = 2.0;
/// Linear layers from features to the embedding.
const EMBEDDER_DEPTH: usize = 4;

/// The model.
#[derive(Module, Debug)]
pub struct Jepa {
    encoder: Encoder,
    projector: Mlp,
    embedder: Option<Mlp>,
    plane: Option<Plane>,
    predictor: Predictor,
    pub(crate) inverse: Option<Inverse>,
    pub(crate) decoder: Option<Decoder>,
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
        let features = self.cameras * self.encoder.features(self.image_size) + self.state;
        let projector = |output| {
            MlpConfig::new(features, self.projector_hidden, output)
                .with_activation(self.activation)
                .with_batch_norm(true)
        };
        let embedder = || projector(self.embedding).with_depth(EMBEDDER_DEPTH);
        Jepa {
            encoder: Encoder::new(&self.encoder, self.image_size, self.activation, device),
            projector: projector(self.free()).init(device),
            embedder: (self.embedding > 0).then(|| embedder().init(device)),
            plane: (self.plane() > 0).then(|| Plane::new(self, device)),
            inverse: (self.loss.inverse_weight > 0.0).then(|| Inverse::new(self, device)),
            predictor: Predictor::new(self, device),
            decoder: (!self.decoder_channels.is_empty()).then(|| Decoder::new(self, device)),
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

    /// Observations to latents: what the projector makes, the embedding, sprites' poses and points.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, latent]`
    #[must_use]
    pub fn encode(&self, observations: Observations) -> Tensor<2> {
        let [batch, cameras, height, width, channel] = observations.images.dims();
        let images = observations.images;
        let images = images.reshape([batch * cameras, height, width, channel]);
        // Its own loss alone trains it: what the others ask of a latent hides directions again.
        let plane = self.plane.as_ref();
        let plane = plane.map(|plane| match images.is_autodiff() {
            true => Tensor::from_inner(plane.valid().forward(images.clone().inner())),
            false => plane.forward(images.clone()),
        });
        let features = self.encoder.forward(images);
        let of_a_camera = features.dims()[1];
        let mut features = features.reshape([batch, cameras * of_a_camera]);
        if let Some(states) = observations.states {
            features = Tensor::cat(vec![features, states], 1);
        }
        let projected = self.projector.forward(features.clone());
        let embedder = self.embedder.as_ref();
        let embedding = embedder.map(|embedder| embedder.forward(features));
        let parts = [Some(projected), embedding, plane];
        Tensor::cat(parts.into_iter().flatten().collect(), 1)
    }

    /// The latents of all frames of windows.
    ///
    /// # Shapes
    ///
    /// - observations: of `batch * frames` rows, window after window
    /// - output: `[batch, frames, latent]`
    #[must_use]
    pub fn encode_frames(&self, observations: Observations, frames: usize) -> Tensor<3> {
        let latents = self.encode(observations);
        let [rows, latent] = latents.dims();
        latents.reshape([rows / frames, frames, latent])
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
        Some(decoder.forward(self.pictured(latents)).clamp(-0.5, 0.5))
    }

    /// Its encoder.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What latents cost: mean squared error to the goal, poses and points aside.
    ///
    /// # Shapes
    ///
    /// - latents: `[groups, rows, latent]`
    /// - goals: `[groups, latent]`
    /// - output: `[groups, rows]`
    #[must_use]
    pub fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        LatentCost.cost(self.pictured(latents), self.pictured(goals))
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

    /// The part of latents that the temporal distance is taken in, `[..., embedding]`.
    #[must_use]
    pub fn embedding<const D: usize>(&self, latents: Tensor<D>) -> Tensor<D> {
        latents.narrow(D - 1, self.config.free(), self.config.embedding)
    }

    /// The part of latents that are sprites' poses and points, `[..., 4 * sprites + 2 * points]`, if they hold any.
    #[must_use]
    pub fn plane<const D: usize>(&self, latents: Tensor<D>) -> Option<Tensor<D>> {
        let (from, values) = (self.config.pictured(), self.config.plane());
        (values > 0).then(|| latents.narrow(D - 1, from, values))
    }

    /// The part of latents that pictures are decoded from and that says how alike two are: all but [`Self::plane`].
    #[must_use]
    pub fn pictured<const D: usize>(&self, latents: Tensor<D>) -> Tensor<D> {
        latents.narrow(D - 1, 0, self.config.pictured())
    }

    /// The part of latents that the projector makes.
    #[must_use]
    pub fn free<const D: usize>(&self, latents: Tensor<D>) -> Tensor<D> {
        latents.narrow(D - 1, 0, self.config.free())
    }
}

impl Transition for Jepa {
    fn history(&self) -> usize {
        self.config.history
    }

    fn step(&self, context: &Context, block: Tensor<2>, dropout: &mut Dropout<'_>) -> Tensor<2> {
        self.predictor.forward(context, block, dropout)
    }

    fn step_each_frame(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        self.predictor.step_each_frame(latents, blocks, dropout)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::encoder::{ConvolutionsConfig, EncoderConfig};
    use armilla_core::random::stream;
    use armilla_nn::random::normal;

    fn jepa(history: usize) -> Jepa {
        let config = JepaConfig {
            image_size: 16,
            encoder: small_encoder(),
            decoder_channels: vec![8, 8],
            latent: 12,
            embedding: 4,
            history,
            ..JepaConfig::nano()
        };
        config.init(0, &Device::flex()).unwrap()
    }

    pub(crate) fn small_encoder() -> EncoderConfig {
        EncoderConfig::Convolutions(ConvolutionsConfig {
            patch: 1,
            channels: vec![8, 8],
        })
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
        let observations = Observations::of_one_camera(random([3, 16, 16, 3]));
        assert_eq!(jepa.encode(observations).dims(), [3, 12]);
        let context = Context {
            latents: random([3, 2, 12]),
            blocks: None,
        };
        let off = &mut Dropout::Off;
        assert_eq!(jepa.step(&context, random([3, 10]), off).dims(), [3, 12]);
        let context = Context::of_one(random([3, 12]));
        let blocks = random([3, 4, 10]);
        assert_eq!(jepa.rollout(context, blocks).dims(), [3, 4, 12]);
        let decoded = jepa.decode(random([3, 12])).map(|images| images.dims());
        assert_eq!(decoded, Some([3, 16, 16, 3]));
        let distances = jepa.distance(random([2, 5, 12]), random([2, 12]));
        assert_eq!(distances.dims(), [2, 5]);
        let sizes = JepaConfig {
            latent: 0,
            ..JepaConfig::nano()
        };
        assert!(sizes.init(0, &Device::flex()).is_err());
    }

    #[test]
    fn several_cameras_and_proprioception_go_into_a_latent() {
        let mut config = JepaConfig {
            cameras: 2,
            state: 3,
            ..jepa(1).config.clone()
        };
        config.loss.distance_weight = 0.0;
        let jepa = config.init(0, &Device::flex()).unwrap();
        let (images, states) = (random([2, 2, 16, 16, 3]), random([2, 3]));
        let encode = |images: Tensor<5>, states: Tensor<2>| {
            let states = Some(states);
            jepa.encode(Observations { images, states })
        };
        let known = encode(images.clone(), states.clone());
        let second = images.clone().slice_fill([0..2, 1..2], 0.0);
        assert!(!close(encode(second, states.clone()), known.clone()));
        assert!(!close(encode(images, states * 2.0), known));
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
    fn presets_have_their_sizes() {
        let device = Device::flex();
        let nano = JepaConfig::nano().init(0, &device).unwrap();
        let parameters = nano.predictor.num_params();
        assert!((150_000..300_000).contains(&parameters), "{parameters}");
        assert!(nano.num_params() < 1_500_000, "{}", nano.num_params());
        let published = JepaConfig::lewm().init_to_load(&device).unwrap();
        // PyTorch has two counters of batches beside them.
        assert_eq!(published.num_params(), 18_042_672 - 2);
    }

    #[test]
    fn looking_ahead_from_a_window_is_a_rollout_step_each_frame() {
        for history in [1, 2] {
            let jepa = jepa(history);
            let (latents, blocks) = (random([3, 4, 12]), random::<3>([3, 3, 10]));
            let off = &mut Dropout::Off;
            let ahead = jepa.look_ahead(latents.clone(), blocks.clone(), 3, off);
            assert_eq!(ahead.len(), 3);
            // From frame 1, with frame 0 in its history.
            let context = Context {
                latents: latents.clone().narrow(1, 0, 2),
                blocks: Some(blocks.clone().narrow(1, 0, 1)),
            };
            let rollout = jepa.rollout(context, blocks.clone().narrow(1, 1, 2));
            for (step, ahead) in ahead.iter().take(2).enumerate() {
                let found = ahead.clone().narrow(1, 1, 1);
                assert!(close(rollout.clone().narrow(1, step, 1), found));
            }
            let context = Context::of_one(latents.narrow(1, 0, 1).reshape([3, 12]));
            let last = jepa.rollout(context, blocks).narrow(1, 2, 1);
            assert!(close(last, ahead[2].clone()));
        }
    }
}

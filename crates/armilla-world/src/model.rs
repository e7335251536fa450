//! The world models behind the same few verbs: `encode`, `predict`, `rollout`, `decode`, loss; and what a latent costs.

use armilla_nn::Activation;
use armilla_nn::dropout::Dropout;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::batch::{PairsConfig, TrainingBatch};
use crate::context::Context;
use crate::dino_wm::DinoWm;
use crate::dino_wm::config::DinoWmConfig;
use crate::encoder::{Encoder, EncoderConfig};
use crate::error::Result;
use crate::evaluation::{Cost as _, LatentCost};
use crate::jepa::Jepa;
use crate::jepa::config::JepaConfig;
use crate::loss::ModelLoss;
use crate::observations::Observations;
use crate::transition::Transition;

/// Which model, and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelConfig {
    /// See [`Jepa`].
    Jepa(JepaConfig),
    /// See [`DinoWm`].
    DinoWm(DinoWmConfig),
}

/// The sizes by which recordings, planners and environments meet a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Side of its square pictures.
    pub image_size: usize,
    /// Cameras.
    pub cameras: usize,
    /// Values of proprioception; 0 where it takes none.
    pub state: usize,
    /// Values of a latent.
    pub latent: usize,
    /// Latents it looks back on, the newest included.
    pub history: usize,
    /// Values of an action.
    pub action: usize,
    /// Environment steps, and so actions, a model step.
    pub action_repeat: usize,
    /// Model steps that training rolls out over.
    pub rollout: usize,
    /// Whether it is trained on turned and mirrored windows.
    pub symmetries: bool,
    /// Whether it knows a temporal distance: training placed the embedding of its latents.
    pub has_distance: bool,
    /// Whether it knows sprites' poses or points in the plane of the picture: training taught those of its latents.
    pub has_plane: bool,
}

impl Shape {
    /// Values of an action block: `action_repeat` actions one after the other.
    #[must_use]
    pub fn block(&self) -> usize {
        self.action * self.action_repeat
    }
}

impl ModelConfig {
    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match self {
            Self::Jepa(config) => Shape {
                image_size: config.image_size,
                cameras: config.cameras,
                state: config.state,
                latent: config.latent,
                history: config.history,
                action: config.action,
                action_repeat: config.action_repeat,
                rollout: config.loss.rollout,
                symmetries: config.symmetries,
                // What no loss reached is a random projection.
                has_distance: config.embedding > 0 && config.loss.distance_weight > 0.0,
                has_plane: config.plane() > 0 && config.loss.plane_weight > 0.0,
            },
            Self::DinoWm(config) => Shape {
                image_size: config.image_size,
                cameras: config.cameras,
                state: config.state,
                latent: config.latent(),
                history: config.history,
                action: config.action,
                action_repeat: config.action_repeat,
                rollout: config.loss.rollout,
                symmetries: false,
                has_distance: false,
                has_plane: false,
            },
        }
    }

    /// Its encoder's settings.
    #[must_use]
    pub fn encoder(&self) -> &EncoderConfig {
        match self {
            Self::Jepa(config) => &config.encoder,
            Self::DinoWm(config) => &config.encoder,
        }
    }

    /// The non-linearity of its encoder's convolutions.
    #[must_use]
    pub fn activation(&self) -> Activation {
        match self {
            Self::Jepa(config) => config.activation,
            Self::DinoWm(config) => config.activation,
        }
    }

    /// The pairs of frames that training wants for a temporal distance.
    #[must_use]
    pub fn pairs(&self) -> Option<PairsConfig> {
        match self {
            Self::Jepa(config) if config.loss.distance_weight > 0.0 => Some(PairsConfig {
                max: config.loss.distance_max,
                near_weight: config.loss.distance_near_weight,
            }),
            _ => None,
        }
    }

    /// Whether training wants pictures beside themselves turned.
    #[must_use]
    pub fn wants_rotated(&self) -> bool {
        match self {
            Self::Jepa(config) => config.plane() > 0 && config.loss.plane_weight > 0.0,
            Self::DinoWm(_) => false,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for the first that is out of range, with its key.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Jepa(config) => config.validate(),
            Self::DinoWm(config) => config.validate(),
        }
    }

    /// Builds the model, its weights from the seed alone.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a setting is out of range.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Model> {
        Ok(match self {
            Self::Jepa(config) => Model::Jepa(config.init(seed, device)?),
            Self::DinoWm(config) => Model::DinoWm(config.init(seed, device)?),
        })
    }

    /// Builds the model for weights that are loaded, drawing none.
    pub(crate) fn init_to_load(&self, device: &Device) -> Result<Model> {
        Ok(match self {
            Self::Jepa(config) => Model::Jepa(config.init_to_load(device)?),
            Self::DinoWm(config) => Model::DinoWm(config.init_to_load(device)?),
        })
    }
}

/// A world model.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of them, and it holds tensors by reference"
)]
#[derive(Module, Debug)]
pub enum Model {
    /// See [`Jepa`].
    Jepa(Jepa),
    /// See [`DinoWm`].
    DinoWm(DinoWm),
}

impl Model {
    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> ModelConfig {
        match self {
            Self::Jepa(model) => ModelConfig::Jepa(model.config().clone()),
            Self::DinoWm(model) => ModelConfig::DinoWm(model.config().clone()),
        }
    }

    /// Its encoder, for another model to be built on.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        match self {
            Self::Jepa(model) => model.encoder(),
            Self::DinoWm(model) => model.encoder(),
        }
    }

    /// Observations to latents.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, latent]`
    #[must_use]
    pub fn encode(&self, observations: Observations) -> Tensor<2> {
        match self {
            Self::Jepa(model) => model.encode(observations),
            Self::DinoWm(model) => model.encode(observations),
        }
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

    /// One model step, `action_repeat` environment steps.
    ///
    /// # Shapes
    ///
    /// - context: up to `history` frames
    /// - block: `[rows, action_repeat * action]`, normalised
    /// - output: `[rows, latent]`
    #[must_use]
    pub fn predict(&self, context: &Context, block: Tensor<2>) -> Tensor<2> {
        self.step(context, block, &mut Dropout::Off)
    }

    /// Latents to pictures of the first camera, if the model has a decoder.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, latent]`
    /// - output: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    #[must_use]
    pub fn decode(&self, latents: Tensor<2>) -> Option<Tensor<4>> {
        match self {
            Self::Jepa(model) => model.decode(latents),
            Self::DinoWm(model) => model.decode(latents),
        }
    }

    /// What latents cost beside the goal of their group: a mean squared error.
    ///
    /// # Shapes
    ///
    /// - latents: `[groups, rows, latent]`
    /// - goals: `[groups, latent]`
    /// - output: `[groups, rows]`
    #[must_use]
    pub fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Jepa(model) => model.cost(latents, goals),
            Self::DinoWm(model) => model.cost(latents, goals),
        }
    }

    /// Predicted model steps from latents to the goal of their group, if the model's latents have an embedding. They mean something where
    /// the model [knows](Shape::has_distance) a temporal distance.
    ///
    /// # Shapes
    ///
    /// - as of [`Self::cost`]
    #[must_use]
    pub fn distance(&self, latents: Tensor<3>, goals: Tensor<2>) -> Option<Tensor<2>> {
        match self {
            Self::Jepa(model) if model.config().embedding > 0 => {
                Some(model.distance(latents, goals))
            }
            _ => None,
        }
    }

    /// What the sprites' poses and points of latents cost beside those of the goal of their group, if the model's latents hold any.
    ///
    /// # Shapes
    ///
    /// - as of [`Self::cost`]
    #[must_use]
    pub fn plane_cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Option<Tensor<2>> {
        match self {
            Self::Jepa(model) => Some(LatentCost.cost(model.plane(latents)?, model.plane(goals)?)),
            Self::DinoWm(_) => None,
        }
    }

    /// What a training step minimises. `generator` draws whatever is random in it.
    #[must_use]
    pub fn loss(&self, batch: TrainingBatch, generator: &mut ChaCha8Rng) -> ModelLoss {
        match self {
            Self::Jepa(model) => model.loss(batch, generator),
            Self::DinoWm(model) => model.loss(batch, generator),
        }
    }
}

impl Transition for Model {
    fn history(&self) -> usize {
        match self {
            Self::Jepa(model) => model.history(),
            Self::DinoWm(model) => model.history(),
        }
    }

    fn step(&self, context: &Context, block: Tensor<2>, dropout: &mut Dropout<'_>) -> Tensor<2> {
        match self {
            Self::Jepa(model) => model.step(context, block, dropout),
            Self::DinoWm(model) => model.step(context, block, dropout),
        }
    }

    fn step_each_frame(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3> {
        match self {
            Self::Jepa(model) => model.step_each_frame(latents, blocks, dropout),
            Self::DinoWm(model) => model.step_each_frame(latents, blocks, dropout),
        }
    }
}

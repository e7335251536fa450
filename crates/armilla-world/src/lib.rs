//! World models, and planners that search in them.
//!
//! A world model turns a picture into a latent ([`Jepa::encode`]), and a latent and an action block into the next latent
//! ([`Jepa::predict`]). A planner searches for the action blocks whose predicted latents cost least ([`Planner`]).
//!
//! # Layout
//!
//! - [`config`]: shape and loss weights of the model, with the preset [`JepaConfig::nano`].
//! - [`jepa`]: the model, from its parts to `encode`, `predict`, `rollout`, `decode` and `distance`; [`loss`]: what it minimises.
//! - [`sigreg`]: what keeps its latents from collapsing.
//! - [`predictor`]: the next latent; [`decoder`]: latent to picture.
//! - [`batch`]: windows of a recording as tensors, [`symmetry`]: turned and mirrored; [`action_scale`]: the units of actions.
//! - [`diagnostics`]: whether latents are alive and heed the action.
//! - [`plan_config`], [`planner`]: random shooting, CEM, iCEM, MPPI and gradient descent; `candidates` and [`evaluation`] are their
//!   halves, numbers and model.
//! - [`world_model`]: a trained model with its units, ready to encode pictures and plan in; [`checkpoint`]: its directory,
//!   `config.json` + `model.safetensors`.
//!
//! Nothing here knows a simulator, a bus or a viewer, or reads a file other than a checkpoint.

pub mod action_scale;
pub mod batch;
mod candidates;
pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod diagnostics;
pub mod error;
pub mod evaluation;
pub mod jepa;
pub mod loss;
pub mod plan_config;
pub mod planner;
pub mod predictor;
pub mod sigreg;
pub mod symmetry;
pub mod views;
pub mod world_model;

pub use action_scale::ActionScale;
pub use batch::JepaBatch;
pub use config::{JepaConfig, LossConfig};
pub use diagnostics::Diagnostics;
pub use error::{Error, Result};
pub use evaluation::{Cost, Dynamics, LatentCost};
pub use jepa::Jepa;
pub use loss::JepaLoss;
pub use plan_config::{Aggregation, Coordinates, Method, Noise, Objective, PlanConfig, Returned};
pub use planner::{Plan, Planner, Problem};
pub use symmetry::turn;
pub use world_model::{Interface, WorldModel};

//! World models, and planners that search in them.
//!
//! A world model turns a picture into a latent ([`Model::encode`]), and a latent and an action block into the next latent
//! ([`Model::predict`]). A planner searches for the action blocks whose predicted latents cost least ([`Planner`]).
//!
//! # Layout
//!
//! - [`jepa`] and [`dino_wm`]: the models, each from its settings to its loss and to the checkpoints that others publish.
//! - [`model`]: both behind the same verbs; [`transition`]: one step of the model, and the rollouts that follow from it.
//! - [`encoder`], [`decoder`], [`sigreg`]: parts; [`loss`]: what losses share.
//! - [`observations`], [`context`]: what goes in; [`batch`]: windows of a recording as tensors, [`symmetry`]: turned and mirrored;
//!   [`scale`]: the units of actions and states.
//! - [`diagnostics`]: whether latents are alive and heed the action.
//! - [`plan_config`], [`planner`]: random shooting, CEM, iCEM, MPPI and gradient descent; `candidates` and [`evaluation`] are their
//!   halves, numbers and model; [`views`]: a search that looks at a scene turned and mirrored too.
//! - [`world_model`]: a trained model with its units, ready to encode pictures and plan in; [`checkpoint`]: its directory,
//!   `config.json` + `model.safetensors`.
//!
//! Nothing here knows a simulator, a bus or a viewer, or reads a file other than a checkpoint.

pub mod batch;
mod candidates;
pub mod checkpoint;
pub mod context;
pub mod decoder;
pub mod diagnostics;
pub mod dino_wm;
pub mod encoder;
pub mod error;
pub mod evaluation;
pub mod jepa;
mod limits;
pub mod loss;
pub mod model;
pub mod observations;
pub mod plan_config;
pub mod planner;
#[cfg(test)]
mod port_bugs;
pub mod rotation;
pub mod scale;
pub mod sigreg;
pub mod symmetry;
pub mod transition;
pub mod views;
pub mod world_model;

pub use batch::TrainingBatch;
pub use context::Context;
pub use diagnostics::Diagnostics;
pub use dino_wm::DinoWm;
pub use dino_wm::config::DinoWmConfig;
pub use error::{Error, Result};
pub use evaluation::{Cost, Dynamics, LatentCost};
pub use jepa::Jepa;
pub use jepa::config::JepaConfig;
pub use loss::ModelLoss;
pub use model::{Model, ModelConfig, Shape};
pub use observations::{Frame, Observations};
pub use plan_config::{Aggregation, Coordinates, Method, Noise, Objective, PlanConfig, Returned};
pub use planner::{Plan, Planner, Problem};
pub use rotation::Rotated;
pub use scale::{ActionScale, StateScale};
pub use symmetry::turn;
pub use transition::Transition;
pub use world_model::{Interface, WorldModel};

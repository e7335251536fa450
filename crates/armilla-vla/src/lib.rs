//! Vision-language-action policies: picture, instruction and state to a chunk of actions.
//!
//! # Layout
//!
//! - [`lerobot`]: the form that every policy has, the checkpoints of all of them, and the registry of those there are.
//! - [`act`]: ACT, as LeRobot has it.
//! - [`diffusion`]: Diffusion Policy, as LeRobot has it.
//! - [`flow`]: the flow-matching policy that reads instructions.
//! - [`batch`]: what policies are asked and taught.
//! - [`policy`]: a trained policy of any kind behind [`armilla_core::Policy`].
//! - [`tokenizer`]: words to numbers.
//! - [`goal_policy`]: goal-conditioned behaviour cloning, pictures alone: what a planner has to beat.

pub mod act;
pub mod batch;
pub mod diffusion;
pub mod error;
pub mod flow;
pub mod goal_policy;
mod json;
pub mod lerobot;
pub mod policy;
#[cfg(test)]
mod test_support;
pub mod tokenizer;

pub use act::{Act, ActConfig};
pub use batch::{PolicyBatch, PolicyObservations, Words};
pub use diffusion::{Diffusion, DiffusionConfig};
pub use error::{Error, Result};
pub use flow::{FlowPolicy, FlowPolicyConfig};
pub use goal_policy::{GoalBatch, GoalCloning, GoalPolicy, GoalPolicyConfig, GoalShape};
pub use lerobot::{
    Checkpoint, PolicyConfig, PolicyInputs, PolicyModel, TrainedPolicy, load_policy,
};
pub use policy::{CheckpointPolicy, check_environment};
pub use tokenizer::Tokenizer;

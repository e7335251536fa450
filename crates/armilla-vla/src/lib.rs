//! Vision-language-action policies: picture, instruction and state to a chunk of actions.
//!
//! # Layout
//!
//! - [`flow_policy`]: the model, from config to forward to loss.
//! - [`vision`], [`text`], [`readout`] and `expert`: its encoders, its trunk and its action expert.
//! - [`tokenizer`]: words to numbers.
//! - [`processor`]: observations and recorded windows to tensors, and actions back.
//! - [`goal_policy`]: goal-conditioned behaviour cloning, pictures alone: what a planner has to beat.
//! - [`act`]: ACT, as LeRobot has it.
//! - [`lerobot`]: what the checkpoints of LeRobot's policies share.
//! - [`batch`]: what LeRobot's policies are asked and taught.
//! - [`policy`]: the model behind [`armilla_core::Policy`].
//! - [`checkpoint`]: the directory it is saved to, in LeRobot's layout.

pub mod act;
pub mod batch;
pub mod checkpoint;
pub mod error;
mod expert;
pub mod flow_policy;
pub mod goal_policy;
pub mod lerobot;
mod normalizer;
pub mod policy;
pub mod processor;
pub mod readout;
#[cfg(test)]
mod test_support;
pub mod text;
pub mod tokenizer;
pub mod vision;

pub use act::{Act, ActCheckpoint, ActConfig, ActLoss};
pub use batch::{PolicyBatch, PolicyObservations};
pub use checkpoint::TrainedPolicy;
pub use error::{Error, Result};
pub use flow_policy::{FlowLoss, FlowPolicy, FlowPolicyConfig, PolicyShape};
pub use goal_policy::{GoalBatch, GoalCloning, GoalPolicy, GoalPolicyConfig, GoalShape};
pub use policy::VlaPolicy;
pub use processor::{FlowBatch, NormalizationModes, ObservationBatch, Processor};
pub use tokenizer::Tokenizer;

//! What joins world models and policies.
//!
//! # Layout
//!
//! - [`planner_policy`]: a world model and a planner, driven as any other [`Policy`](armilla_core::Policy).
//! - [`mod@evaluate`]: closed-loop episodes of any policy in any environment, several at once.
//! - [`execution`]: how chunks become actions, also when the next one is late.
//! - [`footage`]: episodes as a world model sees them, and what it predicts from there.
//! - [`imagination`]: open-loop rollouts beside reality, as pictures; [`mod@rollout`]: what they are worth, by [`similarity`].
//! - [`probe`]: what latents know; [`mod@surprise`]: what they do not see coming; [`statistics`]: what differences are worth.

pub mod evaluate;
pub mod execution;
pub mod footage;
pub mod imagination;
pub mod planner_policy;
pub mod probe;
pub mod rollout;
pub mod similarity;
pub mod statistics;
pub mod surprise;

pub use evaluate::{Evaluation, EvaluationConfig, InstructionControl, Trace, evaluate};
pub use execution::{Aggregate, Execution};
pub use footage::{Encoded, Footage, Window};
pub use imagination::{Imagination, imagine, imagine_from};
pub use planner_policy::PlannerPolicy;

//! What joins world models and policies.
//!
//! # Layout
//!
//! - [`planner_policy`]: a world model and a planner, driven as any other [`Policy`](armilla_core::Policy).
//! - [`mod@evaluate`]: closed-loop episodes of any policy in any environment, several at once.
//! - [`imagination`]: open-loop rollouts beside reality.

pub mod evaluate;
pub mod imagination;
pub mod planner_policy;

pub use evaluate::{Evaluation, EvaluationConfig, InstructionControl, Trace, evaluate};
pub use imagination::{Imagination, imagine};
pub use planner_policy::PlannerPolicy;

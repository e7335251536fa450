//! Native simulators behind one [`Environment`](armilla_core::Environment) trait.
//!
//! # Layout
//!
//! - [`simulator`]: the [`Simulator`] trait (what an environment's owner can see and a policy cannot) and
//!   the [`Script`]s that act on that truth.
//! - [`registry`]: environments and their protocols by name.
//! - [`variation`]: how scenes can differ from all that is recorded.
//! - [`draw`]: the camera, a thin layer over `tiny-skia`.
//! - [`two_room`], [`push_t`], [`tabletop`]: the simulators.

pub mod draw;
mod noise;
pub mod push_t;
pub mod registry;
mod search;
pub mod simulator;
pub mod tabletop;
pub mod two_room;
pub mod variation;

pub use registry::{EnvironmentConfig, make};
pub use simulator::{Script, Simulator, Truth, run_script};
pub use variation::Variation;

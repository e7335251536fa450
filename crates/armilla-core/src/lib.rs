//! The vocabulary that robots, simulators, recordings, policies and world models share.
//!
//! # Layout
//!
//! - [`image`]: the RGB picture a camera gives.
//! - [`observation`] and [`action`]: what a robot senses at one step, and what it is told to do.
//! - [`features`]: the schema of both, spelled as in LeRobot's `meta/info.json`.
//! - [`environment`] and [`policy`]: the two traits that everything closed-loop goes through.
//! - [`statistics`]: per-feature statistics, `normalize` and `unnormalize`.
//! - [`evaluation`]: success counts with their Wilson intervals.
//! - [`random`]: random streams keyed by `(seed, stream, step)`.
//! - [`window`]: windows in time cut from recordings, as a loader hands them to a model.
//!
//! There are no tensors and no I/O here, so nothing can fail but validation.

pub mod action;
pub mod environment;
pub mod error;
pub mod evaluation;
pub mod features;
pub mod image;
pub mod observation;
pub mod policy;
pub mod random;
pub mod statistics;
pub mod window;

pub use action::{Action, ActionChunk};
pub use environment::{Environment, EnvironmentSpec, Info, Reset, Step};
pub use error::{Error, Result};
pub use evaluation::{EpisodeOutcome, Rate, WilsonInterval, is_error};
pub use features::{DataType, Feature, Features};
pub use image::Image;
pub use observation::{Goal, Observation};
pub use policy::{EpisodeId, Leftover, Policy, PolicyRequest};
pub use statistics::{FeatureStatistics, Normalization, Statistics};
pub use window::{CameraWindows, WindowBatch};

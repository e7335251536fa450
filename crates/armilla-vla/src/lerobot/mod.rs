//! The form that every policy has, and what the checkpoints of all of them share.
//!
//! - [`model`]: what a policy is, and [`registry`]: which there are.
//! - [`checkpoint`]: the directory on disk. `features`, `normalizer` and `processors` are its parts.
//! - `observations`: what robots sense and recordings hold, as policies take it.
//! - `draws`: where randomness comes from; [`exchange`]: batches and results as files, to compare with another's.
//!
//! Features and processors are as LeRobot 0.6.1 has them (`src/lerobot/processor/normalize_processor.py`,
//! `src/lerobot/configs/policies.py`).

pub mod checkpoint;
mod draws;
pub mod exchange;
pub(crate) mod features;
#[cfg(test)]
pub(crate) mod golden;
mod kept;
pub mod model;
#[cfg(test)]
pub(crate) mod named;
mod normalizer;
mod observations;
mod processors;
pub mod registry;

pub use checkpoint::Checkpoint;
pub use draws::Draws;
pub(crate) use kept::{check_kept, nullable};

pub use features::{Camera, Feature, FeatureKind, Features, PolicyInputs};
pub use model::{Horizons, Modes, PolicyLoss, PolicyModel, Settings};
pub use normalizer::{Mode, Normalizer};
pub use processors::{Processors, WordProcessor, arrays};
pub use registry::{PolicyConfig, PolicyVisitor, TrainedPolicy, load_policy};

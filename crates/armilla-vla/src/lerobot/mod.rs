//! What LeRobot's checkpoints of all policies share: their features, and the processors that normalise.
//!
//! As LeRobot 0.6.1 has it (`src/lerobot/processor/normalize_processor.py`, `src/lerobot/configs/policies.py`).

mod features;
mod normalizer;
mod processors;

pub use features::{Camera, Feature, FeatureKind, Features, PolicyInputs};
pub use normalizer::{Mode, Normalizer};
pub use processors::{Processors, is_legacy_statistic};

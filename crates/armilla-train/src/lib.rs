//! The trainer: optimiser steps, their schedule, checkpoints and resuming.
//!
//! It counts steps, not epochs, and knows no model: a model is [`Trainable`], its data a [`BatchSource`], and [`train`] does the
//! rest. Batches and randomness are pure functions of the step, so a resumed run computes bit for bit what an uninterrupted one
//! would have, with nothing to restore but weights, moments and averages.
//!
//! # Layout
//!
//! - [`config`]: what a run is set to, and the learning rate of each step.
//! - [`model`]: what the trainer needs of a model and of its data.
//! - [`trainer`]: the loop.
//! - [`optimizer`], [`gradients`] and [`average`]: AdamW, global-norm clipping and the moving average of weights, all keyed by
//!   parameter path.
//! - [`run`] and [`checkpoint`]: a run's folder, and the checkpoints in it.
//! - [`metrics`]: reading and writing `metrics.jsonl`.

pub mod average;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod gradients;
pub mod metrics;
pub mod model;
pub mod optimizer;
pub mod run;
pub mod trainer;

pub use config::TrainConfig;
pub use error::{BoxError, Error, Result};
pub use metrics::{MetricsLine, read_metrics};
pub use model::{BatchSource, Loss, StepContext, Trainable};
pub use run::RunDirectory;
pub use trainer::{Control, Export, Progress, Trained, Training, Validation, train};

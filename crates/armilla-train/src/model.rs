//! What the trainer needs of a model and of its data.

use burn::module::Module;
use burn::tensor::Tensor;
use rand_chacha::ChaCha8Rng;

use crate::error::BoxError;

/// A model that can be trained.
pub trait Trainable: Module {
    /// What one loss is computed from.
    type Batch: Send;

    /// The loss of a batch: a pure function of weights, batch and context, but for running statistics of batch normalisation.
    ///
    /// All randomness comes from [`StepContext::stream`], and inputs live on the autodiff device: batch normalisation of a
    /// tensor elsewhere uses the running statistics.
    ///
    /// # Errors
    ///
    /// If the batch does not fit the model, which ends the run.
    fn loss(&self, batch: Self::Batch, context: StepContext) -> Result<Loss, BoxError>;
}

/// Where in a run a loss is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepContext {
    /// The run's seed.
    pub seed: u64,
    /// The optimiser step, counted from 0.
    pub step: u64,
    /// The batch within the step, counted from 0.
    pub micro: u64,
}

impl StepContext {
    /// The random stream of a name at this step and batch.
    #[must_use]
    pub fn stream(&self, name: &str) -> ChaCha8Rng {
        armilla_core::random::stream(self.seed, &format!("{name}/{}", self.micro), self.step)
    }
}

/// A loss and what it is made of.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What is minimised.
    pub total: Tensor<1>,
    /// Named scalars for the metrics.
    pub figures: Vec<(&'static str, Tensor<1>)>,
}

/// Batches by number. They are loaded on a thread of their own while the model works on the ones before.
pub trait BatchSource: Send {
    /// What one loss is computed from.
    type Batch;

    /// The batch of a step, counted from 0 over all batches of all steps. A pure function of that number, so that a resumed
    /// run needs no state of its loader.
    ///
    /// # Errors
    ///
    /// If it cannot be loaded, which ends the run.
    fn batch(&mut self, micro_step: u64) -> Result<Self::Batch, BoxError>;

    /// What must be the same for the same batches to come: an object, kept in every checkpoint and compared when a run is
    /// resumed. Nothing by default.
    fn state(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

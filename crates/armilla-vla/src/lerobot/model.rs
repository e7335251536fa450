//! The form that every policy has: config, then `init`, then `loss(batch)`, then `sample_actions(observations)`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use armilla_nn::checkpoint::Weights;
use armilla_nn::checkpoint::foreign::Rule;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::draws::Draws;
use super::features::{FeatureKind, PolicyInputs};
use super::normalizer::Mode;
use crate::batch::{PolicyBatch, PolicyObservations};
use crate::error::Result;

/// How features are normalised, by their kind.
pub type Modes = BTreeMap<FeatureKind, Mode>;

/// How far a policy looks back and ahead, in steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Horizons {
    /// Observations it is shown, the present one included.
    pub history: usize,
    /// Actions it learns at once, from the first of those observations on.
    pub action: usize,
    /// Actions that are carried out before the next are asked for.
    pub receding: usize,
    /// Actions from now on that LeRobot's `predict_action_chunk` answers with; here they are all that were predicted.
    pub published_chunk: usize,
    /// If given, they are asked for at every step and averaged with weights `exp(-this * age)`, the oldest first.
    pub ensemble: Option<f64>,
}

/// What training lowers.
#[derive(Clone, Debug)]
pub struct PolicyLoss {
    /// The weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Its parts for logs, `[1]` each.
    pub figures: Vec<(&'static str, Tensor<1>)>,
}

/// A `config.json`, understood.
#[derive(Clone, Debug)]
pub struct Settings<C> {
    /// The policy's own settings.
    pub config: C,
    /// What it senses.
    pub inputs: PolicyInputs,
    /// How that is normalised.
    pub modes: Modes,
    /// Other keys, which do not change what the policy computes.
    pub kept: Map<String, Value>,
}

/// A policy.
pub trait PolicyModel: Module + Sized {
    /// `type` in its `config.json`.
    const KIND: &'static str;
    /// Cameras it takes, at most.
    const CAMERAS: usize = usize::MAX;
    /// Its settings.
    type Config: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// How far it looks.
    #[must_use]
    fn horizons(config: &Self::Config) -> Horizons;

    /// How a new policy normalises.
    #[must_use]
    fn modes() -> Modes;

    /// Whether it reads instructions.
    #[must_use]
    fn reads() -> bool {
        false
    }

    /// Whether it can [continue](crate::PolicyObservations::guidance) actions that are known.
    #[must_use]
    fn continues() -> bool {
        false
    }

    /// Tokens of an instruction that it reads, at most.
    #[must_use]
    fn max_tokens(_config: &Self::Config) -> usize {
        0
    }

    /// Builds it with weights from the seed alone.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) when a setting is out of range.
    fn init(
        config: &Self::Config,
        inputs: &PolicyInputs,
        seed: u64,
        device: &Device,
    ) -> Result<Self>;

    /// Builds it for weights that are loaded later.
    ///
    /// # Errors
    ///
    /// As [`Self::init`].
    fn unloaded(config: &Self::Config, inputs: &PolicyInputs, device: &Device) -> Result<Self>;

    /// What it was built from.
    #[must_use]
    fn config(&self) -> &Self::Config;

    /// What it senses.
    #[must_use]
    fn inputs(&self) -> &PolicyInputs;

    /// Normalised actions from now on, all that are predicted; the first of them are those of LeRobot's `predict_action_chunk`, see
    /// [`Horizons::published_chunk`].
    ///
    /// # Shapes
    ///
    /// - output: `[batch, steps, action]`, at least `receding` steps
    ///
    /// # Errors
    ///
    /// When observations or draws do not fit the policy.
    fn sample_actions(
        &self,
        observations: &PolicyObservations,
        draws: &mut Draws<'_>,
    ) -> Result<Tensor<3>>;

    /// The loss of one batch.
    ///
    /// # Errors
    ///
    /// As [`Self::sample_actions`].
    fn loss(&self, batch: &PolicyBatch, draws: &mut Draws<'_>) -> Result<PolicyLoss>;

    /// Where its checkpoints have what it has; none where they use our names.
    #[must_use]
    fn rules(&self) -> Vec<Rule> {
        Vec::new()
    }

    /// Whether its checkpoints may hold an array of this name that it has no use for.
    #[must_use]
    fn ignores(_name: &str) -> bool {
        false
    }

    /// Adds to the arrays of its checkpoints what it has no use for but others expect.
    fn complete(_arrays: &mut Weights) {}

    /// Reads the text of a `config.json`, whose features stand in the order in which the policy takes them; `path` is for errors.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) naming a key that is missing, unknown or of a value that is not supported.
    fn read_settings(text: &str, path: &Path) -> Result<Settings<Self::Config>>;

    /// The text of its `config.json`.
    ///
    /// # Errors
    ///
    /// When a value has no place in JSON.
    fn written_settings(settings: &Settings<Self::Config>) -> serde_json::Result<String>;
}

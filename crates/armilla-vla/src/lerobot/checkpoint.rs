//! A policy on disk: a directory in LeRobot's layout.
//!
//! `config.json`, `model.safetensors`, `policy_preprocessor.json` and `policy_postprocessor.json` with their statistics beside them,
//! `tokenizer.json` of a policy that reads, and `train_config.json`. Each file is written under a temporary name and renamed.

use std::path::Path;

use armilla_nn::checkpoint::foreign::as_theirs;
use armilla_nn::checkpoint::{self, Weights, weights, with_foreign_weights, with_weights};
use burn::tensor::{Device, Tensor};
use serde_json::{Map, Value};

use super::model::{PolicyModel, Settings};
use super::processors::{Processors, is_legacy_statistic};
use crate::error::{Error, Result};
use crate::json::{field, read, read_json, write_json};

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const TRAIN_CONFIG: &str = "train_config.json";
/// Key of `train_config.json`: steps a second of what was learnt from, which nothing else in the directory says.
pub const RATE: &str = "fps";

/// A policy with all that it needs to act.
#[derive(Clone, Debug)]
pub struct Checkpoint<M> {
    /// The policy.
    pub model: M,
    /// What stands before and after it.
    pub processors: Processors,
    /// Other keys of `config.json`, which do not change what the policy computes.
    pub kept: Map<String, Value>,
    /// How it was trained, for the reader.
    pub train_config: Option<Value>,
}

impl<M: PolicyModel> Checkpoint<M> {
    /// Reads a directory.
    ///
    /// # Errors
    ///
    /// [`Error`] when a file is missing or foreign, a key is unknown or of a value that is not supported, or the weights are not those of
    /// the settings: each tensor that is missing, extra or misshapen is listed under the file's name for it.
    pub fn load(directory: &Path, device: &Device) -> Result<Self> {
        let path = directory.join(CONFIG);
        let text = read(&path)?;
        let kind = kind(&text, &path)?;
        if kind != M::KIND {
            return Err(Error::checkpoint(&path, "type", M::KIND, kind));
        }
        let Settings {
            config,
            mut inputs,
            modes,
            kept,
        } = M::read_settings(&text, &path)?;
        let origin = directory.join(WEIGHTS);
        let (weights, _) = checkpoint::read(&origin)?;
        let processors = match Processors::from_legacy(&inputs, &modes, &weights) {
            Some(processors) => processors,
            None => Processors::load(directory)?,
        };
        inputs.vocabulary = processors.vocabulary();
        if M::reads() && inputs.vocabulary.is_none() {
            let path = directory.join("policy_preprocessor.json");
            return Err(Error::checkpoint(
                &path,
                "steps",
                "tokenizer_processor",
                "no such",
            ));
        }
        let model = M::unloaded(&config, &inputs, device)?;
        let path = directory.join(TRAIN_CONFIG);
        Ok(Self {
            model: with_published(model, weights, &origin)?,
            processors,
            kept,
            train_config: path.exists().then(|| read_json(&path)).transpose()?,
        })
    }

    /// Writes a directory that LeRobot loads, if it knows this kind of policy.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        std::fs::create_dir_all(directory).map_err(|error| Error::file(directory, error))?;
        let path = directory.join(CONFIG);
        let text = M::written_settings(&Settings {
            config: self.model.config().clone(),
            inputs: self.model.inputs().clone(),
            modes: self.processors.before.modes.clone(),
            kept: self.kept.clone(),
        });
        let text = text.map_err(|error| Error::checkpoint(&path, "(whole file)", "JSON", error))?;
        checkpoint::write_atomically(&path, (text + "\n").as_bytes())?;
        self.processors.save(directory)?;
        if let Some(train_config) = &self.train_config {
            write_json(&directory.join(TRAIN_CONFIG), train_config)?;
        }
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let path = directory.join(WEIGHTS);
        Ok(checkpoint::write(
            &path,
            &published(&self.model),
            &metadata,
        )?)
    }
}

/// What kind of policy a `config.json` is of.
pub(super) fn kind(text: &str, path: &Path) -> Result<String> {
    let json: Value = serde_json::from_str(text)
        .map_err(|error| Error::checkpoint(path, "(whole file)", "JSON", error))?;
    field(&json, path, "type")
}

/// Replaces a policy's weights by those of a checkpoint, and says where errors say they came from.
pub(crate) fn with_published<M: PolicyModel>(
    model: M,
    weights: Weights,
    origin: &Path,
) -> Result<M> {
    let rules = model.rules();
    Ok(match rules.is_empty() {
        true => with_weights(model, weights, origin)?,
        false => {
            let ignored = |name: &str| is_legacy_statistic(name) || M::ignores(name);
            with_foreign_weights(model, weights, &rules, &ignored, origin)?
        }
    })
}

/// All weights under the names and in the layouts of its checkpoints.
#[must_use]
pub fn published<M: PolicyModel>(model: &M) -> Weights {
    let mut arrays = renamed(model, &weights(&model.valid()));
    M::complete(&mut arrays);
    arrays
}

/// The gradients of a loss under the names and in the layouts of its checkpoints.
#[must_use]
pub fn published_gradients<M: PolicyModel>(model: &M, loss: &Tensor<1>) -> Weights {
    renamed(model, &checkpoint::gradients(model, &loss.backward()))
}

fn renamed<M: PolicyModel>(model: &M, ours: &Weights) -> Weights {
    let rules = model.rules();
    match rules.is_empty() {
        true => ours.clone(),
        false => as_theirs(ours, &rules),
    }
}

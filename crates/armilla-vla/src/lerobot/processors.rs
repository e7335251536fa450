//! `policy_preprocessor.json`, `policy_postprocessor.json` and their state files; or, in older checkpoints, statistics among the weights.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_nn::checkpoint::{self, Metadata, Weights};
use serde::Deserialize;
use serde_json::{Value, json};

use super::features::{FeatureKind, Features, PolicyInputs};
use super::normalizer::{Mode, Normalizer};
use crate::checkpoint::{read_json, write_json};
use crate::error::{Error, Result};

const BEFORE: &str = "policy_preprocessor";
const AFTER: &str = "policy_postprocessor";
const NORMALIZE: &str = "normalizer_processor";
const UNNORMALIZE: &str = "unnormalizer_processor";
const EPSILON: f64 = 1e-8;

/// Prefixes under which older checkpoints have statistics.
const LEGACY: [&str; 3] = [
    "normalize_inputs.buffer_",
    "normalize_targets.buffer_",
    "unnormalize_outputs.buffer_",
];

/// Whether an array of `model.safetensors` is a statistic of an older checkpoint.
#[must_use]
pub fn is_legacy_statistic(name: &str) -> bool {
    LEGACY.iter().any(|prefix| name.starts_with(prefix))
}

/// What stands before and after a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Processors {
    /// Observations under other names, and the names that the policy knows them by.
    pub renames: BTreeMap<String, String>,
    /// Normalises observations and, in training, actions.
    pub before: Normalizer,
    /// Brings actions back to their units.
    pub after: Normalizer,
}

#[derive(Deserialize)]
struct File {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    registry_name: Option<String>,
    class: Option<String>,
    #[serde(default)]
    config: Value,
    state_file: Option<String>,
}

impl Processors {
    /// For a policy that is new: statistics under `<feature>.<statistic>`.
    #[must_use]
    pub fn new(
        inputs: &PolicyInputs,
        modes: &BTreeMap<FeatureKind, Mode>,
        statistics: &Weights,
    ) -> Self {
        let normalizer = |features| Normalizer {
            epsilon: EPSILON,
            features,
            modes: modes.clone(),
            normalize_observation_keys: None,
            statistics: statistics.clone(),
        };
        let all = [inputs.inputs().0, inputs.outputs().0].concat();
        Self {
            renames: BTreeMap::new(),
            before: normalizer(Features(all)),
            after: normalizer(inputs.outputs()),
        }
    }

    /// From the weights of an older checkpoint, if its statistics are among them.
    #[must_use]
    pub fn from_legacy(
        inputs: &PolicyInputs,
        modes: &BTreeMap<FeatureKind, Mode>,
        weights: &Weights,
    ) -> Option<Self> {
        let keys: Vec<String> = [inputs.inputs().0, inputs.outputs().0]
            .concat()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let mut statistics = Weights::new();
        for (name, data) in weights {
            let Some(rest) = LEGACY.iter().find_map(|prefix| name.strip_prefix(prefix)) else {
                continue;
            };
            let (buffer, statistic) = rest.rsplit_once('.')?;
            if let Some(key) = keys.iter().find(|key| key.replace('.', "_") == buffer) {
                statistics.insert(format!("{key}.{statistic}"), data.clone());
            }
        }
        (!statistics.is_empty()).then(|| Self::new(inputs, modes, &statistics))
    }

    /// Reads both files and their statistics.
    ///
    /// # Errors
    ///
    /// [`Error`] naming a file that is missing, or a step that is not known here.
    pub fn load(directory: &Path) -> Result<Self> {
        let (before, renames) = load(directory, BEFORE, NORMALIZE)?;
        let (after, _) = load(directory, AFTER, UNNORMALIZE)?;
        Ok(Self {
            renames,
            before,
            after,
        })
    }

    /// Writes what [`Self::load`] reads, as LeRobot's `save_pretrained` does.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let device = json!({"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": null}});
        let rename = json!({"registry_name": "rename_observations_processor", "config": {"rename_map": self.renames}});
        let batch = json!({"registry_name": "to_batch_processor", "config": {}});
        let (before, after) = (
            state_file(BEFORE, 3, NORMALIZE),
            state_file(AFTER, 0, UNNORMALIZE),
        );
        let step = |name: &str, normalizer: &Normalizer, file: &str| json!({"registry_name": name, "config": normalizer, "state_file": file});
        let normalize = step(NORMALIZE, &self.before, &before);
        let unnormalize = step(UNNORMALIZE, &self.after, &after);
        for (file, name, steps) in [
            (
                BEFORE,
                before,
                json!([rename, batch, device.clone(), normalize]),
            ),
            (AFTER, after, json!([unnormalize, device])),
        ] {
            let normalizer = if file == BEFORE {
                &self.before
            } else {
                &self.after
            };
            let path = directory.join(name);
            checkpoint::write(&path, &normalizer.statistics, &Metadata::new())?;
            let path = directory.join(format!("{file}.json"));
            write_json(&path, &json!({"name": file, "steps": steps}))?;
        }
        Ok(())
    }
}

fn state_file(file: &str, index: usize, step: &str) -> String {
    format!("{file}_step_{index}_{step}.safetensors")
}

/// The normalising step of one file, and its renames.
fn load(
    directory: &Path,
    file: &str,
    wanted: &str,
) -> Result<(Normalizer, BTreeMap<String, String>)> {
    let path = directory.join(format!("{file}.json"));
    let json = read_json(&path)?;
    let wrong = |key: &str, error: serde_json::Error| {
        Error::checkpoint(&path, key, "a processor of LeRobot's", error)
    };
    let File { steps } = serde_json::from_value(json).map_err(|error| wrong("steps", error))?;
    let (mut found, mut renames) = (None, BTreeMap::new());
    for (index, step) in steps.into_iter().enumerate() {
        let key = format!("steps.{index}");
        let name = step.registry_name.or(step.class).unwrap_or_default();
        match name.as_str() {
            "to_batch_processor" | "device_processor" => {}
            "rename_observations_processor" => {
                let map = step.config.get("rename_map").cloned();
                renames = serde_json::from_value(map.unwrap_or_else(|| json!({})))
                    .map_err(|error| wrong(&key, error))?;
            }
            name if name == wanted => {
                let mut normalizer: Normalizer =
                    serde_json::from_value(step.config).map_err(|error| wrong(&key, error))?;
                if let Some(state) = step.state_file {
                    // A name beside the file that gives it, never a way out of the directory.
                    if Path::new(&state).file_name() != Some(state.as_ref()) {
                        let key = format!("{key}.state_file");
                        return Err(Error::checkpoint(&path, key, "a file's name", state));
                    }
                    normalizer.statistics = checkpoint::read(&directory.join(state))?.0;
                }
                found = Some(normalizer);
            }
            other => {
                let expected = format!(
                    "rename_observations_processor, to_batch_processor, device_processor or {wanted}"
                );
                return Err(Error::checkpoint(&path, key, expected, other));
            }
        }
    }
    let normalizer = found.ok_or_else(|| Error::checkpoint(&path, "steps", wanted, "no such"))?;
    Ok((normalizer, renames))
}

//! `policy_preprocessor.json`, `policy_postprocessor.json` and their state files; or, in older checkpoints, statistics among the weights.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_core::Statistics;
use armilla_nn::checkpoint::{self, Metadata, Weights};
use burn::tensor::TensorData;
use serde::Deserialize;
use serde_json::{Value, json};

use super::features::{Feature, FeatureKind, Features, PolicyInputs};
use super::model::Modes;
use super::normalizer::Normalizer;
use crate::error::{Error, Result};
use crate::json::{field, read, read_json, write_json};
use crate::tokenizer::Tokenizer;

const BEFORE: &str = "policy_preprocessor";
const AFTER: &str = "policy_postprocessor";
const TOKENIZE: &str = "tokenizer_processor";
const TOKENIZER: &str = "tokenizer.json";
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
pub(crate) fn is_legacy_statistic(name: &str) -> bool {
    LEGACY.iter().any(|prefix| name.starts_with(prefix))
}

/// What stands before and after a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Processors {
    /// Observations under other names, and the names that the policy knows them by.
    pub renames: BTreeMap<String, String>,
    /// Turns instructions into token ids, for a policy that reads them.
    pub words: Option<WordProcessor>,
    /// Normalises observations and, in training, actions.
    pub before: Normalizer,
    /// Brings actions back to their units.
    pub after: Normalizer,
}

/// Instructions to token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct WordProcessor {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// What lies past so many tokens is cut off.
    pub max_tokens: usize,
}

/// The statistics of features as a processor's file has them, under `<feature>.<statistic>`; those of pictures stand over channels.
#[must_use]
pub fn arrays(statistics: &Statistics, inputs: &PolicyInputs) -> Weights {
    let all = [inputs.inputs().0, inputs.outputs().0].concat();
    let mut arrays = Weights::new();
    for (key, Feature { kind, .. }) in all {
        let Some(found) = statistics.get(&key) else {
            continue;
        };
        let count = [found.count as f64];
        let entries: [(&str, &[f64]); 10] = [
            ("min", &found.min),
            ("max", &found.max),
            ("mean", &found.mean),
            ("std", &found.std),
            ("count", &count),
            ("q01", &found.q01),
            ("q10", &found.q10),
            ("q50", &found.q50),
            ("q90", &found.q90),
            ("q99", &found.q99),
        ];
        for (name, values) in entries {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let shape = match kind {
                FeatureKind::Visual if name != "count" => vec![values.len(), 1, 1],
                _ => vec![values.len()],
            };
            arrays.insert(format!("{key}.{name}"), TensorData::new(values, shape));
        }
    }
    arrays
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
    pub fn new(inputs: &PolicyInputs, modes: &Modes, statistics: &Weights) -> Self {
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
            words: None,
            before: normalizer(Features(all)),
            after: normalizer(inputs.outputs()),
        }
    }

    /// Token ids that instructions become, of a policy that reads them.
    #[must_use]
    pub fn vocabulary(&self) -> Option<usize> {
        let words = self.words.as_ref();
        words.map(|words| words.tokenizer.vocabulary())
    }

    /// From the weights of an older checkpoint, if its statistics are among them.
    #[must_use]
    pub fn from_legacy(inputs: &PolicyInputs, modes: &Modes, weights: &Weights) -> Option<Self> {
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
        let before = load(directory, BEFORE, NORMALIZE)?;
        let after = load(directory, AFTER, UNNORMALIZE)?;
        Ok(Self {
            renames: before.renames,
            words: before.words,
            before: before.normalizer,
            after: after.normalizer,
        })
    }

    /// Writes what [`Self::load`] reads, as LeRobot's `save_pretrained` does.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let step = |name: &str, config: Value| json!({"registry_name": name, "config": config});
        let device = step(
            "device_processor",
            json!({"device": "cpu", "float_dtype": null}),
        );
        let mut steps = vec![
            step(
                "rename_observations_processor",
                json!({"rename_map": self.renames}),
            ),
            step("to_batch_processor", json!({})),
        ];
        if let Some(words) = &self.words {
            steps.push(step(TOKENIZE, words.config()));
            let text = words.tokenizer.to_json()?;
            checkpoint::write_atomically(&directory.join(TOKENIZER), text.as_bytes())?;
        }
        steps.push(device.clone());
        let name = state_file(BEFORE, steps.len(), NORMALIZE);
        steps.push(written(directory, &name, NORMALIZE, &self.before)?);
        save(directory, BEFORE, &steps)?;
        let name = state_file(AFTER, 0, UNNORMALIZE);
        let unnormalize = written(directory, &name, UNNORMALIZE, &self.after)?;
        save(directory, AFTER, &[unnormalize, device])
    }
}

impl WordProcessor {
    fn config(&self) -> Value {
        json!({
            "tokenizer_name": TOKENIZER,
            "max_length": self.max_tokens,
            "padding": "longest",
            "padding_side": "right",
        })
    }

    /// From the step's settings; `path` and `key` are where they stand.
    fn load(directory: &Path, config: &Value, path: &Path) -> Result<Self> {
        let name: String = field(config, path, "tokenizer_name")?;
        if name != TOKENIZER {
            let expected = format!("{TOKENIZER}, a file beside it");
            return Err(Error::checkpoint(path, "tokenizer_name", expected, name));
        }
        let file = directory.join(TOKENIZER);
        let tokenizer = Tokenizer::from_json(&read(&file)?)
            .map_err(|error| Error::checkpoint(&file, "(whole file)", "a tokenizer", error))?;
        Ok(Self {
            tokenizer,
            max_tokens: field(config, path, "max_length")?,
        })
    }
}

/// Writes a normaliser's statistics, and gives its step.
fn written(directory: &Path, file: &str, name: &str, normalizer: &Normalizer) -> Result<Value> {
    checkpoint::write(
        &directory.join(file),
        &normalizer.statistics,
        &Metadata::new(),
    )?;
    Ok(json!({"registry_name": name, "config": normalizer, "state_file": file}))
}

fn save(directory: &Path, file: &str, steps: &[Value]) -> Result<()> {
    let path = directory.join(format!("{file}.json"));
    write_json(&path, &json!({"name": file, "steps": steps}))
}

fn state_file(file: &str, index: usize, step: &str) -> String {
    format!("{file}_step_{index}_{step}.safetensors")
}

/// One file's steps.
struct Steps {
    normalizer: Normalizer,
    renames: BTreeMap<String, String>,
    words: Option<WordProcessor>,
}

fn load(directory: &Path, file: &str, wanted: &str) -> Result<Steps> {
    let path = directory.join(format!("{file}.json"));
    let json = read_json(&path)?;
    let wrong = |key: &str, error: serde_json::Error| {
        Error::checkpoint(&path, key, "a processor of LeRobot's", error)
    };
    let File { steps } = serde_json::from_value(json).map_err(|error| wrong("steps", error))?;
    let (mut normalizer, mut renames, mut words) = (None, BTreeMap::new(), None);
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
            TOKENIZE => words = Some(WordProcessor::load(directory, &step.config, &path)?),
            name if name == wanted => {
                let mut found: Normalizer =
                    serde_json::from_value(step.config).map_err(|error| wrong(&key, error))?;
                if let Some(state) = step.state_file {
                    // A name beside the file that gives it, never a way out of the directory.
                    if Path::new(&state).file_name() != Some(state.as_ref()) {
                        let key = format!("{key}.state_file");
                        return Err(Error::checkpoint(&path, key, "a file's name", state));
                    }
                    found.statistics = checkpoint::read(&directory.join(state))?.0;
                }
                normalizer = Some(found);
            }
            other => {
                let expected = format!(
                    "rename_observations_processor, to_batch_processor, device_processor, {TOKENIZE} or {wanted}"
                );
                return Err(Error::checkpoint(&path, key, expected, other));
            }
        }
    }
    let missing = || Error::checkpoint(&path, "steps", wanted, "no such");
    Ok(Steps {
        normalizer: normalizer.ok_or_else(missing)?,
        renames,
        words,
    })
}

//! A trained policy on disk: a directory in LeRobot's layout.
//!
//! `config.json`, `model.safetensors`, `tokenizer.json`, `policy_preprocessor.json` and `policy_postprocessor.json` with the
//! statistics beside them, and `train_config.json`. The `type` in `config.json` is our own, and the model's settings stand
//! under `model`. Each file is written under a temporary name and renamed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use armilla_core::Normalization;
use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE};
use armilla_nn::checkpoint::{load_weights, save_weights, write_atomically};
use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::flow_policy::{FlowPolicy, FlowPolicyConfig, PolicyShape};
use crate::normalizer;
use crate::processor::{NormalizationModes, Processor};
use crate::tokenizer::Tokenizer;

/// Names this kind of policy in `config.json`.
const KIND: &str = "armilla_flow";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const TRAIN_CONFIG: &str = "train_config.json";

/// A policy with all that it needs to act.
#[derive(Clone, Debug)]
pub struct TrainedPolicy {
    /// The settings it was built from.
    pub config: FlowPolicyConfig,
    /// The sizes it was built for.
    pub shape: PolicyShape,
    /// The model.
    pub model: FlowPolicy,
    /// Its tokenizer and normalisation.
    pub processor: Processor,
}

impl TrainedPolicy {
    /// Writes the checkpoint into `directory`, which is made if it is missing. `train_config` is kept for the reader.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path, train_config: &Value) -> Result<()> {
        fs::create_dir_all(directory).map_err(|error| Error::file(directory, error))?;
        write_json(&directory.join(CONFIG), &self.config_json())?;
        write(
            &directory.join(TOKENIZER),
            self.processor.tokenizer().to_json()?.as_bytes(),
        )?;
        normalizer::save(&self.processor, &self.shape, directory)?;
        write_json(&directory.join(TRAIN_CONFIG), train_config)?;
        let metadata = BTreeMap::from([("type".to_owned(), KIND.to_owned())]);
        save_weights(&self.model, &directory.join(WEIGHTS), &metadata)?;
        Ok(())
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error`] naming the file and the key.
    pub fn load(directory: &Path, device: &Device) -> Result<Self> {
        let path = directory.join(CONFIG);
        let json = read_json(&path)?;
        let kind: String = field(&json, &path, "type")?;
        if kind != KIND {
            return Err(Error::checkpoint(&path, "type", KIND, kind));
        }
        let config = model_config(&json, &path)?;
        let file = directory.join(TOKENIZER);
        let tokenizer = Tokenizer::from_json(&read(&file)?)
            .map_err(|error| Error::checkpoint(&file, "(whole file)", "a tokenizer", error))?;
        let shape = shape_from(&json, &path, tokenizer.vocabulary())?;
        let modes: Map<String, Value> = field(&json, &path, "normalization_mapping")?;
        let modes = NormalizationModes {
            state: mode(&modes, &path, "STATE")?,
            action: mode(&modes, &path, "ACTION")?,
        };
        let statistics = normalizer::load(directory)?;
        let processor = Processor::new(tokenizer, &statistics, modes, config.text.max_tokens)?;
        for (key, expected) in [(STATE, shape.state), (ACTION, shape.action)] {
            if processor.width(key) != expected {
                let expected = format!("{expected} values, as the statistics' file has");
                return Err(Error::checkpoint(
                    &path,
                    key,
                    expected,
                    processor.width(key),
                ));
            }
        }
        let model = config.init(&shape, device)?;
        let model = load_weights(model, &directory.join(WEIGHTS))?;
        Ok(Self {
            config,
            shape,
            model,
            processor,
        })
    }

    fn config_json(&self) -> Value {
        let shape = &self.shape;
        let modes = self.processor.modes();
        json!({
            "type": KIND,
            "n_obs_steps": 1,
            "chunk_size": self.config.action_horizon,
            "n_action_steps": self.config.receding_horizon,
            "input_features": {
                format!("{IMAGE_PREFIX}{}", shape.camera): {"type": "VISUAL", "shape": [3, shape.height, shape.width]},
                STATE: {"type": "STATE", "shape": [shape.state]},
            },
            "output_features": {ACTION: {"type": "ACTION", "shape": [shape.action]}},
            "normalization_mapping": {
                "VISUAL": "IDENTITY",
                "STATE": mode_name(modes.state),
                "ACTION": mode_name(modes.action),
            },
            "model": self.config,
        })
    }
}

/// The model's settings, tried key by key so that an error can name the one that is wrong.
fn model_config(json: &Value, path: &Path) -> Result<FlowPolicyConfig> {
    let settings: Map<String, Value> = field(json, path, "model")?;
    for (key, value) in &settings {
        let alone = json!({ key: value });
        if let Err(error) = serde_json::from_value::<FlowPolicyConfig>(alone) {
            return Err(Error::checkpoint(
                path,
                format!("model.{key}"),
                error,
                value,
            ));
        }
    }
    field(json, path, "model")
}

fn shape_from(json: &Value, path: &Path, vocabulary: usize) -> Result<PolicyShape> {
    let inputs: Map<String, Value> = field(json, path, "input_features")?;
    let outputs: Map<String, Value> = field(json, path, "output_features")?;
    let sizes = |features: &Map<String, Value>, key: &str| -> Result<Vec<usize>> {
        let feature = features
            .get(key)
            .ok_or_else(|| Error::checkpoint(path, key, "a feature", "none"))?;
        field(feature, path, "shape")
    };
    let image_key = inputs
        .keys()
        .find(|key| key.starts_with(IMAGE_PREFIX))
        .ok_or_else(|| Error::checkpoint(path, "input_features", "a camera", "none"))?;
    let image = sizes(&inputs, image_key)?;
    let &[3, height, width] = image.as_slice() else {
        return Err(Error::checkpoint(
            path,
            image_key,
            "3, height, width",
            format!("{image:?}"),
        ));
    };
    Ok(PolicyShape {
        camera: image_key.trim_start_matches(IMAGE_PREFIX).to_owned(),
        height,
        width,
        state: sizes(&inputs, STATE)?.iter().product(),
        action: sizes(&outputs, ACTION)?.iter().product(),
        vocabulary,
    })
}

/// LeRobot's name of a mode.
pub(crate) fn mode_name(mode: Normalization) -> &'static str {
    match mode {
        Normalization::Identity => "IDENTITY",
        Normalization::MeanStd => "MEAN_STD",
        Normalization::MinMax => "MIN_MAX",
    }
}

fn mode(modes: &Map<String, Value>, path: &Path, key: &str) -> Result<Normalization> {
    match modes.get(key).and_then(Value::as_str) {
        Some("IDENTITY") => Ok(Normalization::Identity),
        Some("MEAN_STD") => Ok(Normalization::MeanStd),
        Some("MIN_MAX") => Ok(Normalization::MinMax),
        found => {
            let key = format!("normalization_mapping.{key}");
            Err(Error::checkpoint(
                path,
                key,
                "IDENTITY, MEAN_STD or MIN_MAX",
                format!("{found:?}"),
            ))
        }
    }
}

/// One key of an object, as its type.
pub(crate) fn field<T: DeserializeOwned>(json: &Value, path: &Path, key: &str) -> Result<T> {
    let value = json
        .get(key)
        .ok_or_else(|| Error::checkpoint(path, key, "a value", "no such key"))?;
    serde_json::from_value(value.clone())
        .map_err(|error| Error::checkpoint(path, key, error, value))
}

/// Reads a file as JSON.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| Error::checkpoint(path, "(whole file)", "JSON", error))
}

/// Writes JSON, indented.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    write(path, format!("{value:#}\n").as_bytes())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::file(path, error))
}

/// Writes a file under a temporary name, syncs it and renames it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(write_atomically(path, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{observations, trained};
    use burn::tensor::Tensor;

    fn saved(name: &str) -> std::path::PathBuf {
        let directory =
            std::env::temp_dir().join(format!("armilla-vla-{}-{name}", std::process::id()));
        trained(&Device::flex())
            .save(&directory, &json!({"steps": 3}))
            .unwrap();
        directory
    }

    /// Replaces text in a file of a checkpoint and says what loading makes of it.
    fn broken(name: &str, file: &str, change: (&str, &str)) -> String {
        let directory = saved(name);
        let path = directory.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(change.0), "{text}");
        fs::write(&path, text.replacen(change.0, change.1, 1)).unwrap();
        let error = TrainedPolicy::load(&directory, &Device::flex())
            .unwrap_err()
            .to_string();
        fs::remove_dir_all(directory).unwrap();
        error
    }

    #[test]
    fn a_loaded_policy_acts_the_same() {
        let directory = saved("round-trip");
        let loaded = TrainedPolicy::load(&directory, &Device::flex()).unwrap();
        let original = trained(&Device::flex());
        assert_eq!(
            (&loaded.config, &loaded.shape),
            (&original.config, &original.shape)
        );
        assert_eq!(
            loaded.processor.statistics(),
            original.processor.statistics()
        );
        assert_eq!(loaded.processor.modes(), original.processor.modes());
        let act = |policy: &TrainedPolicy| {
            let device = Device::flex();
            let observation = observations(&["push the red circle"], &device);
            let sampled = policy
                .model
                .sample_actions(observation, Tensor::zeros([1, 4, 2], &device));
            policy.processor.actions(sampled).unwrap()
        };
        assert_eq!(act(&loaded), act(&original));
        let names: Vec<_> = [
            WEIGHTS,
            TRAIN_CONFIG,
            "policy_preprocessor.json",
            "policy_postprocessor.json",
        ]
        .into();
        assert!(names.iter().all(|name| directory.join(name).exists()));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named_by_file_and_key() {
        let error = broken("kind", CONFIG, (KIND, "smolvla"));
        assert!(
            error.contains("config.json") && error.contains("`type`") && error.contains("smolvla"),
            "{error}"
        );
        let error = broken("model", CONFIG, ("\"slots\": 3", "\"slots\": \"three\""));
        assert!(
            error.contains("`model.slots`") && error.contains("three"),
            "{error}"
        );
        let error = broken("extra", CONFIG, ("\"slots\"", "\"slotz\""));
        assert!(error.contains("`model.slotz`"), "{error}");
        let error = broken("mode", CONFIG, ("MIN_MAX", "QUANTILES"));
        assert!(error.contains("`normalization_mapping.ACTION`"), "{error}");
        let error = broken("size", CONFIG, ("\"slots\": 3", "\"slots\": 4"));
        assert!(
            error.contains("model.safetensors") && error.contains("trunk.slots"),
            "{error}"
        );
        let error = broken("words", TOKENIZER, ("\"id\": 0", "\"id\": []"));
        assert!(error.contains("tokenizer.json"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let directory = saved("missing");
        for file in [
            WEIGHTS,
            "policy_preprocessor_step_4_normalizer_processor.safetensors",
            TOKENIZER,
            CONFIG,
        ] {
            fs::remove_file(directory.join(file)).unwrap();
            let error = TrainedPolicy::load(&directory, &Device::flex())
                .unwrap_err()
                .to_string();
            assert!(error.contains(file), "{file}: {error}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}

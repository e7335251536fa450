//! The flow-matching policy's `config.json`: LeRobot's keys, and its own settings under `model`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{FlowPolicy, FlowPolicyConfig};
use crate::error::{Error, Result};
use crate::json::field;
use crate::lerobot::{Features, Modes, PolicyInputs, PolicyModel as _, Settings};

/// `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    #[serde(rename = "type")]
    kind: String,
    n_obs_steps: usize,
    chunk_size: usize,
    n_action_steps: usize,
    input_features: Features,
    output_features: Features,
    normalization_mapping: Modes,
    model: Value,
}

/// Reads `config.json`.
pub(super) fn read_settings(text: &str, path: &Path) -> Result<Settings<FlowPolicyConfig>> {
    let file: Published = serde_json::from_str(text).map_err(|error| {
        Error::checkpoint(path, "(whole file)", "settings of a flow policy", error)
    })?;
    let config = model_config(&json!({"model": file.model}), path)?;
    for (key, expected, found) in [
        ("n_obs_steps", 1, file.n_obs_steps),
        ("chunk_size", config.action_horizon, file.chunk_size),
        (
            "n_action_steps",
            config.receding_horizon,
            file.n_action_steps,
        ),
    ] {
        if found != expected {
            let expected = format!("{expected}, as `model` says");
            return Err(Error::checkpoint(path, key, expected, found));
        }
    }
    Ok(Settings {
        config,
        inputs: PolicyInputs::from_features(&file.input_features, &file.output_features, path)?,
        modes: file.normalization_mapping,
        kept: Map::new(),
    })
}

/// Gives `config.json`.
pub(super) fn written_settings(
    settings: &Settings<FlowPolicyConfig>,
) -> serde_json::Result<String> {
    let (config, inputs) = (&settings.config, &settings.inputs);
    serde_json::to_string_pretty(&Published {
        kind: FlowPolicy::KIND.to_owned(),
        n_obs_steps: 1,
        chunk_size: config.action_horizon,
        n_action_steps: config.receding_horizon,
        input_features: inputs.inputs(),
        output_features: inputs.outputs(),
        normalization_mapping: settings.modes.clone(),
        model: serde_json::to_value(config)?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lerobot::{Checkpoint, Draws};
    use crate::test_support::{observations, trained};
    use armilla_core::random::stream;
    use burn::tensor::Device;

    fn load(directory: &Path) -> Result<Checkpoint<FlowPolicy>> {
        Checkpoint::load(directory, &Device::flex())
    }

    fn saved() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        trained(&Device::flex()).save(directory.path()).unwrap();
        directory
    }

    /// Replaces text in a file of a checkpoint and says what loading makes of it.
    fn broken(file: &str, change: (&str, &str)) -> String {
        let directory = saved();
        let path = directory.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(change.0), "{text}");
        std::fs::write(&path, text.replacen(change.0, change.1, 1)).unwrap();
        load(directory.path()).unwrap_err().to_string()
    }

    #[test]
    fn a_loaded_policy_acts_the_same() {
        let directory = saved();
        let (loaded, original) = (load(directory.path()).unwrap(), trained(&Device::flex()));
        assert_eq!(loaded.model.config(), original.model.config());
        assert_eq!(loaded.model.inputs(), original.model.inputs());
        for (loaded, original) in [
            (&loaded.processors.before, &original.processors.before),
            (&loaded.processors.after, &original.processors.after),
        ] {
            assert_eq!(loaded.statistics, original.statistics);
            assert_eq!(loaded.modes, original.modes);
        }
        assert_eq!(loaded.processors.words, original.processors.words);
        assert_eq!(loaded.train_config, original.train_config);
        let act = |policy: &Checkpoint<FlowPolicy>| {
            let seen = observations(&["push the red circle"], &Device::flex());
            let draws = &mut Draws::from_stream(stream(0, "act", 0));
            let sampled = policy.model.sample_actions(&seen, draws).unwrap();
            policy.processors.actions(sampled).unwrap()
        };
        assert_eq!(act(&loaded), act(&original));
    }

    #[test]
    fn what_is_wrong_is_named_by_file_and_key() {
        const CONFIG: &str = "config.json";
        let error = broken(CONFIG, ("armilla_flow", "smolvla"));
        assert!(
            error.contains("`type`") && error.contains("smolvla"),
            "{error}"
        );
        let error = broken(CONFIG, ("\"slots\": 3", "\"slots\": \"three\""));
        assert!(
            error.contains("`model.slots`") && error.contains("three"),
            "{error}"
        );
        let error = broken(CONFIG, ("\"slots\"", "\"slotz\""));
        assert!(error.contains("`model.slotz`"), "{error}");
        let error = broken(CONFIG, ("MIN_MAX", "MINIMAL"));
        assert!(
            error.contains(CONFIG) && error.contains("MINIMAL"),
            "{error}"
        );
        let error = broken(CONFIG, ("\"chunk_size\": 4", "\"chunk_size\": 5"));
        assert!(error.contains("`chunk_size`"), "{error}");
        let error = broken(CONFIG, ("\"slots\": 3", "\"slots\": 4"));
        assert!(
            error.contains("model.safetensors") && error.contains("trunk.slots"),
            "{error}"
        );
        let error = broken("tokenizer.json", ("\"id\": 0", "\"id\": []"));
        assert!(error.contains("tokenizer.json"), "{error}");
        let error = broken(
            "policy_preprocessor.json",
            ("tokenizer.json", "/etc/words.json"),
        );
        assert!(error.contains("`tokenizer_name`"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let directory = saved();
        for file in [
            "model.safetensors",
            "policy_preprocessor_step_4_normalizer_processor.safetensors",
            "tokenizer.json",
            "config.json",
        ] {
            let path = directory.path().join(file);
            let kept = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            let error = load(directory.path()).unwrap_err().to_string();
            assert!(error.contains(file), "{file}: {error}");
            std::fs::write(&path, kept).unwrap();
        }
    }
}

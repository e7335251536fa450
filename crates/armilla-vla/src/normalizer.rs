//! The pre- and postprocessor files of a checkpoint, with the statistics that normalise.

use std::path::Path;

use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE};
use armilla_core::{FeatureStatistics, Statistics};
use armilla_nn::checkpoint::{self, Metadata, Weights};
use burn::tensor::TensorData;
use serde_json::{Value, json};

use crate::checkpoint::{field, mode_name, read_json, write_json};
use crate::error::{Error, Result};
use crate::flow_policy::PolicyShape;
use crate::processor::Processor;

const PREPROCESSOR: &str = "policy_preprocessor.json";
const POSTPROCESSOR: &str = "policy_postprocessor.json";
const NORMALIZER: &str = "normalizer_processor";
const PREPROCESSOR_STATE: &str = "policy_preprocessor_step_4_normalizer_processor.safetensors";
const POSTPROCESSOR_STATE: &str = "policy_postprocessor_step_0_unnormalizer_processor.safetensors";

/// Writes both processors and their statistics.
pub(crate) fn save(processor: &Processor, shape: &PolicyShape, directory: &Path) -> Result<()> {
    let modes = processor.modes();
    let map = json!({
        "VISUAL": "IDENTITY",
        "STATE": mode_name(modes.state),
        "ACTION": mode_name(modes.action),
    });
    let action = json!({"type": "ACTION", "shape": [shape.action]});
    let inputs = json!({
        format!("{IMAGE_PREFIX}{}", shape.camera): {"type": "VISUAL", "shape": [3, shape.height, shape.width]},
        STATE: {"type": "STATE", "shape": [shape.state]},
        ACTION: action,
    });
    let step = |name: &str, config: Value| json!({"registry_name": name, "config": config});
    let normalizer = |name: &str, features: Value, state: &str| {
        let config = json!({"eps": 1e-8, "features": features, "norm_map": map});
        json!({"registry_name": name, "config": config, "state_file": state})
    };
    let preprocessor = json!({"name": "policy_preprocessor", "steps": [
        step("rename_observations_processor", json!({"rename_map": {}})),
        step("to_batch_processor", json!({})),
        step("tokenizer_processor", json!({"tokenizer_name": "tokenizer.json", "padding": "longest", "padding_side": "right"})),
        step("device_processor", json!({"device": "cpu", "float_dtype": null})),
        normalizer(NORMALIZER, inputs, PREPROCESSOR_STATE),
    ]});
    let postprocessor = json!({"name": "policy_postprocessor", "steps": [
        normalizer("unnormalizer_processor", json!({ACTION: action}), POSTPROCESSOR_STATE),
        step("device_processor", json!({"device": "cpu", "float_dtype": null})),
    ]});
    let state = tensors(processor.statistics());
    checkpoint::write(
        &directory.join(PREPROCESSOR_STATE),
        &state,
        &Metadata::new(),
    )?;
    checkpoint::write(
        &directory.join(POSTPROCESSOR_STATE),
        &state,
        &Metadata::new(),
    )?;
    write_json(&directory.join(PREPROCESSOR), &preprocessor)?;
    write_json(&directory.join(POSTPROCESSOR), &postprocessor)
}

/// Reads the statistics that the preprocessor normalises with.
pub(crate) fn load(directory: &Path) -> Result<Statistics> {
    let path = directory.join(PREPROCESSOR);
    let json = read_json(&path)?;
    let steps: Vec<Value> = field(&json, &path, "steps")?;
    let step = steps
        .iter()
        .find(|step| step.get("registry_name").and_then(Value::as_str) == Some(NORMALIZER))
        .ok_or_else(|| Error::checkpoint(&path, "steps", NORMALIZER, "no such step"))?;
    let name: String = field(step, &path, "state_file")?;
    let path = directory.join(name);
    let (tensors, _) = checkpoint::read(&path)?;
    let mut statistics = Statistics::new();
    for key in [STATE, ACTION] {
        let read = |name: &str| values(&tensors, &path, &format!("{key}.{name}"));
        let count = read("count")?.first().copied().unwrap_or_default();
        let feature = FeatureStatistics {
            min: read("min")?,
            max: read("max")?,
            mean: read("mean")?,
            std: read("std")?,
            count: count as u64,
            q01: read("q01")?,
            q10: read("q10")?,
            q50: read("q50")?,
            q90: read("q90")?,
            q99: read("q99")?,
        };
        statistics.insert(key.to_owned(), feature);
    }
    Ok(statistics)
}

/// The statistics as tensors, each under `<feature>.<statistic>`.
fn tensors(statistics: &Statistics) -> Weights {
    let mut tensors = Weights::new();
    for (key, feature) in statistics {
        let count = [feature.count as f64];
        let entries: [(&str, &[f64]); 10] = [
            ("min", &feature.min),
            ("max", &feature.max),
            ("mean", &feature.mean),
            ("std", &feature.std),
            ("count", &count),
            ("q01", &feature.q01),
            ("q10", &feature.q10),
            ("q50", &feature.q50),
            ("q90", &feature.q90),
            ("q99", &feature.q99),
        ];
        for (name, values) in entries {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let shape = [values.len()];
            tensors.insert(format!("{key}.{name}"), TensorData::new(values, shape));
        }
    }
    tensors
}

fn values(tensors: &Weights, path: &Path, key: &str) -> Result<Vec<f64>> {
    let tensor = tensors
        .get(key)
        .ok_or_else(|| Error::checkpoint(path, key, "a tensor", "none"))?;
    Ok(tensor.iter::<f64>().collect())
}

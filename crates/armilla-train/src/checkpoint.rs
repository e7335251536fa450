//! What a checkpoint keeps beside the exported model, to resume from it.
//!
//! `training_state/` holds `weights.safetensors` (running statistics included), `moments.safetensors`, with averaging
//! `ema.safetensors`, and `state.json`.

use std::path::{Path, PathBuf};

use armilla_nn::checkpoint::{Metadata, load_weights, read, save_weights, write, write_atomically};
use burn::module::Module;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::average::Average;
use crate::config::TrainConfig;
use crate::error::{Error, Result, file_error};
use crate::optimizer::AdamW;

const FOLDER: &str = "training_state";
const VERSION: u32 = 1;

/// All that a run carries from step to step.
#[derive(Clone, Debug)]
pub(crate) struct State<M> {
    pub(crate) model: M,
    pub(crate) optimizer: AdamW,
    /// Where averaging is on.
    pub(crate) average: Option<Average>,
    /// Steps done.
    pub(crate) step: u64,
    /// Seconds of training so far.
    pub(crate) seconds: f64,
    /// What the source of the batches says of itself.
    pub(crate) data: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    version: u32,
    step: u64,
    seconds: f64,
    config: TrainConfig,
    #[serde(default)]
    data: Value,
}

impl<M: Module> State<M> {
    /// A run that has not begun, on batches whose source says `data` of itself.
    pub(crate) fn new(model: M, config: &TrainConfig, data: Value) -> Self {
        let averaging = config.ema_decay > 0.0;
        Self {
            optimizer: AdamW::new(&model),
            average: averaging.then(|| Average::new(&model, config.ema_decay)),
            model,
            step: 0,
            seconds: 0.0,
            data,
        }
    }

    /// The model to evaluate and to export: averaged where averaging is on, without autodiff.
    pub(crate) fn exported(&self) -> Result<M> {
        let model = self.model.valid();
        match &self.average {
            None => Ok(model),
            Some(average) => {
                let weights = average.state(&model);
                let origin = Path::new("the moving average");
                Ok(armilla_nn::checkpoint::with_weights(
                    model, weights, origin,
                )?)
            }
        }
    }

    /// Writes the state into a checkpoint's folder.
    pub(crate) fn save(&self, checkpoint: &Path, config: &TrainConfig) -> Result<()> {
        let folder = checkpoint.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        let none = Metadata::new();
        save_weights(&self.model, &folder.join("weights.safetensors"), &none)?;
        write(
            &folder.join("moments.safetensors"),
            &self.optimizer.state(),
            &none,
        )?;
        if let Some(average) = &self.average {
            write(
                &folder.join("ema.safetensors"),
                &average.state(&self.model),
                &none,
            )?;
        }
        let state = StateFile {
            version: VERSION,
            step: self.step,
            seconds: self.seconds,
            config: config.clone(),
            data: self.data.clone(),
        };
        let path = folder.join("state.json");
        let text = serde_json::to_string_pretty(&state)
            .map_err(|error| malformed(&path, error.to_string()))?;
        Ok(write_atomically(&path, text.as_bytes())?)
    }

    /// The state in a checkpoint's folder, in the place of the model's own weights.
    pub(crate) fn load(
        model: M,
        checkpoint: &Path,
        config: &TrainConfig,
        data: Value,
    ) -> Result<Self> {
        let folder = checkpoint.join(FOLDER);
        let path = folder.join("state.json");
        let text = std::fs::read_to_string(&path).map_err(file_error("read", &path))?;
        let state: StateFile =
            serde_json::from_str(&text).map_err(|error| malformed(&path, error.to_string()))?;
        if state.version != VERSION {
            let reason = format!("expected version {VERSION}, found {}", state.version);
            return Err(malformed(&path, reason));
        }
        let json = |config: &TrainConfig| serde_json::to_value(config).unwrap_or_default();
        check_unchanged(&json(&state.config), &json(config), checkpoint)?;
        check_unchanged(&state.data, &data, checkpoint)?;
        let model = load_weights(model, &folder.join("weights.safetensors"))?;
        let moments = folder.join("moments.safetensors");
        let optimizer = AdamW::with_state(&model, read(&moments)?.0, &moments)?;
        let average = match config.ema_decay > 0.0 {
            false => None,
            true => {
                let path = folder.join("ema.safetensors");
                let averages = read(&path)?.0;
                Some(Average::with_state(
                    &model,
                    config.ema_decay,
                    averages,
                    &path,
                )?)
            }
        };
        Ok(Self {
            model,
            optimizer,
            average,
            step: state.step,
            seconds: state.seconds,
            data,
        })
    }
}

fn malformed(path: &Path, reason: String) -> Error {
    let path: PathBuf = path.to_path_buf();
    let remedy = "remove the checkpoint to resume from an earlier one";
    Error::Malformed {
        path,
        reason,
        remedy,
    }
}

/// A resumed run gives the weights of an uninterrupted one only with all its settings and data, but for how often it reports. Settings that are new
/// since are none of an older version's run.
fn check_unchanged(started: &Value, now: &Value, checkpoint: &Path) -> Result<()> {
    for (key, expected) in started.as_object().into_iter().flatten() {
        let found = &now[key];
        // Its keys are values: of none that is new the rate was another.
        let settings = key != "learning_rate_ratios";
        if settings && expected.is_object() && found.is_object() {
            check_unchanged(expected, found, checkpoint)?;
            continue;
        }
        let reports = ["log_every", "checkpoint_every"].contains(&key.as_str());
        let same = match settings {
            true => is_same(expected, found, checkpoint),
            false => expected == found,
        };
        if !reports && !same {
            return Err(Error::ConfigChanged {
                path: checkpoint.to_path_buf(),
                key: key.clone(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
    Ok(())
}

/// Whether one value is the other, but for last digits of numbers and what is new in the parts of a list.
fn is_same(expected: &Value, found: &Value, checkpoint: &Path) -> bool {
    match (expected, found) {
        (Value::Array(expected), Value::Array(found)) => {
            let mut pairs = expected.iter().zip(found);
            expected.len() == found.len()
                && pairs.all(|(expected, found)| is_same(expected, found, checkpoint))
        }
        (Value::Object(_), Value::Object(_)) => {
            check_unchanged(expected, found, checkpoint).is_ok()
        }
        _ => expected == found || is_rounded(expected, found),
    }
}

/// Whether one number is the other but for its last digit, which a file may lose.
fn is_rounded(one: &Value, other: &Value) -> bool {
    let numbers = one.as_f64().zip(other.as_f64());
    let is_integer = one.is_u64() || one.is_i64();
    numbers.is_some_and(|(one, other)| {
        !is_integer && (one - other).abs() <= 2.0 * f64::EPSILON * one.abs()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ratios_that_are_new_are_other_settings_and_last_digits_are_not() {
        let folder = Path::new("000001");
        let ratios = |ratios: Value| json!({ "learning_rate_ratios": ratios });
        let error = check_unchanged(&ratios(json!({})), &ratios(json!({ "a": 0.1 })), folder);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`learning_rate_ratios`"), "{error}");
        let value = |value: f64| json!({ "share": value });
        let typed = 0.945_270_695_553_922_3_f64;
        let read = f64::from_bits(typed.to_bits() - 1);
        assert!(check_unchanged(&value(read), &value(typed), folder).is_ok());
        assert!(check_unchanged(&value(read), &value(0.945), folder).is_err());
        let list = |value: f64| json!({ "datasets": [{ "weight": value }, { "weight": null }] });
        assert!(check_unchanged(&list(read), &list(typed), folder).is_ok());
        let error = check_unchanged(&list(read), &list(0.945), folder).unwrap_err();
        assert!(error.to_string().contains("`datasets`"), "{error}");
        let shorter = json!({ "datasets": [{ "weight": read }] });
        assert!(check_unchanged(&list(read), &shorter, folder).is_err());
        let count = |count: u64| json!({ "count": count });
        assert!(check_unchanged(&count(1), &count(2), folder).is_err());
    }

    #[test]
    fn what_changed_is_named_however_deep_it_lies() {
        let run = |taps: Value| {
            let model = json!({ "width": 8, "encoder": { "taps": taps } });
            json!({ "seed": 7, "model": model })
        };
        let check = |now: &Value| {
            let checked = check_unchanged(&run(json!(3)), now, Path::new("run/checkpoints/000010"));
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&run(json!(3))), Ok(()));
        for (now, expected) in [
            (run(json!(5)), "`taps` was 3, found 5"),
            (run(Value::Null), "`taps` was 3, found null"),
            (json!({ "seed": 7 }), "`model` was {"),
            (
                json!({ "model": run(json!(3))["model"] }),
                "`seed` was 7, found null",
            ),
        ] {
            let said = check(&now).unwrap_err();
            assert!(
                said.contains(expected) && said.contains("run/checkpoints/000010"),
                "{said}"
            );
        }
    }

    #[test]
    fn what_is_new_since_or_only_reports_may_differ() {
        let before = json!({ "log_every": 1, "model": { "width": 8 } });
        let now = json!({
            "log_every": 20,
            "statistics": "abc",
            "model": { "width": 8, "taps": 3 },
        });
        check_unchanged(&before, &now, Path::new("run")).unwrap();
        check_unchanged(&Value::Null, &now, Path::new("run")).unwrap();
    }
}

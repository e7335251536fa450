//! A world model's directory: `config.json` and `model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_nn::checkpoint::{load_weights, save_weights, write_atomically};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, ensure};
use crate::model::ModelConfig;
use crate::scale::{ActionScale, StateScale};
use crate::world_model::{Interface, WorldModel};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const KIND: &str = "world_model";
const VERSION: u32 = 2;
/// Of models whose latents end with poses and points; before, they lay elsewhere.
const PLANE_VERSION: u32 = 3;

/// What `config.json` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    version: u32,
    cameras: Vec<String>,
    action_mean: Vec<f32>,
    action_std: Vec<f32>,
    action_low: Vec<f32>,
    action_high: Vec<f32>,
    state_mean: Vec<f32>,
    state_std: Vec<f32>,
    /// Checkpoints from before it was written have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fps: Option<f64>,
    model: ModelConfig,
}

/// By what latents hold, whatever of it was trained.
fn version(model: &ModelConfig) -> u32 {
    match model {
        ModelConfig::Jepa(config) if config.plane() > 0 => PLANE_VERSION,
        _ => VERSION,
    }
}

impl WorldModel {
    /// Writes both files into a directory that exists.
    ///
    /// # Errors
    ///
    /// [`Error::File`] or [`Error::Weights`] when one cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        let Interface {
            cameras,
            actions,
            states,
            rate_hz,
        } = self.interface().clone();
        let file = File {
            kind: KIND.to_owned(),
            version: version(&self.model().config()),
            cameras,
            action_mean: actions.mean,
            action_std: actions.std,
            action_low: actions.low,
            action_high: actions.high,
            state_mean: states.mean,
            state_std: states.std,
            fps: rate_hz,
            model: self.model().config(),
        };
        let json = serde_json::to_string_pretty(&file).map_err(|source| Error::File {
            context: "cannot write the world model's settings",
            path: directory.join(CONFIG),
            source: source.into(),
        })?;
        write_atomically(&directory.join(CONFIG), (json + "\n").as_bytes())?;
        save_weights(self.model(), &directory.join(WEIGHTS), &BTreeMap::new())?;
        Ok(())
    }

    /// Whether a folder holds what [`Self::save`] wrote.
    #[must_use]
    pub fn is_in(directory: &Path) -> bool {
        let json = std::fs::read_to_string(directory.join(CONFIG)).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        json["kind"] == KIND
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::File`], [`Error::Weights`] or [`Error::Invalid`], naming the file and what is wrong with it. Settings out of range are
    /// an [`Error::File`] that names their key.
    pub fn load(directory: &Path, device: &Device) -> Result<Self> {
        let path = directory.join(CONFIG);
        let failed = |context| {
            let path = path.clone();
            move |source| Error::File {
                context,
                path,
                source,
            }
        };
        let absent =
            failed("cannot read the world model's settings; is this a world model's directory?");
        let json = std::fs::read_to_string(&path).map_err(|error| absent(error.into()))?;
        let wrong =
            || failed("these are not the settings of a world model that this version knows");
        let file: File = serde_json::from_str(&json).map_err(|error| wrong()(error.into()))?;
        // Before anything is computed from sizes that may be none.
        let valid = file.model.validate();
        valid.map_err(|error| wrong()(error.into()))?;
        let what = format!("{}: kind and version", path.display());
        let expected = version(&file.model);
        let known = file.kind == KIND && file.version == expected;
        let found = format!("{} {}", file.kind, file.version);
        ensure(known, &what, format!("{KIND} {expected}"), found)?;
        let interface = Interface {
            cameras: file.cameras,
            actions: ActionScale {
                mean: file.action_mean,
                std: file.action_std,
                low: file.action_low,
                high: file.action_high,
            },
            states: StateScale {
                mean: file.state_mean,
                std: file.state_std,
            },
            rate_hz: file.fps,
        };
        let model = load_weights(file.model.init_to_load(device)?, &directory.join(WEIGHTS))?;
        Self::new(&model, interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dino_wm;
    use crate::dino_wm::config::DinoWmConfig;
    use crate::jepa::config::JepaConfig;
    use crate::model::Model;
    use crate::world_model::tests::{jepa_config, world_model};
    use armilla_core::Image;
    use armilla_nn::Activation;
    use serde_json::{Value, json};

    #[test]
    fn a_checkpoint_comes_back_whole() {
        let directory = tempfile::tempdir().unwrap();
        let model = world_model(2);
        model.save(directory.path()).unwrap();
        let loaded = WorldModel::load(directory.path(), &Device::flex()).unwrap();
        assert_eq!(loaded.interface(), model.interface());
        assert_eq!(loaded.model().config(), model.model().config());
        let image = Image::filled(16, 16, [9, 99, 199]);
        assert_eq!(
            loaded.encode(&[(&image).into()]).unwrap(),
            model.encode(&[(&image).into()]).unwrap()
        );
    }

    #[test]
    fn an_encoder_keeps_its_activation() {
        let (directory, device) = (tempfile::tempdir().unwrap(), Device::flex());
        let jepa = JepaConfig {
            activation: Activation::Relu,
            ..jepa_config(1)
        };
        let jepa = jepa.init(0, &device).unwrap();
        let config = DinoWmConfig {
            state: 0,
            ..dino_wm::tests::tiny()
        };
        let dino_wm = config.init(0, &device).unwrap();
        let dino_wm = dino_wm.with_encoder(jepa.encoder().clone(), jepa.config().activation);
        let interface = world_model(1).interface().clone();
        let model = WorldModel::new(&Model::DinoWm(dino_wm), interface).unwrap();
        model.save(directory.path()).unwrap();
        let loaded = WorldModel::load(directory.path(), &device).unwrap();
        assert_eq!(loaded.model().config().activation(), Activation::Relu);
        let pixels = (0..16 * 16 * 3).map(|index| (index * 7 % 251) as u8);
        let image = Image::new(16, 16, pixels.collect()).unwrap();
        assert_eq!(
            loaded.encode(&[(&image).into()]).unwrap(),
            model.encode(&[(&image).into()]).unwrap()
        );
        // Checkpoints from before it was written are of SiLU.
        let config = directory.path().join(CONFIG);
        let json = std::fs::read_to_string(&config).unwrap();
        let mut json: Value = serde_json::from_str(&json).unwrap();
        let settings = json["model"].as_object_mut().unwrap();
        assert_eq!(settings.remove("activation"), Some(json!("relu")));
        std::fs::write(&config, json.to_string()).unwrap();
        let older = WorldModel::load(directory.path(), &device).unwrap();
        assert_eq!(older.model().config().activation(), Activation::Silu);
    }

    #[test]
    fn settings_that_no_model_can_have_are_named_before_they_are_used() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join(CONFIG);
        world_model(1).save(directory.path()).unwrap();
        let json = std::fs::read_to_string(&config).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        let dino_wm = |encoder: Value| json!({ "kind": "dino_wm", "encoder": encoder });
        let vit = json!({ "kind": "vision_transformer", "patch": 0 });
        let flat = json!({ "kind": "convolutions", "patch": 0 });
        let empty = json!({ "kind": "convolutions", "patch": 2, "channels": [] });
        for (model, key) in [
            (dino_wm(vit), "encoder.patch"),
            (dino_wm(flat), "encoder.patch"),
            (dino_wm(empty), "encoder.channels"),
            (json!({ "kind": "jepa", "sprites": usize::MAX }), "sprites"),
            (
                json!({ "kind": "jepa", "history": 1_000_000_000_000_usize }),
                "history",
            ),
        ] {
            let mut json = json.clone();
            json["model"] = model;
            std::fs::write(&config, json.to_string()).unwrap();
            let error = WorldModel::load(directory.path(), &Device::flex());
            let said = error.unwrap_err().to_string();
            let named = said.contains(&format!("{key}: expected"));
            assert!(named && said.contains(CONFIG), "{said}");
        }
    }

    #[test]
    fn the_version_tells_what_latents_hold_and_not_what_was_trained() {
        let mut config = jepa_config(1);
        config.loss.plane_weight = 0.0;
        assert_eq!(version(&ModelConfig::Jepa(config.clone())), PLANE_VERSION);
        config.sprites = 0;
        assert_eq!(version(&ModelConfig::Jepa(config)), VERSION);
    }

    #[test]
    fn what_is_not_a_world_model_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let load = || {
            WorldModel::load(directory.path(), &Device::flex())
                .unwrap_err()
                .to_string()
        };
        let config = directory.path().join(CONFIG);
        assert!(load().contains("config.json"), "{}", load());
        std::fs::write(&config, "{\"kind\": \"act\"}").unwrap();
        assert!(
            load().contains("not the settings of a world model"),
            "{}",
            load()
        );
        world_model(1).save(directory.path()).unwrap();
        let json = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, json.replace("\"version\": 3", "\"version\": 9")).unwrap();
        assert!(
            load().ends_with("expected world_model 3, found world_model 9"),
            "{}",
            load()
        );
        // One too many, and more than there is memory for: nothing is drawn before it fits.
        for latent in ["13", "65536"] {
            let latent = format!("\"latent\": {latent}");
            std::fs::write(&config, json.replace("\"latent\": 12", &latent)).unwrap();
            assert!(load().contains("model.safetensors"), "{}", load());
        }
        let latent = "\"latent\": 9999999999999999924";
        std::fs::write(&config, json.replace("\"latent\": 12", latent)).unwrap();
        assert!(
            load().contains("latent: expected at least 1, at most 65536"),
            "{}",
            load()
        );
    }
}

//! Agreement with LeRobot 0.6.1 (`scripts/fixtures/act.py`).

use super::*;
use crate::batch::PolicyBatch;
use crate::lerobot::Processors;
use crate::lerobot::checkpoint::CONFIG;
use crate::lerobot::golden::{self, Golden};
use crate::lerobot::named::{BATCH, uniform};
use armilla_core::features::ACTION;
use armilla_nn::checkpoint::Weights;
use burn::tensor::{Device, Tensor};

const CASE: &str = "environment_state";

impl Golden for Act {
    const CASES: &'static [&'static str] = &["one_camera", "two_cameras", CASE, "camera_alone"];

    fn fixed(&self) -> Weights {
        let places = self.style.iter().map(|style| style.positions.val());
        let named =
            |places: Tensor<3>| ("model.vae_encoder_pos_enc".to_owned(), places.into_data());
        places.map(named).collect()
    }

    fn drawn_to_act(&self) -> Weights {
        Weights::new()
    }

    fn drawn_to_train(&self, _batch: &PolicyBatch) -> Weights {
        let drawn = uniform("input.epsilon", &[BATCH, self.config().style]);
        [("vae_eps".to_owned(), drawn)].into()
    }
}

#[test]
fn actions_are_pythons() {
    golden::actions_are_pythons::<Act>();
}

#[test]
fn losses_and_gradients_are_pythons() {
    golden::losses_and_gradients_are_pythons::<Act>(Some(("action_error", "l1_loss")));
}

#[test]
fn what_is_saved_has_lerobots_names_shapes_and_values() {
    golden::what_is_saved_has_lerobots_names_shapes_and_values::<Act>();
}

#[test]
fn a_saved_directory_is_the_same_policy() {
    let kept = ("optimizer_lr", 1e-4.into());
    golden::a_saved_directory_is_the_same_policy::<Act>(&["two_cameras"], kept);
}

#[test]
fn wrong_tensors_are_listed_under_lerobots_names() {
    let changes = |weights: &mut Weights| {
        weights.remove("model.action_head.bias");
        let part = "model.encoder.layers.1.self_attn.in_proj_weight";
        weights.insert(part.to_owned(), uniform("other", &[48, 8]));
        weights.insert("model.more".to_owned(), uniform("other", &[2]));
    };
    let expected = [
        "`model.action_head.bias` is missing (expected shape [2])",
        "in_proj_weight` has shape [48, 8], expected [48, 16]",
        "`model.more` of shape [2] is not in the model",
    ];
    golden::wrong_tensors_are_listed_under_lerobots_names::<Act>(CASE, changes, expected);
}

#[test]
fn wrong_settings_and_steps_are_named() {
    for (file, from, to, expected) in [
        (CONFIG, "\"use_amp\"", "\"novelty\"", "novelty"),
        (CONFIG, "\"dropout\"", "\"tags\"", "dropout"),
        (CONFIG, "resnet18", "resnet34", "vision_backbone"),
        (CONFIG, "\"relu\"", "\"glu\"", "feedforward_activation"),
        (
            CONFIG,
            "\"type\": \"ENV\"",
            "\"type\": \"LANGUAGE\"",
            "input_features",
        ),
        (
            "policy_preprocessor.json",
            "to_batch_processor",
            "delta_actions_processor",
            "delta_actions_processor",
        ),
        ("policy_preprocessor.json", "MIN_MAX", "MIN", "MIN"),
        (
            "policy_preprocessor.json",
            "\"policy_preprocessor_step",
            "\"../policy_preprocessor_step",
            "state_file",
        ),
    ] {
        let error = golden::broken::<Act>(CASE, file, [from, to]);
        assert!(error.contains(expected) && error.contains(file), "{error}");
    }
}

#[test]
fn statistics_among_the_weights_are_found() {
    let settings = golden::settings::<Act>(CASE);
    let processors = Processors::load(&golden::folder::<Act>(CASE)).unwrap();
    let mut weights = golden::theirs::<Act>(&settings);
    for (name, data) in &processors.before.statistics {
        let (key, statistic) = name.rsplit_once('.').unwrap();
        let buffer = format!("buffer_{}.{statistic}", key.replace('.', "_"));
        let parts: &[&str] = match key {
            ACTION => &["normalize_targets", "unnormalize_outputs"],
            _ => &["normalize_inputs"],
        };
        for part in parts {
            weights.insert(format!("{part}.{buffer}"), data.clone());
        }
    }
    let modes = &processors.before.modes;
    let found = Processors::from_legacy(&settings.inputs, modes, &weights).unwrap();
    for (found, expected) in [
        (&found.before, &processors.before),
        (&found.after, &processors.after),
    ] {
        assert_eq!(found.statistics, expected.statistics);
        assert_eq!(found.modes, expected.modes);
    }
    golden::loaded::<Act>(&settings, weights, &Device::flex()).unwrap();
    let plain = golden::theirs::<Act>(&settings);
    assert!(Processors::from_legacy(&settings.inputs, modes, &plain).is_none());
}

//! Agreement with LeRobot 0.6.1 (`scripts/fixtures/diffusion.py`).

use super::*;
use crate::batch::PolicyBatch;
use crate::lerobot::checkpoint::CONFIG;
use crate::lerobot::golden::{self, Golden};
use crate::lerobot::named::{BATCH, uniform};
use armilla_nn::checkpoint::foreign::their_shapes;

const CASE: &str = "environment_state";

impl Golden for Diffusion {
    const CASES: &'static [&'static str] = &["one_camera", "two_encoders", "shared_encoder", CASE];

    fn fixed(&self) -> Weights {
        let names = their_shapes(self, &self.rules()).into_keys();
        let places = names.filter(|name| name.ends_with("pos_grid"));
        let all = places.map(|name| (name, self.vision[0].places.val().into_data()));
        all.collect()
    }

    fn drawn_to_act(&self) -> Weights {
        let scheduler = &self.config().scheduler;
        let steps = scheduler.sampling_steps.unwrap_or(scheduler.training_steps);
        let shape = [BATCH, self.config().action_horizon, self.inputs().action];
        let drawn = |index: usize| uniform(&format!("input.noise.{index}"), &shape);
        let later = (1..=steps).flat_map(|index| drawn(index).iter::<f32>().collect::<Vec<_>>());
        let all = [vec![steps], shape.to_vec()].concat();
        let later = TensorData::new(later.collect::<Vec<_>>(), all);
        [("noise", drawn(0)), ("noise.steps", later)]
            .map(|(name, data)| (name.to_owned(), data))
            .into()
    }

    fn drawn_to_train(&self, batch: &PolicyBatch) -> Weights {
        let last = self.config().scheduler.training_steps - 3;
        let corners = (0..self.vision.len()).flat_map(|encoder| [2 + encoder, 5 - encoder]);
        let corners: Vec<f32> = corners.map(|place| place as f32).collect();
        let count = [corners.len()];
        [
            ("noise", uniform("input.epsilon", &batch.actions.dims())),
            ("timesteps", TensorData::from([1.0, last as f32])),
            ("crop", TensorData::new(corners, count)),
        ]
        .map(|(name, data)| (name.to_owned(), data))
        .into()
    }
}

#[test]
fn actions_are_pythons() {
    golden::actions_are_pythons::<Diffusion>();
}

#[test]
fn losses_and_gradients_are_pythons() {
    golden::losses_and_gradients_are_pythons::<Diffusion>(None);
}

#[test]
fn what_is_saved_has_lerobots_names_shapes_and_values() {
    golden::what_is_saved_has_lerobots_names_shapes_and_values::<Diffusion>();
}

#[test]
fn a_saved_directory_is_the_same_policy() {
    let cases = ["two_encoders", CASE];
    let kept = ("drop_n_last_frames", 3.into());
    golden::a_saved_directory_is_the_same_policy::<Diffusion>(&cases, kept);
}

#[test]
fn wrong_tensors_are_listed_under_lerobots_names() {
    let changes = |weights: &mut Weights| {
        weights.remove("diffusion.unet.final_conv.1.bias");
        let conv = "diffusion.unet.mid_modules.0.conv1.block.0.weight";
        weights.insert(conv.to_owned(), uniform("other", &[32, 32, 5]));
        weights.insert("diffusion.more".to_owned(), uniform("other", &[2]));
        let statistic = "normalize_inputs.buffer_observation_state.max";
        weights.insert(statistic.to_owned(), uniform("other", &[2]));
    };
    let expected = [
        "`diffusion.unet.final_conv.1.bias` is missing (expected shape [2])",
        "conv1.block.0.weight` has shape [32, 32, 5], expected [32, 32, 7]",
        "`diffusion.more` of shape [2] is not in the model",
    ];
    let error =
        golden::wrong_tensors_are_listed_under_lerobots_names::<Diffusion>(CASE, changes, expected);
    assert!(!error.contains("normalize"), "of an older version: {error}");
}

#[test]
fn wrong_settings_and_steps_are_named() {
    for (file, from, to, expected) in [
        (CONFIG, "\"use_amp\"", "\"novelty\"", "novelty"),
        (CONFIG, "\"horizon\"", "\"tags\"", "horizon"),
        (CONFIG, "\"horizon\": 6", "\"horizon\": 5", "action_horizon"),
        (CONFIG, "\"clip_sample\"", "\"repo\"", "clip_sample"),
        (CONFIG, "resnet18", "resnet34", "vision_backbone"),
        (CONFIG, "\"DDIM\"", "\"DDPMS\"", "noise_scheduler_type"),
        (CONFIG, "\"epsilon\"", "\"velocity\"", "prediction_type"),
        (CONFIG, "cap_v2", "cap_v3", "beta_schedule"),
        (
            "policy_preprocessor.json",
            "to_batch_processor",
            "delta_actions_processor",
            "delta_actions_processor",
        ),
    ] {
        let error = golden::broken::<Diffusion>(CASE, file, [from, to]);
        let named = file == CONFIG && from.contains("horizon\": 6") || error.contains(file);
        assert!(error.contains(expected) && named, "{error}");
    }
}

#[test]
fn older_settings_resize_nothing() {
    let path = golden::folder::<Diffusion>("one_camera").join(CONFIG);
    let json = std::fs::read_to_string(&path).unwrap();
    let mut older: Map<String, Value> = serde_json::from_str(&json).unwrap();
    for key in ["resize_shape", "crop_ratio"] {
        older.remove(key).unwrap();
    }
    let older = serde_json::to_string(&older).unwrap();
    let older = read_settings(&older, &path).unwrap();
    assert_eq!(
        older.config,
        golden::settings::<Diffusion>("one_camera").config
    );
}

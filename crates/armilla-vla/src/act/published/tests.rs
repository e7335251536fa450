//! Agreement with LeRobot 0.6.1 on weights and inputs that both sides compute from names (`scripts/fixtures/act.py`).

use std::path::PathBuf;

use super::*;
use crate::batch::PolicyBatch;
use crate::lerobot::checkpoint::{CONFIG, WEIGHTS, published, published_gradients, with_published};
use crate::lerobot::named::{BATCH, batch, close, gradients_are_close, uniform, weight};
use crate::lerobot::{Checkpoint, Draws, Processors};
use armilla_core::features::ACTION;
use armilla_core::random::stream;
use armilla_nn::checkpoint::foreign::their_shapes;
use armilla_nn::checkpoint::{self, Weights};
use burn::tensor::{Device, Tensor};

const CASES: [&str; 4] = [
    "one_camera",
    "two_cameras",
    "environment_state",
    "camera_alone",
];

fn folder(case: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/act");
    fixtures.join(case)
}

/// Settings, sizes and processors of a case.
fn parts(case: &str) -> (ActConfig, PolicyInputs, Processors) {
    let path = folder(case).join(CONFIG);
    let json = std::fs::read_to_string(&path).unwrap();
    let Settings { config, inputs, .. } = read_settings(&json, &path).unwrap();
    (config, inputs, Processors::load(&folder(case)).unwrap())
}

/// LeRobot's weights, as the script draws them.
fn theirs(config: &ActConfig, inputs: &PolicyInputs) -> Weights {
    let model = Act::unloaded(config, inputs, &Device::flex()).unwrap();
    let fixed = "model.vae_encoder_pos_enc";
    let drawn = their_shapes(&model, &act_rules()).into_iter();
    let mut drawn: Weights = drawn
        .map(|(name, shape)| (name.clone(), weight(&name, &shape)))
        .collect();
    if let Some(style) = &model.style {
        drawn.insert(fixed.to_owned(), style.positions.val().into_data());
    }
    drawn
}

/// The policy with LeRobot's weights.
fn loaded(
    (config, inputs): (&ActConfig, &PolicyInputs),
    weights: Weights,
    device: &Device,
) -> Result<Act> {
    let model = Act::unloaded(config, inputs, device)?;
    with_published(model, weights, Path::new("model.safetensors"))
}

fn load(case: &str, device: &Device) -> (Checkpoint<Act>, PolicyBatch) {
    let (config, inputs, processors) = parts(case);
    let weights = theirs(&config, &inputs);
    let checkpoint = Checkpoint {
        model: loaded((&config, &inputs), weights, device).unwrap(),
        processors,
        kept: Map::new(),
        train_config: None,
    };
    let before = &checkpoint.processors.before;
    let batch = batch(&inputs, before, [1, config.action_horizon], device);
    (checkpoint, batch)
}

fn golden(case: &str) -> Weights {
    let path = folder(case).join("golden.safetensors");
    checkpoint::read(&path).unwrap().0
}

fn act(model: &Act, batch: &PolicyBatch) -> Tensor<3> {
    let draws = &mut Draws::from_stream(stream(0, "act", 0));
    model.sample_actions(&batch.observations, draws).unwrap()
}

#[test]
fn actions_are_pythons() {
    for case in CASES {
        let device = Device::flex();
        let ((checkpoint, batch), golden) = (load(case, &device), golden(case));
        let actions = act(&checkpoint.model, &batch);
        let expected = &golden["action_normalized"];
        close(case, &actions.clone().into_data(), expected, 1e-4);
        let after = &checkpoint.processors.after;
        let actions = after.unnormalize(ACTION, actions).unwrap().into_data();
        close(case, &actions, &golden["action"], 1e-4);
    }
}

#[test]
fn losses_and_gradients_are_pythons() {
    for case in CASES {
        let device = Device::flex().autodiff();
        let ((checkpoint, batch), golden) = (load(case, &device), golden(case));
        let model = checkpoint.model;
        let drawn = uniform("input.epsilon", &[BATCH, model.config().style]);
        let given = [("vae_eps".to_owned(), drawn)].into();
        let draws = &mut Draws::given(&given, stream(0, "loss", 0));
        let loss = model.loss(&batch, draws).unwrap();
        let error = loss.figures[0].1.clone().into_data();
        close(case, &error, &golden["l1_loss"], 1e-4);
        close(case, &loss.total.clone().into_data(), &golden["loss"], 1e-4);
        let found = published_gradients(&model, &loss.total);
        gradients_are_close(case, &found, &golden, 1e-3);
    }
}

#[test]
fn what_is_saved_has_lerobots_names_shapes_and_values() {
    for case in CASES {
        let (config, inputs, _) = parts(case);
        let keys = std::fs::read_to_string(folder(case).join("keys.txt")).unwrap();
        let mut expected: Vec<&str> = keys.lines().collect();
        expected.sort_unstable();
        let (checkpoint, _) = load(case, &Device::flex());
        let published = published(&checkpoint.model);
        let found: Vec<String> = published
            .iter()
            .map(|(name, data)| format!("{name} {:?}", data.shape().to_vec()))
            .collect();
        assert_eq!(found, expected, "{case}");
        assert!(published == theirs(&config, &inputs), "{case}");
    }
}

#[test]
fn a_saved_directory_is_the_same_policy() {
    let device = Device::flex();
    let (mut saved, batch) = load("two_cameras", &device);
    saved.kept.insert("optimizer_lr".to_owned(), 1e-4.into());
    saved.train_config = Some(serde_json::json!({"steps": 7}));
    let directory = tempfile::tempdir().unwrap();
    saved.save(directory.path()).unwrap();
    let loaded = Checkpoint::<Act>::load(directory.path(), &device).unwrap();
    assert_eq!(loaded.model.config(), saved.model.config());
    assert_eq!(loaded.model.inputs(), saved.model.inputs());
    assert_eq!(loaded.processors, saved.processors);
    assert_eq!(
        (&loaded.kept, &loaded.train_config),
        (&saved.kept, &saved.train_config)
    );
    let act = |model: &Act| act(model, &batch).into_data();
    assert_eq!(act(&loaded.model), act(&saved.model));
}

#[test]
fn wrong_tensors_are_listed_under_lerobots_names() {
    let (config, inputs, _) = parts("environment_state");
    let mut weights = theirs(&config, &inputs);
    weights.remove("model.action_head.bias");
    let part = "model.encoder.layers.1.self_attn.in_proj_weight";
    weights.insert(part.to_owned(), uniform("other", &[48, 8]));
    weights.insert("model.more".to_owned(), uniform("other", &[2]));
    let found = loaded((&config, &inputs), weights, &Device::flex());
    let error = found.unwrap_err().to_string();
    for expected in [
        "`model.action_head.bias` is missing (expected shape [2])",
        "in_proj_weight` has shape [48, 8], expected [48, 16]",
        "`model.more` of shape [2] is not in the model",
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn wrong_settings_and_steps_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let broken = |file: &str, from: &str, to: &str| {
        for entry in std::fs::read_dir(folder("environment_state")).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
        let (config, inputs, _) = parts("environment_state");
        let path = directory.path().join(WEIGHTS);
        checkpoint::write(&path, &theirs(&config, &inputs), &BTreeMap::new()).unwrap();
        let path = directory.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let found = Checkpoint::<Act>::load(directory.path(), &Device::flex());
        found.unwrap_err().to_string()
    };
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
        let error = broken(file, from, to);
        assert!(error.contains(expected) && error.contains(file), "{error}");
    }
}

#[test]
fn statistics_among_the_weights_are_found() {
    let (config, inputs, processors) = parts("environment_state");
    let mut weights = theirs(&config, &inputs);
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
    let found = Processors::from_legacy(&inputs, modes, &weights).unwrap();
    for (found, expected) in [
        (&found.before, &processors.before),
        (&found.after, &processors.after),
    ] {
        assert_eq!(found.statistics, expected.statistics);
        assert_eq!(found.modes, expected.modes);
    }
    loaded((&config, &inputs), weights, &Device::flex()).unwrap();
    assert!(Processors::from_legacy(&inputs, modes, &theirs(&config, &inputs)).is_none());
}

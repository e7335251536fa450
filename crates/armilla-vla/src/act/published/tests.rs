//! Agreement with LeRobot 0.6.1 on weights and inputs that both sides compute from names (`scripts/fixtures/act.py`).

use std::path::PathBuf;

use super::*;
use crate::batch::{PolicyBatch, PolicyObservations};
use crate::test_support::gradients;
use armilla_core::features::{ACTION, STATE};
use armilla_nn::checkpoint::foreign::their_shapes;
use armilla_nn::dropout::Dropout;
use burn::tensor::{Tensor, TensorData};

const CASES: [&str; 4] = [
    "one_camera",
    "two_cameras",
    "environment_state",
    "camera_alone",
];
const BATCH: usize = 2;
/// Entries that are kept of each gradient.
const SAMPLES: usize = 8;

fn folder(case: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/act");
    fixtures.join(case)
}

/// In [-1, 1), from the name and the place alone.
fn uniform(name: &str, shape: &[usize]) -> TensorData {
    let seed = name.bytes().fold(2_166_136_261u32, |seed, byte| {
        (seed ^ u32::from(byte)).wrapping_mul(16_777_619)
    });
    let draw = |place: usize| {
        let mut mixed = seed.wrapping_add((place as u32).wrapping_mul(0x9E37_79B9));
        mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85EB_CA6B);
        mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xC2B2_AE35);
        mixed ^= mixed >> 16;
        (mixed >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(draw).collect();
    TensorData::new(values, shape.to_vec())
}

/// A weight as the script draws it.
fn weight(name: &str, shape: &[usize]) -> TensorData {
    let drawn = uniform(name, shape);
    let fan: usize = shape[1..].iter().product();
    let (scale, shift) = match shape {
        _ if name.ends_with("running_var") => (0.5, 1.0),
        [_] if name.ends_with("weight") => (0.3, 1.0),
        [_] => (0.3, 0.0),
        _ if name.contains("embed") => (0.5, 0.0),
        _ => ((3.0 / fan as f32).sqrt(), 0.0),
    };
    let values = drawn.iter::<f32>().map(|value| value * scale + shift);
    TensorData::new(values.collect::<Vec<_>>(), shape.to_vec())
}

/// Settings, sizes and processors of a case.
fn parts(case: &str) -> (ActConfig, PolicyInputs, Processors) {
    let path = folder(case).join(CONFIG);
    let json = std::fs::read_to_string(&path).unwrap();
    let file: File = serde_json::from_str(&json).unwrap();
    let (config, inputs) = file.settings(&path).unwrap();
    (config, inputs, Processors::load(&folder(case)).unwrap())
}

/// LeRobot's weights, as the script draws them.
fn theirs(config: &ActConfig, inputs: &PolicyInputs) -> Weights {
    let model = config.build(inputs, &Device::flex());
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

fn load(case: &str, device: &Device) -> (ActCheckpoint, PolicyBatch) {
    let (config, inputs, processors) = parts(case);
    let weights = theirs(&config, &inputs);
    let model = Act::from_published(&config, &inputs, (weights, Path::new(case)), device).unwrap();
    let checkpoint = ActCheckpoint {
        model,
        processors,
        kept: Map::new(),
    };
    let batch = batch(&checkpoint, device);
    (checkpoint, batch)
}

/// The script's batch, normalised by our processors.
fn batch(checkpoint: &ActCheckpoint, device: &Device) -> PolicyBatch {
    let (inputs, before) = (checkpoint.model.inputs(), &checkpoint.processors.before);
    let state = |key: &str, width: Option<usize>| {
        let data = uniform(&format!("input.{key}"), &[BATCH, 1, width?]);
        let values: Tensor<3> = Tensor::from_data(data, device);
        Some(before.normalize(key, values).unwrap())
    };
    let cameras = inputs.cameras.iter().map(|camera| {
        let shape = [BATCH, 3, camera.height, camera.width];
        let data = uniform(&format!("input.{}", camera.key), &shape);
        let pictures: Tensor<4> = Tensor::from_data(data, device);
        let pictures = ((pictures + 1.0) / 2.0).permute([0, 2, 3, 1]);
        let pictures = before.normalize(&camera.key, pictures).unwrap();
        pictures.unsqueeze_dim::<5>(1)
    });
    let horizon = checkpoint.model.config().action_horizon;
    let shape = [BATCH, horizon, inputs.action];
    let actions: Tensor<3> = Tensor::from_data(uniform("input.action", &shape), device);
    let mut weight = vec![1.0f32; BATCH * horizon];
    weight[BATCH * horizon - 2..].fill(0.0);
    PolicyBatch {
        observations: PolicyObservations {
            images: cameras.collect(),
            state: state(STATE, inputs.state),
            environment_state: state("observation.environment_state", inputs.environment_state),
        },
        actions: before.normalize(ACTION, actions).unwrap(),
        weight: Tensor::from_data(TensorData::new(weight, [BATCH, horizon]), device),
    }
}

fn golden(case: &str) -> Weights {
    let path = folder(case).join("golden.safetensors");
    checkpoint::read(&path).unwrap().0
}

/// Compares relative to the largest value.
#[track_caller]
fn close(name: &str, found: &TensorData, expected: &TensorData, tolerance: f32) {
    assert_eq!(found.num_elements(), expected.num_elements(), "{name}");
    let pairs = found.iter::<f32>().zip(expected.iter::<f32>());
    let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let size = expected.iter::<f32>().map(f32::abs).fold(1e-6, f32::max);
    assert!(apart <= tolerance * size, "{name}: {apart} apart of {size}");
}

/// A few entries of a gradient, spread evenly, and the largest magnitude.
fn samples(gradient: &TensorData) -> TensorData {
    let values: Vec<f32> = gradient.iter::<f32>().collect();
    let count = SAMPLES.min(values.len());
    let places = (0..count).map(|place| values[place * values.len() / count]);
    let largest = values.iter().copied().map(f32::abs).fold(0.0, f32::max);
    let kept: Vec<f32> = places.chain([largest]).collect();
    TensorData::new(kept, [count + 1])
}

#[test]
fn actions_are_pythons() {
    for case in CASES {
        let device = Device::flex();
        let ((checkpoint, batch), golden) = (load(case, &device), golden(case));
        let actions = checkpoint.model.sample_actions(&batch.observations);
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
        let noise = Some(Tensor::from_data(drawn, &device));
        let loss = model.loss_with(&batch, noise, &mut Dropout::Off);
        let error = loss.action_error.into_data();
        close(case, &error, &golden["l1_loss"], 1e-4);
        close(case, &loss.total.clone().into_data(), &golden["loss"], 1e-4);
        let found = as_theirs(&gradients(&model, &loss.total), &act_rules());
        let names: Vec<String> = found.keys().map(|name| format!("grad.{name}")).collect();
        let expected: Vec<&String> = golden.keys().filter(|n| n.starts_with("grad.")).collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), expected);
        for (name, gradient) in found {
            let expected = &golden[&format!("grad.{name}")];
            let name = format!("{case} {name}");
            close(&name, &samples(&gradient), expected, 1e-3);
        }
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
        let published = checkpoint.model.published();
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
    let directory = tempfile::tempdir().unwrap();
    saved.save(directory.path()).unwrap();
    let loaded = ActCheckpoint::load(directory.path(), &device).unwrap();
    assert_eq!(loaded.model.config(), saved.model.config());
    assert_eq!(loaded.model.inputs(), saved.model.inputs());
    assert_eq!(loaded.processors, saved.processors);
    assert_eq!(loaded.kept, saved.kept);
    let act = |model: &Act| model.sample_actions(&batch.observations).into_data();
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
    let origin = Path::new("model.safetensors");
    let found = Act::from_published(&config, &inputs, (weights, origin), &Device::flex());
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
        let found = ActCheckpoint::load(directory.path(), &Device::flex());
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
    let origin = Path::new("model.safetensors");
    let model = Act::from_published(&config, &inputs, (weights, origin), &Device::flex());
    model.unwrap();
    assert!(Processors::from_legacy(&inputs, modes, &theirs(&config, &inputs)).is_none());
}

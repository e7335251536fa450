//! Agreement with LeRobot 0.6.1 on weights and inputs that both sides compute from names (`scripts/fixtures/diffusion.py`).

use std::path::PathBuf;

use super::*;
use crate::batch::PolicyBatch;
use crate::lerobot::checkpoint::{CONFIG, WEIGHTS, published, published_gradients, with_published};
use crate::lerobot::named::{BATCH, batch, close, gradients_are_close, uniform, weight};
use crate::lerobot::{Checkpoint, Draws, Processors};
use armilla_core::features::ACTION;
use armilla_core::random::stream;
use armilla_nn::checkpoint;
use armilla_nn::checkpoint::foreign::their_shapes;
use burn::tensor::{Device, Tensor};

const CASES: [&str; 4] = [
    "one_camera",
    "two_encoders",
    "shared_encoder",
    "environment_state",
];

fn folder(case: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/diffusion");
    fixtures.join(case)
}

/// Settings, sizes and processors of a case.
fn parts(case: &str) -> (DiffusionConfig, PolicyInputs, Processors) {
    let path = folder(case).join(CONFIG);
    let json = std::fs::read_to_string(&path).unwrap();
    let Settings { config, inputs, .. } = read_settings(&json, &path).unwrap();
    (config, inputs, Processors::load(&folder(case)).unwrap())
}

/// LeRobot's weights, as the script draws them.
fn theirs(config: &DiffusionConfig, inputs: &PolicyInputs) -> Weights {
    let model = Diffusion::unloaded(config, inputs, &Device::flex()).unwrap();
    let shapes = their_shapes(&model, &diffusion_rules(config));
    let counters = shapes.keys().filter_map(|name| {
        let norm = name.strip_suffix("running_mean")?;
        let counter = TensorData::new(vec![0.0f32], [0usize; 0]);
        Some((format!("{norm}{COUNTER}"), counter))
    });
    let drawn = shapes.iter().map(|(name, shape)| {
        let data = match name.ends_with("pos_grid") {
            true => model.vision[0].places.val().into_data(),
            false => weight(name, shape),
        };
        (name.clone(), data)
    });
    drawn.chain(counters).collect()
}

/// The policy with LeRobot's weights.
fn loaded(
    (config, inputs): (&DiffusionConfig, &PolicyInputs),
    weights: Weights,
    device: &Device,
) -> Result<Diffusion> {
    let model = Diffusion::unloaded(config, inputs, device)?;
    with_published(model, weights, Path::new("model.safetensors"))
}

fn load(case: &str, device: &Device) -> (Checkpoint<Diffusion>, PolicyBatch) {
    let (config, inputs, processors) = parts(case);
    let weights = theirs(&config, &inputs);
    let checkpoint = Checkpoint {
        model: loaded((&config, &inputs), weights, device).unwrap(),
        processors,
        kept: Map::new(),
        train_config: None,
    };
    let lengths = [config.history, config.action_horizon];
    let batch = batch(&inputs, &checkpoint.processors.before, lengths, device);
    (checkpoint, batch)
}

/// Actions of a case, from the script's noise.
fn act(model: &Diffusion, batch: &PolicyBatch) -> Tensor<3> {
    let config = model.config();
    let shape = [BATCH, config.action_horizon, model.inputs().action];
    let drawn = |index: usize| uniform(&format!("input.noise.{index}"), &shape);
    let training = config.scheduler.training_steps;
    let steps = config.scheduler.sampling_steps.unwrap_or(training);
    let later = (1..=steps).flat_map(|index| drawn(index).iter::<f32>().collect::<Vec<_>>());
    let all = [vec![steps], shape.to_vec()].concat();
    let given = [
        ("noise".to_owned(), drawn(0)),
        (
            "noise.steps".to_owned(),
            TensorData::new(later.collect::<Vec<_>>(), all),
        ),
    ]
    .into();
    let draws = &mut Draws::given(&given, stream(0, "act", 0));
    model.sample_actions(&batch.observations, draws).unwrap()
}

/// What the script draws to train on a batch.
fn draws(model: &Diffusion, batch: &PolicyBatch) -> Weights {
    let last = model.config().scheduler.training_steps - 3;
    let corners = (0..model.vision.len()).flat_map(|encoder| [2 + encoder, 5 - encoder]);
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

fn golden(case: &str) -> Weights {
    let path = folder(case).join("golden.safetensors");
    checkpoint::read(&path).unwrap().0
}

#[test]
fn actions_are_pythons() {
    for case in CASES {
        let device = Device::flex();
        let ((checkpoint, batch), golden) = (load(case, &device), golden(case));
        let actions = act(&checkpoint.model, &batch);
        let (config, inputs) = (checkpoint.model.config(), checkpoint.model.inputs());
        let shape = [BATCH, config.receding_horizon, inputs.action];
        assert_eq!(actions.dims(), shape);
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
        let given = draws(&model, &batch);
        let draws = &mut Draws::given(&given, stream(0, "loss", 0));
        let loss = model.loss(&batch, draws).unwrap().total;
        close(case, &loss.clone().into_data(), &golden["loss"], 1e-4);
        let found = published_gradients(&model, &loss);
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
    for case in ["two_encoders", "environment_state"] {
        let (mut saved, batch) = load(case, &device);
        saved.kept.insert("drop_n_last_frames".to_owned(), 3.into());
        let directory = tempfile::tempdir().unwrap();
        saved.save(directory.path()).unwrap();
        let loaded = Checkpoint::<Diffusion>::load(directory.path(), &device).unwrap();
        assert_eq!(loaded.model.config(), saved.model.config());
        assert_eq!(loaded.model.inputs(), saved.model.inputs());
        assert_eq!(loaded.processors, saved.processors);
        assert_eq!(loaded.kept, saved.kept);
        let act = |model: &Diffusion| act(model, &batch).into_data();
        assert_eq!(act(&loaded.model), act(&saved.model));
    }
}

#[test]
fn wrong_tensors_are_listed_under_lerobots_names() {
    let (config, inputs, _) = parts("environment_state");
    let mut weights = theirs(&config, &inputs);
    weights.remove("diffusion.unet.final_conv.1.bias");
    let conv = "diffusion.unet.mid_modules.0.conv1.block.0.weight";
    weights.insert(conv.to_owned(), uniform("other", &[32, 32, 5]));
    weights.insert("diffusion.more".to_owned(), uniform("other", &[2]));
    let statistic = "normalize_inputs.buffer_observation_state.max";
    weights.insert(statistic.to_owned(), uniform("other", &[2]));
    let found = loaded((&config, &inputs), weights, &Device::flex());
    let error = found.unwrap_err().to_string();
    for expected in [
        "`diffusion.unet.final_conv.1.bias` is missing (expected shape [2])",
        "conv1.block.0.weight` has shape [32, 32, 5], expected [32, 32, 7]",
        "`diffusion.more` of shape [2] is not in the model",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    assert!(!error.contains("normalize"), "of an older version: {error}");
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
        let found = Checkpoint::<Diffusion>::load(directory.path(), &Device::flex());
        found.unwrap_err().to_string()
    };
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
        let error = broken(file, from, to);
        let named = file == CONFIG && from.contains("horizon\": 6") || error.contains(file);
        assert!(error.contains(expected) && named, "{error}");
    }
}

#[test]
fn older_settings_resize_nothing() {
    let path = folder("one_camera").join(CONFIG);
    let json = std::fs::read_to_string(&path).unwrap();
    let mut older: Map<String, Value> = serde_json::from_str(&json).unwrap();
    for key in ["resize_shape", "crop_ratio"] {
        older.remove(key).unwrap();
    }
    let older = serde_json::to_string(&older).unwrap();
    let older = read_settings(&older, &path).unwrap();
    assert_eq!(older.config, parts("one_camera").0);
}

//! Tests that every policy of LeRobot's shares: agreement on weights and inputs that both sides compute from names
//! (`scripts/fixtures/POLICY.py`), in the cases that lie in `fixtures/POLICY`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use armilla_core::features::ACTION;
use armilla_core::random::stream;
use armilla_nn::checkpoint::foreign::their_shapes;
use armilla_nn::checkpoint::{self, Weights};
use burn::tensor::{Device, Tensor};
use serde_json::{Map, Value};

use super::checkpoint::{CONFIG, WEIGHTS, published, published_gradients, with_published};
use super::named::{batch, close, gradients_are_close, weight};
use super::{Checkpoint, Draws, PolicyModel, Processors, Settings};
use crate::batch::PolicyBatch;
use crate::error::Result;

/// A policy that LeRobot has too.
pub(crate) trait Golden: PolicyModel {
    /// Folders in `fixtures/POLICY`.
    const CASES: &'static [&'static str];

    /// Arrays of its checkpoints that are the same in each of them.
    fn fixed(&self) -> Weights;

    /// What the script draws to act.
    fn drawn_to_act(&self) -> Weights;

    /// What the script draws to train on a batch.
    fn drawn_to_train(&self, batch: &PolicyBatch) -> Weights;
}

pub(crate) fn folder<M: Golden>(case: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    fixtures.join(M::KIND).join(case)
}

pub(crate) fn settings<M: Golden>(case: &str) -> Settings<M::Config> {
    let path = folder::<M>(case).join(CONFIG);
    let json = std::fs::read_to_string(&path).unwrap();
    M::read_settings(&json, &path).unwrap()
}

/// LeRobot's weights, as the script draws them.
pub(crate) fn theirs<M: Golden>(settings: &Settings<M::Config>) -> Weights {
    let model = M::unloaded(&settings.config, &settings.inputs, &Device::flex()).unwrap();
    let drawn = their_shapes(&model, &model.rules()).into_iter();
    let drawn = drawn.map(|(name, shape)| (name.clone(), weight(&name, &shape)));
    let mut all: Weights = drawn.chain(model.fixed()).collect();
    M::complete(&mut all);
    all
}

/// The policy with these of LeRobot's weights.
pub(crate) fn loaded<M: Golden>(
    settings: &Settings<M::Config>,
    weights: Weights,
    device: &Device,
) -> Result<M> {
    let model = M::unloaded(&settings.config, &settings.inputs, device)?;
    with_published(model, weights, Path::new("model.safetensors"))
}

/// A case's policy, and the script's batch.
fn load<M: Golden>(case: &str, device: &Device) -> (Checkpoint<M>, PolicyBatch) {
    let settings = settings::<M>(case);
    let checkpoint = Checkpoint {
        model: loaded::<M>(&settings, theirs::<M>(&settings), device).unwrap(),
        processors: Processors::load(&folder::<M>(case)).unwrap(),
        kept: Map::new(),
        train_config: None,
    };
    let horizons = M::horizons(&settings.config);
    let lengths = [horizons.history, horizons.action];
    let before = &checkpoint.processors.before;
    let batch = batch(&settings.inputs, before, lengths, device);
    (checkpoint, batch)
}

fn golden<M: Golden>(case: &str) -> Weights {
    let path = folder::<M>(case).join("golden.safetensors");
    checkpoint::read(&path).unwrap().0
}

fn act<M: Golden>(model: &M, batch: &PolicyBatch) -> Tensor<3> {
    let given = model.drawn_to_act();
    let draws = &mut Draws::given(&given, stream(0, "act", 0));
    let sampled = model.sample_actions(&batch.observations, draws).unwrap();
    sampled.narrow(1, 0, M::horizons(model.config()).published_chunk)
}

pub(crate) fn actions_are_pythons<M: Golden>() {
    for case in M::CASES {
        let device = Device::flex();
        let ((checkpoint, batch), golden) = (load::<M>(case, &device), golden::<M>(case));
        let actions = act(&checkpoint.model, &batch);
        let expected = &golden["action_normalized"];
        assert_eq!(actions.dims(), expected.shape().dims::<3>(), "{case}");
        close(case, &actions.clone().into_data(), expected, 1e-4);
        let after = &checkpoint.processors.after;
        let actions = after.unnormalize(ACTION, actions).unwrap().into_data();
        close(case, &actions, &golden["action"], 1e-4);
    }
}

/// `part` is a figure of the loss, and its name in the golden file.
pub(crate) fn losses_and_gradients_are_pythons<M: Golden>(part: Option<(&str, &str)>) {
    for case in M::CASES {
        let device = Device::flex().autodiff();
        let ((checkpoint, batch), golden) = (load::<M>(case, &device), golden::<M>(case));
        let model = checkpoint.model;
        let given = model.drawn_to_train(&batch);
        let draws = &mut Draws::given(&given, stream(0, "loss", 0));
        let loss = model.loss(&batch, draws).unwrap();
        close(case, &loss.total.clone().into_data(), &golden["loss"], 1e-4);
        if let Some((name, theirs)) = part {
            let figures: BTreeMap<_, _> = loss.figures.into_iter().collect();
            close(
                case,
                &figures[name].clone().into_data(),
                &golden[theirs],
                1e-4,
            );
        }
        let found = published_gradients(&model, &loss.total);
        gradients_are_close(case, &found, &golden, 1e-3);
    }
}

pub(crate) fn what_is_saved_has_lerobots_names_shapes_and_values<M: Golden>() {
    for case in M::CASES {
        let keys = std::fs::read_to_string(folder::<M>(case).join("keys.txt")).unwrap();
        let mut expected: Vec<&str> = keys.lines().collect();
        expected.sort_unstable();
        let (checkpoint, _) = load::<M>(case, &Device::flex());
        let published = published(&checkpoint.model);
        let found: Vec<String> = published
            .iter()
            .map(|(name, data)| format!("{name} {:?}", data.shape().to_vec()))
            .collect();
        assert_eq!(found, expected, "{case}");
        assert!(published == theirs::<M>(&settings::<M>(case)), "{case}");
    }
}

/// `kept` is a setting of LeRobot's alone.
pub(crate) fn a_saved_directory_is_the_same_policy<M: Golden>(cases: &[&str], kept: (&str, Value)) {
    let device = Device::flex();
    for case in cases {
        let (mut saved, batch) = load::<M>(case, &device);
        saved.kept.insert(kept.0.to_owned(), kept.1.clone());
        saved.train_config = Some(serde_json::json!({"steps": 7}));
        let directory = tempfile::tempdir().unwrap();
        saved.save(directory.path()).unwrap();
        let loaded = Checkpoint::<M>::load(directory.path(), &device).unwrap();
        assert_eq!(loaded.model.config(), saved.model.config());
        assert_eq!(loaded.model.inputs(), saved.model.inputs());
        assert_eq!(loaded.processors, saved.processors);
        assert_eq!(loaded.kept, saved.kept);
        assert_eq!(loaded.train_config, saved.train_config);
        let act = |model: &M| act(model, &batch).into_data();
        assert_eq!(act(&loaded.model), act(&saved.model));
    }
}

/// `changes` of a case's weights are found, and `expected` is said of them.
pub(crate) fn wrong_tensors_are_listed_under_lerobots_names<M: Golden>(
    case: &str,
    changes: impl FnOnce(&mut Weights),
    expected: [&str; 3],
) -> String {
    let settings = settings::<M>(case);
    let mut weights = theirs::<M>(&settings);
    changes(&mut weights);
    let found = loaded::<M>(&settings, weights, &Device::flex());
    let error = found.unwrap_err().to_string();
    for expected in expected {
        assert!(error.contains(expected), "{error}");
    }
    error
}

/// What is said of a case's directory with `from` replaced by `to` in one of its files.
pub(crate) fn broken<M: Golden>(case: &str, file: &str, [from, to]: [&str; 2]) -> String {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder::<M>(case)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    let weights = theirs::<M>(&settings::<M>(case));
    checkpoint::write(&directory.path().join(WEIGHTS), &weights, &BTreeMap::new()).unwrap();
    let path = directory.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    let found = Checkpoint::<M>::load(directory.path(), &Device::flex());
    found.unwrap_err().to_string()
}

//! Agreement with the Python LeWorldModel of stable-worldmodel 0.1.1 on random weights and inputs (`scripts/fixtures/lewm.py`).

use super::*;
use crate::batch::{Pairs, TrainingBatch};
use crate::context::Context;
use crate::observations::Observations;
use crate::transition::Transition as _;
use armilla_core::random::stream;
use armilla_nn::checkpoint::foreign::{as_ours, their_shapes};
use armilla_nn::checkpoint::gradients;
use armilla_nn::checkpoint::weights;
use armilla_nn::dropout::Dropout;
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

/// Largest difference allowed, relative to the largest value.
const CLOSE: f32 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lewm")
}

/// What Python found.
pub(crate) struct Golden(pub(crate) Weights);

impl Golden {
    pub(crate) fn open(folder: &Path) -> Self {
        Self(read(&folder.join("golden.safetensors")).unwrap().0)
    }

    pub(crate) fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        Tensor::from_data(self.0[name].clone(), device)
    }

    fn scalar(&self, name: &str) -> f32 {
        self.0[name].iter::<f32>().next().unwrap()
    }

    /// Those that begin so, under the checkpoint's names: `grad.` for gradients.
    pub(crate) fn named(&self, prefix: &str) -> Weights {
        let all = self.0.iter();
        let named = all.filter_map(|(name, data)| {
            let name = name.strip_prefix(prefix)?;
            Some((name.to_owned(), data.clone()))
        });
        named.collect()
    }

    /// Pictures as ours, `[rows, 1, height, width, 3]` in `[-0.5, 0.5]`, from rows of ImageNet's units, channels first.
    pub(crate) fn observations(&self, device: &Device) -> Observations {
        let pixels: Tensor<5> = self.tensor("pixels", device); // [batch, time, channel, height, width]
        let [batch, time, channel, height, width] = pixels.dims();
        let pixels = pixels.reshape([batch * time, channel, height, width]);
        let row = |values: [f32; 3]| Tensor::<1>::from_floats(values, device).reshape([1, 3, 1, 1]);
        let (mean, std) = (row([0.485, 0.456, 0.406]), row([0.229, 0.224, 0.225]));
        let pixels = pixels * std + mean - 0.5;
        Observations::of_one_camera(pixels.permute([0, 2, 3, 1]))
    }

    #[track_caller]
    pub(crate) fn expect<const D: usize>(&self, name: &str, found: Tensor<D>) {
        close(name, &found.into_data(), &self.0[name]);
    }
}

#[track_caller]
pub(crate) fn close(name: &str, found: &TensorData, expected: &TensorData) {
    let pairs = found.iter::<f32>().zip(expected.iter::<f32>());
    let apart = pairs
        .map(|(a, b)| (a - b).abs())
        .max_by(f32::total_cmp)
        .unwrap_or(0.0);
    let size = expected.iter::<f32>().map(f32::abs).fold(1e-6, f32::max);
    assert_eq!(found.num_elements(), expected.num_elements(), "{name}");
    assert!(apart <= CLOSE * size, "{name}: {apart} apart of {size}");
}

/// Names and shapes of all that a published model of paper size holds.
pub(crate) fn paper_keys(folder: &Path) -> BTreeMap<String, Vec<usize>> {
    let keys = std::fs::read_to_string(folder.join("paper_keys.txt")).unwrap();
    let key = |line: &str| {
        let (name, shape) = line.split_once(' ').unwrap();
        let shape: Vec<usize> = serde_json::from_str(shape).unwrap();
        (name.to_owned(), shape)
    };
    keys.lines().map(key).collect()
}

/// The names of what a model leaves of a published one; all of its own is there, in its shape.
#[track_caller]
pub(crate) fn left_over<M: Module>(
    mut theirs: BTreeMap<String, Vec<usize>>,
    model: &M,
    rules: &[Rule],
) -> Vec<String> {
    // An axis of 1 says nothing.
    let bare = |shape: &[usize]| {
        let axes = shape.iter().copied();
        axes.filter(|&axis| axis != 1).collect::<Vec<_>>()
    };
    let mut values = 0;
    for (name, shape) in their_shapes(model, rules) {
        let found = theirs.remove(&name);
        assert_eq!(found.as_deref().map(bare), Some(bare(&shape)), "{name}");
        values += shape.iter().product::<usize>();
    }
    assert_eq!(values, model.num_params(), "a tensor without a rule");
    theirs.into_keys().collect()
}

fn load(device: &Device) -> Jepa {
    Jepa::load_published(&folder(), 2, device).unwrap().jepa
}

#[test]
fn both_files_hold_the_same_model() {
    let device = Device::flex();
    let model = Jepa::load_published(&folder(), 2, &device).unwrap();
    assert_eq!(model.unknown, Vec::<String>::new());
    assert_eq!(
        (model.jepa.config().history, model.jepa.config().block()),
        (3, 10)
    );
    let alone = tempfile::tempdir().unwrap();
    for name in [CONFIG, "weights.pt"] {
        std::fs::copy(folder().join(name), alone.path().join(name)).unwrap();
    }
    let pickled = Jepa::load_published(alone.path(), 2, &device).unwrap();
    assert_eq!(weights(&model.jepa), weights(&pickled.jepa));
}

#[test]
fn a_model_of_paper_size_is_read_whole() {
    let model = JepaConfig::lewm().init_to_load(&Device::flex()).unwrap();
    let keys = paper_keys(&folder());
    assert_eq!(keys.len(), 303);
    let counters = [
        "pred_proj.net.1.num_batches_tracked",
        "projector.net.1.num_batches_tracked",
    ];
    assert_eq!(left_over(keys, &model, &lewm_rules()), counters);
}

#[test]
fn out_of_training_it_is_pythons() {
    let device = Device::flex();
    let (model, golden) = (load(&device), Golden::open(&folder()));
    let latents = model.encode_frames(golden.observations(&device), 4);
    golden.expect("eval.latents", latents.clone());
    let actions: Tensor<3> = golden.tensor("actions", &device);
    let first = latents.clone().narrow(1, 0, 4);
    let blocks = actions.narrow(1, 0, 3);
    let found = model.look_ahead(first, blocks, 1, &mut Dropout::Off);
    golden.expect("eval.predictions", found[0].clone());

    let candidates: Tensor<3> = golden.tensor("plan.candidates", &device);
    let start = latents.clone().slice([0..1, 0..1]).reshape([1, 24]);
    let start = start.repeat_dim(0, 6);
    let rollout = model.rollout(Context::of_one(start.clone()), candidates);
    let all = Tensor::cat(vec![start.unsqueeze_dim(1), rollout.clone()], 1);
    golden.expect("plan.rollout", all);
    // The goal is the last frame of the first window; upstream sums where our cost is a mean.
    let goal = latents.slice([0..1, 3..4]).reshape([1, 24]);
    golden.expect("plan.goal", goal.clone());
    let last = rollout.narrow(1, 3, 1).reshape([6, 24]);
    golden.expect("plan.costs", (last - goal).square().sum_dim(1));
}

fn batch(golden: &Golden, device: &Device) -> TrainingBatch {
    let actions: Tensor<3> = golden.tensor("actions", device);
    TrainingBatch {
        observations: golden.observations(device),
        frames: 4,
        time: 4,
        blocks: actions.narrow(1, 0, 3),
        mean_actions: Tensor::zeros([6, 3, 2], device),
        weight: Tensor::ones([6, 3], device),
        rotated: None,
        pairs: Pairs {
            from: Vec::new(),
            to: Vec::new(),
            steps: Tensor::zeros([6, 1], device),
            weight: Tensor::zeros([6, 1], device),
        },
    }
}

#[test]
fn in_training_loss_and_gradients_are_pythons() {
    let device = Device::flex().autodiff();
    let (model, golden) = (load(&device), Golden::open(&folder()));
    let batch = batch(&golden, &device);
    let directions = golden.tensor("train.directions", &device);
    let loss = model.loss_along(directions, batch, &mut stream(0, "test", 0));
    let figures: BTreeMap<_, _> = loss.figures.iter().cloned().collect();
    golden.expect("train.prediction_loss", figures["prediction"].clone());
    golden.expect("train.sigreg_loss", figures["sigreg"].clone());
    golden.expect("train.loss", loss.total.clone());
    assert!((golden.scalar("train.loss") - 1.5).abs() < 0.1);

    let found = gradients(&model, &loss.total.backward());
    let expected = as_ours(&model, &golden.named("grad."), &lewm_rules());
    assert_eq!(expected.len(), 8 + 2, "three of one matrix");
    for (name, expected) in expected {
        close(&name, &found[&name], &expected);
    }
    // The step has moved the running statistics as PyTorch moves them.
    let (found, begun) = (weights(&model), weights(&load(&device)));
    let expected = as_ours(&model, &golden.named("train.after."), &lewm_rules());
    assert_eq!(expected.len(), 4, "mean and variance of both projectors");
    for (name, expected) in expected {
        assert_ne!(found[&name], begun[&name], "{name}");
        close(&name, &found[&name], &expected);
    }
}

#[test]
fn what_does_not_fit_is_named_as_in_the_file() {
    let device = Device::flex();
    let directory = tempfile::tempdir().unwrap();
    let write = |config: &str| std::fs::write(directory.path().join(CONFIG), config).unwrap();
    let load = || {
        let found = Jepa::load_published(directory.path(), 2, &device);
        found.unwrap_err().to_string()
    };
    assert!(load().contains("cannot read the settings of a published LeWorldModel"));
    let config = std::fs::read_to_string(folder().join(CONFIG)).unwrap();
    write(&config);
    assert!(
        load().contains("expected model.safetensors, weights.pt"),
        "{}",
        load()
    );
    let weights = directory.path().join("weights.pt");
    std::fs::copy(folder().join("weights.pt"), &weights).unwrap();
    write(&config.replace("\"depth\": 2", "\"depth\": 1"));
    let extra =
        "`predictor.transformer.layers.1.attn.norm.weight` of shape [24] is not in the model";
    assert!(load().contains(extra), "{}", load());
    write(&config.replace("\"mlp_dim\": 40", "\"mlp_dim\": 41"));
    let shape =
        "`predictor.transformer.layers.0.mlp.net.1.weight` has shape [40, 24], expected [41, 24]";
    assert!(load().contains(shape), "{}", load());
    write(&config.replace("\"depth\": 2", "\"depth\": 3"));
    let missing =
        "`predictor.transformer.layers.2.attn.to_qkv.weight` is missing (expected shape [72, 24])";
    assert!(load().contains(missing), "{}", load());
    write(&config.replace("\"input_dim\": 10", "\"input_dim\": 9"));
    assert!(
        load().contains("action_encoder.input_dim: expected a multiple of 2"),
        "{}",
        load()
    );
    write(&config);
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    assert!(
        load().contains("is not a whole file of weights"),
        "{}",
        load()
    );
}

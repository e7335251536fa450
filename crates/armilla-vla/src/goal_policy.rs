//! Goal-conditioned behaviour cloning: a picture and the picture of a goal to a chunk of actions.
//!
//! The plainest thing that can be learnt from the recordings that a world model learns from, and so what a planner in one has to beat:
//! the recorded actions that led from a frame towards a later one of the same episode (hindsight relabelling, as in
//! [Ding et al.](https://arxiv.org/abs/1906.05838)), regressed by squared error. Both pictures enter one convolutional network as six
//! channels. There is neither language nor proprioception in it.

use std::fs;
use std::path::Path;

use armilla_core::{
    Action, ActionChunk, EnvironmentSpec, EpisodeId, FeatureStatistics, Image, Normalization,
    Observation, Policy, PolicyRequest, WindowBatch,
};
use armilla_nn::Activation;
use armilla_nn::checkpoint::{load_weights, save_weights, write_atomically};
use armilla_nn::images::{CHANNELS, images_to_tensor};
use armilla_nn::layers::{ConvBlock, ConvBlockConfig, Mlp, MlpConfig, StridedConvConfig};
use armilla_nn::random::seeded;
use armilla_nn::reduction::mean;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const KIND: &str = "armilla_goal";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Names are checked with sizes from files that anyone can have written.
const LARGEST: usize = 1 << 14;

/// Settings of a [`GoalPolicy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoalPolicyConfig {
    /// Channels after each convolution; every one halves the picture.
    pub channels: Vec<usize>,
    /// Width of the network over the last convolution's values.
    pub hidden: usize,
    /// Linear layers of it.
    pub depth: usize,
    /// Actions predicted at once.
    pub action_horizon: usize,
    /// Of these, actions carried out before the next are asked for.
    pub receding_horizon: usize,
    /// Steps from a frame to the furthest one that training takes for its goal.
    pub goal_max_steps: usize,
    /// Share of the windows whose goal is the latest possible.
    pub goal_last_share: f64,
}

impl Default for GoalPolicyConfig {
    fn default() -> Self {
        Self {
            channels: vec![32, 64, 64, 64],
            hidden: 256,
            depth: 3,
            action_horizon: 5,
            receding_horizon: 5,
            goal_max_steps: 200,
            goal_last_share: 0.5,
        }
    }
}

/// What a [`GoalPolicy`] was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoalShape {
    /// Name of the camera.
    pub camera: String,
    /// Side of its square pictures.
    pub side: usize,
    /// Mean of each value of an action in the recordings.
    pub action_mean: Vec<f64>,
    /// Its standard deviation.
    pub action_std: Vec<f64>,
}

impl GoalShape {
    fn statistics(&self) -> FeatureStatistics {
        FeatureStatistics {
            mean: self.action_mean.clone(),
            std: self.action_std.clone(),
            ..FeatureStatistics::default()
        }
    }
}

/// The model.
#[derive(Module, Debug)]
pub struct GoalPolicy {
    convolutions: Vec<ConvBlock>,
    head: Mlp,
    #[module(skip)]
    config: GoalPolicyConfig,
    #[module(skip)]
    shape: GoalShape,
}

/// What it learns from.
#[derive(Clone, Debug)]
pub struct GoalBatch {
    /// Pictures and goals, `[batch, height, width, 6]`, in `[-0.5, 0.5]`.
    pub pictures: Tensor<4>,
    /// Normalised actions, `[batch, action_horizon, action]`.
    pub actions: Tensor<3>,
    /// 1, or 0 for an action past the goal or the episode's end, `[batch, action_horizon]`.
    pub weight: Tensor<2>,
}

impl GoalPolicyConfig {
    /// Builds the model, its weights from the seed alone.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when a setting is out of range.
    pub fn init(&self, shape: &GoalShape, seed: u64, device: &Device) -> Result<GoalPolicy> {
        self.validate(shape)?;
        Ok(seeded(device, seed, || self.build(shape, device)))
    }

    fn build(&self, shape: &GoalShape, device: &Device) -> GoalPolicy {
        let inputs = [2 * CHANNELS]
            .into_iter()
            .chain(self.channels.iter().copied());
        let convolutions = inputs.zip(&self.channels).map(|(input, &output)| {
            let conv = StridedConvConfig::new(input, output);
            ConvBlockConfig::new(conv, Activation::Silu).init(device)
        });
        let smallest = shape.side >> self.channels.len();
        let features = smallest * smallest * self.channels.last().copied().unwrap_or(0);
        let output = self.action_horizon * shape.action_mean.len();
        GoalPolicy {
            convolutions: convolutions.collect(),
            head: MlpConfig::new(features, self.hidden, output)
                .with_depth(self.depth)
                .with_batch_norm(true)
                .with_activation(Activation::Silu)
                .init(device),
            config: self.clone(),
            shape: shape.clone(),
        }
    }

    fn validate(&self, shape: &GoalShape) -> Result<()> {
        let sizes = [
            ("hidden", self.hidden),
            ("depth", self.depth),
            ("action_horizon", self.action_horizon),
            ("goal_max_steps", self.goal_max_steps),
            ("side", shape.side),
            ("action_mean", shape.action_mean.len()),
        ];
        for (key, value) in sizes {
            if !(1..=LARGEST).contains(&value) {
                return Err(Error::config(key, format!("1 to {LARGEST}"), value));
            }
        }
        let horizon = self.receding_horizon;
        if !(1..=self.action_horizon).contains(&horizon) {
            let expected = format!("1 to action_horizon, {}", self.action_horizon);
            return Err(Error::config("receding_horizon", expected, horizon));
        }
        let layers = self.channels.len();
        let known = self
            .channels
            .iter()
            .all(|size| (1..=LARGEST).contains(size));
        if layers == 0 || layers > 8 || !known || !shape.side.is_multiple_of(1 << layers) {
            let expected = format!(
                "numbers from 1 to {LARGEST}, each halving {} px",
                shape.side
            );
            return Err(Error::config(
                "channels",
                expected,
                format!("{:?}", self.channels),
            ));
        }
        let share = self.goal_last_share;
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::config("goal_last_share", "0 to 1", share));
        }
        let widths = [shape.action_mean.len(), shape.action_std.len()];
        if widths[0] != widths[1] {
            return Err(Error::config("action_std", widths[0], widths[1]));
        }
        Ok(())
    }
}

impl GoalPolicy {
    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &GoalPolicyConfig {
        &self.config
    }

    /// What it was trained on.
    #[must_use]
    pub fn shape(&self) -> &GoalShape {
        &self.shape
    }

    /// Pictures and goals to normalised actions.
    ///
    /// # Shapes
    ///
    /// - pictures: `[batch, height, width, 6]`, in `[-0.5, 0.5]`
    /// - output: `[batch, action_horizon, action]`
    #[must_use]
    pub fn forward(&self, pictures: Tensor<4>) -> Tensor<3> {
        let layers = self.convolutions.iter();
        let features = layers.fold(pictures, |pictures, layer| layer.forward(pictures));
        let features: Tensor<2> = features.flatten(1, 3);
        let actions = self.head.forward(features);
        let batch = actions.dims()[0];
        let width = self.shape.action_mean.len();
        actions.reshape([batch, self.config.action_horizon, width])
    }

    /// Mean squared error of the actions on the way to the goal, `[1]`.
    #[must_use]
    pub fn loss(&self, batch: GoalBatch) -> Tensor<1> {
        let error = self.forward(batch.pictures) - batch.actions;
        let error: Tensor<2> = error.square().mean_dim(2).squeeze_dim(2);
        mean(error * batch.weight.clone()) / mean(batch.weight).clamp_min(1e-6)
    }

    /// Writes `config.json` and `model.safetensors` into `directory`, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory).map_err(|error| Error::file(directory, error))?;
        let file = File {
            kind: KIND.to_owned(),
            config: self.config.clone(),
            shape: self.shape.clone(),
        };
        let path = directory.join(CONFIG);
        let json = serde_json::to_string_pretty(&file)
            .map_err(|error| Error::checkpoint(&path, "(whole file)", "JSON", error))?;
        write_atomically(&path, (json + "\n").as_bytes())?;
        let metadata = [("type".to_owned(), KIND.to_owned())].into();
        Ok(save_weights(self, &directory.join(WEIGHTS), &metadata)?)
    }

    /// Whether a directory holds such a policy, by its `config.json`.
    #[must_use]
    pub fn is_in(directory: &Path) -> bool {
        let json = fs::read_to_string(directory.join(CONFIG)).unwrap_or_default();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        json["type"] == KIND
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// [`Error`] naming the file and what is wrong with it.
    pub fn load(directory: &Path, device: &Device) -> Result<Self> {
        let path = directory.join(CONFIG);
        let json = fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
        let file: File = serde_json::from_str(&json)
            .map_err(|error| Error::checkpoint(&path, "(whole file)", "a goal policy", error))?;
        file.config.validate(&file.shape)?;
        let model = file.config.build(&file.shape, device);
        Ok(load_weights(model, &directory.join(WEIGHTS))?.valid())
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    config: GoalPolicyConfig,
    shape: GoalShape,
}

impl GoalBatch {
    /// Takes windows of one observation and a later picture, with the actions from the observation on.
    ///
    /// # Errors
    ///
    /// When windows and model do not fit each other.
    pub fn from_windows(
        windows: &WindowBatch,
        policy: &GoalPolicyConfig,
        shape: &GoalShape,
        device: &Device,
    ) -> Result<Self> {
        let (batch, horizon, side) = (windows.batch, policy.action_horizon, shape.side);
        let picture = side * side * CHANNELS;
        let width = shape.action_mean.len();
        let camera = windows.cameras.first();
        let (images, goals) = camera.map_or((&[][..], &[][..]), |camera| {
            (&camera.images[..], &camera.later_images[..])
        });
        for (what, expected, found) in [
            ("window images", batch * picture, images.len()),
            ("window later_images", batch * picture, goals.len()),
            (
                "window actions",
                batch * horizon * width,
                windows.actions.len(),
            ),
            ("window later_steps", batch, windows.later_steps.len()),
        ] {
            if expected != found {
                let expected = format!("{expected} values");
                return Err(armilla_core::Error::invalid(what, expected, found).into());
            }
        }
        let mut actions = windows.actions.clone();
        shape
            .statistics()
            .normalize(Normalization::MeanStd, &mut actions);
        let weight = windows
            .action_is_pad
            .chunks(horizon)
            .zip(&windows.later_steps);
        let weight = weight.flat_map(|(padded, &steps)| {
            let steps = steps as usize;
            let counts = move |(at, &pad): (usize, &bool)| at < steps && !pad;
            padded.iter().enumerate().map(counts)
        });
        let weight: Vec<f32> = weight.map(|counts| f32::from(u8::from(counts))).collect();
        let tensor = |pixels: &[u8]| images_to_tensor(pixels, [batch, side, side], device);
        let shape = [batch, horizon, width];
        Ok(Self {
            pictures: Tensor::cat(vec![tensor(images), tensor(goals)], 3),
            actions: Tensor::from_data(TensorData::new(actions, shape), device),
            weight: Tensor::from_data(TensorData::new(weight, [batch, horizon]), device),
        })
    }
}

/// Drives an environment to its goal pictures.
pub struct GoalCloning {
    model: GoalPolicy,
    device: Device,
    low: Vec<f32>,
    high: Vec<f32>,
    period_secs: f64,
}

impl GoalCloning {
    /// Puts a trained model before an environment.
    ///
    /// # Errors
    ///
    /// When the environment's actions are not those that the model was trained on.
    pub fn new(model: GoalPolicy, spec: &EnvironmentSpec) -> Result<Self> {
        let (expected, found) = (model.shape.action_mean.len(), spec.action_low.len());
        if expected != found {
            let what = format!("actions of environment {}", spec.name);
            let expected = format!("{expected} values, as the policy was trained on");
            return Err(armilla_core::Error::invalid(what, expected, found).into());
        }
        Ok(Self {
            device: model.devices().into_iter().next().unwrap_or_default(),
            low: spec.action_low.clone(),
            high: spec.action_high.clone(),
            period_secs: 1.0 / spec.rate_hz,
            model,
        })
    }

    /// The picture and the goal of each request, one after the other.
    fn pixels(&self, requests: &[PolicyRequest]) -> armilla_core::Result<[Vec<u8>; 2]> {
        let (shape, mut pixels) = (&self.model.shape, [Vec::new(), Vec::new()]);
        for request in requests {
            let Observation { images, goal, .. } = &request.observation;
            let goal = goal
                .as_ref()
                .and_then(|goal| goal.images.get(&shape.camera));
            let found = [images.get(&shape.camera), goal];
            let names = [
                format!("picture of camera `{}`", shape.camera),
                "goal picture".to_owned(),
            ];
            for ((pixels, image), name) in pixels.iter_mut().zip(found).zip(names) {
                let expected = format!("{0} x {0}", shape.side);
                let size = image.map(|image: &Image| [image.height(), image.width()]);
                let Some(image) = image.filter(|_| size == Some([shape.side; 2])) else {
                    let found = size.map_or("none".to_owned(), |[h, w]| format!("{h} x {w}"));
                    return Err(armilla_core::Error::invalid(name, expected, found));
                };
                pixels.extend_from_slice(image.data());
            }
        }
        Ok(pixels)
    }
}

impl Policy for GoalCloning {
    fn name(&self) -> &'static str {
        "goal-cloning"
    }

    fn reset(&mut self, _episode: EpisodeId) -> armilla_core::Result<()> {
        Ok(())
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> armilla_core::Result<Vec<ActionChunk>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let pixels = self.pixels(requests)?;
        let (shape, config) = (&self.model.shape, &self.model.config);
        let size = [requests.len(), shape.side, shape.side];
        let pictures = pixels.map(|pixels| images_to_tensor(&pixels, size, &self.device));
        let actions = self.model.forward(Tensor::cat(pictures.to_vec(), 3));
        let mut actions: Vec<f32> = actions.into_data().iter::<f32>().collect();
        shape
            .statistics()
            .unnormalize(Normalization::MeanStd, &mut actions);
        let width = shape.action_mean.len();
        let bounded = |values: &[f32]| {
            let bounds = self.low.iter().zip(&self.high);
            let values = values.iter().zip(bounds);
            Action(
                values
                    .map(|(value, (low, high))| value.clamp(*low, *high))
                    .collect(),
            )
        };
        let chunks = requests
            .iter()
            .zip(actions.chunks(config.action_horizon * width));
        let chunks = chunks.map(|(request, actions)| ActionChunk {
            actions: actions
                .chunks(width)
                .take(config.receding_horizon)
                .map(bounded)
                .collect(),
            starts_at_secs: request.observation.captured_at_secs,
            period_secs: self.period_secs,
        });
        let chunks: Vec<_> = chunks.collect();
        for chunk in &chunks {
            chunk.check(width)?;
        }
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::Descent;
    use armilla_core::{CameraWindows, Features, Goal};

    const SIDE: usize = 16;

    fn config() -> GoalPolicyConfig {
        GoalPolicyConfig {
            channels: vec![8, 8],
            hidden: 32,
            depth: 2,
            action_horizon: 2,
            receding_horizon: 2,
            ..GoalPolicyConfig::default()
        }
    }

    fn shape() -> GoalShape {
        GoalShape {
            camera: "top".to_owned(),
            side: SIDE,
            action_mean: vec![1.0, 0.0],
            action_std: vec![2.0, 0.5],
        }
    }

    /// Windows whose goal is brighter to one side, which is where the action goes.
    fn windows() -> WindowBatch {
        let picture = |level: usize| {
            let pixels = (0..SIDE * SIDE * 3).map(move |at| ((at * 7 + level * 50) % 251) as u8);
            pixels.collect::<Vec<_>>()
        };
        WindowBatch {
            batch: 4,
            time: 1,
            action_horizon: 2,
            cameras: vec![CameraWindows {
                height: SIDE,
                width: SIDE,
                images: (0..4).flat_map(|_| picture(0)).collect(),
                later_images: (1..5).flat_map(picture).collect(),
                ..CameraWindows::default()
            }],
            actions: (0..16).map(|at| f64::from(at / 4) as f32 - 1.0).collect(),
            action_is_pad: vec![false, false, false, true, false, false, false, false],
            later_steps: vec![9, 9, 1, 9],
            ..WindowBatch::default()
        }
    }

    #[test]
    fn actions_past_the_goal_or_the_end_do_not_count() {
        let batch = GoalBatch::from_windows(&windows(), &config(), &shape(), &Device::flex());
        let batch = batch.unwrap();
        assert_eq!(batch.pictures.dims(), [4, SIDE, SIDE, 6]);
        let weight: Vec<f32> = batch.weight.into_data().iter().collect();
        assert_eq!(weight, [1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0]);
        let actions: Vec<f32> = batch.actions.into_data().iter().collect();
        assert_eq!(actions[..2], [-1.0, -2.0], "normalised");
        let mut cut = windows();
        cut.later_steps.clear();
        let found = GoalBatch::from_windows(&cut, &config(), &shape(), &Device::flex());
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains("window later_steps: expected 4 values"),
            "{error}"
        );
    }

    #[test]
    fn one_batch_can_be_learnt_and_a_checkpoint_comes_back_whole() {
        let device = Device::flex().autodiff();
        let mut model = config().init(&shape(), 0, &device).unwrap();
        let batch = GoalBatch::from_windows(&windows(), &config(), &shape(), &device).unwrap();
        let value = |model: &GoalPolicy| model.loss(batch.clone()).into_scalar::<f32>();
        let first = value(&model);
        for _ in 0..150 {
            let gradients = model.loss(batch.clone()).backward();
            let rate = 1e-3;
            model = model.map(&mut Descent { gradients, rate });
        }
        let last = value(&model);
        assert!(last < 0.1 * first, "{first} then {last}");

        let folder = tempfile::tempdir().unwrap();
        model.save(folder.path()).unwrap();
        assert!(GoalPolicy::is_in(folder.path()));
        let loaded = GoalPolicy::load(folder.path(), &Device::flex()).unwrap();
        let pictures = batch.pictures.inner();
        let (one, two) = (
            model.valid().forward(pictures.clone()),
            loaded.forward(pictures),
        );
        assert_eq!(one.into_data(), two.into_data());
    }

    #[test]
    fn chunks_lie_within_bounds_and_wrong_pictures_are_named() {
        let model = config().init(&shape(), 0, &Device::flex()).unwrap();
        let spec = |high: Vec<f32>| EnvironmentSpec {
            name: "points".to_owned(),
            protocol: "any".to_owned(),
            features: Features::default(),
            rate_hz: 10.0,
            max_steps: 100,
            action_low: high.iter().map(|high| -high).collect(),
            action_high: high,
        };
        let mut policy = GoalCloning::new(model.clone(), &spec(vec![0.1; 2])).unwrap();
        let request = |side: usize| PolicyRequest {
            episode: 0,
            step: 0,
            observation: Observation {
                images: [("top".to_owned(), Image::filled(SIDE, SIDE, [9; 3]))].into(),
                goal: Some(Goal::picture("top", Image::filled(side, SIDE, [200; 3]))),
                ..Observation::default()
            },
            earlier: Vec::new(),
            leftover: None,
        };
        let chunk = policy.act(&[request(SIDE)]).unwrap().remove(0);
        assert_eq!(chunk.actions.len(), 2);
        let values = chunk.actions.iter().flat_map(|action| &action.0);
        assert!(values.clone().all(|value| value.abs() <= 0.1));
        let error = policy.act(&[request(8)]).unwrap_err().to_string();
        assert_eq!(error, "goal picture: expected 16 x 16, found 8 x 16");
        assert!(GoalCloning::new(model, &spec(vec![1.0; 3])).is_err());
    }

    #[test]
    fn every_wrong_setting_names_its_key() {
        type Change = fn(&mut GoalPolicyConfig);
        let wrong: [(&str, Change); 4] = [
            ("hidden", |c| c.hidden = 0),
            ("receding_horizon", |c| c.receding_horizon = 3),
            ("channels", |c| c.channels = vec![8; 5]),
            ("goal_last_share", |c| c.goal_last_share = 2.0),
        ];
        for (key, change) in wrong {
            let mut config = config();
            change(&mut config);
            let error = config.init(&shape(), 0, &Device::flex()).unwrap_err();
            assert!(error.to_string().contains(key), "{key}: {error}");
        }
    }
}

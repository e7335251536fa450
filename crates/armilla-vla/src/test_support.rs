//! A small policy and small inputs for the tests of this crate.

use armilla_core::random::{normals, stream};
use armilla_core::{CameraWindows, FeatureStatistics, Image, Observation, Statistics, WindowBatch};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Gradients, Tensor};

use crate::batch::{PolicyBatch, PolicyObservations};
use crate::flow::{FlowPolicy, FlowPolicyConfig};
use crate::lerobot::{
    Camera, Checkpoint, PolicyInputs, PolicyModel as _, Processors, WordProcessor, arrays,
};
use crate::tokenizer::Tokenizer;

pub(crate) const SIDE: usize = 16;
const INSTRUCTIONS: [&str; 2] = [
    "push the red circle to the blue square",
    "touch the blue circle",
];

/// A config that computes in milliseconds.
pub(crate) fn small() -> FlowPolicyConfig {
    let mut config = FlowPolicyConfig {
        width: 32,
        heads: 2,
        slots: 3,
        hidden: 48,
        action_horizon: 4,
        receding_horizon: 2,
        ..FlowPolicyConfig::nano()
    };
    config.vision.channels = vec![8, 16];
    config
}

pub(crate) fn inputs() -> PolicyInputs {
    PolicyInputs {
        cameras: vec![Camera {
            key: "observation.images.top".to_owned(),
            height: SIDE,
            width: SIDE,
        }],
        state: Some(2),
        environment_state: None,
        action: 2,
        vocabulary: Some(tokenizer().vocabulary()),
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::train(INSTRUCTIONS).unwrap()
}

pub(crate) fn processors() -> Processors {
    let rows = [vec![-1.0, 0.0], vec![1.0, 4.0], vec![0.5, 1.0]];
    let feature = FeatureStatistics::of_rows(&rows, 2).unwrap();
    let statistics: Statistics = ["observation.state", "action"]
        .map(|key| (key.to_owned(), feature.clone()))
        .into();
    let inputs = inputs();
    Processors {
        words: Some(WordProcessor {
            tokenizer: tokenizer(),
            max_tokens: 24,
        }),
        ..Processors::new(&inputs, &FlowPolicy::modes(), &arrays(&statistics, &inputs))
    }
}

/// A seeded policy whose zero-initialised layers are stirred, so that every input matters.
pub(crate) fn policy(device: &Device) -> FlowPolicy {
    let policy = FlowPolicy::init(&small(), &inputs(), 1, device).unwrap();
    Module::map(policy, &mut Stir { index: 0 })
}

pub(crate) fn trained(device: &Device) -> Checkpoint<FlowPolicy> {
    Checkpoint {
        model: policy(device),
        processors: processors(),
        kept: Default::default(),
        train_config: Some(serde_json::json!({"steps": 3})),
    }
}

/// A picture of noise, another for each index.
pub(crate) fn picture(index: u64) -> Image {
    let values = normals(&mut stream(index, "picture", 0), SIDE * SIDE * 3);
    let bytes = values
        .iter()
        .map(|value| (128.0 + 60.0 * value).clamp(0.0, 255.0) as u8);
    Image::new(SIDE, SIDE, bytes.collect()).unwrap()
}

pub(crate) fn observation(instruction: &str) -> Observation {
    Observation {
        images: [("top".to_owned(), picture(3))].into(),
        state: vec![0.2, 1.5],
        instruction: Some(instruction.to_owned()),
        goal: None,
        captured_at_secs: 0.5,
    }
}

/// The same picture and state under several instructions.
pub(crate) fn observations(instructions: &[&str], device: &Device) -> PolicyObservations {
    let all: Vec<Observation> = instructions.iter().map(|text| observation(text)).collect();
    let all: Vec<Vec<&Observation>> = all.iter().map(|observation| vec![observation]).collect();
    processors().observations(&inputs(), &all, device).unwrap()
}

pub(crate) fn windows() -> WindowBatch {
    WindowBatch {
        batch: 2,
        time: 1,
        action_horizon: 4,
        cameras: vec![CameraWindows {
            height: SIDE,
            width: SIDE,
            images: [picture(0).into_data(), picture(1).into_data()].concat(),
            ..CameraWindows::default()
        }],
        states: vec![0.1, 2.0, -0.4, 3.0],
        actions: (0..16).map(|index| (index as f32 * 0.7).sin()).collect(),
        action_is_pad: vec![false; 8],
        instructions: INSTRUCTIONS.map(str::to_owned).to_vec(),
        ..WindowBatch::default()
    }
}

pub(crate) fn batch(device: &Device) -> PolicyBatch {
    processors().batch(&inputs(), &windows(), device).unwrap()
}

struct Stir {
    index: u64,
}

impl ModuleMapper for Stir {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.index += 1;
        let mut generator = stream(self.index, "stir", 0);
        param.map(|value| {
            let noise = armilla_nn::random::normal(&mut generator, value.dims(), &value.device());
            let stirred = value + noise * 0.02;
            if stirred.is_autodiff() {
                return stirred.detach().require_grad();
            }
            stirred
        })
    }
}

/// Sign descent: enough to overfit a batch.
pub(crate) struct Descent {
    pub(crate) gradients: Gradients,
    pub(crate) rate: f64,
}

impl ModuleMapper for Descent {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = param.val().grad(&self.gradients) else {
            return param;
        };
        let rate = self.rate;
        param.map(|value| Tensor::from_inner(value.inner() - gradient.sign() * rate).require_grad())
    }
}

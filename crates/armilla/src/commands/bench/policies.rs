//! LeRobot's policies as published, beside LeRobot itself (`scripts/bench/compare.py`).

use anyhow::Result;
use armilla_core::random::stream;
use armilla_nn::images::CHANNELS;
use armilla_vla::diffusion::{Sampler, SchedulerConfig};
use armilla_vla::lerobot::{Camera, Draws};
use armilla_vla::{
    Act, ActConfig, Diffusion, DiffusionConfig, PolicyBatch, PolicyInputs, PolicyModel,
    PolicyObservations,
};
use burn::tensor::{Device, Tensor};

use super::large::noise;
use super::{Settings, Work, repeat, steps};
use crate::commands::train::PolicyTraining;

/// In the order it is shown.
pub(super) const ALL: &[Work] = &[
    Work {
        name: "act-chunk",
        what: "ACT as published: one camera of 480 x 640 to 100 actions",
        measure: |settings| chunk::<Act>(settings, &act(), &ARM, 1),
    },
    Work {
        name: "act-chunk-two",
        what: "ACT as published: two cameras of 480 x 640 to 100 actions",
        measure: |settings| chunk::<Act>(settings, &act(), &ARM, 2),
    },
    Work {
        name: "act-step",
        what: "a training step of it: 8 observations of one camera",
        measure: act_steps,
    },
    Work {
        name: "diffusion-ddpm",
        what: "Diffusion Policy as published: two pictures of 96 x 96 to 8 actions, 100 steps of DDPM",
        measure: |settings| chunk::<Diffusion>(settings, &diffusion(Sampler::Ddpm, 100), &PUSH, 1),
    },
    Work {
        name: "diffusion-ddim",
        what: "the same, 10 steps of DDIM",
        measure: |settings| chunk::<Diffusion>(settings, &diffusion(Sampler::Ddim, 10), &PUSH, 1),
    },
];

/// Observations of a training step.
const OBSERVATIONS: usize = 8;

/// What a robot has: rows and columns of its pictures, px, and values of its state and its actions.
struct Robot {
    picture: [usize; 2],
    values: usize,
}

/// ALOHA's arms.
const ARM: Robot = Robot {
    picture: [480, 640],
    values: 14,
};
/// push-t.
const PUSH: Robot = Robot {
    picture: [96, 96],
    values: 2,
};

fn act() -> ActConfig {
    ActConfig {
        dropout: 0.0,
        ..ActConfig::paper()
    }
}

fn diffusion(sampler: Sampler, sampling_steps: usize) -> DiffusionConfig {
    DiffusionConfig {
        scheduler: SchedulerConfig {
            sampler,
            sampling_steps: Some(sampling_steps),
            ..SchedulerConfig::paper()
        },
        ..DiffusionConfig::paper()
    }
}

fn inputs(robot: &Robot, cameras: usize) -> PolicyInputs {
    let [height, width] = robot.picture;
    let camera = |index| Camera {
        key: format!("observation.images.{index}"),
        height,
        width,
    };
    PolicyInputs {
        cameras: (0..cameras).map(camera).collect(),
        state: Some(robot.values),
        environment_state: None,
        action: robot.values,
        vocabulary: None,
    }
}

fn observations(
    count: usize,
    history: usize,
    inputs: &PolicyInputs,
    device: &Device,
) -> PolicyObservations {
    let images = inputs.cameras.iter().map(|camera| {
        let shape = [count, history, camera.height, camera.width, CHANNELS];
        noise(&camera.key, shape, device)
    });
    let state = inputs
        .state
        .map(|width| noise("state", [count, history, width], device));
    PolicyObservations {
        images: images.collect(),
        state,
        ..PolicyObservations::default()
    }
}

fn chunk<M: PolicyModel>(
    settings: &Settings,
    config: &M::Config,
    robot: &Robot,
    cameras: usize,
) -> Result<Vec<f64>> {
    let (device, inputs) = (settings.device.clone(), inputs(robot, cameras));
    let model = M::init(config, &inputs, 0, &device)?;
    let observations = observations(1, M::horizons(config).history, &inputs, &device);
    repeat(settings, || {
        let draws = &mut Draws::from_stream(stream(0, "noise", 0));
        model.sample_actions(&observations, draws)
    })
}

fn act_steps(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone().autodiff();
    let (config, inputs) = (act(), inputs(&ARM, 1));
    let count = OBSERVATIONS / settings.accumulation();
    let horizon = config.action_horizon;
    let batch = PolicyBatch {
        observations: observations(count, 1, &inputs, &device),
        actions: noise("actions", [count, horizon, ARM.values], &device),
        weight: Tensor::ones([count, horizon], &device),
    };
    let policy = Act::init(&config, &inputs, 0, &device)?;
    steps(settings, PolicyTraining { policy }, batch)
}

//! LeWorldModel as published.

use std::hint::black_box;

use anyhow::Result;
use armilla_core::random::stream;
use armilla_nn::images::CHANNELS;
use armilla_nn::lanes::side_by_side;
use armilla_nn::random::normal;
use armilla_world::batch::Pairs;
use armilla_world::jepa::config::{PredictorConfig, TransformerConfig};
use armilla_world::{
    Context, JepaConfig, Model, ModelConfig, Observations, TrainingBatch, Transition as _,
};
use burn::tensor::{Device, Tensor};

use super::{Settings, Work, repeat, steps};
use crate::commands::train::WorldModelTraining;

/// In the order it is shown.
pub(super) const ALL: &[Work] = &[
    Work {
        name: "lewm-forward",
        what: "LeWorldModel's size: ViT-tiny/14 at 224 px, 6-layer predictor: 8 windows of 4 pictures",
        measure: lewm_forward,
    },
    Work {
        name: "lewm-step",
        what: "a training step of it",
        measure: lewm_steps,
    },
    Work {
        name: "lewm-plan",
        what: "a plan in it by CEM: 300 candidates, 30 iterations, horizon 5",
        measure: lewm_plan,
    },
];

pub(super) fn noise<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    normal(&mut stream(0, name, 0), shape, device)
}

/// Pictures of LeWorldModel's windows.
const FRAMES: usize = 4;
/// Windows of a batch.
const WINDOWS: usize = 8;

/// LeWorldModel as published, but that it drops nothing.
fn lewm(device: &Device) -> Result<Model> {
    let config = JepaConfig {
        predictor: PredictorConfig::Transformer(TransformerConfig {
            dropout: 0.0,
            ..TransformerConfig::default()
        }),
        ..JepaConfig::lewm()
    };
    Ok(ModelConfig::Jepa(config).init(0, device)?)
}

fn windows(count: usize, device: &Device) -> TrainingBatch {
    let shape = ModelConfig::Jepa(JepaConfig::lewm()).shape();
    let (side, steps) = (shape.image_size, FRAMES - 1);
    let images = noise("images", [count * FRAMES, side, side, CHANNELS], device);
    let none = || Tensor::zeros([count, 1], device);
    TrainingBatch {
        observations: Observations::of_one_camera(images),
        frames: FRAMES,
        time: FRAMES,
        blocks: noise("blocks", [count, steps, shape.block()], device),
        mean_actions: Tensor::zeros([count, steps, shape.action], device),
        weight: Tensor::ones([count, steps], device),
        rotated: None,
        pairs: Pairs {
            from: Vec::new(),
            to: Vec::new(),
            steps: none(),
            weight: none(),
        },
    }
}

fn lewm_forward(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone();
    let (model, batch) = (lewm(&device)?, windows(WINDOWS, &device));
    repeat(settings, || {
        model.loss(batch.clone(), &mut stream(0, "loss", 0)).total
    })
}

fn lewm_steps(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone().autodiff();
    let batch = windows(WINDOWS / settings.accumulation(), &device);
    let model = lewm(&device)?;
    steps(settings, WorldModelTraining { model }, batch)
}

fn lewm_plan(settings: &Settings) -> Result<Vec<f64>> {
    const CANDIDATES: usize = 300;
    const HORIZON: usize = 5;
    let device = settings.device.clone();
    let model = lewm(&device)?;
    let shape = model.config().shape();
    let start = noise("start", [1, shape.latent], &device);
    let goal = noise("goal", [1, shape.latent], &device);
    let draws: Vec<_> = (0..30)
        .map(|iteration| {
            let mut generator = stream(0, "candidates", iteration);
            let drawn = [CANDIDATES, HORIZON, shape.block()];
            normal(&mut generator, drawn, &device)
        })
        .collect();
    repeat(settings, || {
        for blocks in &draws {
            black_box(side_by_side(&device, CANDIDATES, 32, |part| {
                let start = Context::of_one(start.clone().repeat_dim(0, part.len()));
                let rollout = model.rollout(start, blocks.clone().slice_dim(0, part));
                let last = rollout.narrow(1, HORIZON - 1, 1).flatten::<2>(1, 2);
                (last - goal.clone()).square().sum_dim(1).into_data()
            }));
        }
    })
}

//! Networks of the sizes that others published: LeWorldModel's and ACT's, from our layers.

use std::hint::black_box;

use anyhow::Result;
use armilla_core::random::stream;
use armilla_nn::images::CHANNELS;
use armilla_nn::lanes::side_by_side;
use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use armilla_nn::positions::sine_2d;
use armilla_nn::random::{normal, seeded};
use armilla_nn::reduction::mean;
use armilla_nn::resnet::ResNet18;
use armilla_nn::transformer::{Block, BlockConfig, Context as Attended};
use armilla_train::{Loss, StepContext, Trainable};
use armilla_world::batch::Pairs;
use armilla_world::jepa::config::{PredictorConfig, TransformerConfig};
use armilla_world::{
    Context, JepaConfig, Model, ModelConfig, Observations, TrainingBatch, Transition as _,
};
use burn::module::{Initializer, Module, Param};
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
    Work {
        name: "act-chunk",
        what: "ACT's size: ResNet-18 and transformer, one camera of 480 x 640 to 100 actions",
        measure: act_chunk,
    },
    Work {
        name: "act-step",
        what: "a training step of it: 8 observations",
        measure: act_steps,
    },
];

fn noise<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
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

/// Features of ACT's tokens.
const WIDTH: usize = 512;
/// Values of its state and of an action.
const VALUES: usize = 14;
/// Actions at once.
const CHUNK: usize = 100;
/// Rows and columns of its pictures, px.
const PICTURE: [usize; 2] = [480, 640];

/// ACT (arXiv 2304.13705), its blocks normalised before instead of after.
#[derive(Module, Debug)]
struct Act {
    backbone: ResNet18,
    project: Linear,
    state: Linear,
    latent: Linear,
    encoder: Vec<Block>,
    queries: Param<Tensor<2>>,
    decoder: Block,
    norm: LayerNorm,
    action: Linear,
    style_action: Linear,
    style: Vec<Block>,
    style_out: Linear,
}

/// Values of the style that the variational encoder finds.
const STYLE: usize = 32;

fn act(device: &Device) -> Act {
    let block = BlockConfig::new(WIDTH, 8).with_hidden(Some(3200));
    let linear = |input, output| LinearConfig::new(input, output).init(device);
    let start = Initializer::Normal {
        mean: 0.0,
        std: 1.0,
    };
    seeded(device, 0, || Act {
        backbone: ResNet18::new(device),
        project: linear(ResNet18::FEATURES, WIDTH),
        state: linear(VALUES, WIDTH),
        latent: linear(STYLE, WIDTH),
        encoder: (0..4).map(|_| block.init(device)).collect(),
        queries: start.init([CHUNK, WIDTH], device),
        decoder: block.clone().with_cross(true).init(device),
        norm: LayerNormConfig::new(WIDTH).init(device),
        action: linear(WIDTH, VALUES),
        style_action: linear(VALUES, WIDTH),
        style: (0..4).map(|_| block.init(device)).collect(),
        style_out: linear(WIDTH, 2 * STYLE),
    })
}

impl Act {
    /// Pictures, states and styles to chunks, `[batch, chunk, action]`.
    fn chunk(&self, images: Tensor<4>, state: Tensor<2>, style: Tensor<2>) -> Tensor<3> {
        let grid = self.backbone.forward(images);
        let [batch, rows, columns, features] = grid.dims();
        let positions = sine_2d(rows, columns, WIDTH, &grid.device()).unsqueeze::<3>();
        let cells = grid.reshape([batch, rows * columns, features]);
        let cells = self.project.forward(cells) + positions;
        let one = |token: Tensor<2>| token.unsqueeze_dim::<3>(1);
        let (state, style) = (self.state.forward(state), self.latent.forward(style));
        let mut tokens = Tensor::cat(vec![one(style), one(state), cells], 1);
        for block in &self.encoder {
            tokens = block.forward(tokens, None);
        }
        let queries = self.queries.val().unsqueeze::<3>();
        let queries = queries.expand([batch, CHUNK, WIDTH]);
        let context = Attended { tokens, mask: None };
        let decoded = self.decoder.forward_with_context(queries, None, &context);
        self.action.forward(self.norm.forward(decoded))
    }

    /// Mean and logarithm of the variance of the styles of states and chunks, `[batch, style]` each.
    fn style(&self, state: Tensor<2>, actions: Tensor<3>) -> [Tensor<2>; 2] {
        let batch = state.dims()[0];
        let state: Tensor<3> = self.state.forward(state).unsqueeze_dim(1);
        let actions = self.style_action.forward(actions);
        let class = state.zeros_like();
        let mut tokens = Tensor::cat(vec![class, state, actions], 1);
        for block in &self.style {
            tokens = block.forward(tokens, None);
        }
        let class = tokens.narrow(1, 0, 1).reshape([batch, WIDTH]);
        let found = self.style_out.forward(class);
        [0, STYLE].map(|start| found.clone().narrow(1, start, STYLE))
    }
}

impl Trainable for Act {
    type Batch = (Tensor<4>, Tensor<2>, Tensor<3>);

    fn loss(&self, (images, state, actions): Self::Batch, context: StepContext) -> Loss {
        let [center, log_variance] = self.style(state.clone(), actions.clone());
        let mut generator = context.stream("style");
        let draw = normal(&mut generator, center.dims(), &center.device());
        let style = center.clone() + (log_variance.clone() * 0.5).exp() * draw;
        let error = mean((self.chunk(images, state, style) - actions).abs());
        let divergence = mean(log_variance.clone().exp() + center.square() - log_variance - 1.0);
        Loss {
            total: error + divergence * 5.0,
            figures: Vec::new(),
        }
    }
}

fn observations(count: usize, device: &Device) -> (Tensor<4>, Tensor<2>) {
    let [height, width] = PICTURE;
    let images = noise("images", [count, height, width, CHANNELS], device);
    (images, noise("state", [count, VALUES], device))
}

fn act_chunk(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone();
    let model = act(&device);
    let (images, state) = observations(1, &device);
    repeat(settings, || {
        let style = Tensor::zeros([1, STYLE], &device);
        model.chunk(images.clone(), state.clone(), style)
    })
}

fn act_steps(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone().autodiff();
    let count = WINDOWS / settings.accumulation();
    let (images, state) = observations(count, &device);
    let actions = noise("actions", [count, CHUNK, VALUES], &device);
    steps(settings, act(&device), (images, state, actions))
}

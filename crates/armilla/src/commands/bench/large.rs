//! Networks of the sizes that others published: LeWorldModel's and ACT's, from our layers.

use std::hint::black_box;

use anyhow::Result;
use armilla_core::random::stream;
use armilla_nn::Activation;
use armilla_nn::attention::{AttentionConfig, causal_mask};
use armilla_nn::images::CHANNELS;
use armilla_nn::lanes::side_by_side;
use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, MlpConfig};
use armilla_nn::positions::sine_2d;
use armilla_nn::random::{normal, seeded};
use armilla_nn::reduction::{mean, mean_squared_error};
use armilla_nn::resnet::ResNet18;
use armilla_nn::transformer::{AdaLnBlock, AdaLnBlockConfig, Block, BlockConfig, Context};
use armilla_nn::vit::{VisionTransformer, VisionTransformerConfig};
use armilla_train::{Loss, StepContext, Trainable};
use armilla_world::sigreg::{directions, sigreg};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

use super::{Settings, Work, repeat, steps};

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

/// LeWorldModel's latents.
const LATENT: usize = 192;
/// Pictures of its windows.
const FRAMES: usize = 4;
/// Latents that its predictor looks back on.
const HISTORY: usize = 3;
/// Values of an action block.
const BLOCK: usize = 10;
/// Side of its pictures, px.
const SIDE: usize = 224;
/// Windows of a batch.
const WINDOWS: usize = 8;

/// LeWorldModel (arXiv 2603.19312) but for the inner normalisations of its predictor.
#[derive(Module, Debug)]
struct LeWm {
    encoder: VisionTransformer,
    projector: Mlp,
    action: Mlp,
    positions: Param<Tensor<2>>,
    blocks: Vec<AdaLnBlock>,
    norm: LayerNorm,
    prediction: Mlp,
}

fn lewm(device: &Device) -> LeWm {
    let projector = || {
        MlpConfig::new(LATENT, 2048, LATENT)
            .with_batch_norm(true)
            .with_activation(Activation::Gelu)
            .init(device)
    };
    let attention = AttentionConfig::new(LATENT, 16)
        .with_inner(Some(1024))
        .with_bias(false);
    let block = AdaLnBlockConfig::new(LATENT, 16)
        .with_hidden(Some(2048))
        .with_attention(Some(attention))
        .with_activation(Activation::Gelu);
    let start = Initializer::Normal {
        mean: 0.0,
        std: 1.0,
    };
    seeded(device, 0, || LeWm {
        encoder: VisionTransformerConfig::new(SIDE, 14, LATENT, 12, 3).init(device),
        projector: projector(),
        action: MlpConfig::new(BLOCK, 768, LATENT)
            .with_activation(Activation::Silu)
            .init(device),
        positions: start.init([HISTORY, LATENT], device),
        blocks: (0..6).map(|_| block.init(device)).collect(),
        norm: LayerNormConfig::new(LATENT).init(device),
        prediction: projector(),
    })
}

impl LeWm {
    /// `[pictures, height, width, channel]` to `[pictures, latent]`.
    fn encode(&self, images: Tensor<4>) -> Tensor<2> {
        let tokens = self.encoder.forward(images);
        let [pictures, _, width] = tokens.dims();
        let class = tokens.narrow(1, 0, 1).reshape([pictures, width]);
        self.projector.forward(class)
    }

    /// The latent after each of the last ones. `[rows, history, latent]` and `[rows, history, block]`.
    fn predict(&self, latents: Tensor<3>, blocks: Tensor<3>) -> Tensor<3> {
        let history = latents.dims()[1];
        let positions = self.positions.val().narrow(0, 0, history).unsqueeze();
        let condition = self.action.forward(blocks);
        let mask = causal_mask(history, &latents.device());
        let mut tokens = latents + positions;
        for block in &self.blocks {
            tokens = block.forward(tokens, condition.clone(), Some(mask.clone()));
        }
        self.prediction.forward(self.norm.forward(tokens))
    }

    /// The last latents that blocks lead to, `[rows, latent]`. `[1, 1, latent]` and `[rows, horizon, block]`.
    fn rollout(&self, start: Tensor<3>, blocks: Tensor<3>) -> Tensor<2> {
        let [rows, horizon, _] = blocks.dims();
        let mut latents = start.expand([rows, 1, LATENT]);
        for step in 0..horizon {
            let history = (step + 1).min(HISTORY);
            let from = step + 1 - history;
            let context = latents.clone().narrow(1, from, history);
            let next = self.predict(context, blocks.clone().narrow(1, from, history));
            let next = next.narrow(1, history - 1, 1);
            latents = Tensor::cat(vec![latents, next], 1);
        }
        latents.narrow(1, horizon, 1).reshape([rows, LATENT])
    }

    fn loss(&self, images: Tensor<5>, blocks: Tensor<3>) -> Tensor<1> {
        let [windows, frames, height, width, channel] = images.dims();
        let images = images.reshape([windows * frames, height, width, channel]);
        let latents = self.encode(images).reshape([windows, frames, LATENT]);
        let predicted = self.predict(latents.clone().narrow(1, 0, HISTORY), blocks);
        let error = mean_squared_error(predicted, latents.clone().narrow(1, 1, HISTORY));
        let shape = [LATENT, 1024];
        let directions = directions(&mut stream(0, "directions", 0), shape, &latents.device());
        error + sigreg(latents.swap_dims(0, 1), directions) * 0.09
    }
}

impl Trainable for LeWm {
    type Batch = (Tensor<5>, Tensor<3>);

    fn loss(&self, (images, blocks): Self::Batch, _: StepContext) -> Loss {
        Loss {
            total: self.loss(images, blocks),
            figures: Vec::new(),
        }
    }
}

fn windows(count: usize, device: &Device) -> (Tensor<5>, Tensor<3>) {
    let images = noise("images", [count, FRAMES, SIDE, SIDE, CHANNELS], device);
    (images, noise("blocks", [count, HISTORY, BLOCK], device))
}

fn lewm_forward(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone();
    let model = lewm(&device);
    let (images, blocks) = windows(WINDOWS, &device);
    repeat(settings, || model.loss(images.clone(), blocks.clone()))
}

fn lewm_steps(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone().autodiff();
    let batch = windows(WINDOWS / settings.accumulation(), &device);
    steps(settings, lewm(&device), batch)
}

fn lewm_plan(settings: &Settings) -> Result<Vec<f64>> {
    const CANDIDATES: usize = 300;
    const HORIZON: usize = 5;
    let device = settings.device.clone();
    let model = lewm(&device);
    let start = noise("start", [1, 1, LATENT], &device);
    let goal = noise("goal", [1, LATENT], &device);
    let draws: Vec<_> = (0..30)
        .map(|iteration| {
            let mut generator = stream(0, "candidates", iteration);
            normal(&mut generator, [CANDIDATES, HORIZON, BLOCK], &device)
        })
        .collect();
    repeat(settings, || {
        for blocks in &draws {
            black_box(side_by_side(&device, CANDIDATES, 32, |part| {
                let last = model.rollout(start.clone(), blocks.clone().slice_dim(0, part));
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
        let context = Context { tokens, mask: None };
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

//! The work that is measured: models with fresh weights on noise.

use anyhow::Result;
use armilla_core::random::stream;
use armilla_core::{CameraWindows, WindowBatch};
use armilla_nn::Activation;
use armilla_nn::images::CHANNELS;
use armilla_nn::layers::{Linear, LinearConfig, StridedConv, StridedConvConfig};
use armilla_nn::random::{normal, seeded};
use armilla_nn::reduction::mean_squared_error;
use armilla_nn::vit::{VisionTransformer, VisionTransformerConfig};
use armilla_train::{BoxError, Loss, StepContext, Trainable};
use armilla_vla::lerobot::{Camera, Draws};
use armilla_vla::{
    FlowPolicy, FlowPolicyConfig, PolicyBatch, PolicyInputs, PolicyModel as _, PolicyObservations,
    Words,
};
use armilla_world::{
    ActionScale, Aggregation, Interface, JepaConfig, Method, Model, ModelConfig, Observations,
    PlanConfig, Planner, Problem, StateScale, TrainingBatch, WorldModel,
};
use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Bool, Device, Int, Tensor};

use super::{Settings, Work, repeat, steps};
use crate::commands::train::{PolicyTraining, WorldModelTraining};

/// Side of every picture, px.
const SIDE: usize = 64;
/// Pictures of a batch of the two plain networks.
const BATCH: usize = 64;
/// Outputs of the two plain networks.
const CLASSES: usize = 10;

/// All of it, in the order it is shown.
pub(super) const ALL: &[Work] = &[
    Work {
        name: "vit-forward",
        what: "transformer of 6 layers, 192 wide, 64 patches: 64 pictures of 64 px",
        measure: |settings| forward(settings, vit),
    },
    Work {
        name: "vit-step",
        what: "a training step of it",
        measure: |settings| plain_steps(settings, vit),
    },
    Work {
        name: "cnn-forward",
        what: "convolutions 3-32-64-128-256, side 4, stride 2: 64 pictures of 64 px",
        measure: |settings| forward(settings, cnn),
    },
    Work {
        name: "cnn-step",
        what: "a training step of it",
        measure: |settings| plain_steps(settings, cnn),
    },
    Work {
        name: "world-model-encode",
        what: "the nano world model: 128 pictures to latents",
        measure: encode,
    },
    Work {
        name: "world-model-step",
        what: "a training step of it: 128 windows of 3 pictures",
        measure: world_model_steps,
    },
    Work {
        name: "world-model-plan",
        what: "a plan in it by CEM: 300 candidates, 30 iterations, horizon 5",
        measure: plan,
    },
    Work {
        name: "policy-chunk",
        what: "the demo's policy: one observation to a chunk of 8 actions",
        measure: |settings| chunks(settings, 1),
    },
    Work {
        name: "policy-chunks",
        what: "the same for 64 observations at once",
        measure: |settings| chunks(settings, 64),
    },
    Work {
        name: "policy-step",
        what: "a training step of it: 48 observations",
        measure: policy_steps,
    },
];

/// Noise in the range of pictures.
fn pictures(count: usize, device: &Device) -> Tensor<4> {
    let noise = normal(
        &mut stream(0, "pictures", 0),
        [count, SIDE, SIDE, CHANNELS],
        device,
    );
    (noise * 0.2).clamp(-0.5, 0.5)
}

/// A network from pictures to a few numbers.
trait Network: Module + ModuleDisplay {
    fn predict(&self, images: Tensor<4>) -> Tensor<2>;
}

#[derive(Module, Debug)]
struct Vit {
    tokens: VisionTransformer,
    head: Linear,
}

fn vit(device: &Device) -> Vit {
    let config = VisionTransformerConfig::new(SIDE, 8, 192, 6, 3).with_class_token(false);
    Vit {
        tokens: config.init(device),
        head: LinearConfig::new(192, CLASSES).init(device),
    }
}

impl Network for Vit {
    fn predict(&self, images: Tensor<4>) -> Tensor<2> {
        let mean = self.tokens.forward(images).mean_dim(1); // [batch, 1, width]
        let [batch, _, width] = mean.dims();
        self.head.forward(mean.reshape([batch, width]))
    }
}

#[derive(Module, Debug)]
struct Cnn {
    layers: Vec<StridedConv>,
    head: Linear,
}

fn cnn(device: &Device) -> Cnn {
    let layer = |pair: &[usize]| StridedConvConfig::new(pair[0], pair[1]).init(device);
    let side = SIDE >> 4;
    Cnn {
        layers: [CHANNELS, 32, 64, 128, 256].windows(2).map(layer).collect(),
        head: LinearConfig::new(side * side * 256, CLASSES).init(device),
    }
}

impl Network for Cnn {
    fn predict(&self, images: Tensor<4>) -> Tensor<2> {
        let layers = self.layers.iter();
        let features = layers.fold(images, |x, layer| layer.activated(x, Activation::Relu));
        self.head.forward(features.flatten::<2>(1, 3))
    }
}

fn forward<N: Network>(settings: &Settings, build: fn(&Device) -> N) -> Result<Vec<f64>> {
    let device = settings.device.clone();
    let network = seeded(&device, 0, || build(&device));
    let images = pictures(BATCH, &device);
    repeat(settings, || network.predict(images.clone()))
}

/// A network in training towards given outputs.
#[derive(Module, Debug)]
struct Supervised<N: Network> {
    network: N,
}

impl<N: Network> Trainable for Supervised<N> {
    type Batch = (Tensor<4>, Tensor<2>);

    fn loss(&self, (images, targets): Self::Batch, _: StepContext) -> Result<Loss, BoxError> {
        Ok(Loss {
            total: mean_squared_error(self.network.predict(images), targets),
            figures: Vec::new(),
        })
    }
}

fn plain_steps<N: Network>(settings: &Settings, build: fn(&Device) -> N) -> Result<Vec<f64>> {
    let device = settings.device.clone().autodiff();
    let network = seeded(&device, 0, || build(&device));
    let count = BATCH / settings.accumulation();
    let batch = (
        pictures(count, &device),
        normal(&mut stream(0, "targets", 0), [count, CLASSES], &device),
    );
    steps(settings, Supervised { network }, batch)
}

/// The nano world model.
fn jepa(device: &Device) -> Result<Model> {
    Ok(jepa_config().init(0, device)?)
}

fn jepa_config() -> ModelConfig {
    let mut config = JepaConfig::nano();
    config.loss.rollout = 1;
    ModelConfig::Jepa(config)
}

fn interface() -> Interface {
    Interface {
        cameras: vec!["top".to_owned()],
        actions: ActionScale {
            mean: vec![0.0; 2],
            std: vec![1.0; 2],
            low: vec![-1.0; 2],
            high: vec![1.0; 2],
        },
        states: StateScale::default(),
        rate_hz: Some(10.0),
    }
}

fn encode(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone();
    let jepa = jepa(&device)?;
    let images = pictures(128, &device);
    repeat(settings, || {
        jepa.encode(Observations::of_one_camera(images.clone()))
    })
}

fn world_model_steps(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone().autodiff();
    let batch = world_model_batch(128 / settings.accumulation(), &device)?;
    steps(settings, world_model(&device)?, batch)
}

/// The nano world model in training, with fresh weights.
pub(crate) fn world_model(device: &Device) -> Result<WorldModelTraining> {
    let model = jepa(device)?;
    Ok(WorldModelTraining { model })
}

/// Windows for it.
pub(crate) fn world_model_batch(batch: usize, device: &Device) -> Result<TrainingBatch> {
    let config = jepa_config();
    let shape = config.shape();
    let picture = SIDE * SIDE * CHANNELS;
    let pixels = |count: usize| (0..count * picture).map(|pixel| (pixel % 251) as u8);
    let windows = WindowBatch {
        batch,
        time: 2,
        action_horizon: shape.action_repeat,
        cameras: vec![CameraWindows {
            height: SIDE,
            width: SIDE,
            images: pixels(2 * batch).collect(),
            later_images: pixels(batch).collect(),
            ..CameraWindows::default()
        }],
        actions: (0..batch * shape.block())
            .map(|i| (i % 7) as f32 / 7.0)
            .collect(),
        action_is_pad: vec![false; batch * shape.action_repeat],
        later_steps: vec![30; batch],
        ..WindowBatch::default()
    };
    Ok(TrainingBatch::from_windows(
        &windows,
        &interface(),
        &config,
        device,
    )?)
}

fn plan(settings: &Settings) -> Result<Vec<f64>> {
    let jepa = jepa(&settings.device)?;
    let latent = jepa.config().shape().latent;
    let model = WorldModel::new(&jepa, interface())?;
    let config = PlanConfig {
        method: Method::Cem,
        aggregation: Aggregation::LastStep,
        horizon: 5,
        num_samples: 300,
        num_elites: 30,
        iterations: 30,
        ..PlanConfig::default()
    };
    let planner = Planner::new(config, &[-1.0; 2], &[1.0; 2])?;
    let problem = Problem {
        episode: 0,
        step: 0,
        context: vec![0.1; latent],
        past: Vec::new(),
        goal: vec![-0.1; latent],
        warm_start: Vec::new(),
    };
    let mut failed = None;
    let times = repeat(settings, || {
        if let Err(error) = model.plan(&planner, std::slice::from_ref(&problem)) {
            failed = Some(error);
        }
    });
    failed.map_or(times, |error| Err(error.into()))
}

/// Tokens of an instruction.
const TOKENS: usize = 16;
/// Values of the proprioception and of an action.
const VALUES: usize = 2;

fn policy_config() -> FlowPolicyConfig {
    FlowPolicyConfig {
        grounding_weight: 0.2,
        ..FlowPolicyConfig::nano()
    }
}

fn policy(device: &Device) -> Result<FlowPolicy> {
    let inputs = PolicyInputs {
        cameras: vec![Camera {
            key: "observation.images.top".to_owned(),
            height: SIDE,
            width: SIDE,
        }],
        state: Some(VALUES),
        environment_state: None,
        action: VALUES,
        vocabulary: Some(100),
    };
    Ok(FlowPolicy::init(&policy_config(), &inputs, 0, device)?)
}

fn observations(count: usize, device: &Device) -> PolicyObservations {
    let ids: Vec<i64> = (0..count * TOKENS)
        .map(|index| index as i64 % 100)
        .collect();
    let tokens = Tensor::<1, Int>::from_ints(ids.as_slice(), device);
    let state: Tensor<2> = normal(&mut stream(0, "state", 0), [count, VALUES], device);
    PolicyObservations {
        images: vec![(pictures(count, device) + 0.5).unsqueeze_dim(1)],
        state: Some(state.unsqueeze_dim(1)),
        environment_state: None,
        words: Some(Words {
            ids: tokens.reshape([count, TOKENS]),
            is_pad: Tensor::<2, Bool>::zeros([count, TOKENS], device),
        }),
        guidance: None,
    }
}

fn chunks(settings: &Settings, count: usize) -> Result<Vec<f64>> {
    let device = settings.device.clone();
    let policy = policy(&device)?;
    let observations = observations(count, &device);
    repeat(settings, || {
        let draws = &mut Draws::from_stream(stream(0, "noise", 0));
        policy.sample_actions(&observations, draws)
    })
}

fn policy_steps(settings: &Settings) -> Result<Vec<f64>> {
    let device = settings.device.clone().autodiff();
    let batch = policy_batch(48 / settings.accumulation(), &device);
    steps(settings, policy_training(&device)?, batch)
}

/// The demo's policy in training, with fresh weights.
pub(crate) fn policy_training(device: &Device) -> Result<PolicyTraining<FlowPolicy>> {
    let policy = policy(device)?;
    Ok(PolicyTraining { policy })
}

/// Observations with actions for it.
pub(crate) fn policy_batch(count: usize, device: &Device) -> PolicyBatch {
    let horizon = policy_config().action_horizon;
    let shape = [count, horizon, VALUES];
    PolicyBatch {
        observations: observations(count, device),
        actions: normal(&mut stream(0, "actions", 0), shape, device).clamp(-1.0, 1.0),
        weight: Tensor::ones([count, horizon], device),
    }
}

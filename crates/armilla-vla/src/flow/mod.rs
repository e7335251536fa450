//! `FlowPolicy`: picture, instruction and state to a chunk of actions, by flow matching.
//!
//! The parts are those of [π0](https://arxiv.org/abs/2410.24164) and [SmolVLA](https://arxiv.org/abs/2506.01844): a vision
//! encoder, a text encoder over a real tokenizer, a transformer trunk, and an action expert that turns noise into actions along
//! a learned velocity. Where it differs, it is to be trained in minutes on a CPU: the trunk reads the picture out through a
//! few slots that know where they look ([`readout`]); a grounding loss teaches what words look like; the expert is
//! conditioned by AdaLN ([DiT](https://arxiv.org/abs/2212.09748)) and names the clean action, from which the velocity
//! follows ([Li and He, "Back to Basics"](https://arxiv.org/abs/2511.13720)); and each observation is encoded once for
//! several draws of noise and time. The loss is the error of the clean action at all times alike: the velocity's own
//! weight, 1 / t², would favour nearly clean actions, which give the answer away.

mod config;
mod expert;
mod published;
pub mod readout;
pub mod text;
pub mod vision;

use std::ops::Range;
use std::path::Path;

use armilla_core::features::STATE;
use armilla_nn::flow;
use armilla_nn::guidance::Guidance;
use armilla_nn::lanes::side_by_side;
use armilla_nn::random::seeded;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};

use crate::batch::{PolicyBatch, PolicyObservations, Words};
use crate::error::{Error, Result};
use crate::lerobot::{
    Draws, FeatureKind, Horizons, Mode, Modes, PolicyInputs, PolicyLoss, PolicyModel, Settings,
};

pub use config::FlowPolicyConfig;
use expert::{ActionExpert, repeated};
use readout::{Context, Trunk, TrunkConfig};
use text::{TextEncoder, masked_mean};
use vision::VisionEncoder;

/// No time is shorter when the velocity is taken from the clean action.
const MIN_TIME: f64 = 0.01;
/// Slots whose first question the grounding loss trains: an instruction names two objects at most.
const GROUNDED_SLOTS: usize = 2;
/// Observations at least that a core turns into actions on its own.
const SHARE: usize = 4;

/// A vision-language-action policy.
#[derive(Module, Debug)]
pub struct FlowPolicy {
    text: TextEncoder,
    vision: VisionEncoder,
    trunk: Trunk,
    expert: ActionExpert,
    #[module(skip)]
    config: FlowPolicyConfig,
    #[module(skip)]
    inputs: PolicyInputs,
}

impl FlowPolicyConfig {
    /// Without drawing weights.
    fn build(&self, inputs: &PolicyInputs, device: &Device) -> Result<FlowPolicy> {
        self.validate(inputs)?;
        let camera = &inputs.cameras[0];
        let trunk = TrunkConfig {
            width: self.width,
            heads: self.heads,
            slots: self.slots,
            looks: self.looks,
            hidden: self.hidden,
            image_channels: self.vision.width(),
            grid: self.vision.grid([camera.height, camera.width]),
            state: inputs.state.unwrap_or_default(),
        };
        let vocabulary = inputs.vocabulary.unwrap_or_default();
        Ok(FlowPolicy {
            text: self.text.init(vocabulary, [self.width, self.heads], device),
            vision: self.vision.init(device),
            trunk: trunk.init(device),
            expert: ActionExpert::new(self, inputs.action, device),
            config: self.clone(),
            inputs: inputs.clone(),
        })
    }
}

impl PolicyModel for FlowPolicy {
    const KIND: &'static str = "armilla_flow";
    const CAMERAS: usize = 1;
    type Config = FlowPolicyConfig;

    fn horizons(config: &FlowPolicyConfig) -> Horizons {
        Horizons {
            history: 1,
            action: config.action_horizon,
            receding: config.receding_horizon,
            published_chunk: config.action_horizon,
            ensemble: None,
        }
    }

    fn modes() -> Modes {
        [
            (FeatureKind::Visual, Mode::Identity),
            (FeatureKind::State, Mode::MeanStd),
            (FeatureKind::Action, Mode::MinMax),
        ]
        .into()
    }

    fn reads() -> bool {
        true
    }

    fn max_tokens(config: &FlowPolicyConfig) -> usize {
        config.text.max_tokens
    }

    fn continues() -> bool {
        true
    }

    fn init(
        config: &FlowPolicyConfig,
        inputs: &PolicyInputs,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let policy = config.build(inputs, device)?;
        // Parameters are drawn at first use, which is here.
        Ok(seeded(device, seed, || policy))
    }

    fn unloaded(config: &FlowPolicyConfig, inputs: &PolicyInputs, device: &Device) -> Result<Self> {
        config.build(inputs, device)
    }

    fn config(&self) -> &FlowPolicyConfig {
        &self.config
    }

    fn inputs(&self) -> &PolicyInputs {
        &self.inputs
    }

    /// Draws `noise`, what the actions are made from, `[batch, action_horizon, action]`; a share of the batch on each core.
    fn sample_actions(
        &self,
        observations: &PolicyObservations,
        draws: &mut Draws<'_>,
    ) -> Result<Tensor<3>> {
        let batch = observations.batch();
        let device = self.expert.device();
        let shape = [batch, self.config.action_horizon, self.inputs.action];
        let noise = draws.normal("noise", shape, &device)?;
        let seen = Seen::of(observations)?;
        let guidance = observations.guidance.clone();
        let guidance = guidance.map(|each| each.framed(0, self.config.action_horizon));
        let parts = side_by_side(&device, batch, SHARE, |part| {
            let noise = noise.clone().slice_dim(0, part.clone());
            let guidance = guidance.as_ref().map(|each| each.part(part.clone()));
            self.sample_together(seen.part(part), noise, guidance)
        });
        Ok(Tensor::cat(parts, 0))
    }

    /// Draws `noise`, `[batch * draws, action_horizon, action]`, then `time`, `[batch * draws]`.
    fn loss(&self, batch: &PolicyBatch, draws: &mut Draws<'_>) -> Result<PolicyLoss> {
        let [count, horizon, action] = batch.actions.dims();
        let device = batch.actions.device();
        let (context, image) = self.encode(Seen::of(&batch.observations)?);
        let each = self.config.draws;
        let rows = count * each;
        let valid: Tensor<3> = repeated(batch.weight.clone().unsqueeze_dim(2), each);
        let actions = repeated(batch.actions.clone(), each) * valid.clone(); // [batch * draws, action_horizon, action]
        let noise = draws.normal("noise", [rows, horizon, action], &device)?;
        let time = draws.each("time", rows, flow::sample_time)?;
        let time = Tensor::<1>::from_floats(time.as_slice(), &device);

        let point = flow::interpolate(actions.clone(), noise, time.clone());
        let error = self.expert.clean(point, time, &context) - actions;
        let squared = error.clone() * error * valid.clone();
        let entries = valid.sum_dim(1).sum_dim(0).clamp_min(1.0) * action as f64; // [1, 1, 1]
        let action_error = (squared.sum_dim(2).sum_dim(1).sum_dim(0) / entries).reshape([1]);
        let grounding = grounding_error(context.questions, image);
        Ok(PolicyLoss {
            figures: vec![
                ("action_error", action_error.clone().detach()),
                ("grounding_error", grounding.clone().detach()),
            ],
            total: action_error + grounding * self.config.grounding_weight,
        })
    }

    fn read_settings(text: &str, path: &Path) -> Result<Settings<FlowPolicyConfig>> {
        published::read_settings(text, path)
    }

    fn written_settings(settings: &Settings<FlowPolicyConfig>) -> serde_json::Result<String> {
        published::written_settings(settings)
    }
}

/// What the policy takes of its observations.
#[derive(Clone)]
struct Seen {
    /// `[batch, height, width, channel]`, in [-0.5, 0.5].
    images: Tensor<4>,
    /// `[batch, state]`.
    state: Tensor<2>,
    words: Words,
}

impl Seen {
    fn of(observations: &PolicyObservations) -> Result<Self> {
        let missing = |key: &str| {
            Error::from(armilla_core::Error::invalid(
                key,
                "what the policy takes",
                "none",
            ))
        };
        let images = observations.images.first().cloned();
        let state = observations.state.clone();
        let words = observations.words.clone();
        Ok(Self {
            images: images
                .ok_or_else(|| missing("observation.images"))?
                .squeeze_dim(1)
                - 0.5,
            state: state.ok_or_else(|| missing(STATE))?.squeeze_dim(1),
            words: words.ok_or_else(|| missing("instructions"))?,
        })
    }

    fn part(&self, rows: Range<usize>) -> Self {
        Self {
            images: self.images.clone().slice_dim(0, rows.clone()),
            state: self.state.clone().slice_dim(0, rows.clone()),
            words: self.words.part(rows),
        }
    }
}

impl FlowPolicy {
    /// The context, and the image tokens it was read from: everything that does not depend on noise and time.
    fn encode(&self, seen: Seen) -> (Context, Tensor<3>) {
        let Words { ids, is_pad } = seen.words;
        let text = self.text.forward(ids, &is_pad);
        let language = masked_mean(text.clone(), &is_pad);
        let image = self.vision.forward(seen.images);
        let context = self
            .trunk
            .forward((text, is_pad), language, &image, seen.state);
        (context, image)
    }

    fn sample_together(
        &self,
        seen: Seen,
        noise: Tensor<3>,
        guidance: Option<Guidance>,
    ) -> Tensor<3> {
        let (context, _) = self.encode(seen);
        flow::integrate(noise, self.config.sampling_steps, |point, time| {
            let times = Tensor::full([point.dims()[0]], time, &point.device());
            let clean = |point| self.expert.clean(point, times, &context);
            let clean = match &guidance {
                Some(guidance) => guidance.clean(point.clone(), [1.0 - time, time], clean),
                None => clean(point.clone()),
            };
            (point - clean) / time.max(MIN_TIME)
        })
    }
}

/// How badly the first slots' questions tell their own picture from the batch's other pictures (InfoNCE,
/// [van den Oord et al.](https://arxiv.org/abs/1807.03748)): what an instruction names is in its own picture and mostly in no
/// other. Imitation alone takes most of a short training to find out what the words look like.
///
/// # Shapes
///
/// - questions: `[batch, slots, channel]`
/// - image: `[batch, cells, channel]`
fn grounding_error(questions: Tensor<3>, image: Tensor<3>) -> Tensor<1> {
    let [batch, slots, channels] = questions.dims();
    let [_, cells, _] = image.dims();
    let asked = slots.min(GROUNDED_SLOTS);
    let device = image.device();
    let questions = questions
        .narrow(1, 0, asked)
        .reshape([batch * asked, channels]);
    let keys = image.reshape([batch * cells, channels]).transpose();
    let scores = questions
        .matmul(keys)
        .reshape([batch * asked, batch, cells]);
    let largest = scores.clone().max_dim(2).detach();
    let of_picture = (scores - largest.clone()).exp().sum_dim(2).log() + largest;
    let log_shares = activation::log_softmax(of_picture.reshape([batch * asked, batch]), 1);
    let own = Tensor::<2>::eye(batch, &device)
        .unsqueeze_dim::<3>(1)
        .expand([batch, asked, batch])
        .reshape([batch * asked, batch]);
    (log_shares * own).sum_dim(1).mean_dim(0).reshape([1]).neg()
}

#[cfg(test)]
mod tests;

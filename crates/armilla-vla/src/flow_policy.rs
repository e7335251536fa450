//! `FlowPolicy`: picture, instruction and state to a chunk of actions, by flow matching.
//!
//! The parts are those of [π0](https://arxiv.org/abs/2410.24164) and [SmolVLA](https://arxiv.org/abs/2506.01844): a vision
//! encoder, a text encoder over a real tokenizer, a transformer trunk, and an action expert that turns noise into actions along
//! a learned velocity. Where it differs, it is to be trained in minutes on a CPU: the trunk reads the picture out through a
//! few slots that know where they look ([`crate::readout`]); a grounding loss teaches what words look like; the expert is
//! conditioned by AdaLN ([DiT](https://arxiv.org/abs/2212.09748)) and names the clean action, from which the velocity
//! follows ([Li and He, "Back to Basics"](https://arxiv.org/abs/2511.13720)); and each observation is encoded once for
//! several draws of noise and time. The loss is the error of the clean action at all times alike: the velocity's own
//! weight, 1 / t², would favour nearly clean actions, which give the answer away.

use armilla_nn::lanes::side_by_side;
use armilla_nn::{flow, random};
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::expert::{ActionExpert, repeated};
use crate::processor::{FlowBatch, ObservationBatch};
use crate::readout::{Context, Trunk, TrunkConfig};
use crate::text::{TextConfig, TextEncoder, masked_mean};
use crate::vision::{VisionConfig, VisionEncoder};

/// No time is shorter when the velocity is taken from the clean action.
const MIN_TIME: f64 = 0.01;
/// Slots whose first question the grounding loss trains: an instruction names two objects at most.
const GROUNDED_SLOTS: usize = 2;
/// Observations at least that a core turns into actions on its own.
const SHARE: usize = 4;

/// No width, side or count is larger: settings come from files that anyone can have written.
const LARGEST: usize = 1 << 16;
/// No stack of blocks is deeper.
const DEEPEST: usize = 1 << 10;

/// Everything about a [`FlowPolicy`] that does not follow from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowPolicyConfig {
    /// Values of a token.
    pub width: usize,
    /// Heads of attention; they share the width.
    pub heads: usize,
    /// Places in the picture that are read out.
    pub slots: usize,
    /// Times that the slots look at the picture.
    pub looks: usize,
    /// Width of the network that turns places and words into the expert's condition.
    pub hidden: usize,
    /// Blocks of the action expert.
    pub expert_blocks: usize,
    /// Actions predicted at once.
    pub action_horizon: usize,
    /// Actions carried out before the next prediction.
    pub receding_horizon: usize,
    /// Draws of noise and time for each observation of a training batch.
    pub draws: usize,
    /// Weight of the grounding loss beside the flow-matching loss.
    pub grounding_weight: f64,
    /// Euler steps from noise to actions.
    pub sampling_steps: usize,
    /// The vision encoder.
    pub vision: VisionConfig,
    /// The text encoder.
    pub text: TextConfig,
}

impl Default for FlowPolicyConfig {
    fn default() -> Self {
        Self::nano()
    }
}

/// Sizes that follow from the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyShape {
    /// The camera's name.
    pub camera: String,
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
    /// Values of the proprioception.
    pub state: usize,
    /// Values of an action.
    pub action: usize,
    /// Token ids.
    pub vocabulary: usize,
}

/// A vision-language-action policy.
#[derive(Module, Debug)]
pub struct FlowPolicy {
    text: TextEncoder,
    vision: VisionEncoder,
    trunk: Trunk,
    expert: ActionExpert,
    draws: usize,
    grounding_weight: f64,
    sampling_steps: usize,
}

/// A training loss.
#[derive(Clone, Debug)]
pub struct FlowLoss {
    /// Mean squared error of the clean actions over the valid ones, and the weighted grounding loss.
    pub total: Tensor<1>,
    /// Detached figures for logs.
    pub figures: Vec<(&'static str, Tensor<1>)>,
}

impl FlowPolicyConfig {
    /// Sizes that reach their figure on a simulated table after four minutes of training on two CPU cores.
    #[must_use]
    pub fn nano() -> Self {
        Self {
            width: 96,
            heads: 4,
            slots: 6,
            looks: 2,
            hidden: 256,
            expert_blocks: 2,
            action_horizon: 8,
            receding_horizon: 4,
            draws: 2,
            grounding_weight: 0.05,
            sampling_steps: 5,
            vision: VisionConfig::default(),
            text: TextConfig::default(),
        }
    }

    /// Checks the settings against each other and against the data.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn check(&self, shape: &PolicyShape) -> Result<()> {
        self.check_sizes(shape)?;
        if self.heads == 0 || !self.width.is_multiple_of(2 * self.heads) || self.width == 0 {
            let expected = format!("a multiple of twice the heads ({})", self.heads);
            return Err(Error::config("width", expected, self.width));
        }
        if !(1..=self.action_horizon).contains(&self.receding_horizon) {
            let expected = format!("1 to the action horizon ({})", self.action_horizon);
            return Err(Error::config(
                "receding_horizon",
                expected,
                self.receding_horizon,
            ));
        }
        let channels = &self.vision.channels;
        let fits = |count: &usize| (8..=LARGEST).contains(count) && count.is_multiple_of(8);
        if !(1..=16).contains(&channels.len()) || !channels.iter().all(fits) {
            let found = format!("{channels:?}");
            return Err(Error::config(
                "vision.channels",
                "one to 16 multiples of 8",
                found,
            ));
        }
        let divisor = 1 << channels.len();
        if [shape.height, shape.width]
            .iter()
            .any(|side| *side == 0 || side % divisor != 0)
        {
            let found = format!("pictures of {} x {} pixels", shape.height, shape.width);
            let expected = format!("sides that divide by {divisor}, two per stage");
            return Err(Error::config("vision.channels", expected, found));
        }
        Ok(())
    }

    /// Checks that no setting alone is too small or too large.
    fn check_sizes(&self, shape: &PolicyShape) -> Result<()> {
        let counts = [
            ("slots", self.slots),
            ("hidden", self.hidden),
            ("action_horizon", self.action_horizon),
            ("draws", self.draws),
            ("looks", self.looks),
            ("sampling_steps", self.sampling_steps),
            ("text.max_tokens", self.text.max_tokens),
            ("width", self.width),
        ];
        if let Some((key, count)) = counts
            .iter()
            .find(|(_, count)| !(1..=LARGEST).contains(count))
        {
            return Err(Error::config(key, format!("1 to {LARGEST}"), count));
        }
        let depths = [
            ("looks", self.looks),
            ("expert_blocks", self.expert_blocks),
            ("vision.blocks", self.vision.blocks),
            ("text.blocks", self.text.blocks),
        ];
        if let Some((key, depth)) = depths.iter().find(|(_, depth)| *depth > DEEPEST) {
            return Err(Error::config(key, format!("up to {DEEPEST}"), depth));
        }
        let sizes = [
            ("input_features: rows of a picture", shape.height),
            ("input_features: columns of a picture", shape.width),
            ("input_features: values of the state", shape.state),
            ("output_features: values of the action", shape.action),
        ];
        if let Some((key, size)) = sizes.iter().find(|(_, size)| *size > LARGEST) {
            return Err(Error::config(key, format!("up to {LARGEST}"), size));
        }
        Ok(())
    }

    /// Builds the policy with fresh weights.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] from [`Self::check`].
    pub fn init(&self, shape: &PolicyShape, device: &Device) -> Result<FlowPolicy> {
        self.check(shape)?;
        let trunk = TrunkConfig {
            width: self.width,
            heads: self.heads,
            slots: self.slots,
            looks: self.looks,
            hidden: self.hidden,
            image_channels: self.vision.width(),
            grid: self.vision.grid([shape.height, shape.width]),
            state: shape.state,
        };
        Ok(FlowPolicy {
            text: self
                .text
                .init(shape.vocabulary, [self.width, self.heads], device),
            vision: self.vision.init(device),
            trunk: trunk.init(device),
            expert: ActionExpert::new(self, shape.action, device),
            draws: self.draws,
            grounding_weight: self.grounding_weight,
            sampling_steps: self.sampling_steps,
        })
    }
}

impl FlowPolicy {
    /// Encodes observations: everything that does not depend on noise and time.
    #[must_use]
    pub fn context(&self, observation: ObservationBatch) -> Context {
        self.encode(observation).0
    }

    /// The context, and the image tokens it was read from.
    fn encode(&self, observation: ObservationBatch) -> (Context, Tensor<3>) {
        let ObservationBatch {
            images,
            tokens,
            token_is_pad,
            state,
        } = observation;
        let text = self.text.forward(tokens, &token_is_pad);
        let language = masked_mean(text.clone(), &token_is_pad);
        let image = self.vision.forward(images);
        let context = self
            .trunk
            .forward((text, token_is_pad), language, &image, state);
        (context, image)
    }

    /// The flow-matching loss of one batch. Noise and times come from `generator` alone.
    #[must_use]
    pub fn loss(&self, batch: FlowBatch, generator: &mut ChaCha8Rng) -> FlowLoss {
        let [count, horizon, action] = batch.actions.dims();
        let device = batch.actions.device();
        let (context, image) = self.encode(batch.observation);
        let rows = count * self.draws;
        let valid: Tensor<3> = repeated(batch.action_is_valid.unsqueeze_dim(2), self.draws);
        let actions = repeated(batch.actions, self.draws) * valid.clone(); // [batch * draws, action_horizon, action]
        let noise = random::normal(generator, [rows, horizon, action], &device);
        let time = flow::sample_times(generator, rows, &device);

        let point = flow::interpolate(actions.clone(), noise, time.clone());
        let error = self.expert.clean(point, time, &context) - actions;
        let squared = error.clone() * error * valid.clone();
        let entries = valid.sum_dim(1).sum_dim(0).clamp_min(1.0) * action as f64; // [1, 1, 1]
        let flow = (squared.sum_dim(2).sum_dim(1).sum_dim(0) / entries).reshape([1]);
        let grounding = grounding_error(context.questions, image);
        FlowLoss {
            figures: vec![
                ("action_error", flow.clone().detach()),
                ("grounding_error", grounding.clone().detach()),
            ],
            total: flow + grounding * self.grounding_weight,
        }
    }

    /// Turns noise into normalised actions, for a share of the batch on each core.
    ///
    /// # Shapes
    ///
    /// - noise: `[batch, action_horizon, action]`, and the same out
    #[must_use]
    pub fn sample_actions(&self, observation: ObservationBatch, noise: Tensor<3>) -> Tensor<3> {
        let batch = noise.dims()[0];
        let parts = side_by_side(&noise.device(), batch, SHARE, |part| {
            let noise = noise.clone().slice_dim(0, part.clone());
            self.sample_together(observation.part(part), noise)
        });
        Tensor::cat(parts, 0)
    }

    fn sample_together(&self, observation: ObservationBatch, noise: Tensor<3>) -> Tensor<3> {
        let context = self.context(observation);
        flow::integrate(noise, self.sampling_steps, |point, time| {
            let [rows, _, _] = point.dims();
            let clean = self.expert.clean(point.clone(), time.clone(), &context);
            (point - clean) / time.clamp_min(MIN_TIME).reshape([rows, 1, 1])
        })
    }

    /// Where the weights live.
    #[must_use]
    pub fn device(&self) -> Device {
        self.expert.device()
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
mod tests {
    use super::*;
    use crate::test_support::{batch, observations, policy, shape, small};
    use armilla_core::random::stream;
    use burn::tensor::{TensorData, Tolerance};

    fn sampled(instructions: &[&str]) -> TensorData {
        let device = Device::flex();
        let policy = policy(&device);
        let noise = random::normal(&mut stream(5, "noise", 0), [1, 4, 2], &device);
        let noise = noise.expand([instructions.len(), 4, 2]);
        policy
            .sample_actions(observations(instructions, &device), noise)
            .into_data()
    }

    #[test]
    fn shapes_follow_from_the_config() {
        let device = Device::flex();
        let policy = policy(&device);
        let context = policy.context(observations(&["push the red circle", "touch"], &device));
        let tokens = small().slots + 1 + 5; // slots, state, [BOS] and four words
        assert_eq!(context.tokens.dims(), [2, tokens, small().width]);
        assert_eq!(context.summary.dims(), [2, small().width]);
        assert_eq!(context.places.dims(), [2, small().slots, 2]);
        assert_eq!(sampled(&["", "touch"]).shape().to_vec(), [2, 4, 2]);
    }

    #[test]
    fn the_instruction_changes_the_actions() {
        let all = sampled(&["push the red circle", "touch the blue square", ""]);
        let rows: Vec<Vec<f32>> = all
            .try_to_vec::<f32>()
            .unwrap()
            .chunks(8)
            .map(<[f32]>::to_vec)
            .collect();
        assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2]);
    }

    #[test]
    fn company_does_not_change_the_actions() {
        let together = sampled(&["touch", "push the red circle to the blue square"]);
        let alone = sampled(&["touch"]).try_to_vec::<f32>().unwrap();
        let first = TensorData::new(together.try_to_vec::<f32>().unwrap()[..8].to_vec(), [8]);
        let alone = TensorData::new(alone, [8]);
        first.assert_approx_eq::<f32>(&alone, Tolerance::absolute(1e-4));
    }

    #[test]
    fn padded_actions_do_not_change_the_loss() {
        let device = Device::flex();
        let loss = |padded: f32| {
            let mut batch = batch(&device);
            let rest = batch.actions.clone().slice([0..2, 0..3, 0..2]);
            batch.actions = Tensor::cat(vec![rest, Tensor::full([2, 1, 2], padded, &device)], 1);
            let valid = TensorData::from([[1.0f32, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]);
            batch.action_is_valid = Tensor::from_data(valid, &device);
            let loss = policy(&device).loss(batch, &mut stream(1, "noise", 0));
            loss.total.into_scalar::<f32>()
        };
        assert_eq!(loss(0.0), loss(0.9));
    }

    #[test]
    fn one_batch_is_overfitted() {
        let device = Device::flex().autodiff();
        let mut policy = policy(&device);
        let loss_at = |policy: &FlowPolicy, step: u64| {
            policy.loss(batch(&device), &mut stream(1, "noise", step))
        };
        let mean = |policy: &FlowPolicy| {
            (0..8)
                .map(|step| loss_at(policy, 1000 + step).total.into_scalar::<f32>())
                .sum::<f32>()
                / 8.0
        };
        let before = mean(&policy);
        for step in 0..150 {
            let gradients = loss_at(&policy, step).total.backward();
            policy = policy.map(&mut crate::test_support::Descent {
                gradients,
                rate: 3e-3,
            });
        }
        let after = mean(&policy);
        assert!(after < 0.25 * before, "{before} to {after}");
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        let wrong = |change: fn(&mut FlowPolicyConfig)| {
            let mut config = small();
            change(&mut config);
            config.check(&shape()).unwrap_err().to_string()
        };
        assert!(wrong(|c| c.heads = 5).contains("`width`"));
        assert!(
            wrong(|c| c.receding_horizon = 9)
                .contains("`receding_horizon`: expected 1 to the action horizon (4), found 9")
        );
        assert!(wrong(|c| c.vision.channels = vec![8, 12]).contains("`vision.channels`"));
        assert!(wrong(|c| c.vision.channels = vec![8; 5]).contains("sides that divide by 32"));
        assert!(wrong(|c| c.draws = 0).contains("`draws`"));
        let unknown = serde_json::from_str::<FlowPolicyConfig>(r#"{"slotz": 3}"#).unwrap_err();
        assert!(unknown.to_string().contains("slotz"), "{unknown}");
    }
}

//! The trunk: a few learned slots that read the picture with the instruction and the state in mind.
//!
//! A transformer over slots, words and state asks; each slot then looks at the picture through one head of attention, as in
//! the [Perceiver](https://arxiv.org/abs/2103.03206), and learns what is there and *where*: the attention-weighted mean
//! of the cells' positions, the spatial softmax of [Levine et al.](https://arxiv.org/abs/1504.00702). Positions are
//! given on as offsets from the robot and between slots, with their directions, because how to move depends on these
//! alone. Reading out four places instead of attending over all cells is what makes it cheap, and reading them out as
//! positions is what makes it learn from few samples.

use armilla_nn::layers::{LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, MlpConfig};
use armilla_nn::transformer::{Block, BlockConfig};
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Bool, Device, Tensor, activation};

use super::vision::cell_centers;

/// Values that describe one offset: x, y, length, and x and y of the direction.
const OFFSET: usize = 5;

/// Scales the scores of attention: at first they should tell cells apart, yet reach all of them.
const SHARPNESS: f64 = 0.5;

/// Sizes of the trunk, set by the policy's config.
#[derive(Clone, Debug)]
pub(crate) struct TrunkConfig {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) slots: usize,
    pub(crate) looks: usize,
    pub(crate) hidden: usize,
    pub(crate) image_channels: usize,
    pub(crate) grid: [usize; 2],
    pub(crate) state: usize,
}

/// What the trunk makes of an observation: all that the action expert sees.
#[derive(Clone, Debug)]
pub struct Context {
    /// Slots, words and state, `[batch, tokens, width]`.
    pub tokens: Tensor<3>,
    /// Whether a token is padding, `[batch, tokens]`.
    pub is_pad: Tensor<2, Bool>,
    /// Summary of places, words and state, `[batch, width]`.
    pub summary: Tensor<2>,
    /// What each slot asked first, for the grounding loss, `[batch, slots, channel]`.
    pub questions: Tensor<3>,
    /// Where each slot looked last: x, y in [-1, 1], `[batch, slots, 2]`.
    pub places: Tensor<3>,
}

/// Text, picture and state to a [`Context`].
#[derive(Module, Debug)]
pub struct Trunk {
    slots: Param<Tensor<2>>,
    state: Linear,
    robot: Linear,
    rounds: Vec<Round>,
    summary: Mlp,
    grid: [usize; 2],
}

/// One question to the picture.
#[derive(Module, Debug)]
struct Round {
    block: Block,
    look: Look,
}

impl TrunkConfig {
    pub(crate) fn init(&self, device: &Device) -> Trunk {
        let initializer = Initializer::Normal {
            mean: 0.0,
            std: 0.5,
        };
        let pairs = self.slots * (self.slots - 1) / 2;
        let geometry = self.slots * (2 + OFFSET) + pairs * OFFSET;
        let inputs = geometry + (self.slots + 2) * self.width;
        Trunk {
            slots: initializer.init([self.slots, self.width], device),
            state: LinearConfig::new(self.state, self.width).init(device),
            robot: LinearConfig::new(self.state, 2).init(device),
            rounds: (0..self.looks)
                .map(|_| Round {
                    block: self.block(device),
                    look: Look::new(self, device),
                })
                .collect(),
            summary: MlpConfig::new(inputs, self.hidden, self.width)
                .with_depth(3)
                .init(device),
            grid: self.grid,
        }
    }

    fn block(&self, device: &Device) -> Block {
        BlockConfig::new(self.width, self.heads)
            .with_ratio(2)
            .init(device)
    }
}

impl Trunk {
    /// Reads the picture.
    ///
    /// # Shapes
    ///
    /// - text: `[batch, words, width]`, with `is_pad` `[batch, words]`
    /// - language: `[batch, width]`
    /// - image: `[batch, cells, channel]`
    /// - state: `[batch, state]`
    pub(crate) fn forward(
        &self,
        (text, is_pad): (Tensor<3>, Tensor<2, Bool>),
        language: Tensor<2>,
        image: &Tensor<3>,
        state: Tensor<2>,
    ) -> Context {
        let [batch, words, width] = text.dims();
        let device = text.device();
        let slots = self.slots.val();
        let count = slots.dims()[0];
        let centers = cell_centers(self.grid, &device).unsqueeze::<3>(); // [1, cells, 2]
        let squared = (centers.clone() * centers.clone()).sum_dim(2);
        let cells = Tensor::cat(vec![centers, squared], 2);
        let positions = Positions {
            cells: cells.expand([batch, self.grid[0] * self.grid[1], 3]),
            robot: self.robot.forward(state.clone()).unsqueeze_dim(1),
        };
        let state = self.state.forward(state);

        let slots = slots.unsqueeze::<3>().expand([batch, count, width]);
        let state_token = state.clone().unsqueeze_dim::<3>(1);
        let mut tokens = Tensor::cat(vec![slots, state_token, text], 1); // [batch, tokens, width]
        let present = Tensor::<2, Bool>::zeros([batch, count + 1], &device);
        let is_pad = Tensor::cat(vec![present, is_pad], 1);
        let length = count + 1 + words;
        let mask = is_pad
            .clone()
            .unsqueeze_dim::<3>(1)
            .expand([batch, length, length]);

        let mut places = positions.robot.clone().expand([batch, count, 2]);
        let mut questions = Vec::with_capacity(self.rounds.len());
        for round in &self.rounds {
            tokens = round.block.forward(tokens, Some(mask.clone()));
            let asking = tokens.clone().narrow(1, 0, count);
            let question = round.look.question(asking.clone(), &positions);
            let (answer, seen_at) = round.look.answer(&question, image, &positions);
            questions.push(question.what);
            let rest = tokens.narrow(1, count, length - count);
            tokens = Tensor::cat(vec![asking + answer, rest], 1);
            places = seen_at;
        }
        let slots = tokens
            .clone()
            .narrow(1, 0, count)
            .reshape([batch, count * width]);
        let geometry = geometry(&places, &positions.robot);
        let summary = self
            .summary
            .forward(Tensor::cat(vec![geometry, slots, language, state], 1));
        Context {
            tokens,
            is_pad,
            summary,
            questions: questions.swap_remove(0),
            places,
        }
    }
}

/// One head of attention a slot, over the image tokens.
///
/// A slot asks for *what* (its query against the cells' features) and for *where* (a round window that it places relative to the
/// robot, at first wide), so that it can also ask what lies in the way. The cells that answer vote on
/// the place: their own, plus an offset that each reads off its features, since a shape's centre seldom is a cell's.
#[derive(Module, Debug)]
struct Look {
    norm: LayerNorm,
    query: Linear,
    window: Linear,
    vote: Linear,
    value: Linear,
    place: Linear,
}

/// What each slot asks of the picture.
struct Question {
    /// Held against the cells' features, `[batch, slots, channel]`.
    what: Tensor<3>,
    /// Scores of the cells by their place, `[batch, slots, cells]`.
    whereabouts: Tensor<3>,
}

/// Where the cells and the robot are, in [-1, 1].
struct Positions {
    /// `[batch, cells, 3]`: x, y and x² + y².
    cells: Tensor<3>,
    /// `[batch, 1, 2]`.
    robot: Tensor<3>,
}

impl Look {
    fn new(config: &TrunkConfig, device: &Device) -> Self {
        let (width, channels) = (config.width, config.image_channels);
        Self {
            norm: LayerNormConfig::new(width).init(device),
            query: LinearConfig::new(width, channels).init(device),
            window: LinearConfig::new(width, 3).init(device),
            vote: LinearConfig::new(channels, 2)
                .with_initializer(Some(Initializer::Zeros))
                .init(device),
            value: LinearConfig::new(channels, width).init(device),
            place: LinearConfig::new(2 + OFFSET, width).init(device),
        }
    }

    /// # Shapes
    ///
    /// - slots: `[batch, slots, width]`
    fn question(&self, slots: Tensor<3>, positions: &Positions) -> Question {
        let slots = self.norm.forward(slots);
        Question {
            // A key layer on the image would be redundant: it folds into this one.
            what: self.query.forward(slots.clone()) * SHARPNESS,
            whereabouts: self.window_scores(slots, positions),
        }
    }

    /// # Shapes
    ///
    /// - image: `[batch, cells, channel]`
    /// - output: what is there `[batch, slots, width]`, and where `[batch, slots, 2]`
    fn answer(
        &self,
        question: &Question,
        image: &Tensor<3>,
        positions: &Positions,
    ) -> (Tensor<3>, Tensor<3>) {
        let scores = question.what.clone().matmul(image.clone().swap_dims(1, 2));
        let weights = activation::softmax(scores + question.whereabouts.clone(), 2); // [batch, slots, cells]
        let cells = positions.cells.clone().narrow(2, 0, 2);
        let features = weights.clone().matmul(image.clone());
        let places = weights.matmul(cells) + self.vote.forward(features.clone());
        let seen = self.value.forward(features);
        let offset = describe(places.clone() - positions.robot.clone());
        let placed = Tensor::cat(vec![places.clone(), offset], 2);
        (seen + self.place.forward(placed), places)
    }

    /// Minus the squared distance from the window's centre, in units of its size, but for what is the same for all cells.
    ///
    /// # Shapes
    ///
    /// - slots: `[batch, slots, width]`, normalised
    /// - output: `[batch, slots, cells]`
    fn window_scores(&self, slots: Tensor<3>, positions: &Positions) -> Tensor<3> {
        let wish = self.window.forward(slots);
        let center = positions.robot.clone() + wish.clone().narrow(2, 0, 2);
        let sharpness = (wish.narrow(2, 2, 1) * 3.0).clamp_max(5.0).exp() * 0.5;
        let weights = Tensor::cat(vec![center * sharpness.clone() * 2.0, -sharpness], 2);
        weights.matmul(positions.cells.clone().swap_dims(1, 2))
    }
}

/// Places, offsets from the robot and offsets between slots, in one row.
///
/// # Shapes
///
/// - places: `[batch, slots, 2]`
/// - robot: `[batch, 1, 2]`
/// - output: `[batch, slots * (2 + 5) + slots * (slots - 1) / 2 * 5]`
fn geometry(places: &Tensor<3>, robot: &Tensor<3>) -> Tensor<2> {
    let [batch, slots, _] = places.dims();
    let mut offsets = vec![places.clone() - robot.clone()];
    for slot in 1..slots {
        let others = places.clone().narrow(1, 0, slot);
        offsets.push(others - places.clone().narrow(1, slot, 1));
    }
    let described = describe(Tensor::cat(offsets, 1)); // [batch, slots + pairs, 5]
    let [_, count, _] = described.dims();
    let flat = [
        places.clone().reshape([batch, slots * 2]),
        described.reshape([batch, count * OFFSET]),
    ];
    Tensor::cat(flat.to_vec(), 1)
}

/// An offset with its length and direction. Close to zero the direction fades instead of jumping.
///
/// # Shapes
///
/// - offset: `[batch, count, 2]`
/// - output: `[batch, count, 5]`
fn describe(offset: Tensor<3>) -> Tensor<3> {
    const FADE: f64 = 0.03;
    let squared = (offset.clone() * offset.clone()).sum_dim(2);
    let length = (squared + FADE * FADE).sqrt();
    let direction = offset.clone() / length.clone();
    Tensor::cat(vec![offset * 2.0, length, direction], 2)
}

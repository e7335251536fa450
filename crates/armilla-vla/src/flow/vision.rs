//! The vision encoder: a picture to image tokens.
//!
//! Strided convolutions bring the picture to a grid a quarter of its size, fine enough to tell where a shape of ten pixels
//! lies to within a pixel. Residual blocks follow, each a shift over the neighbouring cells and one linear layer
//! ([Wu et al., "Shift"](https://arxiv.org/abs/1711.08141): convolutions without their cost). There is no normalisation in it:
//! on a grid of this size it would cost more than all the rest. Nor does language enter here, so that the tokens of one picture
//! can be held against the instruction of another, which is how the policy learns what words look like.

use armilla_nn::Activation;
use armilla_nn::layers::{Linear, LinearConfig, StridedConv, StridedConvConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Scales the picture so that the last grid's values begin around one, as no normalisation sees to it.
const CONTRAST: f64 = 6.0;

/// Sizes of the vision encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VisionConfig {
    /// Channels after each strided convolution; every one halves the sides.
    pub channels: Vec<usize>,
    /// Residual blocks on the last grid.
    pub blocks: usize,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            channels: vec![16, 64],
            blocks: 1,
        }
    }
}

/// Picture to image tokens.
#[derive(Module, Debug)]
pub struct VisionEncoder {
    stages: Vec<StridedConv>,
    blocks: Vec<ShiftBlock>,
}

impl VisionConfig {
    /// Channels of an image token.
    #[must_use]
    pub fn width(&self) -> usize {
        self.channels.last().copied().unwrap_or(3)
    }

    /// Rows and columns of image tokens for a picture of this height and width.
    #[must_use]
    pub fn grid(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|side| side >> self.channels.len())
    }

    /// Builds the encoder.
    #[must_use]
    pub fn init(&self, device: &Device) -> VisionEncoder {
        let inputs = std::iter::once(3).chain(self.channels.iter().copied());
        let stages = inputs
            .zip(&self.channels)
            .map(|(input, &output)| StridedConvConfig::new(input, output).init(device));
        VisionEncoder {
            stages: stages.collect(),
            blocks: (0..self.blocks)
                .map(|_| ShiftBlock::new(self.width(), device))
                .collect(),
        }
    }
}

impl VisionEncoder {
    /// Encodes pictures.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, channel]`, in [-0.5, 0.5]
    /// - output: `[batch, tokens, channel]`, row by row
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<3> {
        let mut grid = images * CONTRAST;
        for stage in &self.stages {
            grid = stage.activated(grid, Activation::Relu);
        }
        for block in &self.blocks {
            grid = block.forward(grid);
        }
        let [batch, rows, columns, channels] = grid.dims();
        grid.reshape([batch, rows * columns, channels]) // [batch, tokens, channel]
    }
}

/// A residual block: shift, then mix.
#[derive(Module, Debug)]
struct ShiftBlock {
    mix: Linear,
}

impl ShiftBlock {
    fn new(channels: usize, device: &Device) -> Self {
        Self {
            mix: LinearConfig::new(channels, channels).init(device),
        }
    }

    /// # Shapes
    ///
    /// - grid: `[batch, height, width, channel]`, and the same out
    fn forward(&self, grid: Tensor<4>) -> Tensor<4> {
        grid.clone() + self.mix.activated(shift(grid), Activation::Relu)
    }
}

/// Moves an eighth of the channels by one cell in each of the four directions; the edge is filled with zeros.
///
/// # Shapes
///
/// - grid: `[batch, height, width, channel]`, and the same out
fn shift(grid: Tensor<4>) -> Tensor<4> {
    let [_, _, _, channels] = grid.dims();
    let share = channels / 8;
    let mut parts: Vec<Tensor<4>> = [(1, 1), (1, -1), (2, 1), (2, -1)]
        .into_iter()
        .enumerate()
        .map(|(index, (axis, by))| moved(grid.clone().narrow(3, index * share, share), axis, by))
        .collect();
    parts.push(grid.narrow(3, 4 * share, channels - 4 * share));
    Tensor::cat(parts, 3)
}

/// Moves by one cell along an axis, zeros coming in.
fn moved(part: Tensor<4>, axis: usize, by: i32) -> Tensor<4> {
    let mut edge = part.dims();
    let kept = edge[axis] - 1;
    edge[axis] = 1;
    let zeros = Tensor::zeros(edge, &part.device());
    let parts = if by > 0 {
        vec![zeros, part.narrow(axis, 0, kept)]
    } else {
        vec![part.narrow(axis, 1, kept), zeros]
    };
    Tensor::cat(parts, axis)
}

/// Where the tokens' cells lie in the picture: x to the right, y down, from -1 to 1 between the picture's edges.
///
/// # Shapes
///
/// - output: `[tokens, 2]`
#[must_use]
pub fn cell_centers([rows, columns]: [usize; 2], device: &Device) -> Tensor<2> {
    let at = |index: usize, count: usize| (2 * index + 1) as f32 / count as f32 - 1.0;
    let centers: Vec<f32> = (0..rows * columns)
        .flat_map(|cell| [at(cell % columns, columns), at(cell / columns, rows)])
        .collect();
    Tensor::from_data(TensorData::new(centers, [rows * columns, 2]), device)
}

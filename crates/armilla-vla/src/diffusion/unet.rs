//! The network that takes the noise off: a U-Net along the actions' time.
//!
//! Each level halves the sequence, and the way back doubles it again beside what the level before had. The denoising step and what is
//! sensed scale and shift the channels of every block ([FiLM](https://arxiv.org/abs/1709.07871)).

use armilla_nn::Activation;
use armilla_nn::layers::{
    GroupNorm, GroupNormConfig, Linear, LinearConfig, SequenceConv, SequenceConvConfig,
    SequenceUpConv, SequenceUpConvConfig,
};
use armilla_nn::positions::step_embedding;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::DiffusionConfig;
use super::config::LAST_GROUPS;

/// Hidden features of the network on the step's embedding, in times of its width.
const STEP_HIDDEN: usize = 4;

/// The network.
#[derive(Module, Debug)]
pub(super) struct Unet {
    step: [Linear; 2],
    down: Vec<Down>,
    middle: Vec<Block>,
    up: Vec<Up>,
    last: NormedConv,
    action: Linear,
}

/// Two blocks, then half as many steps, but on the deepest level.
#[derive(Module, Debug)]
struct Down {
    blocks: [Block; 2],
    shrink: Option<SequenceConv>,
}

/// Two blocks, then twice as many steps.
#[derive(Module, Debug)]
struct Up {
    blocks: [Block; 2],
    grow: SequenceUpConv,
}

/// Two convolutions, the condition's factors between them, and a way around both.
#[derive(Module, Debug)]
struct Block {
    first: NormedConv,
    modulation: Linear,
    second: NormedConv,
    shortcut: Option<Linear>,
}

/// A convolution and its normalisation, then Mish.
#[derive(Module, Debug)]
struct NormedConv {
    conv: SequenceConv,
    norm: GroupNorm,
}

impl DiffusionConfig {
    /// The network on so many values of an action and of what is sensed.
    pub(super) fn unet(&self, action: usize, sensed: usize, device: &Device) -> Unet {
        let linear = |input, output| LinearConfig::new(input, output).init(device);
        let condition = self.step_width + sensed;
        let block = |input, output| self.block([input, output], condition, device);
        let widths = self.widths.as_slice();
        let deepest = widths[widths.len() - 1];
        let before = [action].into_iter().chain(widths.iter().copied());
        let down = before.zip(widths).enumerate();
        let up = widths.windows(2).rev();
        let hidden = STEP_HIDDEN * self.step_width;
        Unet {
            step: [
                linear(self.step_width, hidden),
                linear(hidden, self.step_width),
            ],
            down: down
                .map(|(level, (input, &width))| Down {
                    blocks: [block(input, width), block(width, width)],
                    shrink: (level + 1 < widths.len()).then(|| {
                        let config = SequenceConvConfig::new(width, width);
                        config.with_stride(2).init(device)
                    }),
                })
                .collect(),
            middle: vec![block(deepest, deepest), block(deepest, deepest)],
            up: up
                .map(|pair| Up {
                    blocks: [block(2 * pair[1], pair[0]), block(pair[0], pair[0])],
                    grow: SequenceUpConvConfig::new(pair[0], pair[0]).init(device),
                })
                .collect(),
            last: self.normed([widths[0], widths[0]], LAST_GROUPS, device),
            action: linear(widths[0], action),
        }
    }

    fn block(&self, channels: [usize; 2], condition: usize, device: &Device) -> Block {
        let [input, output] = channels;
        let factors = if self.scale { 2 * output } else { output };
        Block {
            first: self.normed(channels, self.groups, device),
            modulation: LinearConfig::new(condition, factors).init(device),
            second: self.normed([output, output], self.groups, device),
            shortcut: (input != output).then(|| LinearConfig::new(input, output).init(device)),
        }
    }

    fn normed(&self, channels: [usize; 2], groups: usize, device: &Device) -> NormedConv {
        let [input, output] = channels;
        let conv = SequenceConvConfig::new(input, output)
            .with_taps(self.taps)
            .with_padding(self.taps / 2);
        NormedConv {
            conv: conv.init(device),
            norm: GroupNormConfig::new(groups, output).init(device),
        }
    }
}

impl Unet {
    /// Predicts the noise in samples, or the actions, from the training steps that the samples are at.
    ///
    /// # Shapes
    ///
    /// - sample and output: `[batch, action_horizon, action]`
    /// - steps: `[batch]`
    /// - sensed: `[batch, history * features]`
    pub(super) fn forward(
        &self,
        sample: Tensor<3>,
        steps: &[usize],
        sensed: Tensor<2>,
    ) -> Tensor<3> {
        let [embed, finish] = &self.step;
        let width = embed.weight.dims()[0];
        let embedded = step_embedding(steps, width, &sample.device());
        let step = finish.forward(embed.activated(embedded, Activation::Mish));
        let condition = Activation::Mish.forward(Tensor::cat(vec![step, sensed], 1));
        let through = |blocks: &[Block], sequence: Tensor<3>| {
            let blocks = blocks.iter();
            blocks.fold(sequence, |sequence, block| {
                block.forward(sequence, condition.clone())
            })
        };
        let mut sequence = sample;
        let mut levels = Vec::with_capacity(self.down.len());
        for level in &self.down {
            sequence = through(&level.blocks, sequence);
            levels.push(sequence.clone());
            if let Some(shrink) = &level.shrink {
                sequence = shrink.forward(sequence);
            }
        }
        sequence = through(&self.middle, sequence);
        for (level, beside) in self.up.iter().zip(levels.into_iter().rev()) {
            let both = Tensor::cat(vec![sequence, beside], 2);
            sequence = level.grow.forward(through(&level.blocks, both));
        }
        self.action.forward(self.last.forward(sequence))
    }
}

impl Block {
    /// # Shapes
    ///
    /// - sequence: `[batch, time, channels_in]`
    /// - condition: `[batch, condition]`
    /// - output: `[batch, time, channels_out]`
    fn forward(&self, sequence: Tensor<3>, condition: Tensor<2>) -> Tensor<3> {
        let hidden = self.first.forward(sequence.clone());
        let [_, _, channels] = hidden.dims();
        let factors: Tensor<3> = self.modulation.forward(condition).unsqueeze_dim(1);
        let shift = factors.dims()[2] - channels;
        let shifted = match shift {
            0 => hidden,
            scaled => hidden * factors.clone().narrow(2, 0, scaled),
        };
        let hidden = self
            .second
            .forward(shifted + factors.narrow(2, shift, channels));
        let kept = match &self.shortcut {
            Some(shortcut) => shortcut.forward(sequence),
            None => sequence,
        };
        hidden + kept
    }
}

impl NormedConv {
    fn forward(&self, sequence: Tensor<3>) -> Tensor<3> {
        let convolved = self.conv.forward(sequence);
        Activation::Mish.forward(self.norm.forward(convolved))
    }
}

//! ResNet-18 as a backbone: pictures to a grid of features.
//!
//! torchvision's `resnet18` up to `layer4` ([He et al.](https://arxiv.org/abs/1512.03385)) with frozen batch normalisation, as ACT
//! uses it. A frozen normalisation is a factor and a shift of each channel, so it is a part of the kernel before it.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::Activation;
use crate::images::CHANNELS;
use crate::layers::{
    FrozenBatchNorm, FrozenBatchNormConfig, StridedConv, StridedConvConfig, max_pool,
};

/// Channels after each stage; the stem has those of the first.
const STAGES: [usize; 4] = [64, 128, 256, 512];
/// Blocks of a stage.
const BLOCKS: usize = 2;

/// A convolution and its normalisation.
#[derive(Module, Debug)]
struct NormedConv {
    conv: StridedConv,
    norm: FrozenBatchNorm,
}

impl NormedConv {
    /// `shape` is side, stride and padding of the kernel.
    fn new(channels: [usize; 2], [side, stride, padding]: [usize; 3], device: &Device) -> Self {
        let [input, output] = channels;
        Self {
            conv: StridedConvConfig::new(input, output)
                .with_side(side)
                .with_stride(stride)
                .with_padding(padding)
                .with_bias(false)
                .init(device),
            norm: FrozenBatchNormConfig::new(output).init(device),
        }
    }

    fn forward(&self, input: Tensor<4>, activation: Option<Activation>) -> Tensor<4> {
        self.conv.scaled(input, self.norm.factors(), activation)
    }
}

#[derive(Module, Debug)]
struct BasicBlock {
    first: NormedConv,
    second: NormedConv,
    shortcut: Option<NormedConv>,
}

impl BasicBlock {
    fn new(channels: [usize; 2], stride: usize, device: &Device) -> Self {
        let [input, output] = channels;
        let changes = stride > 1 || input != output;
        Self {
            first: NormedConv::new(channels, [3, stride, 1], device),
            second: NormedConv::new([output, output], [3, 1, 1], device),
            shortcut: changes.then(|| NormedConv::new(channels, [1, stride, 0], device)),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let hidden = self.first.forward(input.clone(), Some(Activation::Relu));
        let residual = self.second.forward(hidden, None);
        let kept = match &self.shortcut {
            Some(shortcut) => shortcut.forward(input, None),
            None => input,
        };
        Activation::Relu.forward(residual + kept)
    }
}

/// Pictures to a grid of 512 features, a 32nd of their size.
#[derive(Module, Debug)]
pub struct ResNet18 {
    stem: NormedConv,
    blocks: Vec<BasicBlock>,
}

impl ResNet18 {
    /// Features of a cell.
    pub const FEATURES: usize = STAGES[3];

    /// Builds it with fresh weights.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        let mut blocks = Vec::with_capacity(STAGES.len() * BLOCKS);
        let mut input = STAGES[0];
        for (stage, output) in STAGES.into_iter().enumerate() {
            for block in 0..BLOCKS {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(BasicBlock::new([input, output], stride, device));
                input = output;
            }
        }
        Self {
            stem: NormedConv::new([CHANNELS, STAGES[0]], [7, 2, 3], device),
            blocks,
        }
    }

    /// Encodes pictures.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`, normalised as the weights expect
    /// - output: `[batch, height / 32, width / 32, 512]`, rounded up
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let stem = self.stem.forward(images, Some(Activation::Relu));
        let pooled = max_pool(stem, [3, 2, 1]);
        let blocks = self.blocks.iter();
        blocks.fold(pooled, |features, block| block.forward(features))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_torchvisions_size() {
        let device = Device::flex().autodiff();
        let net = ResNet18::new(&device);
        let features = net.forward(Tensor::ones([2, 64, 96, 3], &device));
        assert_eq!(features.dims(), [2, 2, 3, 512]);
        // torchvision counts 11,689,512 with the classifier's 513,000 and the norms' 9,600 weights and biases; ours also count the
        // norms' statistics, 9,600 more.
        assert_eq!(net.num_params(), 11_689_512 - 513_000 + 9_600);
        // The first kernel learns; its normalisation does not.
        let gradients = features.sum().backward();
        assert!(net.stem.conv.kernel.weight.val().grad(&gradients).is_some());
        assert!(net.stem.norm.weight.val().grad(&gradients).is_none());
    }
}

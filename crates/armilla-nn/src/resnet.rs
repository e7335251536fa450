//! ResNet-18 as a backbone: pictures to a grid of features.
//!
//! torchvision's `resnet18` up to `layer4` ([He et al.](https://arxiv.org/abs/1512.03385)). ACT freezes its batch normalisations: a
//! frozen one is a factor and a shift of each channel, so it is a part of the kernel before it. Diffusion Policy trains them, or has
//! groups of 16 channels normalised in their place.

use burn::module::{Initializer, Module};
use burn::tensor::{Device, Tensor};

use crate::Activation;
use crate::checkpoint::foreign::{Layout, Rule};
use crate::images::CHANNELS;
use crate::layers::{
    BatchNorm, BatchNormConfig, FrozenBatchNorm, FrozenBatchNormConfig, GroupNorm, GroupNormConfig,
    StridedConv, StridedConvConfig, batch_norm, max_pool,
};

/// Channels after each stage; the stem has those of the first.
const STAGES: [usize; 4] = [64, 128, 256, 512];
/// Blocks of a stage.
const BLOCKS: usize = 2;
/// Channels that are normalised together.
const GROUP: usize = 16;
/// Pixels of a picture's side to one cell of the grid.
const CELL: usize = 32;

/// What stands after each convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNetNorm {
    /// Batch normalisation by statistics that training leaves alone.
    Frozen,
    /// Normalisation of groups of 16 channels.
    Group,
    /// Batch normalisation by the batch's statistics in training, by running ones afterwards.
    Batch,
}

#[derive(Module, Debug)]
enum Norm {
    Frozen(FrozenBatchNorm),
    Group(GroupNorm),
    Batch(BatchNorm),
}

impl ResNetNorm {
    fn init(self, channels: usize, device: &Device) -> Norm {
        match self {
            Self::Frozen => Norm::Frozen(FrozenBatchNormConfig::new(channels).init(device)),
            Self::Group => {
                Norm::Group(GroupNormConfig::new(channels / GROUP, channels).init(device))
            }
            Self::Batch => Norm::Batch(BatchNormConfig::new(channels).init(device)),
        }
    }

    /// What its module's path ends with.
    fn variant(self) -> &'static str {
        match self {
            Self::Frozen => "Frozen",
            Self::Group => "Group",
            Self::Batch => "Batch",
        }
    }
}

/// A convolution and its normalisation.
#[derive(Module, Debug)]
struct NormedConv {
    conv: StridedConv,
    norm: Norm,
}

impl NormedConv {
    /// `shape` is side, stride and padding of the kernel.
    fn new(
        norm: ResNetNorm,
        [input, output]: [usize; 2],
        [side, stride, padding]: [usize; 3],
        device: &Device,
    ) -> Self {
        let mut conv = StridedConvConfig::new(input, output)
            .with_side(side)
            .with_stride(stride)
            .with_padding(padding)
            .with_bias(false)
            .init(device);
        let taps = side * side;
        // He's first weights, as torchvision's: from block to block features grow, which a frozen normalisation would not take back.
        let start = Initializer::Normal {
            mean: 0.0,
            std: (2.0 / (taps * output) as f64).sqrt(),
        };
        if norm != ResNetNorm::Frozen {
            conv.kernel.weight = start.init([taps * input, output], device);
        }
        Self {
            conv,
            norm: norm.init(output, device),
        }
    }

    fn forward(&self, input: Tensor<4>, activation: Option<Activation>) -> Tensor<4> {
        match &self.norm {
            Norm::Frozen(norm) => self.conv.scaled(input, norm.factors(), activation),
            Norm::Group(norm) => {
                let normalized = norm.forward(self.conv.forward(input));
                match activation {
                    Some(activation) => activation.forward(normalized),
                    None => normalized,
                }
            }
            Norm::Batch(norm) => {
                let output = self.conv.forward(input);
                let shape = output.dims();
                let cells = shape[..3].iter().product();
                let rows = output.reshape([cells, shape[3]]);
                batch_norm(norm, rows, activation).reshape(shape)
            }
        }
    }
}

#[derive(Module, Debug)]
struct BasicBlock {
    first: NormedConv,
    second: NormedConv,
    shortcut: Option<NormedConv>,
}

impl BasicBlock {
    fn new(norm: ResNetNorm, channels: [usize; 2], stride: usize, device: &Device) -> Self {
        let [input, output] = channels;
        let changes = stride > 1 || input != output;
        let conv = |channels, shape| NormedConv::new(norm, channels, shape, device);
        Self {
            first: conv(channels, [3, stride, 1]),
            second: conv([output, output], [3, 1, 1]),
            shortcut: changes.then(|| conv(channels, [1, stride, 0])),
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
    pub fn new(norm: ResNetNorm, device: &Device) -> Self {
        let mut blocks = Vec::with_capacity(STAGES.len() * BLOCKS);
        let mut input = STAGES[0];
        for (stage, output) in STAGES.into_iter().enumerate() {
            for block in 0..BLOCKS {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(BasicBlock::new(norm, [input, output], stride, device));
                input = output;
            }
        }
        Self {
            stem: NormedConv::new(norm, [CHANNELS, STAGES[0]], [7, 2, 3], device),
            blocks,
        }
    }

    /// Rows and columns of the grid that pictures of so many rows and columns become.
    #[must_use]
    pub fn grid(picture: [usize; 2]) -> [usize; 2] {
        picture.map(|side| side.div_ceil(CELL))
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

/// How others name the parts of a ResNet-18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNetNames {
    /// As torchvision: `conv1`, `bn1`, `layer1` to `layer4`.
    Torchvision,
    /// By their places among torchvision's parts, as a `Sequential` of them has it: `0`, `1`, `4` to `7`.
    Sequential,
}

impl ResNetNames {
    fn stem(self) -> [&'static str; 2] {
        match self {
            Self::Torchvision => ["conv1", "bn1"],
            Self::Sequential => ["0", "1"],
        }
    }

    /// Stages count from 0; between stem and stages there stand an activation and the pooling.
    fn stage(self, stage: usize) -> String {
        match self {
            Self::Torchvision => format!("layer{}", stage + 1),
            Self::Sequential => (stage + 4).to_string(),
        }
    }
}

/// Where others have what a [`ResNet18`] has.
#[must_use]
pub fn resnet_rules(norm: ResNetNorm, names: ResNetNames) -> Vec<Rule> {
    let normed = |ours: String, [conv, other]: [String; 2], channels: usize| {
        let kernel = Layout::Convolution { channels };
        [
            Rule::new(format!("{ours}.conv.kernel"), conv).with_layout(kernel),
            Rule::new(format!("{ours}.norm.{}", norm.variant()), other),
        ]
    };
    let stem = names.stem().map(str::to_owned);
    let mut rules = normed("stem".to_owned(), stem, CHANNELS).to_vec();
    for block in 0..STAGES.len() * BLOCKS {
        let (stage, within) = (block / BLOCKS, block % BLOCKS);
        let output = STAGES[stage];
        let input = if within == 0 && stage > 0 {
            STAGES[stage - 1]
        } else {
            output
        };
        let theirs = format!("{}.{within}", names.stage(stage));
        for (part, conv, norm, channels) in [
            ("first", "conv1", "bn1", input),
            ("second", "conv2", "bn2", output),
            ("shortcut", "downsample.0", "downsample.1", input),
        ] {
            let theirs = [conv, norm].map(|name| format!("{theirs}.{name}"));
            rules.extend(normed(format!("blocks.{block}.{part}"), theirs, channels));
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::foreign::their_shapes;
    use crate::random;
    use armilla_core::random::stream;

    #[test]
    fn it_has_torchvisions_size() {
        let device = Device::flex().autodiff();
        let net = ResNet18::new(ResNetNorm::Frozen, &device);
        let features = net.forward(Tensor::ones([2, 64, 90, 3], &device));
        assert_eq!(features.dims(), [2, 2, 3, 512]);
        assert_eq!(ResNet18::grid([64, 90]), [2, 3]);
        // torchvision counts 11,689,512 with the classifier's 513,000 and the norms' 9,600 weights and biases; ours also count the
        // norms' statistics, 9,600 more.
        assert_eq!(net.num_params(), 11_689_512 - 513_000 + 9_600);
        // The first kernel learns; its normalisation does not.
        let gradients = features.sum().backward();
        assert!(net.stem.conv.kernel.weight.val().grad(&gradients).is_some());
        let Norm::Frozen(norm) = &net.stem.norm else {
            panic!("frozen as asked for")
        };
        assert!(norm.weight.val().grad(&gradients).is_none());
    }

    #[test]
    fn other_normalisations_learn() {
        let device = Device::flex().autodiff();
        for norm in [ResNetNorm::Group, ResNetNorm::Batch] {
            let net = ResNet18::new(norm, &device);
            let pictures = random::normal(&mut stream(0, "pictures", 0), [2, 64, 96, 3], &device);
            let gradients = net.forward(pictures).sum().backward();
            let scale = match &net.stem.norm {
                Norm::Frozen(norm) => &norm.weight,
                Norm::Group(norm) => &norm.gamma,
                Norm::Batch(norm) => &norm.gamma,
            };
            let gradient = scale.val().grad(&gradients).expect("it learns");
            let longest = gradient.abs().max().into_scalar::<f32>();
            assert!(longest > 1e-4, "{norm:?}: {longest}");
        }
    }

    #[test]
    fn every_tensor_has_both_names() {
        let device = Device::flex();
        for (norm, tensors) in [
            (ResNetNorm::Frozen, 5 * 20),
            (ResNetNorm::Group, 3 * 20),
            (ResNetNorm::Batch, 5 * 20),
        ] {
            let net = ResNet18::new(norm, &device);
            let shapes = |names| their_shapes(&net, &resnet_rules(norm, names));
            let named = shapes(ResNetNames::Torchvision);
            assert_eq!(named.len(), tensors);
            assert_eq!(named["layer2.0.downsample.0.weight"], [128, 64, 1, 1]);
            let placed = shapes(ResNetNames::Sequential);
            assert_eq!(placed.len(), tensors);
            assert_eq!(placed["5.0.downsample.0.weight"], [128, 64, 1, 1]);
            assert_eq!(placed["1.bias"], named["bn1.bias"]);
        }
    }
}

//! What the operations read, and their settings.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType};

use crate::activation::Function;
use crate::patches::Patch;

/// A tensor, or none.
#[derive(Clone, Debug, ExtensionType)]
pub enum Optional<B: Backend> {
    /// A tensor.
    Some(FloatTensor<B>),
    /// None.
    None,
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Optional<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Self::None, Self::Some)
    }
}

impl<B: Backend> Optional<B> {
    /// The tensor, if there is one.
    #[must_use]
    pub fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Some(tensor) => Some(tensor),
            Self::None => None,
        }
    }
}

/// What a linear layer or a convolution reads.
#[derive(Clone, Debug, ExtensionType)]
pub struct Layer<B: Backend> {
    /// `[rows, input]`, or pictures `[batch, height, width, channel]`.
    pub input: FloatTensor<B>,
    /// `[input, output]`, or `[side * side * channel, output]`.
    pub weight: FloatTensor<B>,
    /// What the outputs are multiplied by before the bias is added, `[output]`; it gets no gradient.
    #[extension_type]
    pub scale: Optional<B>,
    /// `[output]`.
    #[extension_type]
    pub bias: Optional<B>,
}

/// What a linear layer or a convolution does.
#[derive(Clone, Copy, Debug)]
pub struct LayerSettings {
    /// The patches of pictures that are the rows of a convolution; none where the input's rows are.
    pub patch: Option<Patch>,
    /// What follows.
    pub function: Function,
}

/// What an attention reads.
#[derive(Clone, Debug, ExtensionType)]
pub struct Attended<B: Backend> {
    /// `[batch, query, heads * features]`.
    pub query: FloatTensor<B>,
    /// `[batch, context, heads * features]`.
    pub key: FloatTensor<B>,
    /// `[batch, context, heads * features]`.
    pub value: FloatTensor<B>,
    /// Added to the scores, `[batch or 1, query, context]`.
    #[extension_type]
    pub mask: Optional<B>,
}

/// What a normalisation reads.
#[derive(Clone, Debug, ExtensionType)]
pub struct Normalization<B: Backend> {
    /// `[rows, channel]`.
    pub input: FloatTensor<B>,
    /// Mean and variance, `[2, channel]`.
    pub moments: FloatTensor<B>,
    /// `[channel]`.
    pub scale: FloatTensor<B>,
    /// `[channel]`.
    pub shift: FloatTensor<B>,
}

/// What a normalisation does.
#[derive(Clone, Copy, Debug)]
pub struct NormalizationSettings {
    /// Added to the variance.
    pub epsilon: f32,
    /// What follows.
    pub function: Function,
    /// Whether the moments are the input's own, through which it then also gets gradients.
    pub own_moments: bool,
}

/// How rows are normalised.
#[derive(Clone, Copy, Debug)]
pub struct RowSettings {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether the mean is taken away, as layer normalisation does and root-mean-square normalisation does not.
    pub centered: bool,
}

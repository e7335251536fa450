//! What a model looks at: pictures and proprioception as tensors.

use armilla_core::Image;
use burn::tensor::Tensor;

/// What a model looks at once, as it is sensed.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// A picture of each of the model's cameras, in their order.
    pub images: Vec<&'a Image>,
    /// Proprioception in its own units; empty for a model that takes none.
    pub state: &'a [f32],
}

impl<'a> From<&'a Image> for Frame<'a> {
    /// A frame of a model with one camera and no proprioception.
    fn from(image: &'a Image) -> Self {
        Self {
            images: vec![image],
            state: &[],
        }
    }
}

/// Many observations.
#[derive(Clone, Debug)]
pub struct Observations {
    /// `[batch, cameras, height, width, 3]`, in `[-0.5, 0.5]`.
    pub images: Tensor<5>,
    /// Proprioception `[batch, state]`, normalised; none for a model that takes none.
    pub states: Option<Tensor<2>>,
}

impl Observations {
    /// Those of a model with one camera and no proprioception.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    #[must_use]
    pub fn of_one_camera(images: Tensor<4>) -> Self {
        Self {
            images: images.unsqueeze_dim(1),
            states: None,
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.dims()[0]
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same without the record of how they came about, for a model out of training.
    #[must_use]
    pub fn inner(self) -> Self {
        fn inner<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
            match tensor.is_autodiff() {
                true => tensor.inner(),
                false => tensor,
            }
        }
        Self {
            images: inner(self.images),
            states: self.states.map(inner),
        }
    }
}

//! What a prediction starts from: the last latents, and the actions between them.

use burn::tensor::Tensor;

/// Latents a model step apart, oldest first, and the action blocks between them.
#[derive(Clone, Debug)]
pub struct Context {
    /// `[rows, frames, latent]`, at least one frame.
    pub latents: Tensor<3>,
    /// `[rows, frames - 1, action_repeat * action]`, normalised; none where there is a single frame.
    pub blocks: Option<Tensor<3>>,
}

impl Context {
    /// A single frame, of which nothing earlier is known.
    ///
    /// # Shapes
    ///
    /// - latents: `[rows, latent]`
    #[must_use]
    pub fn of_one(latents: Tensor<2>) -> Self {
        Self {
            latents: latents.unsqueeze_dim(1),
            blocks: None,
        }
    }

    /// Frames in it.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.latents.dims()[1]
    }

    /// The newest latent, `[rows, latent]`.
    #[must_use]
    pub fn last(&self) -> Tensor<2> {
        let [rows, frames, latent] = self.latents.dims();
        let last = self.latents.clone().narrow(1, frames - 1, 1);
        last.reshape([rows, latent])
    }

    /// Its blocks and the one to come, `[rows, frames, action_repeat * action]`.
    ///
    /// # Shapes
    ///
    /// - block: `[rows, action_repeat * action]`
    #[must_use]
    pub fn blocks_with(&self, block: Tensor<2>) -> Tensor<3> {
        let block = block.unsqueeze_dim(1);
        match &self.blocks {
            Some(blocks) => Tensor::cat(vec![blocks.clone(), block], 1),
            None => block,
        }
    }

    /// The context a model step on: what the block led to is its newest frame, and at most `history` frames are kept.
    ///
    /// # Shapes
    ///
    /// - block: `[rows, action_repeat * action]`
    /// - next: `[rows, latent]`
    #[must_use]
    pub fn then(self, block: Tensor<2>, next: Tensor<2>, history: usize) -> Self {
        if history == 1 {
            return Self::of_one(next);
        }
        let blocks = self.blocks_with(block);
        let latents = Tensor::cat(vec![self.latents, next.unsqueeze_dim(1)], 1);
        Self {
            latents,
            blocks: Some(blocks),
        }
        .newest(history)
    }

    /// Its newest frames, at most so many.
    #[must_use]
    pub fn newest(self, history: usize) -> Self {
        let frames = self.frames();
        let kept = history.clamp(1, frames);
        let newest = |tensor: Tensor<3>, count: usize| {
            let all = tensor.dims()[1];
            tensor.narrow(1, all - count, count)
        };
        Self {
            latents: newest(self.latents, kept),
            blocks: match self.blocks {
                Some(blocks) if kept > 1 => Some(newest(blocks, kept - 1)),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_context_grows_to_its_history_and_then_moves_on() {
        let device = Device::flex();
        let filled = |value: f32| Tensor::<2>::full([2, 1], value, &device);
        let mut context = Context::of_one(filled(0.0));
        for step in 1..4_u8 {
            let step = f32::from(step);
            context = context.then(filled(-step), filled(step), 3);
        }
        let values =
            |tensor: Tensor<3>| tensor.into_data().iter::<f32>().take(3).collect::<Vec<_>>();
        assert_eq!(context.frames(), 3);
        assert_eq!(values(context.latents.clone()), [1.0, 2.0, 3.0]);
        assert_eq!(
            values(context.blocks_with(filled(-4.0))),
            [-2.0, -3.0, -4.0]
        );
        let one = context.newest(1);
        assert!(one.frames() == 1 && one.blocks.is_none());
    }
}

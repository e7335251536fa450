//! One model step, and what follows from it for every model: many steps, and looking ahead from each frame of a window.

use armilla_nn::dropout::Dropout;
use burn::tensor::Tensor;

use crate::context::Context;

/// A model that predicts the next latent.
pub trait Transition {
    /// Latents it looks back on, the newest included.
    fn history(&self) -> usize;

    /// One model step, `action_repeat` environment steps.
    ///
    /// # Shapes
    ///
    /// - context: up to `history` frames
    /// - block: `[rows, action_repeat * action]`, normalised
    /// - output: `[rows, latent]`
    #[must_use]
    fn step(&self, context: &Context, block: Tensor<2>, dropout: &mut Dropout<'_>) -> Tensor<2>;

    /// One model step from each frame of a window but its last, with the frames before it as far as the history reaches.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, time, latent]`
    /// - blocks: `[batch, time - 1, action_repeat * action]`
    /// - output: `[batch, time - 1, latent]`, predictions of the frames from the second on
    #[must_use]
    fn step_each_frame(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        dropout: &mut Dropout<'_>,
    ) -> Tensor<3>;

    /// Many model steps, each from the predictions before it as far as the history reaches.
    ///
    /// # Shapes
    ///
    /// - context: at least one frame
    /// - blocks: `[rows, horizon, action_repeat * action]`, normalised
    /// - output: `[rows, horizon, latent]`
    #[must_use]
    fn rollout(&self, context: Context, blocks: Tensor<3>) -> Tensor<3> {
        let [rows, horizon, width] = blocks.dims();
        let history = self.history();
        let mut context = context.newest(history);
        let mut latents = Vec::with_capacity(horizon);
        for step in 0..horizon {
            let block = blocks.clone().narrow(1, step, 1).reshape([rows, width]);
            let next = self.step(&context, block.clone(), &mut Dropout::Off);
            latents.push(next.clone().unsqueeze_dim(1));
            context = context.then(block, next, history);
        }
        Tensor::cat(latents, 1)
    }

    /// Predictions from every frame of a window but its last: element `k` holds those `k + 1` model steps ahead, up to `reach` of them.
    ///
    /// # Shapes
    ///
    /// - latents: `[batch, time, latent]`
    /// - blocks: `[batch, time - 1, action_repeat * action]`
    /// - output `k`: `[batch, time - 1 - k, latent]`, a prediction of frames `k + 1` on
    #[must_use]
    fn look_ahead(
        &self,
        latents: Tensor<3>,
        blocks: Tensor<3>,
        reach: usize,
        dropout: &mut Dropout<'_>,
    ) -> Vec<Tensor<3>> {
        let [batch, transitions, width] = blocks.dims();
        let history = self.history();
        let first = self.step_each_frame(latents.clone(), blocks.clone(), dropout);
        if reach.min(transitions) == 1 {
            return vec![first];
        }
        let block = |step: usize| blocks.clone().narrow(1, step, 1).reshape([batch, width]);
        let mut starts: Vec<_> = (0..transitions)
            .map(|start| {
                let context = Context {
                    latents: latents.clone().narrow(1, 0, start + 1),
                    blocks: (start > 0).then(|| blocks.clone().narrow(1, 0, start)),
                };
                let next = first.clone().narrow(1, start, 1).squeeze_dim(1);
                context.then(block(start), next, history)
            })
            .collect();
        let mut predictions = vec![first];
        for ahead in 1..reach.min(transitions) {
            starts.truncate(transitions - ahead);
            let mut next = Vec::with_capacity(starts.len());
            for (start, context) in starts.iter_mut().enumerate() {
                let block = block(start + ahead);
                let predicted = self.step(context, block.clone(), dropout);
                next.push(predicted.clone().unsqueeze_dim(1));
                *context = context.clone().then(block, predicted, history);
            }
            predictions.push(Tensor::cat(next, 1));
        }
        predictions
    }
}

/// [`Transition::step_each_frame`] of a causal transformer that predicts after each frame of a window of up to `history`: within the
/// history all frames are one pass, beyond it each looks through a window of its own.
///
/// # Shapes
///
/// - as [`Transition::step_each_frame`]; `pass` takes `[batch, frames, latent]` and as many blocks, and gives as many latents
pub(crate) fn by_windows(
    latents: &Tensor<3>,
    blocks: &Tensor<3>,
    history: usize,
    mut pass: impl FnMut(Tensor<3>, Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let transitions = blocks.dims()[1];
    let at_once = transitions.min(history);
    let mut window = |first: usize, frames: usize| {
        let latents = latents.clone().narrow(1, first, frames);
        pass(latents, blocks.clone().narrow(1, first, frames))
    };
    let mut next = vec![window(0, at_once)];
    for frame in at_once..transitions {
        let seen = window(frame + 1 - history, history);
        next.push(seen.narrow(1, history - 1, 1));
    }
    Tensor::cat(next, 1)
}

//! What policies are asked and taught, on a device: the same for all of them.
//!
//! Values are normalised already; a history of one is an axis of one.

use std::ops::Range;

use armilla_nn::guidance::Guidance;
use burn::tensor::{Bool, Int, Tensor};

/// What a robot sensed at the last steps, and what is asked of it.
#[derive(Clone, Debug, Default)]
pub struct PolicyObservations {
    /// Pictures of each camera, in the order of the checkpoint's `input_features`, `[batch, history, height, width, channel]`.
    pub images: Vec<Tensor<5>>,
    /// Proprioception, `[batch, history, state]`.
    pub state: Option<Tensor<3>>,
    /// What a simulator says of its scene (`observation.environment_state`), `[batch, history, state]`.
    pub environment_state: Option<Tensor<3>>,
    /// The instructions, of a policy that reads them.
    pub words: Option<Words>,
    /// Actions from now on that are known already, for a policy that can continue them.
    pub guidance: Option<Guidance>,
}

/// Instructions as token ids.
#[derive(Clone, Debug)]
pub struct Words {
    /// Ids, `[batch, tokens]`.
    pub ids: Tensor<2, Int>,
    /// Whether a token is padding, `[batch, tokens]`.
    pub is_pad: Tensor<2, Bool>,
}

/// Observations and what an expert did.
#[derive(Clone, Debug)]
pub struct PolicyBatch {
    /// What was seen.
    pub observations: PolicyObservations,
    /// What was done, `[batch, action_horizon, action]`.
    pub actions: Tensor<3>,
    /// 1, or 0 for an action past the end of its episode, `[batch, action_horizon]`.
    pub weight: Tensor<2>,
}

impl PolicyObservations {
    /// Rows of the batch.
    #[must_use]
    pub fn batch(&self) -> usize {
        let states = [&self.state, &self.environment_state];
        let states = states.into_iter().flatten().map(|state| state.dims()[0]);
        let images = self.images.iter().map(|images| images.dims()[0]);
        images.chain(states).next().unwrap_or(0)
    }

    /// Some of the rows.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        let state = |state: &Option<Tensor<3>>| {
            let state = state.clone();
            state.map(|state| state.slice_dim(0, rows.clone()))
        };
        let images = self.images.iter().cloned();
        Self {
            images: images
                .map(|images| images.slice_dim(0, rows.clone()))
                .collect(),
            state: state(&self.state),
            environment_state: state(&self.environment_state),
            words: self.words.as_ref().map(|words| words.part(rows.clone())),
            guidance: self.guidance.as_ref().map(|each| each.part(rows.clone())),
        }
    }
}

impl Words {
    /// Some of the rows.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        Self {
            ids: self.ids.clone().slice_dim(0, rows.clone()),
            is_pad: self.is_pad.clone().slice_dim(0, rows),
        }
    }
}

//! What LeRobot's policies are asked and taught, on a device: the same for all of them.
//!
//! Values are normalised already; a history of one is an axis of one.

use burn::tensor::Tensor;

/// What a robot sensed at the last steps.
#[derive(Clone, Debug)]
pub struct PolicyObservations {
    /// Pictures of each camera, in the order of the checkpoint's `input_features`, `[batch, history, height, width, channel]`.
    pub images: Vec<Tensor<5>>,
    /// Proprioception, `[batch, history, state]`.
    pub state: Option<Tensor<3>>,
    /// What a simulator says of its scene (`observation.environment_state`), `[batch, history, state]`.
    pub environment_state: Option<Tensor<3>>,
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

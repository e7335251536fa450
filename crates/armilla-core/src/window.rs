//! Windows in time cut from recordings: what a loader hands to a model, before any tensor.

/// Windows of equal size, stacked. Every buffer is row-major in the order of its shape comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowBatch {
    /// Windows.
    pub batch: usize,
    /// Observations a window.
    pub time: usize,
    /// Actions a window.
    pub action_horizon: usize,
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
    /// The first camera's pictures, RGB8, `[batch, time, height, width, channel]`.
    pub images: Vec<u8>,
    /// Proprioception in its own units, `[batch, time, state]`.
    pub states: Vec<f32>,
    /// Actions in their own units, `[batch, action_horizon, action]`.
    pub actions: Vec<f32>,
    /// Whether an action lies past the episode's end and repeats the last one, `[batch, action_horizon]`.
    pub action_is_pad: Vec<bool>,
    /// The task in words, `[batch]`.
    pub instructions: Vec<String>,
    /// A later picture of the same episode, empty unless asked for, `[batch, height, width, channel]`.
    pub later_images: Vec<u8>,
    /// Steps from the window's first observation to the later picture, `[batch]`, empty unless asked for.
    pub later_steps: Vec<u32>,
}

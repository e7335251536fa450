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
    /// What each camera saw, in the order asked for.
    pub cameras: Vec<CameraWindows>,
    /// Whether an observation lies before the episode's beginning and repeats the first one, `[batch, time]`.
    pub observation_is_pad: Vec<bool>,
    /// Proprioception, in its own units unless the loader normalised it, `[batch, time, state]`.
    pub states: Vec<f32>,
    /// Actions, in their own units unless the loader normalised them, `[batch, action_horizon, action]`.
    pub actions: Vec<f32>,
    /// Whether an action lies outside the episode and repeats its first or last one, `[batch, action_horizon]`.
    pub action_is_pad: Vec<bool>,
    /// The task in words, `[batch]`.
    pub instructions: Vec<String>,
    /// Steps from the window's first observation to the later picture, `[batch]`, empty unless asked for.
    pub later_steps: Vec<u32>,
}

/// Pictures of one camera.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CameraWindows {
    /// Its name, as observations have it (`top`).
    pub name: String,
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
    /// RGB8, `[batch, time, height, width, channel]`.
    pub images: Vec<u8>,
    /// Whether a window's recording has no such camera, its pictures being black, `[batch]`.
    pub is_missing: Vec<bool>,
    /// A later picture of the same episode, empty unless asked for, `[batch, height, width, channel]`.
    pub later_images: Vec<u8>,
}

impl CameraWindows {
    /// Bytes of a picture.
    #[must_use]
    pub fn picture_len(&self) -> usize {
        self.height * self.width * 3
    }
}

//! Windows of a recording as tensors.

use armilla_core::{CameraWindows, WindowBatch};
use armilla_nn::images::{CHANNELS, images_to_tensor};
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Result, ensure};
use crate::model::{ModelConfig, Shape};
use crate::observations::Observations;
use crate::rotation::Rotated;
use crate::world_model::Interface;

/// Two frames of a window, and how many model steps lie between them.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// Index of the earlier frame of each pair.
    pub from: Vec<usize>,
    /// Index of the later frame.
    pub to: Vec<usize>,
    /// Model steps between them, `[batch, pairs]`.
    pub steps: Tensor<2>,
    /// How much a pair counts, 0 for one not to learn from, `[batch, pairs]`.
    pub weight: Tensor<2>,
}

/// Which pairs a temporal distance learns from, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairsConfig {
    /// Distances above this many model steps count as this many.
    pub max: f64,
    /// Weight of a pair within the window beside one with the later picture.
    pub near_weight: f64,
}

/// What a world model learns from.
#[derive(Clone, Debug)]
pub struct TrainingBatch {
    /// Frames of all windows, window after window: its `time`, then the later picture if there is one.
    pub observations: Observations,
    /// Frames of a window.
    pub frames: usize,
    /// Those of them that are consecutive, `action_repeat` steps apart: all, or all but the last.
    pub time: usize,
    /// Normalised action blocks between consecutive frames, `[batch, time - 1, action_repeat * action]`.
    pub blocks: Tensor<3>,
    /// Mean normalised action of each block, `[batch, time - 1, action]`.
    pub mean_actions: Tensor<3>,
    /// 1, or 0 for a block that reaches past the episode's end, `[batch, time - 1]`.
    pub weight: Tensor<2>,
    /// Pairs for the temporal distance.
    pub pairs: Pairs,
    /// Pictures beside themselves turned, for a model with sprites or points.
    pub rotated: Option<Rotated>,
}

impl TrainingBatch {
    /// Takes windows whose observations are `action_repeat` steps apart, with the actions from the first observation on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when windows and model do not fit each other.
    pub fn from_windows(
        windows: &WindowBatch,
        interface: &Interface,
        config: &ModelConfig,
        device: &Device,
    ) -> Result<Self> {
        let shape = &config.shape();
        let cameras = check(windows, shape)?;
        let (batch, time, repeat) = (windows.batch, windows.time, shape.action_repeat);
        let (transitions, width) = (time - 1, shape.action);
        let (mut actions, mut weight) = (Vec::new(), Vec::new());
        let kept = transitions * repeat;
        for window in 0..batch {
            let first = window * windows.action_horizon;
            actions.extend_from_slice(&windows.actions[first * width..(first + kept) * width]);
            let padded = &windows.action_is_pad[first..first + kept];
            // A block is whole or not: half of it would be another action.
            weight.extend(
                padded
                    .chunks(repeat)
                    .map(|block| f32::from(u8::from(!block.contains(&true)))),
            );
        }
        interface.actions.normalize(&mut actions);
        let tensor = TensorData::new(actions, [batch, transitions, repeat, width]);
        let actions = Tensor::<4>::from_data(tensor, device);
        let side = shape.image_size;
        let frames = time + usize::from(!windows.later_steps.is_empty());
        let pixels = interleave(cameras, batch);
        let pictures = [batch * frames * cameras.len(), side, side];
        let images = images_to_tensor(&pixels, pictures, device);
        let states = (shape.state > 0).then(|| {
            let mut states = windows.states.clone();
            interface.states.normalize(&mut states);
            let data = TensorData::new(states, [batch * frames, shape.state]);
            Tensor::from_data(data, device)
        });
        Ok(Self {
            observations: Observations {
                images: images.reshape([batch * frames, cameras.len(), side, side, CHANNELS]),
                states,
            },
            frames,
            time,
            mean_actions: actions
                .clone()
                .mean_dim(2)
                .reshape([batch, transitions, width]),
            blocks: actions.reshape([batch, transitions, repeat * width]),
            pairs: pairs(windows, &weight, config, device),
            rotated: None,
            weight: Tensor::from_data(TensorData::new(weight, [batch, transitions]), device),
        })
    }
}

/// Checks every size; the cameras.
fn check<'a>(windows: &'a WindowBatch, shape: &Shape) -> Result<&'a [CameraWindows]> {
    let side = shape.image_size;
    let (expected, found) = (shape.cameras, windows.cameras.len());
    ensure(expected == found, "cameras of a window", expected, found)?;
    let expected = format!("{side} x {side} as image_size says");
    for camera in &windows.cameras {
        let fits = camera.height == side && camera.width == side;
        let what = format!("picture of camera `{}`", camera.name);
        let found = format!("{} x {}", camera.height, camera.width);
        ensure(fits, &what, &expected, found)?;
    }
    ensure(
        windows.time >= 2,
        "window",
        "at least 2 observations",
        windows.time,
    )?;
    let needed = (windows.time - 1) * shape.action_repeat;
    let enough = windows.action_horizon >= needed;
    let expected = format!("at least {needed}: action_repeat for every observation but one");
    ensure(
        enough,
        "actions of a window",
        expected,
        windows.action_horizon,
    )?;
    let picture = side * side * CHANNELS;
    let steps = windows.batch * windows.action_horizon;
    let later = windows.later_steps.len();
    ensure(
        later == 0 || later == windows.batch,
        "later_steps",
        windows.batch,
        later,
    )?;
    let later_states = shape.state == 0 || later == 0;
    let expected = "none where latents hold the state: later pictures come without one";
    ensure(later_states, "later_steps", expected, later)?;
    let mut sizes = vec![
        (
            "window actions",
            steps * shape.action,
            windows.actions.len(),
        ),
        ("window action_is_pad", steps, windows.action_is_pad.len()),
    ];
    if shape.state > 0 {
        let states = windows.batch * windows.time * shape.state;
        sizes.push(("window states", states, windows.states.len()));
    }
    for camera in &windows.cameras {
        let images = windows.batch * windows.time * picture;
        sizes.push(("window images", images, camera.images.len()));
        let later = later * picture;
        sizes.push(("window later_images", later, camera.later_images.len()));
    }
    for (what, expected, found) in sizes {
        ensure(expected == found, what, format!("{expected} values"), found)?;
    }
    Ok(&windows.cameras)
}

/// The pictures of each window, frame by frame and camera by camera, the later ones last.
fn interleave(cameras: &[CameraWindows], batch: usize) -> Vec<u8> {
    if let [camera] = cameras
        && camera.later_images.is_empty()
    {
        return camera.images.clone();
    }
    let bytes = cameras
        .iter()
        .map(|camera| camera.images.len() + camera.later_images.len());
    let mut pictures = Vec::with_capacity(bytes.sum());
    for window in 0..batch {
        let of_window = |pixels: &[u8]| {
            let share = pixels.len() / batch;
            window * share..(window + 1) * share
        };
        let mut sources: Vec<_> = cameras
            .iter()
            .map(|camera| {
                let images = camera.images[of_window(&camera.images)].chunks(camera.picture_len());
                let later = &camera.later_images[of_window(&camera.later_images)];
                images.chain(later.chunks(camera.picture_len()))
            })
            .collect();
        while let Some(first) = sources.first_mut().and_then(Iterator::next) {
            pictures.extend_from_slice(first);
            for other in sources.iter_mut().skip(1) {
                pictures.extend_from_slice(other.next().unwrap_or_default());
            }
        }
    }
    pictures
}

/// Every frame with itself and all after it, the later picture included.
fn pairs(
    windows: &WindowBatch,
    transitions: &[f32],
    config: &ModelConfig,
    device: &Device,
) -> Pairs {
    let (batch, time) = (windows.batch, windows.time);
    let action_repeat = config.shape().action_repeat as f64;
    let PairsConfig { max, near_weight } = config.pairs().unwrap_or_default();
    let later = usize::from(!windows.later_steps.is_empty());
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for first in 0..time {
        for second in first..time + later {
            from.push(first);
            to.push(second);
        }
    }
    let (mut steps, mut weight) = (Vec::new(), Vec::new());
    for window in 0..batch {
        let whole = &transitions[window * (time - 1)..(window + 1) * (time - 1)];
        let reaches = |frame: usize| whole[..frame].iter().all(|&weight| weight > 0.0);
        for (&first, &second) in from.iter().zip(&to) {
            let apart = if second < time {
                (second - first) as f64
            } else {
                f64::from(windows.later_steps[window]) / action_repeat - first as f64
            };
            let known = apart >= 0.0 && reaches(first) && (second >= time || reaches(second));
            steps.push(apart.clamp(0.0, max) as f32);
            let counts = if second < time {
                near_weight as f32
            } else {
                1.0
            };
            weight.push(if known { counts } else { 0.0 });
        }
    }
    let shape = [batch, from.len()];
    Pairs {
        from,
        to,
        steps: Tensor::from_data(TensorData::new(steps, shape), device),
        weight: Tensor::from_data(TensorData::new(weight, shape), device),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::jepa::config::JepaConfig;
    use crate::jepa::tests::small_encoder;
    use crate::scale::{ActionScale, StateScale};

    /// Two windows of three 16-px pictures: numbered pixels, counted actions; the second ends after its first block.
    pub(crate) fn windows() -> (WindowBatch, Interface, ModelConfig) {
        let config = JepaConfig {
            image_size: 16,
            encoder: small_encoder(),
            decoder_channels: vec![8, 8],
            projector_hidden: 32,
            latent: 16,
            embedding: 8,
            action_repeat: 2,
            ..JepaConfig::nano()
        };
        let mut action_is_pad = vec![false; 8];
        action_is_pad[7] = true;
        let windows = WindowBatch {
            batch: 2,
            time: 3,
            action_horizon: 4,
            cameras: vec![CameraWindows {
                height: 16,
                width: 16,
                images: (0..6 * 768).map(|i| (i % 251) as u8).collect(),
                later_images: vec![255; 2 * 768],
                ..CameraWindows::default()
            }],
            actions: (0..16).map(|i| i as f32).collect(),
            action_is_pad,
            later_steps: vec![6, 3],
            ..WindowBatch::default()
        };
        let interface = Interface {
            cameras: vec!["top".to_owned()],
            actions: ActionScale {
                mean: vec![1.0, 0.0],
                std: vec![2.0, 1.0],
                low: vec![-1.0; 2],
                high: vec![1.0; 2],
            },
            states: StateScale::default(),
            rate_hz: Some(10.0),
        };
        (windows, interface, ModelConfig::Jepa(config))
    }

    /// A batch of two windows of three frames of 16 px with states of three values.
    pub(crate) fn training_batch(state: usize, device: &Device) -> (TrainingBatch, Interface) {
        let (mut windows, mut interface, mut config) = windows();
        let ModelConfig::Jepa(jepa) = &mut config else {
            unreachable!("as built above");
        };
        windows.cameras[0].later_images.clear();
        windows.later_steps.clear();
        windows.action_horizon = 10;
        windows.actions = (0..40).map(|value| (value % 7) as f32).collect();
        windows.action_is_pad = vec![false; 20];
        windows.states = (0..6 * state).map(|value| (value % 5) as f32).collect();
        (jepa.state, jepa.action_repeat) = (state, 5);
        interface.states = StateScale {
            mean: vec![0.0; state],
            std: vec![1.0; state],
        };
        let batch = TrainingBatch::from_windows(&windows, &interface, &config, device).unwrap();
        (batch, interface)
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn blocks_are_normalised_and_padding_is_known() {
        let (windows, interface, config) = windows();
        let batch =
            TrainingBatch::from_windows(&windows, &interface, &config, &Device::flex()).unwrap();
        let images = batch.observations.images;
        assert_eq!(images.dims(), [8, 1, 16, 16, 3]);
        assert_eq!(values(batch.blocks)[..4], [-0.5, 1.0, 0.5, 3.0]);
        assert_eq!(values(batch.mean_actions)[..2], [0.0, 2.0]);
        assert_eq!(values(batch.weight), [1.0, 1.0, 1.0, 0.0]);
        let last = values(images.narrow(0, 7, 1));
        assert!(
            last.iter().all(|&value| value == 0.5),
            "the later picture comes last"
        );
    }

    #[test]
    fn pairs_count_model_steps() {
        let (windows, interface, config) = windows();
        let pairs = TrainingBatch::from_windows(&windows, &interface, &config, &Device::flex())
            .unwrap()
            .pairs;
        assert_eq!(pairs.from, [0, 0, 0, 0, 1, 1, 1, 2, 2]);
        assert_eq!(pairs.to, [0, 1, 2, 3, 1, 2, 3, 2, 3]);
        let (steps, weight) = (values(pairs.steps), values(pairs.weight));
        assert_eq!(steps[..9], [0.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 0.0, 1.0]);
        assert_eq!(steps[12], 1.5);
        // Frame 2 of the second window lies past the end, and its later picture before it.
        assert_eq!(weight[9..], [0.1, 0.1, 0.0, 1.0, 0.1, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn cameras_stand_side_by_side_and_states_are_normalised() {
        let (mut windows, mut interface, mut config) = windows();
        let mut second = windows.cameras[0].clone();
        second.images.fill(255);
        second.later_images.clear();
        windows.cameras[0].later_images.clear();
        windows.later_steps.clear();
        windows.cameras.push(second);
        windows.states = (0..18).map(|value| value as f32).collect();
        let ModelConfig::Jepa(jepa) = &mut config else {
            unreachable!("as built above");
        };
        (jepa.cameras, jepa.state) = (2, 3);
        interface.states = StateScale {
            mean: vec![1.0; 3],
            std: vec![2.0; 3],
        };
        let batch = TrainingBatch::from_windows(&windows, &interface, &config, &Device::flex());
        let seen = batch.unwrap().observations;
        assert_eq!(seen.images.dims(), [6, 2, 16, 16, 3]);
        let second = values(seen.images.clone().narrow(1, 1, 1));
        assert!(second.iter().all(|&value| value == 0.5));
        assert!(values(seen.images.narrow(1, 0, 1)).contains(&-0.5));
        let states = values(seen.states.unwrap());
        assert_eq!((states.len(), states[17]), (18, 8.0));
        windows.cameras.pop();
        let found = TrainingBatch::from_windows(&windows, &interface, &config, &Device::flex());
        let error = found.unwrap_err().to_string();
        assert_eq!(error, "cameras of a window: expected 2, found 1");
    }

    #[test]
    fn a_window_that_does_not_fit_is_refused() {
        let (mut windows, interface, config) = windows();
        windows.action_horizon = 3;
        let found = TrainingBatch::from_windows(&windows, &interface, &config, &Device::flex());
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains("at least 4") && error.ends_with("found 3"),
            "{error}"
        );
    }
}

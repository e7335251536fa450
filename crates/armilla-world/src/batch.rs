//! Windows of a recording as tensors.

use armilla_core::{CameraWindows, WindowBatch};
use armilla_nn::images::{CHANNELS, images_to_tensor};
use burn::tensor::{Device, Tensor, TensorData};

use crate::action_scale::ActionScale;
use crate::config::JepaConfig;
use crate::error::{Error, Result, ensure};

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

/// What a [`Jepa`](crate::Jepa) learns from.
#[derive(Clone, Debug)]
pub struct JepaBatch {
    /// Pictures in `[-0.5, 0.5]`, `[batch, frames, height, width, channel]`: the window's `time`, then the later picture if there is one.
    pub images: Tensor<5>,
    /// Consecutive frames, `action_repeat` steps apart; `images` has as many or one more.
    pub time: usize,
    /// Normalised action blocks between consecutive frames, `[batch, time - 1, action_repeat * action]`.
    pub blocks: Tensor<3>,
    /// Mean normalised action of each block, `[batch, time - 1, action]`.
    pub mean_actions: Tensor<3>,
    /// 1, or 0 for a block that reaches past the episode's end, `[batch, time - 1]`.
    pub weight: Tensor<2>,
    /// Pairs for the temporal distance.
    pub pairs: Pairs,
}

impl JepaBatch {
    /// Takes windows whose observations are `action_repeat` steps apart, with the actions from the first observation on. The
    /// first camera's pictures are used.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when pictures or actions do not fit the configuration.
    pub fn from_windows(
        windows: &WindowBatch,
        scale: &ActionScale,
        config: &JepaConfig,
        device: &Device,
    ) -> Result<Self> {
        let camera = check(windows, config)?;
        let (batch, time, repeat) = (windows.batch, windows.time, config.action_repeat);
        let (transitions, width) = (time - 1, config.action);
        let (mut actions, mut weight) = (Vec::new(), Vec::new());
        let kept = transitions * repeat;
        for window in 0..batch {
            let first = window * windows.action_horizon;
            actions.extend_from_slice(&windows.actions[first * width..(first + kept) * width]);
            let padded = &windows.action_is_pad[first..first + kept];
            weight.extend(
                padded
                    .chunks(repeat)
                    .map(|block| f32::from(u8::from(!block.contains(&true)))),
            );
        }
        scale.normalize(&mut actions);
        let tensor = TensorData::new(actions, [batch, transitions, repeat, width]);
        let actions = Tensor::<4>::from_data(tensor, device);
        let side = config.image_size;
        let frames = time + usize::from(!windows.later_steps.is_empty());
        Ok(Self {
            images: images_to_tensor(
                &interleave(camera, batch),
                [batch * frames, side, side],
                device,
            )
            .reshape([batch, frames, side, side, CHANNELS]),
            time,
            mean_actions: actions
                .clone()
                .mean_dim(2)
                .reshape([batch, transitions, width]),
            blocks: actions.reshape([batch, transitions, repeat * width]),
            pairs: pairs(windows, &weight, config, device),
            weight: Tensor::from_data(TensorData::new(weight, [batch, transitions]), device),
        })
    }
}

/// Checks every size; the first camera.
fn check<'a>(windows: &'a WindowBatch, config: &JepaConfig) -> Result<&'a CameraWindows> {
    let side = config.image_size;
    let camera = windows.cameras.first();
    let found = camera.map_or_else(
        || "no camera".to_owned(),
        |camera| format!("{} x {}", camera.height, camera.width),
    );
    let fits = |camera: &&CameraWindows| camera.height == side && camera.width == side;
    let expected = format!("{side} x {side} as image_size says");
    let misfit = || Error::invalid("picture", expected, found);
    let camera = camera.filter(fits).ok_or_else(misfit)?;
    ensure(
        windows.time >= 2,
        "window",
        "at least 2 observations",
        windows.time,
    )?;
    let needed = (windows.time - 1) * config.action_repeat;
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
    for (what, expected, found) in [
        (
            "window images",
            windows.batch * windows.time * picture,
            camera.images.len(),
        ),
        (
            "window actions",
            steps * config.action,
            windows.actions.len(),
        ),
        ("window action_is_pad", steps, windows.action_is_pad.len()),
        (
            "window later_images",
            later * picture,
            camera.later_images.len(),
        ),
    ] {
        ensure(expected == found, what, format!("{expected} values"), found)?;
    }
    Ok(camera)
}

/// Each window's pictures followed by its later picture.
fn interleave(camera: &CameraWindows, batch: usize) -> Vec<u8> {
    let (images, later_images) = (&camera.images, &camera.later_images);
    if later_images.is_empty() {
        return images.clone();
    }
    let mut pictures = Vec::with_capacity(images.len() + later_images.len());
    let parts = images.chunks(images.len() / batch);
    for (window, later) in parts.zip(later_images.chunks(later_images.len() / batch)) {
        pictures.extend_from_slice(window);
        pictures.extend_from_slice(later);
    }
    pictures
}

/// Every frame with itself and all after it, the later picture included.
fn pairs(
    windows: &WindowBatch,
    transitions: &[f32],
    config: &JepaConfig,
    device: &Device,
) -> Pairs {
    let (batch, time) = (windows.batch, windows.time);
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
                let repeat = config.action_repeat as f64;
                f64::from(windows.later_steps[window]) / repeat - first as f64
            };
            let known = apart >= 0.0 && reaches(first) && (second >= time || reaches(second));
            steps.push(apart.clamp(0.0, config.loss.distance_max) as f32);
            let counts = if second < time {
                config.loss.distance_near_weight as f32
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

    /// Two windows of three 16-px pictures: numbered pixels, counted actions; the second ends after its first block.
    pub(crate) fn windows() -> (WindowBatch, ActionScale, JepaConfig) {
        let config = JepaConfig {
            image_size: 16,
            patch: 1,
            channels: vec![8, 8],
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
        let scale = ActionScale {
            mean: vec![1.0, 0.0],
            std: vec![2.0, 1.0],
            low: vec![-1.0; 2],
            high: vec![1.0; 2],
        };
        (windows, scale, config)
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn blocks_are_normalised_and_padding_is_known() {
        let (windows, scale, config) = windows();
        let batch = JepaBatch::from_windows(&windows, &scale, &config, &Device::flex()).unwrap();
        assert_eq!(batch.images.dims(), [2, 4, 16, 16, 3]);
        assert_eq!(values(batch.blocks)[..4], [-0.5, 1.0, 0.5, 3.0]);
        assert_eq!(values(batch.mean_actions)[..2], [0.0, 2.0]);
        assert_eq!(values(batch.weight), [1.0, 1.0, 1.0, 0.0]);
        let last = values(batch.images.narrow(1, 3, 1));
        assert!(
            last.iter().all(|&value| value == 0.5),
            "the later picture comes last"
        );
    }

    #[test]
    fn pairs_count_model_steps() {
        let (windows, scale, config) = windows();
        let pairs = JepaBatch::from_windows(&windows, &scale, &config, &Device::flex())
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
    fn a_window_that_does_not_fit_is_refused() {
        let (mut windows, scale, config) = windows();
        windows.action_horizon = 3;
        let found = JepaBatch::from_windows(&windows, &scale, &config, &Device::flex());
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains("at least 4") && error.ends_with("found 3"),
            "{error}"
        );
    }
}

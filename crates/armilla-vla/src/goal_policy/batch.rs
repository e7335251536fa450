//! What goal-conditioned behaviour cloning learns from.

use armilla_core::{Normalization, WindowBatch};
use armilla_nn::images::{CHANNELS, images_to_tensor};
use burn::tensor::{Device, Tensor, TensorData};

use super::config::{GoalPolicyConfig, GoalShape};
use crate::error::Result;

/// What it learns from.
#[derive(Clone, Debug)]
pub struct GoalBatch {
    /// Pictures and goals, `[batch, height, width, 6]`, in `[-0.5, 0.5]`.
    pub pictures: Tensor<4>,
    /// Normalised actions, `[batch, action_horizon, action]`.
    pub actions: Tensor<3>,
    /// 1, or 0 for an action past the goal or the episode's end, `[batch, action_horizon]`.
    pub weight: Tensor<2>,
}

impl GoalBatch {
    /// Takes windows of one observation and a later picture, with the actions from the observation on.
    ///
    /// # Errors
    ///
    /// When windows and model do not fit each other.
    pub fn from_windows(
        windows: &WindowBatch,
        policy: &GoalPolicyConfig,
        shape: &GoalShape,
        device: &Device,
    ) -> Result<Self> {
        let (batch, horizon, side) = (windows.batch, policy.action_horizon, shape.side);
        let picture = side * side * CHANNELS;
        let width = shape.action_mean.len();
        let camera = windows.cameras.first();
        let (images, goals) = camera.map_or((&[][..], &[][..]), |camera| {
            (&camera.images[..], &camera.later_images[..])
        });
        for (what, expected, found) in [
            ("window images", batch * picture, images.len()),
            ("window later_images", batch * picture, goals.len()),
            (
                "window actions",
                batch * horizon * width,
                windows.actions.len(),
            ),
            ("window later_steps", batch, windows.later_steps.len()),
        ] {
            if expected != found {
                let expected = format!("{expected} values");
                return Err(armilla_core::Error::invalid(what, expected, found).into());
            }
        }
        let mut actions = windows.actions.clone();
        shape
            .statistics()
            .normalize(Normalization::MeanStd, &mut actions);
        let weight = windows
            .action_is_pad
            .chunks(horizon)
            .zip(&windows.later_steps);
        let weight = weight.flat_map(|(padded, &steps)| {
            let steps = steps as usize;
            let counts = move |(at, &pad): (usize, &bool)| at < steps && !pad;
            padded.iter().enumerate().map(counts)
        });
        let weight: Vec<f32> = weight.map(|counts| f32::from(u8::from(counts))).collect();
        let tensor = |pixels: &[u8]| images_to_tensor(pixels, [batch, side, side], device);
        let shape = [batch, horizon, width];
        Ok(Self {
            pictures: Tensor::cat(vec![tensor(images), tensor(goals)], 3),
            actions: Tensor::from_data(TensorData::new(actions, shape), device),
            weight: Tensor::from_data(TensorData::new(weight, [batch, horizon]), device),
        })
    }
}

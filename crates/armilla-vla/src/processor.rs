//! From observations and recorded windows to tensors, and from the model's numbers back to actions.
//!
//! This is what LeRobot calls the pre- and postprocessor: tokenizer and normalisation, saved beside the weights.

use std::ops::Range;

use armilla_core::features::{ACTION, STATE};
use armilla_core::{
    Action, FeatureStatistics, Normalization, Observation, Statistics, WindowBatch,
};
use armilla_nn::images::images_to_tensor;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// What the policy sees, for several episodes at once.
#[derive(Clone, Debug)]
pub struct ObservationBatch {
    /// Pictures, in [-0.5, 0.5], `[batch, height, width, channel]`.
    pub images: Tensor<4>,
    /// Ids of the instructions, `[batch, tokens]`.
    pub tokens: Tensor<2, Int>,
    /// Whether a token is padding, `[batch, tokens]`.
    pub token_is_pad: Tensor<2, Bool>,
    /// Normalised proprioception, `[batch, state]`.
    pub state: Tensor<2>,
}

impl ObservationBatch {
    /// Some of the observations.
    pub(crate) fn part(&self, part: Range<usize>) -> Self {
        Self {
            images: self.images.clone().slice_dim(0, part.clone()),
            tokens: self.tokens.clone().slice_dim(0, part.clone()),
            token_is_pad: self.token_is_pad.clone().slice_dim(0, part.clone()),
            state: self.state.clone().slice_dim(0, part),
        }
    }
}

/// What the policy is trained on.
#[derive(Clone, Debug)]
pub struct FlowBatch {
    /// What the policy sees.
    pub observation: ObservationBatch,
    /// Normalised actions, `[batch, action_horizon, action]`.
    pub actions: Tensor<3>,
    /// One where an action was recorded, zero where it lies past the episode's end, `[batch, action_horizon]`.
    pub action_is_valid: Tensor<2>,
}

/// How the features are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormalizationModes {
    /// Of `observation.state`.
    pub state: Normalization,
    /// Of `action`.
    pub action: Normalization,
}

impl Default for NormalizationModes {
    fn default() -> Self {
        Self {
            state: Normalization::MeanStd,
            action: Normalization::MinMax,
        }
    }
}

/// Tokenizer and normalisation of one trained policy.
#[derive(Clone, Debug)]
pub struct Processor {
    tokenizer: Tokenizer,
    statistics: Statistics,
    modes: NormalizationModes,
    max_tokens: usize,
}

impl FlowBatch {
    /// The last observation of each window, by its first camera, and the actions from there on.
    ///
    /// # Errors
    ///
    /// When sizes disagree with the processor's statistics, or a value is not finite.
    pub fn from_windows(
        windows: &WindowBatch,
        processor: &Processor,
        device: &Device,
    ) -> Result<Self> {
        let [batch, time] = [windows.batch, windows.time];
        let (state_width, action_width) = (processor.width(STATE), processor.width(ACTION));
        expect_len(STATE, windows.states.len(), batch * time * state_width)?;
        let steps = batch * windows.action_horizon;
        expect_len(ACTION, windows.actions.len(), steps * action_width)?;
        expect_len("action_is_pad", windows.action_is_pad.len(), steps)?;
        let camera = windows.cameras.first().ok_or_else(|| {
            armilla_core::Error::invalid("windows", "pictures of a camera", "none")
        })?;
        let pixels = camera.picture_len();
        expect_len("images", camera.images.len(), batch * time * pixels)?;
        let instructions: Vec<&str> = windows.instructions.iter().map(String::as_str).collect();
        expect_len("instructions", instructions.len(), batch)?;

        let observation = processor.observation(
            &RawObservations {
                size: [camera.height, camera.width],
                images: &last_of_each(&camera.images, time, pixels),
                states: last_of_each(&windows.states, time, state_width),
                instructions: &instructions,
            },
            device,
        )?;
        let mut actions = windows.actions.clone();
        armilla_core::error::check_finite(ACTION, &actions)?;
        processor
            .scaling(ACTION)
            .normalize(processor.modes.action, &mut actions);
        let shape = [batch, windows.action_horizon, action_width];
        let valid: Vec<f32> = windows
            .action_is_pad
            .iter()
            .map(|&pad| if pad { 0.0 } else { 1.0 })
            .collect();
        Ok(Self {
            observation,
            actions: Tensor::from_data(TensorData::new(actions, shape), device),
            action_is_valid: Tensor::from_data(
                TensorData::new(valid, [shape[0], shape[1]]),
                device,
            ),
        })
    }
}

/// Observations in their own units, stacked.
struct RawObservations<'a> {
    size: [usize; 2],
    images: &'a [u8],
    states: Vec<f32>,
    instructions: &'a [&'a str],
}

impl Processor {
    /// Statistics are rounded to 32 bits, as the checkpoint holds them, so that a policy acts the same after it was
    /// saved and loaded. Instructions longer than `max_tokens` are cut.
    ///
    /// # Errors
    ///
    /// When `statistics` lack the state or the action.
    pub fn new(
        tokenizer: Tokenizer,
        statistics: &Statistics,
        modes: NormalizationModes,
        max_tokens: usize,
    ) -> Result<Self> {
        let mut kept = Statistics::new();
        for key in [STATE, ACTION] {
            let feature = statistics.get(key).ok_or_else(|| {
                let found: Vec<_> = statistics.keys().collect();
                Error::Core(armilla_core::Error::invalid(
                    "statistics",
                    key,
                    format!("{found:?}"),
                ))
            })?;
            kept.insert(key.to_owned(), rounded(feature));
        }
        Ok(Self {
            tokenizer,
            statistics: kept,
            modes,
            max_tokens,
        })
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Statistics of state and action, rounded to 32 bits.
    #[must_use]
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// How the features are scaled.
    #[must_use]
    pub fn modes(&self) -> NormalizationModes {
        self.modes
    }

    /// Number of values of the state or the action.
    #[must_use]
    pub fn width(&self, key: &str) -> usize {
        self.statistics
            .get(key)
            .map_or(0, |feature| feature.mean.len())
    }

    /// Stacks live observations; the first camera's picture is used. A missing instruction is an empty one.
    ///
    /// # Errors
    ///
    /// When an observation has no picture of `size` (height, width), another state, or a value that is not finite.
    pub fn observations(
        &self,
        observations: &[&Observation],
        size: [usize; 2],
        device: &Device,
    ) -> Result<ObservationBatch> {
        let mut images = Vec::with_capacity(observations.len() * size[0] * size[1] * 3);
        let mut states = Vec::new();
        let mut instructions = Vec::with_capacity(observations.len());
        for observation in observations {
            let image = observation.first_image().ok_or_else(|| {
                armilla_core::Error::invalid("observation.images", "a picture", "none")
            })?;
            if [image.height(), image.width()] != size {
                let found = format!("{} x {}", image.height(), image.width());
                let expected = format!("{} x {} pixels", size[0], size[1]);
                return Err(
                    armilla_core::Error::invalid("observation.images", expected, found).into(),
                );
            }
            images.extend_from_slice(image.data());
            expect_len(STATE, observation.state.len(), self.width(STATE))?;
            states.extend_from_slice(&observation.state);
            instructions.push(observation.instruction.as_deref().unwrap_or_default());
        }
        let raw = RawObservations {
            size,
            images: &images,
            states,
            instructions: &instructions,
        };
        self.observation(&raw, device)
    }

    /// Brings sampled actions back to their own units, `[batch][action_horizon]`.
    ///
    /// # Errors
    ///
    /// When a value is not finite.
    pub fn actions(&self, sampled: Tensor<3>) -> Result<Vec<Vec<Action>>> {
        let [_, action_horizon, width] = sampled.dims();
        let mut values: Vec<f32> = sampled
            .into_data()
            .convert::<f32>()
            .try_into_vec::<f32>()
            .map_err(|error| {
                armilla_core::Error::invalid(ACTION, "32-bit values", format!("{error:?}"))
            })?;
        armilla_core::error::check_finite("the policy's action", &values)?;
        self.scaling(ACTION)
            .unnormalize(self.modes.action, &mut values);
        Ok(values
            .chunks(action_horizon * width)
            .map(|chunk| {
                chunk
                    .chunks(width)
                    .map(|row| Action(row.to_vec()))
                    .collect()
            })
            .collect())
    }

    fn observation(&self, raw: &RawObservations<'_>, device: &Device) -> Result<ObservationBatch> {
        let batch = raw.instructions.len();
        armilla_core::error::check_finite(STATE, &raw.states)?;
        let mut states = raw.states.clone();
        self.scaling(STATE).normalize(self.modes.state, &mut states);
        let text = self
            .tokenizer
            .encode_batch(raw.instructions, self.max_tokens)?;
        let shape = [batch, text.tokens];
        Ok(ObservationBatch {
            images: images_to_tensor(raw.images, [batch, raw.size[0], raw.size[1]], device),
            tokens: Tensor::from_data(TensorData::new(text.ids, shape), device),
            token_is_pad: Tensor::from_data(TensorData::new(text.is_pad, shape), device),
            state: Tensor::from_data(TensorData::new(states, [batch, self.width(STATE)]), device),
        })
    }

    fn scaling(&self, key: &str) -> &FeatureStatistics {
        &self.statistics[key]
    }
}

/// The last of `time` items of `size` values, of each window.
fn last_of_each<T: Copy>(values: &[T], time: usize, size: usize) -> Vec<T> {
    values
        .chunks(time * size)
        .flat_map(|window| window[(time - 1) * size..].iter().copied())
        .collect()
}

fn expect_len(what: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(armilla_core::Error::invalid(what, format!("{expected} values"), found).into())
}

fn rounded(statistics: &FeatureStatistics) -> FeatureStatistics {
    let round = |values: &[f64]| {
        values
            .iter()
            .map(|&value| f64::from(value as f32))
            .collect()
    };
    FeatureStatistics {
        min: round(&statistics.min),
        max: round(&statistics.max),
        mean: round(&statistics.mean),
        std: round(&statistics.std),
        count: statistics.count,
        q01: round(&statistics.q01),
        q10: round(&statistics.q10),
        q50: round(&statistics.q50),
        q90: round(&statistics.q90),
        q99: round(&statistics.q99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{SIDE, observation, processor, windows};

    #[test]
    fn windows_become_tensors() {
        let batch = FlowBatch::from_windows(&windows(), &processor(), &Device::flex()).unwrap();
        assert_eq!(batch.observation.images.dims(), [2, SIDE, SIDE, 3]);
        assert_eq!(batch.observation.tokens.dims(), [2, 9]);
        assert_eq!(batch.actions.dims(), [2, 4, 2]);
        // Actions of 0 and sin(0.7), min-max over [-1, 1] and [0, 4].
        let first = batch.actions.into_data().try_to_vec::<f32>().unwrap();
        assert!(first[0].abs() < 1e-6 && (first[1] - (0.7_f32.sin() / 2.0 - 1.0)).abs() < 1e-6);
    }

    #[test]
    fn of_several_observations_the_last_counts() {
        let mut twice = windows();
        twice.time = 2;
        let images = &mut twice.cameras[0].images;
        *images = images
            .chunks(SIDE * SIDE * 3)
            .flat_map(|image| [vec![0; image.len()], image.to_vec()].concat())
            .collect();
        twice.states = twice
            .states
            .chunks(2)
            .flat_map(|state| [&[9.0, 9.0], state].concat())
            .collect();
        let of = |windows| {
            FlowBatch::from_windows(&windows, &processor(), &Device::flex())
                .unwrap()
                .observation
        };
        assert_eq!(
            of(twice.clone()).state.into_data(),
            of(windows()).state.into_data()
        );
        assert_eq!(
            of(twice).images.into_data(),
            of(windows()).images.into_data()
        );
    }

    #[test]
    fn actions_come_back_in_their_units() {
        let values = TensorData::from([[[-1.0_f32, -1.0], [0.0, 1.0]]]);
        let actions = processor()
            .actions(Tensor::from_data(values, &Device::flex()))
            .unwrap();
        assert_eq!(actions, [[Action(vec![-1.0, 0.0]), Action(vec![0.0, 4.0])]]);
    }

    #[test]
    fn misfits_are_refused() {
        let mut short = windows();
        short.states.pop();
        let error = FlowBatch::from_windows(&short, &processor(), &Device::flex()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("observation.state: expected 4 values, found 3"),
            "{error}"
        );
        let observation = observation("touch");
        let error = processor()
            .observations(&[&observation], [8, 8], &Device::flex())
            .unwrap_err();
        assert!(
            error.to_string().contains("8 x 8 pixels, found 16 x 16"),
            "{error}"
        );
    }
}

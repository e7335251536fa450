//! From what robots sense and recordings hold to what policies take, and from a policy's numbers back to actions.

use armilla_core::error::check_finite;
use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE};
use armilla_core::{Action, Error as CoreError, Leftover, Observation, WindowBatch};
use armilla_nn::guidance::{Guidance, soft_mask};
use armilla_nn::images::CHANNELS;
use burn::tensor::{Device, Tensor, TensorData};

use super::features::{Camera, PolicyInputs};
use super::processors::Processors;
use crate::batch::{PolicyBatch, PolicyObservations, Words};
use crate::error::Result;

impl Processors {
    /// Stacks what several robots sensed at their last steps, oldest first, as many of each. A missing instruction is an empty one.
    ///
    /// # Errors
    ///
    /// When an observation lacks a camera or has pictures of another size, another state, or a value that is not finite.
    pub fn observations(
        &self,
        inputs: &PolicyInputs,
        histories: &[Vec<&Observation>],
        device: &Device,
    ) -> Result<PolicyObservations> {
        let history = histories.first().map_or(0, Vec::len);
        let stack = Stack {
            processors: self,
            shape: [histories.len(), history],
            device,
        };
        let all = || histories.iter().flatten();
        let mut images = Vec::with_capacity(inputs.cameras.len());
        for camera in &inputs.cameras {
            let name = self.camera_name(camera);
            let mut pixels =
                Vec::with_capacity(all().count() * camera.height * camera.width * CHANNELS);
            for observation in all() {
                let found = observation.images.get(name);
                let found = found.ok_or_else(|| missing(camera, observation))?;
                expect_size(camera, [found.height(), found.width()])?;
                pixels.extend_from_slice(found.data());
            }
            images.push(stack.pictures(camera, &pixels)?);
        }
        let state = inputs.state.map(|width| {
            let mut values = Vec::with_capacity(all().count() * width);
            for observation in all() {
                expect_len(STATE, observation.state.len(), width)?;
                values.extend_from_slice(&observation.state);
            }
            stack.state(values, width)
        });
        let instructions = histories.iter().map(|history| {
            let present = history
                .last()
                .and_then(|present| present.instruction.as_deref());
            present.unwrap_or_default()
        });
        Ok(PolicyObservations {
            images,
            state: state.transpose()?,
            environment_state: no_environment_state(inputs)?,
            words: self.words(&instructions.collect::<Vec<_>>(), device)?,
            guidance: None,
        })
    }

    /// What is left of the chunks that robots carry out meanwhile, cut off after so many steps; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// When an action has another width or a value that is not finite.
    pub fn guidance(
        &self,
        inputs: &PolicyInputs,
        leftovers: &[Option<&Leftover>],
        steps: usize,
        device: &Device,
    ) -> Result<Option<Guidance>> {
        let lengths = leftovers
            .iter()
            .flatten()
            .map(|leftover| leftover.actions.len());
        if lengths.sum::<usize>() == 0 {
            return Ok(None);
        }
        let (mut known, mut weight) = (Vec::new(), Vec::new());
        for leftover in leftovers {
            let actions = leftover.map_or(&[][..], |leftover| &leftover.actions);
            let actions = &actions[..actions.len().min(steps)];
            for action in actions {
                expect_len("an action of a leftover", action.0.len(), inputs.action)?;
                known.extend_from_slice(&action.0);
            }
            let fixed = leftover.map_or(0, |leftover| leftover.delay_steps);
            weight.extend(soft_mask(fixed, actions.len()));
            let missing = steps - actions.len();
            known.extend(std::iter::repeat_n(0.0, missing * inputs.action));
            weight.extend(std::iter::repeat_n(0.0, missing));
        }
        check_finite("an action of a leftover", &known)?;
        let shape = [leftovers.len(), steps];
        let known = TensorData::new(known, [shape[0], steps, inputs.action]);
        Ok(Some(Guidance {
            known: self
                .before
                .normalize(ACTION, Tensor::<3>::from_data(known, device))?,
            weight: Tensor::from_data(TensorData::new(weight, shape), device),
        }))
    }

    /// Windows of a recording to learn from, their cameras in the policy's order.
    ///
    /// # Errors
    ///
    /// When windows and policy do not fit each other, or a value is not finite.
    pub fn batch(
        &self,
        inputs: &PolicyInputs,
        windows: &WindowBatch,
        device: &Device,
    ) -> Result<PolicyBatch> {
        let [batch, time, horizon] = [windows.batch, windows.time, windows.action_horizon];
        expect_len(
            "cameras of a window",
            windows.cameras.len(),
            inputs.cameras.len(),
        )?;
        let stack = Stack {
            processors: self,
            shape: [batch, time],
            device,
        };
        let cameras = inputs.cameras.iter().zip(&windows.cameras);
        let images = cameras.map(|(camera, found)| {
            expect_size(camera, [found.height, found.width])?;
            expect_len(
                &camera.key,
                found.images.len(),
                batch * time * found.picture_len(),
            )?;
            stack.pictures(camera, &found.images)
        });
        let images = images.collect::<Result<Vec<_>>>()?;
        let state = inputs.state.map(|width| {
            expect_len(STATE, windows.states.len(), batch * time * width)?;
            stack.state(windows.states.clone(), width)
        });
        expect_len(
            ACTION,
            windows.actions.len(),
            batch * horizon * inputs.action,
        )?;
        expect_len(
            "action_is_pad",
            windows.action_is_pad.len(),
            batch * horizon,
        )?;
        check_finite(ACTION, &windows.actions)?;
        let shape = [batch, horizon, inputs.action];
        let actions =
            Tensor::<3>::from_data(TensorData::new(windows.actions.clone(), shape), device);
        let pads = windows.action_is_pad.iter();
        let weight: Vec<f32> = pads.map(|&pad| if pad { 0.0 } else { 1.0 }).collect();
        let instructions: Vec<&str> = windows.instructions.iter().map(String::as_str).collect();
        Ok(PolicyBatch {
            observations: PolicyObservations {
                images,
                state: state.transpose()?,
                environment_state: no_environment_state(inputs)?,
                words: self.words(&instructions, device)?,
                guidance: None,
            },
            actions: self.before.normalize(ACTION, actions)?,
            weight: Tensor::from_data(TensorData::new(weight, [batch, horizon]), device),
        })
    }

    /// Brings sampled actions back to their own units, `[batch][steps]`.
    ///
    /// # Errors
    ///
    /// When a value is not finite.
    pub fn actions(&self, sampled: Tensor<3>) -> Result<Vec<Vec<Action>>> {
        let [_, steps, width] = sampled.dims();
        let actions = self.after.unnormalize(ACTION, sampled)?;
        let values: Vec<f32> = actions.into_data().iter::<f32>().collect();
        check_finite("the policy's action", &values)?;
        let row = |row: &[f32]| Action(row.to_vec());
        let chunks = values.chunks(steps * width);
        Ok(chunks
            .map(|chunk| chunk.chunks(width).map(row).collect())
            .collect())
    }

    /// Instructions as ids, for a policy that reads them.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) when the library refuses a text.
    pub fn words(&self, instructions: &[&str], device: &Device) -> Result<Option<Words>> {
        let Some(words) = &self.words else {
            return Ok(None);
        };
        let text = words
            .tokenizer
            .encode_batch(instructions, words.max_tokens)?;
        let shape = [instructions.len(), text.tokens];
        Ok(Some(Words {
            ids: Tensor::from_data(TensorData::new(text.ids, shape), device),
            is_pad: Tensor::from_data(TensorData::new(text.is_pad, shape), device),
        }))
    }

    /// What robots call a camera of the policy.
    #[must_use]
    pub fn camera_name<'a>(&'a self, camera: &'a Camera) -> &'a str {
        let mut renames = self.renames.iter();
        let renamed = renames.find(|(_, name)| **name == camera.key);
        let key = renamed.map_or(&camera.key, |(robots, _)| robots);
        key.strip_prefix(IMAGE_PREFIX).unwrap_or(key)
    }
}

/// Rows and steps that values are stacked over.
struct Stack<'a> {
    processors: &'a Processors,
    shape: [usize; 2],
    device: &'a Device,
}

impl Stack<'_> {
    /// Pictures in [0, 1], then normalised.
    fn pictures(&self, camera: &Camera, pixels: &[u8]) -> Result<Tensor<5>> {
        let values: Vec<f32> = pixels
            .iter()
            .map(|&pixel| f32::from(pixel) / 255.0)
            .collect();
        let [batch, time] = self.shape;
        let shape = [batch, time, camera.height, camera.width, CHANNELS];
        let pictures = Tensor::<5>::from_data(TensorData::new(values, shape), self.device);
        self.processors.before.normalize(&camera.key, pictures)
    }

    fn state(&self, values: Vec<f32>, width: usize) -> Result<Tensor<3>> {
        check_finite(STATE, &values)?;
        let [batch, time] = self.shape;
        let state = TensorData::new(values, [batch, time, width]);
        let state = Tensor::<3>::from_data(state, self.device);
        self.processors.before.normalize(STATE, state)
    }
}

fn missing(camera: &Camera, observation: &Observation) -> CoreError {
    let found: Vec<_> = observation.images.keys().map(String::as_str).collect();
    let found = if found.is_empty() {
        "none".to_owned()
    } else {
        found.join(", ")
    };
    CoreError::invalid("cameras of an observation", &camera.key, found)
}

fn expect_size(camera: &Camera, found: [usize; 2]) -> Result<()> {
    match found == [camera.height, camera.width] {
        true => Ok(()),
        false => {
            let expected = format!("{} x {} pixels", camera.height, camera.width);
            let found = format!("{} x {}", found[0], found[1]);
            Err(CoreError::invalid(&camera.key, expected, found).into())
        }
    }
}

fn expect_len(what: &str, found: usize, expected: usize) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(CoreError::invalid(what, format!("{expected} values"), found).into()),
    }
}

/// Robots and recordings here have none.
fn no_environment_state(inputs: &PolicyInputs) -> Result<Option<Tensor<3>>> {
    match inputs.environment_state {
        None => Ok(None),
        Some(width) => {
            let expected = format!("{width} values, as the policy takes");
            Err(CoreError::invalid("observation.environment_state", expected, "none").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{SIDE, inputs, observation, processors, windows};

    #[test]
    fn windows_become_tensors() {
        let device = Device::flex();
        let batch = processors().batch(&inputs(), &windows(), &device).unwrap();
        assert_eq!(batch.observations.images[0].dims(), [2, 1, SIDE, SIDE, 3]);
        assert_eq!(batch.observations.words.unwrap().ids.dims(), [2, 9]);
        // Actions of 0 and sin(0.7), min-max over [-1, 1] and [0, 4].
        let first = batch.actions.into_data().try_to_vec::<f32>().unwrap();
        assert!(first[0].abs() < 1e-6 && (first[1] - (0.7_f32.sin() / 2.0 - 1.0)).abs() < 1e-6);
    }

    #[test]
    fn a_history_is_an_axis() {
        let (first, second) = (observation("push"), observation("touch"));
        let mut moved = second.clone();
        moved.state[0] += 1.0;
        let histories = [
            vec![&first, &moved],
            vec![&moved, &first],
            vec![&first, &second],
        ];
        let found = processors()
            .observations(&inputs(), &histories, &Device::flex())
            .unwrap();
        assert_eq!(found.images[0].dims(), [3, 2, SIDE, SIDE, 3]);
        assert_eq!((found.batch(), found.part(1..3).batch()), (3, 2));
        let state = found
            .state
            .unwrap()
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert_eq!((state[0], state[2]), (state[6], state[4]));
        let words = found.words.unwrap().ids.into_data();
        let words: Vec<i64> = words.iter::<i64>().collect();
        assert_eq!(
            words[..words.len() / 3],
            words[2 * words.len() / 3..],
            "the present instruction counts"
        );
    }

    #[test]
    fn actions_come_back_in_their_units() {
        let values = TensorData::from([[[-1.0_f32, -1.0], [0.0, 1.0]]]);
        let sampled = Tensor::from_data(values, &Device::flex());
        let actions = processors().actions(sampled).unwrap();
        assert_eq!(actions, [[Action(vec![-1.0, 0.0]), Action(vec![0.0, 4.0])]]);
    }

    #[test]
    fn misfits_are_refused() {
        let device = Device::flex();
        let mut short = windows();
        short.states.pop();
        let error = processors().batch(&inputs(), &short, &device).unwrap_err();
        let expected = "observation.state: expected 4 values, found 3";
        assert!(error.to_string().contains(expected), "{error}");
        let mut inputs = inputs();
        let observation = observation("touch");
        inputs.cameras[0].height = 8;
        let refused = |inputs: &PolicyInputs| {
            let histories = [vec![&observation]];
            let found = processors().observations(inputs, &histories, &device);
            found.unwrap_err().to_string()
        };
        let error = refused(&inputs);
        assert!(error.contains("8 x 16 pixels, found 16 x 16"), "{error}");
        inputs.cameras[0].key = "observation.images.wrist".to_owned();
        let error = refused(&inputs);
        assert!(error.contains("images.wrist, found top"), "{error}");
    }

    #[test]
    fn a_renamed_camera_is_found() {
        let mut processors = processors();
        let mut inputs = inputs();
        inputs.cameras[0].key = "observation.images.camera1".to_owned();
        let (robots, policys) = ("observation.images.top", "observation.images.camera1");
        processors
            .renames
            .insert(robots.to_owned(), policys.to_owned());
        let observation = observation("touch");
        let found = processors.observations(&inputs, &[vec![&observation]], &Device::flex());
        assert_eq!(found.unwrap().batch(), 1);
    }
}

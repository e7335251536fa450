//! Batches and results as safetensors under LeRobot's keys, so that anyone can hold a policy here against a golden file from elsewhere.

use std::cell::RefCell;
use std::collections::BTreeSet;

use armilla_core::Error as CoreError;
use armilla_core::features::{ACTION, STATE};
use armilla_core::random::stream;
use armilla_nn::checkpoint::{Metadata, Weights};
use burn::tensor::{Device, Tensor, TensorData};

use super::draws::Draws;
use super::features::{Camera, ENVIRONMENT_STATE};
use super::registry::TrainedPolicy;
use crate::batch::{PolicyBatch, PolicyObservations};
use crate::error::Result;

/// Key in a file's metadata: the instructions, a JSON list.
const TASK: &str = "task";
/// Marks actions past an episode's end, `[batch, action_horizon]`.
const IS_PAD: &str = "action_is_pad";

/// Arrays under LeRobot's keys: observations, actions where a loss is asked for, and the draws that are to be taken as given.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// By key.
    pub arrays: Weights,
    /// Words beside them.
    pub metadata: Metadata,
    /// Keys that were read.
    taken: RefCell<BTreeSet<String>>,
}

/// What a policy does.
#[derive(Clone, Debug)]
pub struct Acted {
    /// In the actions' units, what LeRobot's `predict_action_chunk` and postprocessor give, `[batch, steps, action]`.
    pub action: Tensor<3>,
    /// As the policy gives them, `[batch, steps, action]`.
    pub normalized: Tensor<3>,
}

impl Exchange {
    /// Of what a file holds.
    #[must_use]
    pub fn new(arrays: Weights, metadata: Metadata) -> Self {
        Self {
            arrays,
            metadata,
            ..Self::default()
        }
    }

    /// Keys of the arrays that nothing has read so far, such as a camera that the policy lacks or a draw under another name.
    #[must_use]
    pub fn unread(&self) -> Vec<&str> {
        let taken = self.taken.borrow();
        let keys = self.arrays.keys().filter(|key| !taken.contains(*key));
        keys.map(String::as_str).collect()
    }

    /// Acts on the observations. What is drawn and not given comes from the seed.
    ///
    /// # Errors
    ///
    /// When a key that the policy takes is missing or misshapen.
    pub fn act(&self, policy: &dyn TrainedPolicy, seed: u64, device: &Device) -> Result<Acted> {
        let observations = self.observations(policy, device)?;
        let mut draws = Draws::given(&self.arrays, stream(seed, "act", 0));
        let sampled = policy.sample_actions(&observations, &mut draws)?;
        let normalized = sampled.narrow(1, 0, policy.horizons().published_chunk);
        self.taken.borrow_mut().extend(draws.into_taken());
        let after = &policy.processors().after;
        Ok(Acted {
            action: after.unnormalize(ACTION, normalized.clone())?,
            normalized,
        })
    }

    /// The loss of the batch, with nothing dropped. What is drawn and not given comes from the seed.
    ///
    /// # Errors
    ///
    /// As [`Self::act`].
    pub fn loss(
        &self,
        policy: &dyn TrainedPolicy,
        seed: u64,
        device: &Device,
    ) -> Result<Tensor<1>> {
        let batch = self.batch(policy, device)?;
        let mut draws = Draws::given(&self.arrays, stream(seed, "loss", 0));
        let loss = policy.loss(&batch, &mut draws)?.total;
        self.taken.borrow_mut().extend(draws.into_taken());
        Ok(loss)
    }

    fn batch(&self, policy: &dyn TrainedPolicy, device: &Device) -> Result<PolicyBatch> {
        let observations = self.observations(policy, device)?;
        let (rows, horizon) = (observations.batch(), policy.horizons().action);
        let shape = [rows, horizon, policy.inputs().action];
        let actions = Tensor::<3>::from_data(self.array(ACTION, &shape)?, device);
        let weight: Vec<f32> = match self.arrays.contains_key(IS_PAD) {
            true => {
                let pads = self.array(IS_PAD, &[rows, horizon])?;
                pads.iter::<f32>().map(|pad| 1.0 - pad).collect()
            }
            false => vec![1.0; rows * horizon],
        };
        Ok(PolicyBatch {
            actions: policy.processors().before.normalize(ACTION, actions)?,
            weight: Tensor::from_data(TensorData::new(weight, [rows, horizon]), device),
            observations,
        })
    }

    fn observations(
        &self,
        policy: &dyn TrainedPolicy,
        device: &Device,
    ) -> Result<PolicyObservations> {
        let (inputs, processors) = (policy.inputs(), policy.processors());
        let history = policy.horizons().history;
        let cameras = inputs.cameras.iter();
        let images = cameras.map(|camera| self.pictures(policy, camera, device));
        let images = images.collect::<Result<Vec<_>>>()?;
        let state = |key: &str, width: Option<usize>| {
            let width = width?;
            let read = || {
                let data = self.found(key)?;
                let rows = data.shape().to_vec().first().copied().unwrap_or(0);
                let data = self.array(key, &steps(data, 1, &[rows, history, width]))?;
                let values: Vec<f32> = data.iter::<f32>().collect();
                let values = TensorData::new(values, [rows, history, width]);
                processors
                    .before
                    .normalize(key, Tensor::<3>::from_data(values, device))
            };
            Some(read())
        };
        let state_of_robot = state(STATE, inputs.state).transpose()?;
        let environment_state = state(ENVIRONMENT_STATE, inputs.environment_state).transpose()?;
        let mut observations = PolicyObservations {
            images,
            state: state_of_robot,
            environment_state,
            words: None,
            guidance: None,
        };
        if processors.words.is_some() {
            let instructions = self.instructions(observations.batch())?;
            let instructions: Vec<&str> = instructions.iter().map(String::as_str).collect();
            observations.words = processors.words(&instructions, device)?;
        }
        Ok(observations)
    }

    /// Pictures, `[batch, channel, height, width]` or with the history as second axis, in [0, 1], as the policy takes them.
    fn pictures(
        &self,
        policy: &dyn TrainedPolicy,
        camera: &Camera,
        device: &Device,
    ) -> Result<Tensor<5>> {
        let processors = policy.processors();
        let history = policy.horizons().history;
        let key = format!("observation.images.{}", processors.camera_name(camera));
        let key = match self.arrays.contains_key(&camera.key) {
            true => &camera.key,
            false => &key,
        };
        let data = self.found(key)?;
        let rows = data.shape().to_vec().first().copied().unwrap_or(0);
        let (height, width) = (camera.height, camera.width);
        let data = self.array(key, &steps(data, 3, &[rows, history, 3, height, width]))?;
        let values = TensorData::new(
            data.iter::<f32>().collect::<Vec<_>>(),
            [rows, history, 3, height, width],
        );
        let pictures = Tensor::<5>::from_data(values, device).permute([0, 1, 3, 4, 2]);
        processors.before.normalize(&camera.key, pictures)
    }

    /// The instructions, one a row.
    fn instructions(&self, rows: usize) -> Result<Vec<String>> {
        let wrong = |found: String| {
            let expected = format!("a JSON list of {rows} instructions");
            CoreError::invalid(format!("metadata `{TASK}`"), expected, found)
        };
        let text = self
            .metadata
            .get(TASK)
            .ok_or_else(|| wrong("none".to_owned()))?;
        let list: Vec<String> =
            serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match list.len() == rows {
            true => Ok(list),
            false => Err(wrong(list.len().to_string()).into()),
        }
    }

    fn found(&self, key: &str) -> Result<&TensorData> {
        let found = self.arrays.get(key);
        self.taken.borrow_mut().insert(key.to_owned());
        found.ok_or_else(|| {
            let known: Vec<_> = self.arrays.keys().map(String::as_str).collect();
            CoreError::invalid("the input", format!("`{key}`"), known.join(", ")).into()
        })
    }

    /// An array of this shape.
    fn array(&self, key: &str, shape: &[usize]) -> Result<TensorData> {
        let data = self.found(key)?;
        let found = data.shape().to_vec();
        match found == shape {
            true => Ok(data.clone()),
            false => {
                let (expected, found) = (format!("shape {shape:?}"), format!("{found:?}"));
                Err(CoreError::invalid(key, expected, found).into())
            }
        }
    }
}

/// The expected shape, without its history where that is one and the array, whose rows have `axes`, leaves it out.
fn steps(data: &TensorData, axes: usize, expected: &[usize]) -> Vec<usize> {
    let mut shape = expected.to_vec();
    if shape[1] == 1 && data.shape().to_vec().len() == axes + 1 {
        shape.remove(1);
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{SIDE, trained};

    fn exchange() -> Exchange {
        let array = |shape: &[usize], scale: f32| {
            let count: usize = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|at| (at % 7) as f32 * scale).collect();
            TensorData::new(values, shape.to_vec())
        };
        let arrays = [
            ("observation.images.top", array(&[2, 3, SIDE, SIDE], 0.1)),
            (STATE, array(&[2, 2], 0.2)),
            (ACTION, array(&[2, 4, 2], 0.1)),
            ("noise", array(&[2, 4, 2], 0.3)),
        ];
        let words = "[\"touch\", \"push the red circle\"]".to_owned();
        Exchange::new(
            arrays.map(|(key, data)| (key.to_owned(), data)).into(),
            [(TASK.to_owned(), words)].into(),
        )
    }

    #[test]
    fn a_file_is_acted_on() {
        let (device, exchange) = (Device::flex(), exchange());
        let policy = trained(&device);
        let acted = exchange.act(&policy, 0, &device).unwrap();
        let again = exchange.act(&policy, 1, &device).unwrap();
        assert_eq!(acted.action.dims(), [2, 4, 2]);
        assert_eq!(
            acted.action.into_data(),
            again.action.into_data(),
            "the noise is given"
        );
    }

    #[test]
    fn a_batch_has_a_loss_and_gradients() {
        let device = Device::flex().autodiff();
        let mut exchange = exchange();
        exchange.arrays.remove("noise");
        let policy = trained(&device);
        let loss = exchange.loss(&policy, 0, &device).unwrap();
        assert!(loss.clone().into_scalar::<f32>() > 0.0);
        let gradients = policy.gradients(&loss);
        assert!(gradients.keys().any(|name| name.starts_with("trunk.")));
        let pads = TensorData::new(vec![1.0f32; 8], [2, 4]);
        exchange.arrays.insert(IS_PAD.to_owned(), pads);
        let padded = exchange.loss(&policy, 0, &device).unwrap();
        assert!(padded.into_scalar::<f32>() < loss.into_scalar::<f32>());
    }

    #[test]
    fn what_is_not_read_is_named() {
        let (device, mut exchange) = (Device::flex(), exchange());
        let noise = exchange.arrays["noise"].clone();
        exchange.arrays.insert("noises".to_owned(), noise);
        let policy = trained(&device);
        exchange.act(&policy, 0, &device).unwrap();
        assert_eq!(exchange.unread(), [ACTION, "noises"]);
        exchange.arrays.remove("noise"); // of a chunk, where the loss takes several draws
        exchange.loss(&policy, 0, &device).unwrap();
        assert_eq!(exchange.unread(), ["noises"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let device = Device::flex();
        let said = |change: &dyn Fn(&mut Exchange)| {
            let mut exchange = exchange();
            change(&mut exchange);
            let found = exchange.act(&trained(&device), 0, &device);
            found.map(|_| ()).unwrap_err().to_string()
        };
        let error = said(&|exchange| drop(exchange.arrays.remove(STATE)));
        assert!(
            error.contains("`observation.state`") && error.contains("images.top"),
            "{error}"
        );
        let error = said(&|exchange| {
            let misshapen = exchange.arrays["noise"].clone();
            exchange.arrays.insert(STATE.to_owned(), misshapen);
        });
        assert!(
            error.contains("[2, 1, 2]") && error.contains("[2, 4, 2]"),
            "{error}"
        );
        let error = said(&|exchange| exchange.metadata.clear());
        assert!(
            error.contains("`task`") && error.contains("2 instructions"),
            "{error}"
        );
    }
}

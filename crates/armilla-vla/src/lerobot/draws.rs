//! Where a policy's randomness comes from: a stream, a stream a robot, or a file that fixes it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use armilla_nn::checkpoint::Weights;
use armilla_nn::dropout::Dropout;
use armilla_nn::random;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// What a policy draws when it learns or acts.
#[derive(Debug)]
pub struct Draws<'a> {
    given: Option<&'a Weights>,
    /// Names of what was given and asked for.
    taken: BTreeSet<String>,
    /// One for all rows of a batch, or one for each.
    generators: Vec<ChaCha8Rng>,
}

impl<'a> Draws<'a> {
    /// From one stream, for a batch to learn from.
    #[must_use]
    pub fn from_stream(generator: ChaCha8Rng) -> Self {
        Self::from_streams(vec![generator])
    }

    /// From a stream for each row of a batch, so that a row's actions do not depend on its company.
    #[must_use]
    pub fn from_streams(generators: Vec<ChaCha8Rng>) -> Self {
        Self {
            given: None,
            taken: BTreeSet::new(),
            generators,
        }
    }

    /// By name from a file where it has them, else from a stream; nothing is dropped.
    #[must_use]
    pub fn given(arrays: &'a Weights, generator: ChaCha8Rng) -> Self {
        Self {
            given: Some(arrays),
            taken: BTreeSet::new(),
            generators: vec![generator],
        }
    }

    /// Standard normal values under a name.
    ///
    /// # Shapes
    ///
    /// - output: `shape`, whose first axis is the batch
    ///
    /// # Errors
    ///
    /// [`Error::Core`] when what is given has another shape.
    pub fn normal<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Tensor<D>> {
        if let Some(data) = self.find(name) {
            return fitting(name, data, shape, device);
        }
        let [generator] = self.generators.as_mut_slice() else {
            let row = shape[1..].iter().product();
            let rows = self.generators.iter_mut();
            let rows = rows.flat_map(|generator| armilla_core::random::normals(generator, row));
            return fitting(name, &TensorData::new(rows.collect(), shape), shape, device);
        };
        Ok(random::normal(generator, shape, device))
    }

    /// [`Self::normal`] at a step of a sampler: what is given has the steps as an axis before all others.
    ///
    /// # Errors
    ///
    /// As [`Self::normal`].
    pub fn normal_at<const D: usize>(
        &mut self,
        name: &str,
        step: usize,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Tensor<D>> {
        let Some(data) = self.find(name) else {
            return self.normal(name, shape, device);
        };
        let count: usize = shape.iter().product();
        let found = data.shape().to_vec();
        if found.len() != D + 1 || found[1..] != shape || step >= found[0] {
            let mut expected = format!("more than {step} steps");
            shape
                .iter()
                .try_for_each(|size| write!(expected, " x {size}"))
                .ok();
            return Err(armilla_core::Error::invalid(name, expected, format!("{found:?}")).into());
        }
        let values: Vec<f32> = data.iter::<f32>().skip(step * count).take(count).collect();
        fitting(name, &TensorData::new(values, shape), shape, device)
    }

    /// Values of `draw` under a name, one for each of so many rows.
    ///
    /// # Errors
    ///
    /// As [`Self::normal`].
    pub fn each(
        &mut self,
        name: &str,
        rows: usize,
        mut draw: impl FnMut(&mut ChaCha8Rng) -> f32,
    ) -> Result<Vec<f32>> {
        if let Some(data) = self.find(name) {
            let fits = data.num_elements() == rows;
            return match fits {
                true => Ok(data.iter::<f32>().collect()),
                false => Err(wrong(name, &[rows], data)),
            };
        }
        let each = self.generators.len() > 1;
        let mut next = |row: usize| draw(&mut self.generators[if each { row } else { 0 }]);
        Ok((0..rows).map(&mut next).collect())
    }

    /// Where to drop values at a rate.
    #[must_use]
    pub fn dropout(&mut self, rate: f64) -> Dropout<'_> {
        match (self.given, self.generators.as_mut_slice()) {
            (None, [generator]) => Dropout::new(rate, generator),
            _ => Dropout::Off,
        }
    }

    /// Names of what was given and asked for.
    pub(crate) fn into_taken(self) -> BTreeSet<String> {
        self.taken
    }

    fn find(&mut self, name: &str) -> Option<&'a TensorData> {
        let found = self.given?.get(name)?;
        self.taken.insert(name.to_owned());
        Some(found)
    }
}

fn fitting<const D: usize>(
    name: &str,
    data: &TensorData,
    shape: [usize; D],
    device: &Device,
) -> Result<Tensor<D>> {
    match data.shape().to_vec() == shape {
        true => Ok(Tensor::from_data(data.clone(), device)),
        false => Err(wrong(name, &shape, data)),
    }
}

fn wrong(name: &str, expected: &[usize], found: &TensorData) -> Error {
    let found = format!("shape {:?}", found.shape().to_vec());
    armilla_core::Error::invalid(name, format!("shape {expected:?}"), found).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_row_does_not_depend_on_its_company() {
        let device = Device::flex();
        let streams = |seeds: &[u64]| seeds.iter().map(|&seed| stream(seed, "row", 0)).collect();
        let draw = |seeds: &[u64]| {
            let mut draws = Draws::from_streams(streams(seeds));
            let twice = [(); 2].map(|()| draws.normal("noise", [seeds.len(), 3], &device).unwrap());
            twice.map(values)
        };
        let (both, swapped) = (draw(&[1, 2]), draw(&[2, 1]));
        for (both, swapped) in both.iter().zip(&swapped) {
            assert_eq!((&both[..3], &both[3..]), (&swapped[3..], &swapped[..3]));
        }
        assert_ne!(both[0], both[1], "the streams go on");
    }

    #[test]
    fn what_is_given_is_taken_and_must_fit() {
        let device = Device::flex();
        let steps: Vec<f32> = (0..12).map(|value| value as f32).collect();
        let given: Weights = [
            ("noise".to_owned(), TensorData::new(vec![1.0f32; 6], [2, 3])),
            ("noise.steps".to_owned(), TensorData::new(steps, [2, 2, 3])),
        ]
        .into();
        let mut draws = Draws::given(&given, stream(0, "draws", 0));
        assert_eq!(
            values(draws.normal("noise", [2, 3], &device).unwrap()),
            [1.0; 6]
        );
        let step = draws.normal_at("noise.steps", 1, [2, 3], &device).unwrap();
        assert_eq!(values(step)[0], 6.0);
        for error in [
            draws.normal("noise", [3, 3], &device).unwrap_err(),
            draws
                .normal_at("noise.steps", 2, [2, 3], &device)
                .unwrap_err(),
            draws.each("noise", 2, |_| 0.0).unwrap_err(),
        ] {
            assert!(error.to_string().contains("noise"), "{error}");
        }
        assert!(draws.normal("other", [2, 3], &device).is_ok());
        assert!(draws.dropout(0.5).is_off(), "a file fixes everything");
    }
}

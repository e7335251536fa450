//! Dropout whose masks come from a keyed stream, so that a resumed run drops what it would have dropped.

use burn::tensor::Tensor;
use rand_chacha::ChaCha8Rng;

use crate::random::uniform;

/// Where a network drops values: nowhere, or at a rate, from a stream that every layer draws its masks from in turn.
#[derive(Debug)]
pub enum Dropout<'a> {
    /// Nothing is dropped: outside of training.
    Off,
    /// In training.
    On {
        /// Share of the values set to zero, above 0 and below 1.
        rate: f64,
        /// Where the masks come from.
        generator: &'a mut ChaCha8Rng,
    },
}

impl<'a> Dropout<'a> {
    /// Drops at a rate; off at a rate of 0, which draws nothing.
    #[must_use]
    pub fn new(rate: f64, generator: &'a mut ChaCha8Rng) -> Self {
        match rate > 0.0 {
            true => Self::On { rate, generator },
            false => Self::Off,
        }
    }

    /// Sets a share of the values to zero and scales the others so that their mean stays; values without autodiff, as when a model in
    /// training is only looked at, stay as they are.
    ///
    /// # Shapes
    ///
    /// - values and output: any
    #[must_use]
    pub fn apply<const D: usize>(&mut self, values: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Off => values,
            Self::On { .. } if !values.is_autodiff() => values,
            Self::On { rate, generator } => {
                let draws = uniform(generator, values.dims(), &values.device());
                let kept = draws.greater_equal_elem(*rate).float();
                values * kept * (1.0 / (1.0 - *rate))
            }
        }
    }

    /// Whether nothing is dropped.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;
    use burn::tensor::Device;

    #[test]
    fn the_rate_is_dropped_and_the_mean_stays() {
        let mut generator = stream(0, "test", 0);
        let ones = Tensor::<2>::ones([100, 200], &Device::flex().autodiff());
        let dropped = Dropout::new(0.25, &mut generator).apply(ones.clone());
        let values: Vec<f32> = dropped.into_data().iter::<f32>().collect();
        let zeros = values.iter().filter(|&&value| value == 0.0).count() as f64 / 20_000.0;
        assert!((zeros - 0.25).abs() < 0.02, "{zeros}");
        assert!(
            values
                .iter()
                .all(|&value| value == 0.0 || (value - 4.0 / 3.0).abs() < 1e-6)
        );
        let mut twice = Dropout::new(0.25, &mut generator);
        assert_ne!(
            twice.apply(ones.clone()).into_data(),
            twice.apply(ones.clone()).into_data()
        );
        assert!(Dropout::new(0.0, &mut generator).is_off());
        assert_eq!(
            Dropout::Off.apply(ones.clone()).into_data(),
            ones.into_data()
        );
    }
}

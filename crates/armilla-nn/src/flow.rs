//! Flow matching: a velocity field that carries noise to data.
//!
//! The convention is LeRobot's and openpi's, whose time runs opposite to the paper (<https://arxiv.org/abs/2210.02747>): noise
//! stands at `t = 1`, data at `t = 0`, and sampling goes down in equal Euler steps.

use burn::tensor::Tensor;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Times of training lie in `[0.001, 1]`, more of them near the noise.
const TIME_OFFSET: f32 = 0.001;
const TIME_SCALE: f32 = 0.999;

/// The point between data and noise at each sample's time: `t * noise + (1 - t) * data`.
///
/// # Shapes
///
/// - data, noise and output: `[batch, ...]`
/// - time: `[batch]`
#[must_use]
pub fn interpolate<const D: usize>(
    data: Tensor<D>,
    noise: Tensor<D>,
    time: Tensor<1>,
) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = time.dims()[0];
    let time = time.reshape(shape);
    data.clone() + (noise - data) * time
}

/// The velocity to learn: `noise - data`.
///
/// # Shapes
///
/// - data, noise and output: any, all equal
#[must_use]
pub fn velocity_target<const D: usize>(data: Tensor<D>, noise: Tensor<D>) -> Tensor<D> {
    noise - data
}

/// A time of training, `Beta(1.5, 1) * 0.999 + 0.001`.
#[must_use]
pub fn sample_time(generator: &mut ChaCha8Rng) -> f32 {
    // Beta(a, 1) has the distribution function x^a, so its inverse turns uniform values into it.
    generator.random::<f32>().powf(1.0 / 1.5) * TIME_SCALE + TIME_OFFSET
}

/// Carries noise to data in `steps` equal Euler steps from `t = 1` to `t = 0`.
///
/// `velocity` gets the current point and its time.
///
/// # Shapes
///
/// - noise and output: `[batch, ...]`
/// - velocity: `([batch, ...], t) -> [batch, ...]`
#[must_use]
pub fn integrate<const D: usize>(
    noise: Tensor<D>,
    steps: usize,
    mut velocity: impl FnMut(Tensor<D>, f64) -> Tensor<D>,
) -> Tensor<D> {
    let mut point = noise;
    for step in 0..steps {
        let time = 1.0 - step as f64 / steps as f64;
        point = point.clone() - velocity(point, time) / steps as f64;
    }
    point
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;
    use burn::tensor::Tolerance;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn noise_stands_at_one_and_data_at_zero() {
        let device = Device::flex();
        let data = Tensor::<2>::from_floats([[1.0], [1.0], [1.0]], &device);
        let noise = Tensor::<2>::from_floats([[5.0], [5.0], [5.0]], &device);
        let time = Tensor::<1>::from_floats([0.0, 0.25, 1.0], &device);
        let point = interpolate(data.clone(), noise.clone(), time);
        point
            .into_data()
            .assert_eq(&TensorData::from([[1.0f32], [2.0], [5.0]]), true);
        let target = velocity_target(data, noise);
        target
            .into_data()
            .assert_eq(&TensorData::from([[4.0f32], [4.0], [4.0]]), true);
    }

    #[test]
    fn euler_steps_solve_known_equations() {
        let noise = Tensor::<2>::from_floats([[2.0], [-1.0]], &Device::flex());
        let close = |found: Tensor<2>, values: [[f32; 1]; 2]| {
            found
                .into_data()
                .assert_approx_eq::<f32>(&TensorData::from(values), Tolerance::absolute(1e-5));
        };
        // A constant velocity is solved exactly in any number of steps.
        close(
            integrate(noise.clone(), 3, |_, _| noise.clone() - 0.5),
            [[0.5], [0.5]],
        );
        // dx/dt = x over ten steps of -0.1: (1 - 0.1)^10.
        let shrunk = 0.9f32.powi(10);
        close(
            integrate(noise.clone(), 10, |x, _| x),
            [[2.0 * shrunk], [-shrunk]],
        );
        // dx/dt = t: minus the left sums 1, 0.75, 0.5, 0.25, a quarter each.
        let times = |point: Tensor<2>, time: f64| point.zeros_like() + time;
        close(integrate(noise, 4, times), [[2.0 - 0.625], [-1.0 - 0.625]]);
    }

    #[test]
    fn times_follow_the_distribution() {
        let mut generator = stream(0, "time", 0);
        let times: Vec<f32> = (0..20_000).map(|_| sample_time(&mut generator)).collect();
        assert!(times.iter().all(|time| (0.001..=1.0).contains(time)));
        // Beta(1.5, 1) has the mean 0.6, and half its mass below 0.5^(1 / 1.5) = 0.63.
        let mean = times.iter().sum::<f32>() / 20_000.0;
        assert!((mean - (0.6 * 0.999 + 0.001)).abs() < 0.01, "{mean}");
        let below = times.iter().filter(|time| **time < 0.63).count();
        assert!((9_700..10_300).contains(&below), "{below}");
    }
}

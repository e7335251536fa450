//! Sine positions of tokens, of grids and of times.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

/// The shortest period of [`time_embedding`], as in LeRobot and openpi.
const MIN_PERIOD: f64 = 4e-3;
/// The longest period of [`time_embedding`].
const MAX_PERIOD: f64 = 4.0;

/// Sine positions of a sequence: sines in the first half of the features, cosines in the second.
///
/// # Shapes
///
/// - output: `[tokens, dim]`, dim even
#[must_use]
pub fn sine_1d(tokens: usize, dim: usize, device: &Device) -> Tensor<2> {
    let positions: Vec<f64> = (0..tokens).map(|token| token as f64).collect();
    embed(&positions, &angular_frequencies(dim), device)
}

/// Sine positions of a grid in row-major order: the row in the first half of the features, the column in the second.
///
/// # Shapes
///
/// - output: `[height * width, dim]`, dim divisible by four
#[must_use]
pub fn sine_2d(height: usize, width: usize, dim: usize, device: &Device) -> Tensor<2> {
    assert!(
        dim.is_multiple_of(4),
        "positions on a grid need features divisible by 4, found {dim}"
    );
    let frequencies = angular_frequencies(dim / 2);
    let coordinate = |of: fn(usize, usize) -> usize| -> Vec<f64> {
        (0..height * width)
            .map(|index| of(index, width) as f64)
            .collect()
    };
    let rows = embed(
        &coordinate(|index, width| index / width),
        &frequencies,
        device,
    );
    let columns = embed(
        &coordinate(|index, width| index % width),
        &frequencies,
        device,
    );
    Tensor::cat(vec![rows, columns], 1)
}

/// Sine positions of a sequence as "Attention is all you need" orders them: sine and cosine of each frequency side by side.
///
/// # Shapes
///
/// - output: `[tokens, dim]`, dim even
#[must_use]
pub fn interleaved_1d(tokens: usize, dim: usize, device: &Device) -> Tensor<2> {
    let positions: Vec<f64> = (0..tokens).map(|token| token as f64).collect();
    interleaved(&positions, dim, device)
}

/// DETR's sine positions of a grid in row-major order: rows and columns count from 1 and are scaled to end at 2 pi; the row lies in the
/// first half of the features, the column in the second, and sine and cosine of each frequency side by side.
///
/// # Shapes
///
/// - output: `[height * width, dim]`, dim divisible by four
#[must_use]
pub fn interleaved_2d([height, width]: [usize; 2], dim: usize, device: &Device) -> Tensor<2> {
    /// Upstream's guard against a division by zero.
    const SMALL: f64 = 1e-6;
    let scaled = |place: usize, count: usize| (place + 1) as f64 / (count as f64 + SMALL) * TAU;
    let places = 0..height * width;
    let rows: Vec<f64> = places
        .clone()
        .map(|place| scaled(place / width, height))
        .collect();
    let columns: Vec<f64> = places.map(|place| scaled(place % width, width)).collect();
    let halves = [rows, columns].map(|values| interleaved(&values, dim / 2, device));
    Tensor::cat(halves.to_vec(), 1)
}

/// Sine, then cosine, of every value at each angular frequency.
fn interleaved(values: &[f64], dim: usize, device: &Device) -> Tensor<2> {
    let frequencies = angular_frequencies(dim);
    let features: Vec<f32> = values
        .iter()
        .flat_map(|value| {
            let angles = frequencies.iter().map(move |frequency| value * frequency);
            angles.flat_map(|angle| [angle.sin() as f32, angle.cos() as f32])
        })
        .collect();
    Tensor::from_data(TensorData::new(features, [values.len(), dim]), device)
}

/// The embedding of flow matching's time, with periods from 4e-3 to 4 on a geometric scale.
///
/// Angles are computed in double precision, as LeRobot does: near the shortest period single precision would be off by 1e-4.
/// No gradient flows to `time`.
///
/// # Shapes
///
/// - time: `[batch]`, in `[0, 1]`
/// - output: `[batch, dim]`, dim even
#[must_use]
pub fn time_embedding(time: Tensor<1>, dim: usize) -> Tensor<2> {
    let device = time.device();
    let half = half(dim);
    let frequencies: Vec<f64> = (0..half)
        .map(|index| {
            let fraction = index as f64 / (half.max(2) - 1) as f64;
            TAU / (MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD).powf(fraction))
        })
        .collect();
    let times: Vec<f64> = time.into_data().iter::<f64>().collect();
    embed(&times, &frequencies, &device)
}

/// The embedding of a diffusion's step, with angular frequencies from 1 to 1e-4 on a geometric scale, both ends included: sines in the
/// first half of the features, cosines in the second.
///
/// # Shapes
///
/// - steps: `[batch]`
/// - output: `[batch, dim]`, dim even and at least 4
#[must_use]
pub fn step_embedding(steps: &[usize], dim: usize, device: &Device) -> Tensor<2> {
    assert!(
        dim >= 4,
        "both ends of a scale need 4 features, found {dim}"
    );
    let last = half(dim) - 1;
    let frequency = |index: usize| 10_000f64.powf(-(index as f64) / last as f64);
    let frequencies: Vec<f64> = (0..=last).map(frequency).collect();
    let steps: Vec<f64> = steps.iter().map(|&step| step as f64).collect();
    embed(&steps, &frequencies, device)
}

/// Sines, then cosines, of every value at every angular frequency.
fn embed(values: &[f64], frequencies: &[f64], device: &Device) -> Tensor<2> {
    let features: Vec<f32> = values
        .iter()
        .flat_map(|value| {
            let sines = frequencies
                .iter()
                .map(move |frequency| (value * frequency).sin() as f32);
            let cosines = frequencies
                .iter()
                .map(move |frequency| (value * frequency).cos() as f32);
            sines.chain(cosines)
        })
        .collect();
    Tensor::from_data(
        TensorData::new(features, [values.len(), 2 * frequencies.len()]),
        device,
    )
}

/// `10000^(-i / half)`, as in "Attention is all you need".
fn angular_frequencies(dim: usize) -> Vec<f64> {
    let half = half(dim);
    (0..half)
        .map(|index| 10_000f64.powf(-(index as f64) / half as f64))
        .collect()
}

fn half(dim: usize) -> usize {
    assert!(
        dim >= 2 && dim.is_multiple_of(2),
        "sine positions need an even number of features, found {dim}"
    );
    dim / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn positions_by_hand() {
        let device = Device::flex();
        let (sine, cosine) = (1f32.sin(), 1f32.cos());
        let (slow_sine, slow_cosine) = (0.01f32.sin(), 0.01f32.cos());
        let expected =
            TensorData::from([[0.0, 0.0, 1.0, 1.0], [sine, slow_sine, cosine, slow_cosine]]);
        let tolerance = Tolerance::absolute(1e-6);
        let found = sine_1d(2, 4, &device).into_data();
        found.assert_approx_eq::<f32>(&expected, tolerance);
        let expected = TensorData::from([
            [0.0, 1.0, 0.0, 1.0],
            [0.0, 1.0, sine, cosine],
            [sine, cosine, 0.0, 1.0],
            [sine, cosine, sine, cosine],
        ]);
        let found = sine_2d(2, 2, 4, &device).into_data();
        found.assert_approx_eq::<f32>(&expected, tolerance);
    }

    #[test]
    fn interleaved_positions_by_hand() {
        let device = Device::flex();
        let (sine, cosine) = (1f32.sin(), 1f32.cos());
        let (slow_sine, slow_cosine) = (0.01f32.sin(), 0.01f32.cos());
        let expected =
            TensorData::from([[0.0, 1.0, 0.0, 1.0], [sine, cosine, slow_sine, slow_cosine]]);
        let found = interleaved_1d(2, 4, &device).into_data();
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
        // Of one row and two columns: 2 pi; pi and 2 pi.
        let expected = TensorData::from([[0.0f32, 1.0, 0.0, -1.0], [0.0, 1.0, 0.0, 1.0]]);
        let found = interleaved_2d([1, 2], 4, &device).into_data();
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn times_by_hand() {
        // Periods 4e-3 and 4: a quarter of the short one, and of the long one.
        let times = Tensor::<1>::from_floats([0.001, 1.0], &Device::flex());
        let slow = (TAU / 4.0 * 0.001) as f32;
        let expected = TensorData::from([[1.0, slow.sin(), 0.0, slow.cos()], [0.0, 1.0, 1.0, 0.0]]);
        let found = time_embedding(times, 4).into_data();
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }

    #[test]
    fn steps_by_hand() {
        let (sine, cosine) = (1f32.sin(), 1f32.cos());
        let expected = TensorData::from([[0.0, 0.0, 1.0, 1.0], [sine, 1e-4f32.sin(), cosine, 1.0]]);
        let found = step_embedding(&[0, 1], 4, &Device::flex()).into_data();
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }
}

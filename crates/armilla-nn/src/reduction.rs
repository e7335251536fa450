//! Means whose sums do not depend on the number of threads.

use burn::tensor::Tensor;

/// The mean of all values, summed axis by axis from the last: the CPU backend sums a large tensor in a parallel order that may
/// vary from run to run, and a single axis in a fixed one.
///
/// # Shapes
///
/// - input: any
/// - output: `[1]`
#[must_use]
pub fn mean<const D: usize>(input: Tensor<D>) -> Tensor<1> {
    let mut reduced = input;
    for axis in (0..D).rev() {
        reduced = reduced.mean_dim(axis);
    }
    reduced.reshape([1])
}

/// The mean of the squared differences.
///
/// # Shapes
///
/// - prediction, target: any, both equal
/// - output: `[1]`
#[must_use]
pub fn mean_squared_error<const D: usize>(prediction: Tensor<D>, target: Tensor<D>) -> Tensor<1> {
    let difference = prediction - target;
    mean(difference.clone() * difference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn values_by_hand() {
        let device = Device::flex();
        let input = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]], &device);
        assert_eq!(mean(input.clone()).into_scalar::<f32>(), 4.0);
        let target = Tensor::<2>::from_floats([[1.0, 2.0, 0.0], [4.0, 5.0, 6.0]], &device);
        assert_eq!(mean_squared_error(input, target).into_scalar::<f32>(), 3.0);
    }
}

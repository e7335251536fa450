//! Numbers that tests give to layers here and to PyTorch's alike.

use burn::tensor::{Device, Tensor, TensorData, Tolerance};

/// `((by * place) % 11 - 5) / scale` at each place.
pub(super) fn pattern<const D: usize>(
    shape: [usize; D],
    (by, scale): (usize, f32),
    device: &Device,
) -> Tensor<D> {
    let count = shape.iter().product();
    let value = |place: usize| ((by * place % 11) as f32 - 5.0) / scale;
    let values: Vec<f32> = (0..count).map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Compares with what PyTorch computed.
#[track_caller]
pub(super) fn expect<const D: usize>(found: Tensor<D>, expected: &[f32]) {
    let expected = TensorData::new(expected.to_vec(), found.dims());
    let found = found.into_data();
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-4));
}

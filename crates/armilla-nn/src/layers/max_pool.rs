//! Max pooling of channels-last pictures.

use armilla_kernels::Patch;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Tensor, module};

/// The largest value of each square of `side` pixels, `stride` apart, in pictures padded by `padding` pixels that count as nothing.
///
/// # Shapes
///
/// - input: `[batch, height, width, channel]`
/// - output: `[batch, rows, columns, channel]`, with `(height + 2 * padding - side) / stride + 1` rows
#[must_use]
pub fn max_pool(input: Tensor<4>, [side, stride, padding]: [usize; 3]) -> Tensor<4> {
    if crate::fused::runs_on(&input.device()) {
        let patch = Patch {
            side,
            stride,
            padding,
        };
        return armilla_kernels::max_pool(input, patch);
    }
    by_operations(input, [side, stride, padding])
}

/// The same by burn's operations.
fn by_operations(input: Tensor<4>, [side, stride, padding]: [usize; 3]) -> Tensor<4> {
    let pictures = input.permute([0, 3, 1, 2]);
    let options = MaxPoolOptions {
        kernel_size: [side; 2],
        stride: [stride; 2],
        padding: [(padding, padding); 2],
        dilation: [1; 2],
        ceil_mode: false,
    };
    module::max_pool2d(pictures, options).permute([0, 2, 3, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normal;
    use armilla_core::random::stream;
    use burn::tensor::Device;

    #[test]
    fn both_ways_agree() {
        let device = Device::flex();
        let input = normal(&mut stream(0, "input", 0), [2, 9, 12, 3], &device);
        for shape in [[3, 2, 1], [2, 2, 0]] {
            let expected = by_operations(input.clone(), shape).into_data();
            max_pool(input.clone(), shape)
                .into_data()
                .assert_eq(&expected, true);
        }
    }
}

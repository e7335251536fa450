//! Products and sums whose parameters meet many rows, by burn's operations.
//!
//! The gradient of a parameter is a sum over all rows, and there may be a hundred thousand of them for a weight of a few hundred columns. On a GPU
//! without autotune burn 0.22 adds them one after another, in a thread for each column (`reduce_dim`, `UnitStrategy`) or a block for each tile of the
//! weight. Here the rows lie in groups: each group has its sum, all at once, and then the groups are added. What it gains is in `docs/performance.md`.

use burn::tensor::Tensor;

/// Fewer rows than this are one group.
const FEW_ROWS: usize = 4096;
/// Most groups: enough for each multiprocessor of a large GPU to have one.
const MOST_GROUPS: usize = 128;

/// The largest number of groups of equal size, or one where rows are few.
fn groups(rows: usize) -> usize {
    if rows < FEW_ROWS {
        return 1;
    }
    let largest = (1..=MOST_GROUPS).rev();
    let mut divisors = largest.filter(|&count| rows.is_multiple_of(count));
    divisors.next().unwrap_or(1)
}

/// Rows times a weight.
///
/// # Shapes
///
/// - rows: `[rows, input]`
/// - weight: `[input, output]`
/// - output: `[rows, output]`
pub(super) fn product(rows: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let ([count, inputs], [_, outputs]) = (rows.dims(), weight.dims());
    match groups(count) {
        1 => rows.matmul(weight),
        groups => rows
            .reshape([groups, count / groups, inputs])
            .matmul(weight.unsqueeze::<3>())
            .reshape([count, outputs]),
    }
}

/// Adds the same values to each row.
///
/// # Shapes
///
/// - rows: `[..., width]`, and the same out
/// - values: `[width]`
pub(super) fn shift<const D: usize>(rows: Tensor<D>, values: Tensor<1>) -> Tensor<D> {
    by_group(rows, values, |rows, values| rows + values)
}

/// Multiplies each row by the same values; shapes as of [`shift`].
pub(super) fn scale<const D: usize>(rows: Tensor<D>, values: Tensor<1>) -> Tensor<D> {
    by_group(rows, values, |rows, values| rows * values)
}

/// The mean of each column.
///
/// # Shapes
///
/// - rows: `[rows, width]`
/// - output: `[width]`
pub(super) fn mean(rows: Tensor<2>) -> Tensor<1> {
    let [count, width] = rows.dims();
    let groups = groups(count);
    rows.reshape([groups, count / groups, width])
        .mean_dim(1)
        .mean_dim(0)
        .reshape([width])
}

fn by_group<const D: usize>(
    rows: Tensor<D>,
    values: Tensor<1>,
    apply: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>,
) -> Tensor<D> {
    let shape = rows.dims();
    let width = shape[D - 1];
    let count = shape[..D - 1].iter().product();
    let groups = groups(count);
    // Expanded by an operation of its own, so that its gradient is a sum of its own.
    let values = values.reshape([1, 1, width]).expand([groups, 1, width]);
    apply(rows.reshape([groups, count / groups, width]), values).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normal;
    use armilla_core::random::stream;
    use burn::tensor::{Device, Tolerance};

    #[test]
    fn groups_divide_the_rows_and_few_rows_are_one() {
        let found = [4095, 4096, 512 * 257, 4099, 6 * 1009].map(groups);
        assert_eq!(found, [1, 128, 128, 1, 6]);
    }

    /// Values and gradients of a product, a shift and a scale of `[2, rows / 2, 3]`.
    fn run(rows: usize, grouped: bool) -> Vec<burn::tensor::TensorData> {
        let device = Device::flex().autodiff();
        let draw = |name, width: usize| normal::<1>(&mut stream(0, name, 0), [width], &device);
        let input = normal::<3>(&mut stream(0, "input", 0), [2, rows / 2, 3], &device);
        let weight = draw("weight", 12).reshape([3, 4]).require_grad();
        let [shifts, scales] = ["shift", "scale"].map(|name| draw(name, 4).require_grad());
        let input = input.require_grad();
        let flat = input.clone().reshape([rows, 3]);
        let output = if grouped {
            let rows = product(flat, weight.clone()).reshape([2, rows / 2, 4]);
            scale(shift(rows, shifts.clone()), scales.clone())
        } else {
            let rows = flat.matmul(weight.clone()).reshape([2, rows / 2, 4]);
            (rows + shifts.clone().unsqueeze()) * scales.clone().unsqueeze()
        };
        let gradients = output.clone().square().mean().backward();
        let of_values = [shifts, scales].map(|values| values.grad(&gradients).unwrap());
        let mut found = vec![output.into_data()];
        found.push(input.grad(&gradients).unwrap().into_data());
        found.push(weight.grad(&gradients).unwrap().into_data());
        found.extend(of_values.map(Tensor::into_data));
        found
    }

    #[test]
    fn groups_change_neither_values_nor_gradients() {
        for rows in [10, 4608] {
            for (found, expected) in run(rows, true).iter().zip(run(rows, false)) {
                found.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-4, 1e-5));
            }
        }
    }
}

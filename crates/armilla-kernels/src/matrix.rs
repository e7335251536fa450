//! Products of matrices that lie in slices.
#![allow(
    unsafe_code,
    reason = "the matrix kernel takes pointers; every matrix is checked against its slice when it is made"
)]

use std::mem::MaybeUninit;

use crate::fresh::Blank;

/// A matrix in a slice, by the steps from a row and from a column to the next.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    shape: [usize; 2],
    steps: [usize; 2],
}

/// A matrix to be written.
pub(crate) struct MatrixMut<'a> {
    /// Written, unless the product keeps nothing of them.
    values: &'a mut [MaybeUninit<f32>],
    shape: [usize; 2],
    steps: [usize; 2],
}

/// Who computes a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread.
    One,
    /// All, where the product is large.
    All,
}

/// Multiplications from which on all threads take part.
const SHARED: usize = 192 * 192 * 192;

fn check(values: usize, [rows, columns]: [usize; 2], [row, column]: [usize; 2]) {
    assert!(
        rows == 0 || columns == 0 || (rows - 1) * row + (columns - 1) * column < values,
        "a matrix of {rows} x {columns} in steps of {row} and {column} does not fit {values} values"
    );
}

impl<'a> Matrix<'a> {
    /// Rows one after the other.
    pub(crate) fn new(values: &'a [f32], columns: usize) -> Self {
        Self::strided(values, [values.len() / columns, columns], columns)
    }

    /// Rows whose first values are `step` apart.
    pub(crate) fn strided(values: &'a [f32], shape: [usize; 2], step: usize) -> Self {
        let steps = [step, 1];
        check(values.len(), shape, steps);
        Self {
            values,
            shape,
            steps,
        }
    }

    /// Rows for columns.
    pub(crate) fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.shape, self.steps);
        Self {
            values: self.values,
            shape: [columns, rows],
            steps: [column, row],
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// Rows one after the other.
    pub(crate) fn new(values: &'a mut [f32], columns: usize) -> Self {
        let shape = [values.len() / columns, columns];
        Self::strided(values, shape, columns)
    }

    /// Rows whose first values are `step` apart.
    pub(crate) fn strided(values: &'a mut [f32], shape: [usize; 2], step: usize) -> Self {
        let steps = [step, 1];
        check(values.len(), shape, steps);
        // SAFETY: nobody but `multiply` sees these values, and it puts none there that is not written.
        let values = unsafe { &mut *(std::ptr::from_mut(values) as *mut [MaybeUninit<f32>]) };
        Self {
            values,
            shape,
            steps,
        }
    }
}

/// `left * right` in a chunk that nobody has written to before.
pub(crate) fn product<'a>(
    chunk: Blank<'a>,
    pair: [Matrix<'_>; 2],
    threads: Threads,
) -> &'a mut [f32] {
    let [inner, columns] = pair[1].shape;
    if inner == 0 {
        return chunk.cleared();
    }
    let values = chunk.into_inner();
    let rows = pair[0].shape[0];
    assert_eq!(rows * columns, values.len(), "a chunk of whole rows");
    let output = MatrixMut {
        values: &mut *values,
        shape: [rows, columns],
        steps: [columns, 1],
    };
    multiply(output, 0.0, pair, 1.0, threads);
    // SAFETY: the product has written each of its values, and they are all there are.
    unsafe { values.assume_init_mut() }
}

/// `output = kept * output + factor * left * right`, where `kept` is 0 or 1.
///
/// Sums run over the inner side in an order that depends on the shapes alone, not on what runs when.
pub(crate) fn multiply(
    output: MatrixMut<'_>,
    kept: f32,
    [left, right]: [Matrix<'_>; 2],
    factor: f32,
    threads: Threads,
) {
    let ([rows, inner], [right_inner, columns]) = (left.shape, right.shape);
    assert!(
        inner == right_inner && output.shape == [rows, columns],
        "{:?} times {:?} is not {:?}",
        left.shape,
        right.shape,
        output.shape
    );
    let parallelism = match threads {
        Threads::All if rows * columns * inner >= SHARED => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    let step = |step: usize| step as isize;
    // SAFETY: the three matrices lie in their slices, which do not overlap since one is borrowed mutably.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            output.values.as_mut_ptr().cast(),
            step(output.steps[1]),
            step(output.steps[0]),
            kept != 0.0,
            left.values.as_ptr(),
            step(left.steps[1]),
            step(left.steps[0]),
            right.values.as_ptr(),
            step(right.steps[1]),
            step(right.steps[0]),
            kept,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_hand() {
        let (left, right) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let (a, b) = (Matrix::new(&left, 2), Matrix::new(&right, 2));
        let mut output = [1.0; 4];
        let mut product = |kept, pair, factor| {
            let into = MatrixMut::new(&mut output, 2);
            multiply(into, kept, pair, factor, Threads::One);
            output
        };
        assert_eq!(product(0.0, [a, b], 1.0), [19.0, 22.0, 43.0, 50.0]);
        assert_eq!(product(1.0, [a, b], 1.0), [38.0, 44.0, 86.0, 100.0]);
        assert_eq!(
            product(0.0, [a.transposed(), b], 2.0),
            [52.0, 60.0, 76.0, 88.0]
        );
        let second_column = Matrix::strided(&right[1..], [2, 1], 2);
        let mut column = [0.0; 3];
        multiply(
            MatrixMut::strided(&mut column, [2, 1], 2),
            0.0,
            [a, second_column],
            1.0,
            Threads::One,
        );
        assert_eq!(column, [22.0, 0.0, 50.0]);
    }

    #[test]
    #[should_panic(expected = "does not fit 3 values")]
    fn a_matrix_must_lie_in_its_slice() {
        let _ = Matrix::strided(&[0.0; 3], [2, 2], 2);
    }
}

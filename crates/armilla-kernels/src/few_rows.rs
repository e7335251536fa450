//! Products of few rows with a matrix that no cache holds.
//!
//! Such a product takes as long as its matrix takes to arrive. The general kernel goes down columns, another page at each step, where
//! the processor foresees nothing; here each block of the matrix is asked for while the one before is used.

#![allow(
    unsafe_code,
    reason = "asking for memory ahead takes a pointer, which nobody follows"
)]

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Rows at most: with more, computing takes as long as waiting.
const ROWS: usize = 16;
/// Values of the matrix at least: fewer may stay in a cache.
const VALUES: usize = 1 << 19;
/// Rows of the matrix that are gone through at a time; what is asked for ahead lies one block on.
const BLOCK: usize = 32;
/// Columns that are computed side by side: four of the longest registers. The matrix has a multiple of them.
const STRIP: usize = 64;

/// Whether [`add_product`] is for `[rows, inner]` times `[inner, columns]`.
pub(crate) fn are_few(rows: usize, [inner, columns]: [usize; 2]) -> bool {
    (1..=ROWS).contains(&rows) && inner * columns >= VALUES && columns.is_multiple_of(STRIP)
}

/// Adds `left * right` to the output; `right` has rows of so many columns.
///
/// Every sum runs over the inner side in order.
pub(crate) fn add_product(output: &mut [f32], [left, right]: [&[f32]; 2], columns: usize) {
    let inner = right.len() / columns;
    let share = columns
        .div_ceil(rayon::current_num_threads())
        .next_multiple_of(STRIP);
    let mut tasks: Vec<_> = (0..columns)
        .step_by(share)
        .map(|first| (first, Vec::new()))
        .collect();
    for row in output.chunks_exact_mut(columns) {
        for ((_, rows), part) in tasks.iter_mut().zip(row.chunks_mut(share)) {
            rows.push(part);
        }
    }
    tasks.into_par_iter().for_each(|(first, output)| {
        pulp::Arch::new().dispatch(Share {
            output,
            left,
            right: &right[first..],
            inner,
            columns,
        });
    });
}

/// Some columns of a product.
struct Share<'a> {
    /// Its part of each row.
    output: Vec<&'a mut [f32]>,
    left: &'a [f32],
    /// From the first of these columns on.
    right: &'a [f32],
    inner: usize,
    columns: usize,
}

impl WithSimd for Share<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for first in (0..self.inner).step_by(BLOCK) {
            let mut row = 0;
            while row < self.output.len() {
                row += match self.output.len() - row {
                    8.. => self.rows::<S, 8, 2>(simd, first, row),
                    4.. => self.rows::<S, 4, 4>(simd, first, row),
                    2.. => self.rows::<S, 2, 4>(simd, first, row),
                    _ => self.rows::<S, 1, 4>(simd, first, row),
                };
            }
        }
    }
}

impl Share<'_> {
    /// Adds a block's part to `R` rows, `V` registers side by side, and returns `R`.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const V: usize>(
        &mut self,
        simd: S,
        first: usize,
        row: usize,
    ) -> usize {
        let depth = BLOCK.min(self.inner - first);
        let mut left = [[0.0; R]; BLOCK];
        for r in 0..R {
            let values = &self.left[(row + r) * self.inner + first..][..depth];
            for (to, value) in left.iter_mut().zip(values) {
                to[r] = *value;
            }
        }
        let width = V * S::F32_LANES;
        let ahead = if row == 0 { BLOCK * self.columns } else { 0 };
        for column in (0..self.output[0].len()).step_by(width) {
            let mut sums = [[simd.splat_f32s(0.0); V]; R];
            for r in 0..R {
                let (values, _) = S::as_simd_f32s(&self.output[row + r][column..][..width]);
                sums[r].copy_from_slice(values);
            }
            for (k, left) in left[..depth].iter().enumerate() {
                let start = (first + k) * self.columns + column;
                let values = &self.right[start..][..width];
                if ahead > 0 {
                    prefetch(values, ahead);
                }
                let (values, _) = S::as_simd_f32s(values);
                add_row(simd, &mut sums, left, values);
            }
            for r in 0..R {
                let (values, _) = S::as_mut_simd_f32s(&mut self.output[row + r][column..][..width]);
                values.copy_from_slice(&sums[r]);
            }
        }
        R
    }
}

/// Adds a row of the matrix to all sums, each by its factor.
#[inline(always)]
fn add_row<S: Simd, const R: usize, const V: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; R],
    factors: &[f32; R],
    values: &[S::f32s],
) {
    for r in 0..R {
        let factor = simd.splat_f32s(factors[r]);
        for v in 0..V {
            sums[r][v] = simd.mul_add_f32s(factor, values[v], sums[r][v]);
        }
    }
}

/// Asks for what lies so many values after these to be brought nearer.
#[inline(always)]
fn prefetch(values: &[f32], ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: nothing is read; an address that does not exist is left alone.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().wrapping_add(ahead).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, ahead);
}

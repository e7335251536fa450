//! Scaled dot-product attention of many heads over tokens as they come from linear layers: `[batch, token, head * feature]`.
//!
//! Scores are never there all at once: a task computes those of one head and some queries, and the backward pass computes
//! them anew.

use crate::fresh::{Size, filled, fresh};
use crate::math::exp;
use crate::matrix::{Matrix, MatrixMut, Threads, multiply};
use crate::vector::{larger, largest_lane, sum_of_lanes, vectorized};

/// Queries a task takes.
const QUERIES: usize = 64;
/// Scores taken side by side: a vector register.
const LANES: usize = 16;

/// An attention's inputs and sizes.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// `[batch, queries, width]`.
    pub(crate) query: &'a [f32],
    /// `[batch, context, width]`.
    pub(crate) key: &'a [f32],
    /// `[batch, context, width]`.
    pub(crate) value: &'a [f32],
    /// What is added to the scores: nothing, the same for every row of the batch, or each row's own; `[rows, queries, context]`.
    pub(crate) mask: Option<&'a [f32]>,
    /// Rows of the batch.
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    /// Query tokens.
    pub(crate) queries: usize,
    /// Tokens looked at.
    pub(crate) context: usize,
    /// Features of all heads.
    pub(crate) width: usize,
}

impl Attention<'_> {
    fn features(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.features() as f32).sqrt()
    }

    /// One head of the keys or values of a row of the batch.
    fn head<'a>(&self, tokens: &'a [f32], row: usize, head: usize) -> Matrix<'a> {
        let start = row * self.context * self.width + head * self.features();
        let shape = [self.context, self.features()];
        Matrix::strided(&tokens[start..], shape, self.width)
    }

    /// The attended values.
    pub(crate) fn forward(&self) -> Vec<f32> {
        // A task has a row of the batch, or a part of the only one.
        let block = if self.batch == 1 {
            self.queries.min(QUERIES)
        } else {
            self.queries
        };
        let length = self.batch * self.queries * self.width;
        filled(length, block * self.width, |task, output| {
            let (row, start) = match self.batch {
                1 => (0, task * block),
                _ => (task, 0),
            };
            let parts = output.chunks_mut(QUERIES * self.width);
            for (part, output) in parts.enumerate() {
                let first = start + part * QUERIES;
                self.forward_block(row, first, output);
            }
        })
    }

    /// The queries from `first` on of a row of the batch, as many as there is output.
    fn forward_block(&self, row: usize, first: usize, output: &mut [f32]) {
        let count = output.len() / self.width;
        let features = self.features();
        let mut weights = vec![0.0; count * self.context];
        let start = (row * self.queries + first) * self.width;
        for head in 0..self.heads {
            let query = &self.query[start + head * features..];
            let query = Matrix::strided(query, [count, features], self.width);
            self.weights(&mut weights, query, [row, first, head]);
            let value = self.head(self.value, row, head);
            let into = &mut output[head * features..];
            multiply(
                MatrixMut::strided(into, [count, features], self.width),
                0.0,
                [Matrix::new(&weights, self.context), value],
                1.0,
                Threads::One,
            );
        }
    }

    /// The attention of some queries to all tokens, a row for each query.
    fn weights(&self, weights: &mut [f32], query: Matrix<'_>, [row, first, head]: [usize; 3]) {
        let key = self.head(self.key, row, head).transposed();
        let into = MatrixMut::new(weights, self.context);
        multiply(into, 0.0, [query, key], self.scale(), Threads::One);
        let mask = self.mask.map(|mask| {
            let rows = mask.len() / (self.queries * self.context);
            let start = (row % rows * self.queries + first) * self.context;
            &mask[start..][..weights.len()]
        });
        vectorized!({
            if let Some(mask) = mask {
                for (score, mask) in weights.iter_mut().zip(mask) {
                    *score += mask;
                }
            }
            for row in weights.chunks_exact_mut(self.context) {
                softmax(row);
            }
        });
    }

    /// The gradients of query, key and value.
    pub(crate) fn backward(&self, gradient: &[f32]) -> [Vec<f32>; 3] {
        let size = |tokens: usize| Size {
            length: self.batch * tokens * self.width,
            chunk: tokens * self.width,
        };
        let sizes = [size(self.queries), size(self.context), size(self.context)];
        let (found, _) = fresh(sizes, |row, found| {
            self.backward_row(row, gradient, found);
        });
        found
    }

    fn backward_row(
        &self,
        row: usize,
        gradient: &[f32],
        [query_gradient, key_gradient, value_gradient]: [&mut [f32]; 3],
    ) {
        let features = self.features();
        let block = self.queries.min(QUERIES);
        let mut weights = vec![0.0; block * self.context];
        let mut slopes = vec![0.0; block * self.context];
        for head in 0..self.heads {
            let (key_head, value_head) = (
                self.head(self.key, row, head),
                self.head(self.value, row, head),
            );
            for first in (0..self.queries).step_by(block) {
                let count = block.min(self.queries - first);
                let start = (row * self.queries + first) * self.width + head * features;
                let part = |tokens| Matrix::strided(tokens, [count, features], self.width);
                let (query, gradient) = (part(&self.query[start..]), part(&gradient[start..]));
                let weights = &mut weights[..count * self.context];
                let slopes = &mut slopes[..count * self.context];
                self.weights(weights, query, [row, first, head]);
                let all = [self.context, features];
                multiply(
                    MatrixMut::strided(&mut value_gradient[head * features..], all, self.width),
                    1.0,
                    [Matrix::new(weights, self.context).transposed(), gradient],
                    1.0,
                    Threads::One,
                );
                multiply(
                    MatrixMut::new(slopes, self.context),
                    0.0,
                    [gradient, value_head.transposed()],
                    1.0,
                    Threads::One,
                );
                through_softmax(slopes, weights, self.context);
                let slopes = Matrix::new(slopes, self.context);
                let into = &mut query_gradient[first * self.width + head * features..];
                multiply(
                    MatrixMut::strided(into, [count, features], self.width),
                    0.0,
                    [slopes, key_head],
                    self.scale(),
                    Threads::One,
                );
                multiply(
                    MatrixMut::strided(&mut key_gradient[head * features..], all, self.width),
                    1.0,
                    [slopes.transposed(), query],
                    self.scale(),
                    Threads::One,
                );
            }
        }
    }
}

/// Scores to shares that sum to 1.
#[inline(always)]
fn softmax(scores: &mut [f32]) {
    let (blocks, rest) = scores.as_chunks_mut::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for block in &*blocks {
        for lane in 0..LANES {
            largest[lane] = larger(largest[lane], block[lane]);
        }
    }
    let mut largest = largest_lane(largest);
    for &score in &*rest {
        largest = larger(largest, score);
    }
    let mut sums = [0.0; LANES];
    for block in &mut *blocks {
        let x = *block;
        let mut value = [0.0; LANES];
        for lane in 0..LANES {
            value[lane] = exp(x[lane] - largest);
        }
        for lane in 0..LANES {
            sums[lane] += value[lane];
        }
        *block = value;
    }
    let mut total = sum_of_lanes(sums);
    for score in rest {
        *score = exp(*score - largest);
        total += *score;
    }
    let share = 1.0 / total;
    for value in scores.iter_mut() {
        *value *= share;
    }
}

/// Turns gradients of shares into those of scores.
fn through_softmax(gradients: &mut [f32], shares: &[f32], width: usize) {
    vectorized!({
        let rows = gradients.chunks_exact_mut(width);
        for (gradients, shares) in rows.zip(shares.chunks_exact(width)) {
            let (left, left_rest) = gradients.as_chunks::<LANES>();
            let (right, right_rest) = shares.as_chunks::<LANES>();
            let mut sums = [0.0; LANES];
            for (left, right) in left.iter().zip(right) {
                for lane in 0..LANES {
                    sums[lane] += left[lane] * right[lane];
                }
            }
            let rest = left_rest.iter().zip(right_rest);
            let mean = sum_of_lanes(sums) + rest.map(|(a, b)| a * b).sum::<f32>();
            for (gradient, share) in gradients.iter_mut().zip(shares) {
                *gradient = (*gradient - mean) * share;
            }
        }
    });
}

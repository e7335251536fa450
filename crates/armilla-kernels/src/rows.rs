//! Normalisation of rows: each by its own mean and variance, or by its mean square alone.

use crate::RowSettings;
use crate::fresh::{Size, filled, fresh};
use crate::vector::{sum_of_lanes, vectorized};

/// Rows a task takes.
const ROWS: usize = 256;
/// Values of a row summed side by side: two vector registers.
const LANES: usize = 32;

/// Scale and shift of each column, and how rows are normalised.
#[derive(Clone, Copy)]
pub(crate) struct RowNorm<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
    pub(crate) settings: RowSettings,
}

/// The sum of `term` over two rows' values.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(a, b)).sum();
    sum_of_lanes(sums) + rest
}

/// What is taken from a row, and one over the standard deviation from it.
#[inline(always)]
fn moments(row: &[f32], settings: RowSettings) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = if settings.centered {
        sum(row, row, |x, _| x) / count
    } else {
        0.0
    };
    let variance = sum(row, row, |x, _| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (variance + settings.epsilon).sqrt())
}

impl RowNorm<'_> {
    pub(crate) fn forward(&self, input: &[f32]) -> Vec<f32> {
        let width = self.scale.len();
        filled(input.len(), ROWS * width, |task, output| {
            let input = &input[task * ROWS * width..][..output.len()];
            vectorized!({
                let rows = input.chunks_exact(width);
                for (output, row) in output.chunks_exact_mut(width).zip(rows) {
                    let (mean, inverse) = moments(row, self.settings);
                    for at in 0..width {
                        output[at] = (row[at] - mean) * inverse * self.scale[at] + self.shift[at];
                    }
                }
            });
        })
    }

    /// The gradients of input, scale and shift.
    pub(crate) fn backward(&self, input: &[f32], gradient: &[f32]) -> [Vec<f32>; 3] {
        let width = self.scale.len();
        let size = Size {
            length: input.len(),
            chunk: ROWS * width,
        };
        let ([output], sums) = fresh([size], |task, [output]| {
            let part = task * ROWS * width..task * ROWS * width + output.len();
            let (input, gradient) = (&input[part.clone()], &gradient[part]);
            vectorized!(self.backward_rows(input, gradient, output))
        });
        let mut total = [vec![0.0; width], vec![0.0; width]];
        for chunk in sums {
            for (total, chunk) in total.iter_mut().zip(chunk) {
                for (sum, part) in total.iter_mut().zip(chunk) {
                    *sum += part;
                }
            }
        }
        let [scale, shift] = total;
        [output, scale, shift]
    }

    #[inline(always)]
    fn backward_rows(&self, input: &[f32], gradient: &[f32], output: &mut [f32]) -> [Vec<f32>; 2] {
        let width = self.scale.len();
        let count = width as f32;
        let (mut scale, mut shift) = (vec![0.0; width], vec![0.0; width]);
        let (mut normal, mut scaled) = (vec![0.0; width], vec![0.0; width]);
        let rows = input
            .chunks_exact(width)
            .zip(gradient.chunks_exact(width))
            .zip(output.chunks_exact_mut(width));
        for ((row, gradient), output) in rows {
            let (mean, inverse) = moments(row, self.settings);
            for at in 0..width {
                normal[at] = (row[at] - mean) * inverse;
                scaled[at] = gradient[at] * self.scale[at];
                scale[at] += gradient[at] * normal[at];
                shift[at] += gradient[at];
            }
            let level = if self.settings.centered {
                sum(&scaled, &scaled, |g, _| g) / count
            } else {
                0.0
            };
            let slope = sum(&scaled, &normal, |g, x| g * x) / count;
            for at in 0..width {
                output[at] = inverse * (scaled[at] - level - normal[at] * slope);
            }
        }
        [scale, shift]
    }
}

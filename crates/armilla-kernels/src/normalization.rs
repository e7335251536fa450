//! Normalisation of columns, with the activation that follows it.
//!
//! Rows are taken in chunks of a fixed size and the chunks' sums are added in order, so that results do not depend on the
//! number of threads.

use rayon::prelude::*;

use crate::NormalizationSettings;
use crate::activation::{Curve, Function, with_curve};
use crate::fresh::{Size, filled, fresh};
use crate::vector::vectorized;

/// Rows a thread takes at a time; sums run over chunks of this size first.
const ROWS: usize = 512;
/// Columns computed at a time: what fits a vector register.
const LANES: usize = 16;

/// Mean and biased variance of each column of `[rows, channels]`, one after the other.
pub(crate) fn moments(input: &[f32], channels: usize) -> Vec<f32> {
    let rows = input.len() / channels;
    // Each chunk's own mean and squared deviation from it, then the chunks put together (Chan et al., 1979).
    let chunks: Vec<_> = input
        .par_chunks(ROWS * channels)
        .map(|chunk| vectorized!(chunk_moments(chunk, channels)))
        .collect();
    let mut mean = vec![0.0_f64; channels];
    let mut squares = vec![0.0_f64; channels];
    let mut seen = 0.0;
    for (index, chunk) in chunks.iter().enumerate() {
        let count = (rows - index * ROWS).min(ROWS) as f64;
        let total = seen + count;
        for channel in 0..channels {
            let apart = f64::from(chunk[channel]) - mean[channel];
            mean[channel] += apart * count / total;
            squares[channel] +=
                f64::from(chunk[channels + channel]) + apart * apart * seen * count / total;
        }
        seen = total;
    }
    let variance = squares.iter().map(|sum| (sum / rows as f64) as f32);
    mean.iter()
        .map(|&mean| mean as f32)
        .chain(variance)
        .collect()
}

/// Runs `$body` for every block of columns: as many of 16 as there are, then single ones.
macro_rules! by_columns {
    ($width:expr, $at:ident, $lanes:ident => $body:expr) => {{
        let whole = $width / LANES * LANES;
        for $at in (0..whole).step_by(LANES) {
            const $lanes: usize = LANES;
            $body
        }
        for $at in whole..$width {
            const $lanes: usize = 1;
            $body
        }
    }};
}

/// The values of some columns in one row.
#[inline(always)]
fn lanes<const N: usize>(row: &[f32], at: usize) -> [f32; N] {
    let mut lanes = [0.0; N];
    lanes.copy_from_slice(&row[at..at + N]);
    lanes
}

/// Mean, then sum of squared deviations from it, of each column of a chunk.
#[inline(always)]
fn chunk_moments(chunk: &[f32], width: usize) -> Vec<f32> {
    let mut moments = vec![0.0; 2 * width];
    let count = (chunk.len() / width) as f32;
    by_columns!(width, at, N => {
            let mut mean = [0.0; N];
            for row in chunk.chunks_exact(width) {
                let x = lanes::<N>(row, at);
                for lane in 0..N {
     mean[lane] += x[lane];
    }
            }
            for sum in mean.iter_mut() {
     *sum /= count;
    }
            let mut squares = [0.0; N];
            for row in chunk.chunks_exact(width) {
                let x = lanes::<N>(row, at);
                for lane in 0..N {
     squares[lane] += (x[lane] - mean[lane]) * (x[lane] - mean[lane]);
    }
            }
            moments[at..at + N].copy_from_slice(&mean);
            moments[width + at..width + at + N].copy_from_slice(&squares);
        });
    moments
}

/// What every column is multiplied by and moved by before the function.
pub(crate) struct Columns {
    mean: Vec<f32>,
    inverse_std: Vec<f32>,
    /// `scale / std`.
    factor: Vec<f32>,
    /// `shift - mean * scale / std`.
    offset: Vec<f32>,
}

impl Columns {
    pub(crate) fn new(moments: &[f32], scale: &[f32], shift: &[f32], epsilon: f32) -> Self {
        let (mean, variance) = moments.split_at(scale.len());
        let inverse_std: Vec<_> = variance
            .iter()
            .map(|variance| 1.0 / (variance + epsilon).sqrt())
            .collect();
        let factor: Vec<_> = scale.iter().zip(&inverse_std).map(|(a, b)| a * b).collect();
        let offset = shift.iter().zip(mean.iter().zip(&factor));
        Self {
            mean: mean.to_vec(),
            offset: offset
                .map(|(shift, (mean, factor))| shift - mean * factor)
                .collect(),
            inverse_std,
            factor,
        }
    }

    /// The normalised and activated values.
    pub(crate) fn forward(&self, input: &[f32], function: Function) -> Vec<f32> {
        let chunk = ROWS * self.mean.len();
        filled(input.len(), chunk, |task, output| {
            let input = &input[task * chunk..][..output.len()];
            with_curve!(function, C => vectorized!(self.forward_chunk::<C>(output, input)));
        })
    }

    #[inline(always)]
    fn forward_chunk<C: Curve>(&self, output: &mut [f32], input: &[f32]) {
        let width = self.mean.len();
        by_columns!(width, at, N => {
                    let (factor, offset) = (lanes::<N>(&self.factor, at), lanes::<N>(&self.offset, at));
                    for (output, input) in output.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                        let mut x = lanes::<N>(input, at);
                        for lane in 0..N {
         x[lane] = C::value(x[lane] * factor[lane] + offset[lane]);
        }
                        output[at..at + N].copy_from_slice(&x);
                    }
                });
    }

    /// The gradients of input, scale and shift.
    pub(crate) fn backward(
        &self,
        input: &[f32],
        gradient: &[f32],
        settings: NormalizationSettings,
    ) -> [Vec<f32>; 3] {
        let width = self.mean.len();
        let rows = (input.len() / width) as f32;
        // First the gradient before the function, and the columns' sums of it and of it times the normalised value.
        let size = Size {
            length: input.len(),
            chunk: ROWS * width,
        };
        let ([mut output], sums) = fresh([size], |task, [output]| {
            let part = task * size.chunk..task * size.chunk + output.len();
            let (input, gradient) = (&input[part.clone()], &gradient[part]);
            with_curve!(settings.function, C => vectorized!(self.before_function::<C>(output, input, gradient)))
        });
        let mut total = vec![0.0_f32; 2 * width];
        for sums in &sums {
            for (sum, part) in total.iter_mut().zip(sums) {
                *sum += part;
            }
        }
        let (shift, scale) = total.split_at(width);
        // d input = factor * (d - mean(d) - normalised * mean(d * normalised)) = factor * d + slope * input + level; of moments that
        // are not its own, factor * d.
        let mut slope = vec![0.0; width];
        let mut level = vec![0.0; width];
        let through_moments = if settings.own_moments { 0..width } else { 0..0 };
        for at in through_moments {
            slope[at] = -self.factor[at] * self.inverse_std[at] * scale[at] / rows;
            level[at] = -self.factor[at] * shift[at] / rows - slope[at] * self.mean[at];
        }
        let chunks = output.par_chunks_mut(ROWS * width);
        chunks
            .zip(input.par_chunks(ROWS * width))
            .for_each(|(output, input)| {
                vectorized!(self.to_input(output, input, [&slope, &level]));
            });
        [output, scale.to_vec(), shift.to_vec()]
    }

    /// Writes the gradient before the function; sums of it, then of it times the normalised value, of each column.
    #[inline(always)]
    fn before_function<C: Curve>(
        &self,
        output: &mut [f32],
        input: &[f32],
        gradient: &[f32],
    ) -> Vec<f32> {
        let width = self.mean.len();
        let mut sums = vec![0.0; 2 * width];
        by_columns!(width, at, N => {
                    let (mean, inverse) = (lanes::<N>(&self.mean, at), lanes::<N>(&self.inverse_std, at));
                    let (factor, offset) = (lanes::<N>(&self.factor, at), lanes::<N>(&self.offset, at));
                    let (mut first, mut second) = ([0.0; N], [0.0; N]);
                    let rows = input.chunks_exact(width).zip(gradient.chunks_exact(width));
                    for (output, (input, gradient)) in output.chunks_exact_mut(width).zip(rows) {
                        let (x, mut d) = (lanes::<N>(input, at), lanes::<N>(gradient, at));
                        for lane in 0..N {
         d[lane] *= C::slope(x[lane] * factor[lane] + offset[lane]);
        }
                        for lane in 0..N {
         first[lane] += d[lane];
        }
                        for lane in 0..N {
         second[lane] += d[lane] * ((x[lane] - mean[lane]) * inverse[lane]);
        }
                        output[at..at + N].copy_from_slice(&d);
                    }
                    sums[at..at + N].copy_from_slice(&first);
                    sums[width + at..width + at + N].copy_from_slice(&second);
                });
        sums
    }

    /// Adds what comes back through the moments to what comes back past them.
    #[inline(always)]
    fn to_input(&self, output: &mut [f32], input: &[f32], [slope, level]: [&[f32]; 2]) {
        let width = self.mean.len();
        by_columns!(width, at, N => {
            let factor = lanes::<N>(&self.factor, at);
            let (slope, level) = (lanes::<N>(slope, at), lanes::<N>(level, at));
            for (output, input) in output.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                let (x, mut d) = (lanes::<N>(input, at), lanes::<N>(output, at));
                for lane in 0..N {
                    d[lane] = d[lane] * factor[lane] + x[lane] * slope[lane] + level[lane];
                }
                output[at..at + N].copy_from_slice(&d);
            }
        });
    }
}

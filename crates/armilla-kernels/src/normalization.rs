//! Normalisation of columns, with the activation that follows it.
//!
//! Rows are taken in chunks of a fixed size and the chunks' sums are added in order, so that results do not depend on the
//! number of threads.

use rayon::prelude::*;

use crate::activation::{Function, specialized};

/// Rows a thread takes at a time; sums run over chunks of this size first.
const ROWS: usize = 512;

/// Mean and biased variance of each column of `[rows, channels]`, one after the other.
pub(crate) fn moments(input: &[f32], channels: usize) -> Vec<f32> {
    let rows = input.len() / channels;
    // Each chunk's own mean and squared deviation from it, then the chunks put together (Chan et al., 1979).
    let chunks: Vec<_> = input
        .par_chunks(ROWS * channels)
        .map(|chunk| pulp::Arch::new().dispatch(#[inline(always)] || chunk_moments(chunk, channels)))
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
    mean.iter().map(|&mean| mean as f32).chain(variance).collect()
}

/// Mean, then sum of squared deviations from it, of each column of a chunk.
#[inline(always)]
fn chunk_moments(chunk: &[f32], channels: usize) -> Vec<f32> {
    let mut moments = vec![0.0; 2 * channels];
    let (mean, squares) = moments.split_at_mut(channels);
    for row in chunk.chunks_exact(channels) {
        for (sum, &x) in mean.iter_mut().zip(row) {
            *sum += x;
        }
    }
    let count = (chunk.len() / channels) as f32;
    mean.iter_mut().for_each(|sum| *sum /= count);
    for row in chunk.chunks_exact(channels) {
        for ((sum, &mean), &x) in squares.iter_mut().zip(mean.iter()).zip(row) {
            *sum += (x - mean) * (x - mean);
        }
    }
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
            offset: offset.map(|(shift, (mean, factor))| shift - mean * factor).collect(),
            inverse_std,
            factor,
        }
    }

    /// The normalised and activated values.
    pub(crate) fn forward(&self, input: &[f32], function: Function) -> Vec<f32> {
        let width = self.mean.len();
        let mut output = vec![0.0; input.len()];
        output
            .par_chunks_mut(ROWS * width)
            .zip(input.par_chunks(ROWS * width))
            .for_each(|(output, input)| {
                specialized!(function => pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || {
                        for (output, input) in output.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                            let columns = self.factor.iter().zip(&self.offset);
                            for ((output, &x), (factor, offset)) in output.iter_mut().zip(input).zip(columns) {
                                *output = function.value(x * factor + offset);
                            }
                        }
                    }
                ));
            });
        output
    }

    /// The gradients of input, scale and shift; the moments are the input's.
    pub(crate) fn backward(&self, input: &[f32], gradient: &[f32], function: Function) -> [Vec<f32>; 3] {
        let width = self.mean.len();
        let rows = (input.len() / width) as f32;
        let mut output = vec![0.0; input.len()];
        // First the gradient before the function, and the columns' sums of it and of it times the normalised value.
        let sums: Vec<_> = output
            .par_chunks_mut(ROWS * width)
            .zip(input.par_chunks(ROWS * width).zip(gradient.par_chunks(ROWS * width)))
            .map(|(output, (input, gradient))| {
                specialized!(function => pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || self.before_function(output, input, gradient, function)
                ))
            })
            .collect();
        let mut shift = vec![0.0_f32; width];
        let mut scale = vec![0.0_f32; width];
        for sums in &sums {
            let (first, second) = sums.split_at(width);
            shift.iter_mut().zip(first).for_each(|(sum, part)| *sum += part);
            scale.iter_mut().zip(second).for_each(|(sum, part)| *sum += part);
        }
        // d input = factor * (d - mean(d) - normalised * mean(d * normalised)) = factor * d + slope * input + level.
        let mut slope = vec![0.0; width];
        let mut level = vec![0.0; width];
        for at in 0..width {
            slope[at] = -self.factor[at] * self.inverse_std[at] * scale[at] / rows;
            level[at] = -self.factor[at] * shift[at] / rows - slope[at] * self.mean[at];
        }
        output
            .par_chunks_mut(ROWS * width)
            .zip(input.par_chunks(ROWS * width))
            .for_each(|(output, input)| {
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || {
                        for (output, input) in output.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                            let columns = self.factor.iter().zip(slope.iter().zip(&level));
                            for ((d, &x), (factor, (slope, level))) in output.iter_mut().zip(input).zip(columns) {
                                *d = *d * factor + x * slope + level;
                            }
                        }
                    },
                );
            });
        [output, scale, shift]
    }

    /// Writes the gradient before the function; sums of it, then of it times the normalised value, of each column.
    #[inline(always)]
    fn before_function(&self, output: &mut [f32], input: &[f32], gradient: &[f32], function: Function) -> Vec<f32> {
        let width = self.mean.len();
        let mut sums = vec![0.0; 2 * width];
        let (first, second) = sums.split_at_mut(width);
        let rows = output
            .chunks_exact_mut(width)
            .zip(input.chunks_exact(width).zip(gradient.chunks_exact(width)));
        for (output, (input, gradient)) in rows {
            for at in 0..width {
                let x = input[at];
                let d = gradient[at] * function.slope(x * self.factor[at] + self.offset[at]);
                output[at] = d;
                first[at] += d;
                second[at] += d * ((x - self.mean[at]) * self.inverse_std[at]);
            }
        }
        sums
    }
}

//! Linear layers with bias and activation, and what their backward passes share with convolutions'.

use rayon::prelude::*;

use crate::activation::{self, Function};
use crate::few_rows;
use crate::fresh::{Blank, Size, written};
use crate::matrix::{Matrix, MatrixMut, Threads, multiply, product};
use crate::vector::vectorized;

/// Values of an output that a task computes at a time: what the second-level cache holds.
const BLOCK: usize = 1 << 18;
/// Rows of an output at most that a task computes at a time, and at least where there are as many.
const ROWS: [usize; 2] = [64, 1024];
/// Rows at least of a single task's that a thread finishes.
const PIECE: usize = 32;
/// Rows whose sum a task takes.
const SUMMED_ROWS: usize = 512;

/// What follows the product.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// What each column is multiplied by, before the bias.
    pub(crate) scale: Option<&'a [f32]>,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) function: Function,
    /// Whether a backward pass follows: to keep the values before the function.
    pub(crate) keep: bool,
}

/// The output, and beside it the value before the function where there is one and the backward pass needs it.
pub(crate) struct Output {
    pub(crate) output: Vec<f32>,
    pub(crate) before: Option<Vec<f32>>,
}

/// Rows a task computes, of which there are few for a short input so that all threads have work.
///
/// A single task leaves the other threads to the product itself, as where the weight is longer than the input: each task would
/// pack all of it.
fn blocks(rows: usize, columns: usize) -> (usize, Threads) {
    if rows <= columns {
        return (rows.max(1), Threads::All);
    }
    let share = rows.div_ceil(rayon::current_num_threads());
    let block = share.min(BLOCK / columns).clamp(ROWS[0], ROWS[1]);
    match block < rows {
        true => (block, Threads::One),
        false => (rows.max(1), Threads::All),
    }
}

/// `function(input * weight + bias)`.
pub(crate) fn forward(
    [input, weight]: [&[f32]; 2],
    [inputs, outputs]: [usize; 2],
    finish: Finish<'_>,
) -> Output {
    let rows = input.len() / inputs;
    if few_rows::are_few(rows, [inputs, outputs]) {
        return finished([rows, outputs], rows, finish, |_, output| {
            let output = output.cleared();
            few_rows::add_product(output, [input, weight], outputs);
            output
        });
    }
    let (block, threads) = blocks(rows, outputs);
    finished([rows, outputs], block, finish, |task, output| {
        let input = &input[task * block * inputs..][..output.len() / outputs * inputs];
        let pair = [Matrix::new(input, inputs), Matrix::new(weight, outputs)];
        product(output, pair, threads)
    })
}

/// Computes rows by `product`, then adds the bias and applies the function while the cache holds them.
pub(crate) fn finished(
    [rows, outputs]: [usize; 2],
    block: usize,
    finish: Finish<'_>,
    product: impl for<'a> Fn(usize, Blank<'a>) -> &'a mut [f32] + Sync,
) -> Output {
    let Finish { function, keep, .. } = finish;
    let size = Size {
        length: rows * outputs,
        chunk: block * outputs,
    };
    let piece = match block < rows {
        true => block,
        false => rows.div_ceil(rayon::current_num_threads()).max(PIECE),
    } * outputs;
    if !keep || function == Function::Identity {
        let ([output], _) = written([size], |task, [output]| {
            let output = product(task, output);
            each(output, piece, |rows| {
                finish.columns(rows);
                activation::apply(rows, function);
            });
            ([output], ())
        });
        return Output {
            output,
            before: None,
        };
    }
    let ([output, before], _) = written([size; 2], |task, [output, before]| {
        let before = product(task, before);
        each(before, piece, |rows| finish.columns(rows));
        let output = output.copied(before);
        each(output, piece, |rows| activation::apply(rows, function));
        ([output, before], ())
    });
    Output {
        output,
        before: Some(before),
    }
}

/// Works on a task's rows: by all threads where it is the only one.
fn each(rows: &mut [f32], piece: usize, work: impl Fn(&mut [f32]) + Send + Sync) {
    match piece < rows.len() {
        true => rows.par_chunks_mut(piece).for_each(work),
        false => work(rows),
    }
}

impl Finish<'_> {
    /// Scales and moves the columns of some rows.
    fn columns(&self, rows: &mut [f32]) {
        match (self.scale, self.bias) {
            (None, None) => {}
            (Some(scale), None) => scale_columns(rows, scale),
            (None, Some(bias)) => vectorized!({
                for row in rows.chunks_exact_mut(bias.len()) {
                    for (value, b) in row.iter_mut().zip(bias) {
                        *value += b;
                    }
                }
            }),
            (Some(scale), Some(bias)) => vectorized!({
                for row in rows.chunks_exact_mut(bias.len()) {
                    for ((value, a), b) in row.iter_mut().zip(scale).zip(bias) {
                        *value = *value * a + b;
                    }
                }
            }),
        }
    }
}

fn scale_columns(rows: &mut [f32], scale: &[f32]) {
    vectorized!({
        for row in rows.chunks_exact_mut(scale.len()) {
            for (value, a) in row.iter_mut().zip(scale) {
                *value *= a;
            }
        }
    });
}

/// Multiplies the columns of many rows.
pub(crate) fn scale_rows(rows: &mut [f32], scale: &[f32]) {
    rows.par_chunks_mut(SUMMED_ROWS * scale.len())
        .for_each(|rows| scale_columns(rows, scale));
}

/// The gradients of input and weight, where they are wanted, from input, weight and the gradient before the function.
pub(crate) fn backward(
    [input, weight, gradient]: [&[f32]; 3],
    [inputs, outputs]: [usize; 2],
    wanted: [bool; 2],
) -> (Option<Vec<f32>>, Option<Vec<f32>>) {
    let of_input = || {
        let rows = gradient.len() / outputs;
        let (block, threads) = blocks(rows, inputs);
        let size = Size {
            length: rows * inputs,
            chunk: block * inputs,
        };
        let ([found], _) = written([size], |task, [found]| {
            let count = found.len() / inputs;
            let gradient = &gradient[task * block * outputs..][..count * outputs];
            let weight = Matrix::new(weight, outputs).transposed();
            let pair = [Matrix::new(gradient, outputs), weight];
            ([product(found, pair, threads)], ())
        });
        found
    };
    let of_weight = || {
        let mut found = vec![0.0; inputs * outputs];
        let input = Matrix::new(input, inputs).transposed();
        let pair = [input, Matrix::new(gradient, outputs)];
        let into = MatrixMut::new(&mut found, outputs);
        multiply(into, 0.0, pair, 1.0, Threads::All);
        found
    };
    (wanted[0].then(of_input), wanted[1].then(of_weight))
}

/// The sum of all rows, chunk by chunk in order.
pub(crate) fn sum_of_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let chunks: Vec<_> = rows
        .par_chunks(SUMMED_ROWS * width)
        .map(|chunk| {
            let mut sum = vec![0.0; width];
            vectorized!({
                for row in chunk.chunks_exact(width) {
                    for (sum, part) in sum.iter_mut().zip(row) {
                        *sum += part;
                    }
                }
            });
            sum
        })
        .collect();
    let mut total = vec![0.0; width];
    for chunk in chunks {
        total
            .iter_mut()
            .zip(chunk)
            .for_each(|(sum, part)| *sum += part);
    }
    total
}

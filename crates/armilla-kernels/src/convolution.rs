//! Convolutions of channels-last pictures: patches as rows, a few lines at a time, times the kernel.
//!
//! The patches of a whole batch are many times the pictures, so they are never all there at once: a task unfolds what the cache
//! holds, multiplies, and unfolds the next. The backward pass unfolds anew.

use crate::fresh::{Size, fresh, with_scratch};
use crate::linear::{Finish, Output, finished};
use crate::matrix::{Matrix, MatrixMut, Threads, multiply, product};
use crate::patches::{Patch, Patches};
use crate::winograd::Winograd;

/// Values of unfolded patches at a time: half of what the second-level cache holds.
const BLOCK: usize = 1 << 17;
/// Patches at least that are multiplied at a time where there are as many: the kernel is packed anew for each product.
const ROWS: usize = 256;
/// Groups of pictures whose gradients of the kernel are summed on their own before they are put together.
const GROUPS: usize = 16;
/// Values that these sums take at most, all together.
const SUMS: usize = 1 << 22;

/// A convolution's sizes.
pub(crate) struct Convolution {
    /// Where that is faster; not in training, where its rounding, some times the plain sum's, grows on the way back through a deep network.
    winograd: Option<Winograd>,
    patches: Patches,
    /// Pictures of the batch.
    batch: usize,
    /// Values of a picture.
    picture: usize,
    /// Patches of a line.
    columns: usize,
    /// Values of a patch.
    taps: usize,
    /// Channels of the output.
    outputs: usize,
    /// Lines unfolded at a time.
    block: usize,
}

impl Convolution {
    pub(crate) fn new(
        [batch, height, width, channels]: [usize; 4],
        outputs: usize,
        patch: Patch,
    ) -> Self {
        let [_, columns] = patch.grid(height, width);
        let taps = patch.side * patch.side * channels;
        Self {
            winograd: Winograd::new([batch, height, width, channels], outputs, patch),
            patches: Patches::new([height, width, channels], patch),
            batch,
            picture: height * width * channels,
            columns,
            taps,
            outputs,
            block: (BLOCK / (columns * taps.max(outputs))).max(ROWS.div_ceil(columns)),
        }
    }

    /// `function(patches * kernel + bias)`, a patch a row.
    pub(crate) fn forward(&self, [input, kernel]: [&[f32]; 2], finish: Finish<'_>) -> Output {
        if let Some(winograd) = &self.winograd
            && !finish.keep
        {
            return winograd.forward([input, kernel], finish);
        }
        let lines = self.batch * self.patches.lines();
        let share = lines.div_ceil(rayon::current_num_threads());
        let block = self.block.min(share).max(1);
        let rows = [lines, block].map(|lines| lines * self.columns);
        finished([rows[0], self.outputs], rows[1], finish, |task, output| {
            with_scratch(output.len() / self.outputs * self.taps, |patches| {
                self.patches.unfold(input, task * block, patches);
                let kernel = Matrix::new(kernel, self.outputs);
                let pair = [Matrix::new(patches, self.taps), kernel];
                product(output, pair, Threads::One)
            })
        })
    }

    /// The gradients of input, where it is wanted, and kernel, from input, kernel and the gradient before the function.
    pub(crate) fn backward(
        &self,
        [input, kernel, gradient]: [&[f32]; 3],
        wants_input: bool,
    ) -> (Option<Vec<f32>>, Option<Vec<f32>>) {
        // As many groups on any machine, so that sums are the same.
        let groups = (SUMS / kernel.len()).clamp(2, GROUPS);
        let group = self.batch.div_ceil(groups).max(1);
        let tasks = self.batch.div_ceil(group).max(1);
        let sizes = [
            Size {
                length: tasks * kernel.len(),
                chunk: kernel.len(),
            },
            Size {
                length: if wants_input { input.len() } else { 0 },
                chunk: group * self.picture,
            },
        ];
        let ([sums, found], _) = fresh(sizes, |task, [sum, found]| {
            let pictures = task * group..self.batch.min((task + 1) * group);
            let input = &input[pictures.start * self.picture..pictures.end * self.picture];
            let lines = self.patches.lines();
            let line = self.columns * self.outputs;
            let gradient = &gradient[pictures.start * lines * line..pictures.end * lines * line];
            self.backward_group([input, kernel, gradient], sum, found);
        });
        let (kernel, rest) = sums.split_at(kernel.len());
        let mut kernel = kernel.to_vec();
        for sum in rest.chunks_exact(kernel.len()) {
            kernel
                .iter_mut()
                .zip(sum)
                .for_each(|(sum, part)| *sum += part);
        }
        (wants_input.then_some(found), Some(kernel))
    }

    /// The gradients of a few pictures.
    fn backward_group(
        &self,
        [input, kernel, gradient]: [&[f32]; 3],
        kernel_gradient: &mut [f32],
        input_gradient: &mut [f32],
    ) {
        let rows = self.block * self.columns;
        for (index, gradient) in gradient.chunks(rows * self.outputs).enumerate() {
            let first = index * self.block;
            with_scratch(gradient.len() / self.outputs * self.taps, |patches| {
                self.patches.unfold(input, first, patches);
                let gradient = Matrix::new(gradient, self.outputs);
                let sum = MatrixMut::new(kernel_gradient, self.outputs);
                let pair = [Matrix::new(patches, self.taps).transposed(), gradient];
                multiply(sum, 1.0, pair, 1.0, Threads::One);
                if !input_gradient.is_empty() {
                    let pair = [gradient, Matrix::new(kernel, self.outputs).transposed()];
                    let into = MatrixMut::new(patches, self.taps);
                    multiply(into, 0.0, pair, 1.0, Threads::One);
                    self.patches.fold(patches, first, input_gradient);
                }
            });
        }
    }
}

//! The largest value of each square of channels-last pictures.

use crate::fresh::filled;
use crate::patches::Patch;
use crate::vector::vectorized;

/// A pooling's sizes.
pub(crate) struct Pooling {
    /// Height, width, channels.
    picture: [usize; 3],
    /// Rows and columns of the output.
    grid: [usize; 2],
    patch: Patch,
}

impl Pooling {
    pub(crate) fn new([_, height, width, channels]: [usize; 4], patch: Patch) -> Self {
        Self {
            picture: [height, width, channels],
            grid: patch.grid(height, width),
            patch,
        }
    }

    /// Values of an output picture.
    fn output(&self) -> usize {
        self.grid[0] * self.grid[1] * self.picture[2]
    }

    /// First values of the pixels of a square that lie in the picture.
    #[inline(always)]
    fn pixels(&self, cell: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let [height, width, channels] = self.picture;
        let (top, _, rows) = self.patch.overlap(cell / self.grid[1], height);
        let (left, _, columns) = self.patch.overlap(cell % self.grid[1], width);
        (0..rows * columns)
            .map(move |index| ((top + index / columns) * width + left + index % columns) * channels)
    }

    pub(crate) fn forward(&self, input: &[f32]) -> Vec<f32> {
        let [height, width, channels] = self.picture;
        let picture = height * width * channels;
        let length = input.len() / picture * self.output();
        filled(length, self.output(), |index, output| {
            let input = &input[index * picture..][..picture];
            vectorized!({
                for (cell, output) in output.chunks_exact_mut(channels).enumerate() {
                    self.largest(input, cell, output);
                }
            });
        })
    }

    /// The largest values of a square, by channel; not a number where one is not.
    #[inline(always)]
    fn largest(&self, input: &[f32], cell: usize, output: &mut [f32]) {
        output.fill(f32::NEG_INFINITY);
        for start in self.pixels(cell) {
            let pixel = &input[start..][..output.len()];
            for (largest, &value) in output.iter_mut().zip(pixel) {
                *largest = if value <= *largest { *largest } else { value };
            }
        }
    }

    /// The gradient of the input: each output's goes to the first pixel that has its value.
    pub(crate) fn backward(&self, input: &[f32], gradient: &[f32]) -> Vec<f32> {
        let [height, width, channels] = self.picture;
        let picture = height * width * channels;
        filled(input.len(), picture, |index, found| {
            let input = &input[index * picture..][..picture];
            let gradient = &gradient[index * self.output()..][..self.output()];
            let mut largest = vec![0.0; channels];
            let mut open = vec![0.0; channels];
            vectorized!({
                for (cell, gradient) in gradient.chunks_exact(channels).enumerate() {
                    self.largest(input, cell, &mut largest);
                    open.copy_from_slice(gradient);
                    for start in self.pixels(cell) {
                        let pixel = &input[start..][..channels];
                        let found = &mut found[start..][..channels];
                        for at in 0..channels {
                            let taken = if pixel[at] == largest[at] {
                                open[at]
                            } else {
                                0.0
                            };
                            found[at] += taken;
                            open[at] -= taken;
                        }
                    }
                }
            });
        })
    }
}

//! Convolutions with 3 x 3 kernels at every pixel, by Winograd's F(2 x 2, 3 x 3).
//!
//! Two by two outputs from four by four inputs take 16 multiplications in place of 36
//! ([Lavin and Gray](https://arxiv.org/abs/1509.09308), section 4.1): inputs and kernels go to 16 coordinates each, for each of which a
//! matrix product goes over the channels, and the 16 results come back to four. The transformations add and halve, so that results
//! differ from the plain sum by rounding alone.

use std::array::from_fn;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::fresh::{Size, fresh, with_scratch};
use crate::linear::{Finish, Output, finished};
use crate::matrix::{Matrix, MatrixMut, Threads, multiply};
use crate::patches::Patch;

/// Outputs of a tile's side.
const TILE: usize = 2;
/// Inputs of a tile's side.
const REACH: usize = 4;
/// Coordinates of a tile, line by line.
const COORDINATES: usize = REACH * REACH;
/// Channels are a multiple of the longest register.
const LANES: usize = 16;
/// Channels at least, in and out: with fewer the transformations take what the products gain.
const CHANNELS: usize = 64;
/// Pixels at least: with fewer the kernel's own transformation takes what the products gain.
const PIXELS: usize = 256;
/// Tiles at least that are multiplied at a time where there are as many, and for how many channels there is to be one: all the kernel's
/// coordinates go by for each time.
const TILES: [usize; 2] = [48, 4];
/// Channels of the kernel that a task transforms.
const KERNEL_CHANNELS: usize = 16;

/// A convolution's sizes.
pub(crate) struct Winograd {
    batch: usize,
    /// Height, width, channels of a picture.
    picture: [usize; 3],
    padding: usize,
    /// Lines and columns of a picture's output.
    grid: [usize; 2],
    outputs: usize,
}

/// The two lines of outputs that some tiles have.
struct Band {
    picture: usize,
    /// The first, an even one, so that a pixel has the same place in its tile whoever computes it.
    line: usize,
    /// Which of them are wanted.
    wanted: Range<usize>,
}

impl Winograd {
    /// `None` where the general way does as well or is all there is.
    pub(crate) fn new(
        [batch, height, width, channels]: [usize; 4],
        outputs: usize,
        patch: Patch,
    ) -> Option<Self> {
        let grid = patch.grid(height, width);
        let suits = [patch.side, patch.stride] == [3, 1]
            && [channels, outputs]
                .iter()
                .all(|&count| count >= CHANNELS && count.is_multiple_of(LANES))
            && batch * grid[0] * grid[1] >= PIXELS;
        suits.then_some(Self {
            batch,
            picture: [height, width, channels],
            padding: patch.padding,
            grid,
            outputs,
        })
    }

    /// `function(patches * kernel + bias)`, a patch a row.
    pub(crate) fn forward(&self, [input, kernel]: [&[f32]; 2], finish: Finish<'_>) -> Output {
        let kernel = self.transform_kernel(kernel);
        let lines = self.batch * self.grid[0];
        let share = lines.div_ceil(rayon::current_num_threads());
        let tiles = TILES[0].max(self.picture[2].max(self.outputs) / TILES[1]);
        let block = TILE * tiles.div_ceil(self.tiles());
        let block = block.min(share.next_multiple_of(TILE));
        let rows = [lines, block].map(|lines| lines * self.grid[1]);
        finished([rows[0], self.outputs], rows[1], finish, |task, output| {
            let output = output.cleared();
            self.convolve(input, &kernel, task * block, output);
            output
        })
    }

    /// Tiles of a band.
    fn tiles(&self) -> usize {
        self.grid[1].div_ceil(TILE)
    }

    /// The kernel's coordinates, each `[channels, outputs]`.
    fn transform_kernel(&self, kernel: &[f32]) -> [Vec<f32>; COORDINATES] {
        let length = self.picture[2] * self.outputs;
        let chunk = KERNEL_CHANNELS * self.outputs;
        let (coordinates, _) = fresh([Size { length, chunk }; COORDINATES], |task, to| {
            let from = from_fn(|tap| &kernel[tap * length + task * chunk..][..to[0].len()]);
            pulp::Arch::new().dispatch(KernelCoordinates { from, to });
        });
        coordinates
    }

    /// The outputs of a task's lines, those from `first` of all pictures on.
    fn convolve(
        &self,
        input: &[f32],
        kernel: &[Vec<f32>; COORDINATES],
        first: usize,
        output: &mut [f32],
    ) {
        let widths = [self.picture[2], self.outputs];
        let bands = self.bands(first, output.len() / (self.grid[1] * self.outputs));
        let tiles = bands.len() * self.tiles();
        // A line of the cache apart: planes of a power of two would all share the same places in it.
        let planes = widths.map(|width| tiles * width + LANES);
        with_scratch(COORDINATES * (planes[0] + planes[1]), |scratch| {
            let (inputs, products) = scratch.split_at_mut(COORDINATES * planes[0]);
            let mut to = inputs.chunks_exact_mut(planes[0]);
            let to = from_fn(|_| to.next().unwrap_or_default());
            pulp::Arch::new().dispatch(InputCoordinates {
                sizes: self,
                input,
                bands: &bands,
                to,
            });
            let from = inputs.chunks_exact(planes[0]).zip(kernel);
            for ((input, kernel), product) in from.zip(products.chunks_exact_mut(planes[1])) {
                let input = Matrix::new(&input[..tiles * widths[0]], widths[0]);
                let product = MatrixMut::new(&mut product[..tiles * widths[1]], widths[1]);
                multiply(
                    product,
                    0.0,
                    [input, Matrix::new(kernel, widths[1])],
                    1.0,
                    Threads::One,
                );
            }
            let mut from = products.chunks_exact(planes[1]);
            let from = from_fn(|_| from.next().unwrap_or_default());
            pulp::Arch::new().dispatch(Outputs {
                sizes: self,
                from,
                bands: &bands,
                output,
            });
        });
    }

    /// A pixel's channels; column and line count from the padding's first, and the padding has none.
    fn pixel<'a>(&self, input: &'a [f32], picture: usize, place: [usize; 2]) -> Option<&'a [f32]> {
        let [height, width, channels] = self.picture;
        let [column, line] = place.map(|place| place.checked_sub(self.padding));
        let (column, line) = (column?, line?);
        let pixel = (picture * height + line) * width + column;
        (line < height && column < width).then(|| &input[pixel * channels..][..channels])
    }

    /// The bands of some lines, those from `first` of all pictures on.
    fn bands(&self, first: usize, lines: usize) -> Vec<Band> {
        let mut bands = Vec::with_capacity(lines / TILE + 2);
        let mut place = first;
        while place < first + lines {
            let [picture, line] = [place / self.grid[0], place % self.grid[0]];
            let skipped = line % TILE;
            let left = (self.grid[0] - line).min(first + lines - place);
            let wanted = skipped..TILE.min(skipped + left);
            place += wanted.len();
            bands.push(Band {
                picture,
                line: line - skipped,
                wanted,
            });
        }
        bands
    }
}

/// A kernel's nine taps to their coordinates.
struct KernelCoordinates<'a> {
    from: [&'a [f32]; 9],
    to: [&'a mut [f32]; COORDINATES],
}

impl WithSimd for KernelCoordinates<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let from = self.from.map(|values| S::as_simd_f32s(values).0);
        let mut to = self.to.map(|values| S::as_mut_simd_f32s(values).0);
        for at in 0..from[0].len() {
            let found = kernel_coordinates(simd, picked(&from, at));
            put(found, &mut to, at);
        }
    }
}

/// Pictures to coordinates, each `[tile, channel]`.
struct InputCoordinates<'a> {
    sizes: &'a Winograd,
    input: &'a [f32],
    bands: &'a [Band],
    to: [&'a mut [f32]; COORDINATES],
}

impl WithSimd for InputCoordinates<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let nothing = vec![0.0; self.sizes.picture[2]];
        let mut to = self.to.map(|values| S::as_mut_simd_f32s(values).0);
        let mut place = 0;
        for band in self.bands {
            for tile in 0..self.sizes.tiles() {
                let pixels: [&[S::f32s]; COORDINATES] = from_fn(|pixel| {
                    let place = [tile * TILE + pixel % REACH, band.line + pixel / REACH];
                    let pixel = self.sizes.pixel(self.input, band.picture, place);
                    S::as_simd_f32s(pixel.unwrap_or(&nothing)).0
                });
                for at in 0..pixels[0].len() {
                    let found = input_coordinates(simd, picked(&pixels, at));
                    put(found, &mut to, place + at);
                }
                place += pixels[0].len();
            }
        }
    }
}

/// Coordinates, each `[tile, output]`, to lines of pixels.
struct Outputs<'a> {
    sizes: &'a Winograd,
    from: [&'a [f32]; COORDINATES],
    bands: &'a [Band],
    output: &'a mut [f32],
}

impl WithSimd for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Winograd {
            grid: [_, columns],
            outputs,
            ..
        } = *self.sizes;
        let from = self.from.map(|values| S::as_simd_f32s(values).0);
        let width = outputs / S::F32_LANES;
        let mut place = 0;
        let (mut rest, _) = S::as_mut_simd_f32s(self.output);
        for band in self.bands {
            let (lines, after) =
                std::mem::take(&mut rest).split_at_mut(band.wanted.len() * columns * width);
            rest = after;
            for tile in 0..self.sizes.tiles() {
                let start = tile * TILE * width;
                for at in 0..width {
                    let found = output_pixels(simd, picked(&from, place + at));
                    put_pixels(found, band, lines, [start + at, width]);
                }
                place += width;
            }
        }
    }
}

/// The wanted pixels of a tile to their lines, where a pixel has so many values; an odd line has no second one at its end.
#[inline(always)]
fn put_pixels<T: Copy>(
    pixels: [[T; TILE]; TILE],
    band: &Band,
    lines: &mut [T],
    [first, width]: [usize; 2],
) {
    let step = lines.len() / band.wanted.len();
    for (line, to) in band.wanted.clone().zip(lines.chunks_exact_mut(step)) {
        to[first] = pixels[line][0];
        if let Some(second) = to.get_mut(first + width) {
            *second = pixels[line][1];
        }
    }
}

/// A value of each slice.
#[inline(always)]
fn picked<T: Copy, const N: usize>(slices: &[&[T]; N], at: usize) -> [T; N] {
    let mut found = [slices[0][at]; N];
    for index in 1..N {
        found[index] = slices[index][at];
    }
    found
}

/// A value to each slice.
#[inline(always)]
fn put<T: Copy, const N: usize>(values: [T; N], slices: &mut [&mut [T]; N], at: usize) {
    for index in 0..N {
        slices[index][at] = values[index];
    }
}

/// A value of each array.
#[inline(always)]
fn across<T: Copy, const N: usize, const M: usize>(arrays: &[[T; M]; N], at: usize) -> [T; N] {
    let mut found = [arrays[0][at]; N];
    for index in 1..N {
        found[index] = arrays[index][at];
    }
    found
}

#[inline(always)]
fn kernel_coordinates<S: Simd>(simd: S, taps: [S::f32s; 9]) -> [S::f32s; COORDINATES] {
    let mut columns = [[taps[0]; REACH]; 3];
    for column in 0..3 {
        let taps = [taps[column], taps[3 + column], taps[6 + column]];
        columns[column] = kernel_side(simd, taps);
    }
    let mut found = [taps[0]; COORDINATES];
    for line in 0..REACH {
        let side = kernel_side(simd, across(&columns, line));
        found[line * REACH..][..REACH].copy_from_slice(&side);
    }
    found
}

#[inline(always)]
fn input_coordinates<S: Simd>(simd: S, tile: [S::f32s; COORDINATES]) -> [S::f32s; COORDINATES] {
    let mut columns = [[tile[0]; REACH]; REACH];
    for column in 0..REACH {
        columns[column] = input_side(simd, down(&tile, column));
    }
    let mut found = tile;
    for line in 0..REACH {
        let side = input_side(simd, across(&columns, line));
        found[line * REACH..][..REACH].copy_from_slice(&side);
    }
    found
}

/// Lines of pixels.
#[inline(always)]
fn output_pixels<S: Simd>(simd: S, tile: [S::f32s; COORDINATES]) -> [[S::f32s; TILE]; TILE] {
    let mut columns = [[tile[0]; TILE]; REACH];
    for column in 0..REACH {
        columns[column] = output_side(simd, down(&tile, column));
    }
    let mut found = [[tile[0]; TILE]; TILE];
    for line in 0..TILE {
        found[line] = output_side(simd, across(&columns, line));
    }
    found
}

/// A column of a tile.
#[inline(always)]
fn down<T: Copy>(tile: &[T; COORDINATES], column: usize) -> [T; REACH] {
    [
        tile[column],
        tile[REACH + column],
        tile[2 * REACH + column],
        tile[3 * REACH + column],
    ]
}

/// A side's three taps to their coordinates.
#[inline(always)]
fn kernel_side<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; REACH] {
    let half = simd.splat_f32s(0.5);
    let outer = simd.add_f32s(a, c);
    [
        a,
        simd.mul_f32s(half, simd.add_f32s(outer, b)),
        simd.mul_f32s(half, simd.sub_f32s(outer, b)),
        c,
    ]
}

/// A side's four inputs to their coordinates.
#[inline(always)]
fn input_side<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; REACH]) -> [S::f32s; REACH] {
    [
        simd.sub_f32s(a, c),
        simd.add_f32s(b, c),
        simd.sub_f32s(c, b),
        simd.sub_f32s(b, d),
    ]
}

/// A side's four coordinates to its outputs.
#[inline(always)]
fn output_side<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; REACH]) -> [S::f32s; TILE] {
    [
        simd.add_f32s(a, simd.add_f32s(b, c)),
        simd.sub_f32s(simd.sub_f32s(b, c), d),
    ]
}

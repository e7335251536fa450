//! Patches of channels-last pictures as rows of a matrix, and back.

use rayon::prelude::*;

/// Square patches and where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Side of a patch, in pixels.
    pub side: usize,
    /// Pixels from one patch to the next.
    pub stride: usize,
    /// Pixels of zeros around the picture.
    pub padding: usize,
}

/// The part of a patch's row that lies in the picture.
struct Span {
    /// First value in the picture's row.
    picture: usize,
    /// First value in the patch's row.
    patch: usize,
    /// Values.
    length: usize,
}

impl Patch {
    /// Rows and columns of patches in a picture.
    #[must_use]
    pub fn grid(&self, height: usize, width: usize) -> [usize; 2] {
        [height, width].map(|side| (side + 2 * self.padding - self.side) / self.stride + 1)
    }

    /// Panics unless a picture holds a patch.
    pub(crate) fn check(&self, height: usize, width: usize) {
        assert!(
            self.side > 0 && self.stride > 0 && height.min(width) + 2 * self.padding >= self.side,
            "patches of {} px do not fit a picture of {height} x {width} px with {} px of padding",
            self.side,
            self.padding
        );
    }

    /// Which pixels of an axis the patch at a place has: the first pixel and the first of the patch, and how many.
    fn overlap(&self, place: usize, length: usize) -> (usize, usize, usize) {
        let start = place * self.stride;
        let first = self.padding.saturating_sub(start);
        let end = (length + self.padding).saturating_sub(start).min(self.side);
        (
            (start + first).saturating_sub(self.padding),
            first,
            end.saturating_sub(first),
        )
    }

    /// Where the rows of the patches of one line of patches lie.
    fn spans(&self, row: usize, [height, width, channels]: [usize; 3]) -> Vec<Span> {
        let [_, columns] = self.grid(height, width);
        let row_values = self.side * channels;
        let (top, first_row, count) = self.overlap(row, height);
        let mut spans = Vec::with_capacity(columns * count);
        for column in 0..columns {
            let (left, first, length) = self.overlap(column, width);
            for line in 0..count {
                spans.push(Span {
                    picture: ((top + line) * width + left) * channels,
                    patch: (column * self.side + first_row + line) * row_values + first * channels,
                    length: length * channels,
                });
            }
        }
        spans
    }
}

/// Every patch as a row.
pub(crate) fn unfold(
    input: &[f32],
    [_, height, width, channels]: [usize; 4],
    patch: Patch,
) -> Vec<f32> {
    let [rows, columns] = patch.grid(height, width);
    let line = columns * patch.side * patch.side * channels;
    let picture = height * width * channels;
    let spans: Vec<_> = (0..rows)
        .map(|row| patch.spans(row, [height, width, channels]))
        .collect();
    let mut output = vec![0.0; input.len() / picture * rows * line];
    output
        .par_chunks_mut(line)
        .enumerate()
        .for_each(|(index, output)| {
            let input = &input[index / rows * picture..][..picture];
            for span in &spans[index % rows] {
                output[span.patch..][..span.length]
                    .copy_from_slice(&input[span.picture..][..span.length]);
            }
        });
    output
}

/// The sum of all patches at their places.
pub(crate) fn fold(
    patches: &[f32],
    [batch, height, width, channels]: [usize; 4],
    patch: Patch,
) -> Vec<f32> {
    let [rows, columns] = patch.grid(height, width);
    let line = columns * patch.side * patch.side * channels;
    let picture = height * width * channels;
    let spans: Vec<_> = (0..rows)
        .map(|row| patch.spans(row, [height, width, channels]))
        .collect();
    let mut output = vec![0.0; batch * picture];
    output
        .par_chunks_mut(picture)
        .enumerate()
        .for_each(|(index, output)| {
            let patches = &patches[index * rows * line..][..rows * line];
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (spans, patches) in spans.iter().zip(patches.chunks_exact(line)) {
                        for span in spans {
                            let to = &mut output[span.picture..][..span.length];
                            let from = &patches[span.patch..][..span.length];
                            to.iter_mut().zip(from).for_each(|(sum, part)| *sum += part);
                        }
                    }
                },
            );
        });
    output
}

//! Patches of channels-last pictures as rows of a matrix, and back.

use crate::vector::vectorized;

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

/// A patch's row.
struct Span {
    /// First value of the part that lies in the picture, in the picture.
    picture: usize,
    /// First value of the patch's row, in the line of patches.
    patch: usize,
    /// Values before the part that lies in the picture: padding.
    before: usize,
    /// Values of that part; 0 where the row lies in the padding.
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
    pub(crate) fn overlap(&self, place: usize, length: usize) -> (usize, usize, usize) {
        let start = place * self.stride;
        let first = self.padding.saturating_sub(start);
        let end = (length + self.padding).saturating_sub(start).min(self.side);
        (
            (start + first).saturating_sub(self.padding),
            first,
            end.saturating_sub(first),
        )
    }
}

/// Where the patches of pictures of one size lie. Patches go by lines: those of one row of a picture's grid.
pub(crate) struct Patches {
    /// Of each line of a picture.
    spans: Vec<Vec<Span>>,
    /// Values of a picture.
    picture: usize,
    /// Values of a line of patches.
    line: usize,
    /// Values of a patch's row.
    row: usize,
}

impl Patches {
    pub(crate) fn new([height, width, channels]: [usize; 3], patch: Patch) -> Self {
        let [rows, columns] = patch.grid(height, width);
        Self {
            spans: (0..rows)
                .map(|row| spans(row, [height, width, channels], patch))
                .collect(),
            picture: height * width * channels,
            line: columns * patch.side * patch.side * channels,
            row: patch.side * channels,
        }
    }

    /// Lines of a picture.
    pub(crate) fn lines(&self) -> usize {
        self.spans.len()
    }

    /// Writes the patches of the lines from `first` on, padding included.
    pub(crate) fn unfold(&self, pictures: &[f32], first: usize, rows: &mut [f32]) {
        for (line, rows) in (first..).zip(rows.chunks_exact_mut(self.line)) {
            let picture = &pictures[line / self.lines() * self.picture..][..self.picture];
            for span in &self.spans[line % self.lines()] {
                let row = &mut rows[span.patch..][..self.row];
                let inside = span.before..span.before + span.length;
                row[inside.clone()].copy_from_slice(&picture[span.picture..][..span.length]);
                row[..inside.start].fill(0.0);
                row[inside.end..].fill(0.0);
            }
        }
    }

    /// Adds the patches of the lines from `first` on to the pictures, each at its place.
    pub(crate) fn fold(&self, rows: &[f32], first: usize, pictures: &mut [f32]) {
        vectorized!({
            for (line, rows) in (first..).zip(rows.chunks_exact(self.line)) {
                let start = line / self.lines() * self.picture;
                let picture = &mut pictures[start..][..self.picture];
                for span in &self.spans[line % self.lines()] {
                    let to = &mut picture[span.picture..][..span.length];
                    let from = &rows[span.patch + span.before..][..span.length];
                    for (sum, part) in to.iter_mut().zip(from) {
                        *sum += part;
                    }
                }
            }
        });
    }
}

/// Where the patches of one line lie.
fn spans(row: usize, [height, width, channels]: [usize; 3], patch: Patch) -> Vec<Span> {
    let [_, columns] = patch.grid(height, width);
    let (top, first_row, count) = patch.overlap(row, height);
    let inside = first_row..first_row + count;
    let mut spans = Vec::with_capacity(columns * patch.side);
    for column in 0..columns {
        let (left, first, length) = patch.overlap(column, width);
        for line in 0..patch.side {
            let start = (column * patch.side + line) * patch.side * channels;
            spans.push(if inside.contains(&line) && length > 0 {
                Span {
                    picture: ((top + line - first_row) * width + left) * channels,
                    patch: start,
                    before: first * channels,
                    length: length * channels,
                }
            } else {
                Span {
                    picture: 0,
                    patch: start,
                    before: 0,
                    length: 0,
                }
            });
        }
    }
    spans
}

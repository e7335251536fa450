//! Patches of channels-last pictures as rows of a matrix, and back.

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
}

/// Where the patches of pictures of one size lie. Patches go by lines: those of one row of a picture's grid.
pub(crate) struct Patches {
    /// Of each line of a picture.
    spans: Vec<Vec<Span>>,
    /// Values of a picture.
    picture: usize,
    /// Values of a line of patches.
    line: usize,
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
        }
    }

    /// Lines of a picture.
    pub(crate) fn lines(&self) -> usize {
        self.spans.len()
    }

    /// Writes the patches of the lines from `first` on into cleared rows.
    pub(crate) fn unfold(&self, pictures: &[f32], first: usize, rows: &mut [f32]) {
        for (line, rows) in (first..).zip(rows.chunks_exact_mut(self.line)) {
            let picture = &pictures[line / self.lines() * self.picture..][..self.picture];
            for span in &self.spans[line % self.lines()] {
                rows[span.patch..][..span.length]
                    .copy_from_slice(&picture[span.picture..][..span.length]);
            }
        }
    }

    /// Adds the patches of the lines from `first` on to the pictures, each at its place.
    pub(crate) fn fold(&self, rows: &[f32], first: usize, pictures: &mut [f32]) {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (line, rows) in (first..).zip(rows.chunks_exact(self.line)) {
                    let start = line / self.lines() * self.picture;
                    let picture = &mut pictures[start..][..self.picture];
                    for span in &self.spans[line % self.lines()] {
                        let to = &mut picture[span.picture..][..span.length];
                        let from = &rows[span.patch..][..span.length];
                        to.iter_mut().zip(from).for_each(|(sum, part)| *sum += part);
                    }
                }
            },
        );
    }
}

/// Where the patches of one line lie.
fn spans(row: usize, [height, width, channels]: [usize; 3], patch: Patch) -> Vec<Span> {
    let [_, columns] = patch.grid(height, width);
    let row_values = patch.side * channels;
    let (top, first_row, count) = patch.overlap(row, height);
    let mut spans = Vec::with_capacity(columns * count);
    for column in 0..columns {
        let (left, first, length) = patch.overlap(column, width);
        for line in 0..count {
            spans.push(Span {
                picture: ((top + line) * width + left) * channels,
                patch: (column * patch.side + first_row + line) * row_values + first * channels,
                length: length * channels,
            });
        }
    }
    spans
}

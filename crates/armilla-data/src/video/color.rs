//! RGB to and from 4:2:0 YUV with eight bits, in fixed point.

use openh264::formats::YUVSource;

/// Which numbers relate YUV to RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matrix {
    /// Standard definition, and whatever does not say.
    Bt601,
    /// High definition.
    Bt709,
}

/// How a video's numbers are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ColorSpace {
    pub(crate) matrix: Matrix,
    /// Whether black is 0 and white 255, not 16 and 235.
    pub(crate) full_range: bool,
}

impl ColorSpace {
    /// What LeRobot's videos are, and ours.
    pub(crate) const LEROBOT: Self = Self {
        matrix: Matrix::Bt601,
        full_range: false,
    };
}

/// A picture in three planes; chroma has half the rows and columns.
#[derive(Default)]
pub(crate) struct Yuv {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
}

const BITS: u32 = 16;
const HALF: i32 = 1 << (BITS - 1);

impl Yuv {
    /// Converts a picture of even sides, `[height, width, 3]`, to limited-range BT.601.
    pub(crate) fn fill(&mut self, height: usize, width: usize, rgb: &[u8]) {
        (self.height, self.width) = (height, width);
        self.luma.resize(height * width, 0);
        self.blue.resize(height * width / 4, 0);
        self.red.resize(height * width / 4, 0);
        for (pixel, luma) in rgb.chunks_exact(3).zip(&mut self.luma) {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
            *luma = ((16_829 * r + 33_039 * g + 6_416 * b + HALF + (16 << BITS)) >> BITS) as u8;
        }
        let half = width / 2;
        for (row, rows) in rgb.chunks_exact(width * 6).enumerate() {
            let (upper, lower) = rows.split_at(width * 3);
            let quads = upper.chunks_exact(6).zip(lower.chunks_exact(6));
            let chroma = self.blue[row * half..]
                .iter_mut()
                .zip(&mut self.red[row * half..]);
            for ((upper, lower), (blue, red)) in quads.zip(chroma) {
                let [r, g, b] = [0, 1, 2].map(|channel| {
                    [
                        upper[channel],
                        upper[channel + 3],
                        lower[channel],
                        lower[channel + 3],
                    ]
                    .map(i32::from)
                    .iter()
                    .sum::<i32>()
                });
                // The sums are of four pixels, hence two bits more.
                let offset = (128 << (BITS + 2)) + 4 * HALF;
                *blue = ((-9_714 * r - 19_070 * g + 28_784 * b + offset) >> (BITS + 2)) as u8;
                *red = ((28_784 * r - 24_103 * g - 4_681 * b + offset) >> (BITS + 2)) as u8;
            }
        }
    }
}

impl YUVSource for Yuv {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }
    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }
    fn y(&self) -> &[u8] {
        &self.luma
    }
    fn u(&self) -> &[u8] {
        &self.blue
    }
    fn v(&self) -> &[u8] {
        &self.red
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::rgb::{Planes, write_rgb};

    fn there_and_back(color: [u8; 3]) -> [u8; 3] {
        let mut yuv = Yuv::default();
        yuv.fill(2, 2, &color.repeat(4));
        let planes = Planes {
            height: 2,
            width: 2,
            luma: (&yuv.luma, 2),
            blue: (&yuv.blue, 1),
            red: (&yuv.red, 1),
        };
        let mut rgb = [0; 12];
        write_rgb(&planes, ColorSpace::LEROBOT, &mut rgb);
        [rgb[0], rgb[1], rgb[2]]
    }

    #[test]
    fn colors_come_back() {
        for color in [
            [0, 0, 0],
            [255, 255, 255],
            [255, 0, 0],
            [0, 255, 0],
            [0, 0, 255],
            [13, 200, 77],
        ] {
            let found = there_and_back(color);
            let off = color.iter().zip(found).map(|(a, b)| a.abs_diff(b)).max();
            assert!(off <= Some(3), "{color:?} {found:?}");
        }
    }

    #[test]
    fn pure_red_by_hand() {
        let mut yuv = Yuv::default();
        yuv.fill(2, 2, &[255, 0, 0].repeat(4));
        // The table of BT.601: red is Y 81, Cb 90, Cr 240.
        assert_eq!((yuv.luma[0], yuv.blue[0], yuv.red[0]), (81, 90, 240));
    }
}

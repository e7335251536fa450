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

/// Decoded planes, with the bytes from one row to the next.
pub(crate) struct Planes<'a> {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) luma: (&'a [u8], usize),
    pub(crate) blue: (&'a [u8], usize),
    pub(crate) red: (&'a [u8], usize),
}

/// The factors of one colour space, in thirteen-bit fixed point.
struct Factors {
    black: i32,
    luma: i32,
    red: i32,
    green_blue: i32,
    green_red: i32,
    blue: i32,
}

impl Factors {
    fn of(space: ColorSpace) -> Self {
        let (red, blue) = match space.matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        let green = 1.0 - red - blue;
        let (black, luma, chroma) = if space.full_range {
            (0, 1.0, 1.0)
        } else {
            (16, 255.0 / 219.0, 255.0 / 224.0)
        };
        let fixed = |value: f64| (value * 8192.0).round() as i32;
        Self {
            black,
            luma: fixed(luma),
            red: fixed(2.0 * (1.0 - red) * chroma),
            green_blue: fixed(-2.0 * (1.0 - blue) * blue / green * chroma),
            green_red: fixed(-2.0 * (1.0 - red) * red / green * chroma),
            blue: fixed(2.0 * (1.0 - blue) * chroma),
        }
    }
}

/// Converts planes to `[height, width, 3]`.
///
/// Bit for bit what swscale does on x86 (each term cut off, not rounded; each chroma value for its four pixels), so that
/// a policy sees the same pixels here as in Python, where PyAV decodes.
pub(crate) fn to_rgb(planes: &Planes<'_>, space: ColorSpace) -> Vec<u8> {
    let factors = Factors::of(space);
    let term = |value: i32, factor: i32| (value * 8 * factor) >> 16;
    let mut rgb = vec![0; planes.height * planes.width * 3];
    let half = planes.width.div_ceil(2);
    for (row, target) in rgb.chunks_exact_mut(planes.width * 3).enumerate() {
        let luma = &planes.luma.0[row * planes.luma.1..][..planes.width];
        let blue = &planes.blue.0[row / 2 * planes.blue.1..][..half];
        let red = &planes.red.0[row / 2 * planes.red.1..][..half];
        for (column, pixel) in target.chunks_exact_mut(3).enumerate() {
            let y = term(i32::from(luma[column]) - factors.black, factors.luma);
            let u = i32::from(blue[column / 2]) - 128;
            let v = i32::from(red[column / 2]) - 128;
            let byte = |value: i32| value.clamp(0, 255) as u8;
            pixel[0] = byte(y + term(v, factors.red));
            pixel[1] = byte(y + term(u, factors.green_blue) + term(v, factors.green_red));
            pixel[2] = byte(y + term(u, factors.blue));
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let rgb = to_rgb(&planes, ColorSpace::LEROBOT);
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

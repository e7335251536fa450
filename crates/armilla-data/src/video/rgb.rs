//! Decoded planes to RGB, bit for bit as swscale does on x86.

use pulp::NullaryFnOnce;

use super::color::{ColorSpace, Matrix};

/// Decoded planes, with the bytes from one row to the next; chroma has half the rows and columns.
pub(crate) struct Planes<'a> {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) luma: (&'a [u8], usize),
    pub(crate) blue: (&'a [u8], usize),
    pub(crate) red: (&'a [u8], usize),
}

/// Pixels of a row that are converted together.
const BLOCK: usize = 32;
/// Their chroma values.
const HALF: usize = BLOCK / 2;

/// Converts planes to `[height, width, 3]`, which `rgb` has room for.
///
/// Each term is cut off, not rounded, and each chroma value stands for its four pixels, so that a policy sees the same pixels
/// here as in Python, where PyAV decodes.
pub(crate) fn write_rgb(planes: &Planes<'_>, space: ColorSpace, rgb: &mut [u8]) {
    let factors = Factors::of(space);
    pulp::Arch::new().dispatch(Conversion {
        planes,
        factors,
        rgb,
    });
}

/// The factors of one colour space, in thirteen-bit fixed point.
#[derive(Clone, Copy)]
struct Factors {
    black: i16,
    luma: i16,
    red: i16,
    green_blue: i16,
    green_red: i16,
    blue: i16,
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
        let fixed = |value: f64| (value * 8192.0).round() as i16;
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

/// The whole conversion, compiled for each processor that `pulp` knows.
struct Conversion<'a> {
    planes: &'a Planes<'a>,
    factors: Factors,
    rgb: &'a mut [u8],
}

impl NullaryFnOnce for Conversion<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let planes = self.planes;
        let half = planes.width.div_ceil(2);
        for (row, target) in self.rgb.chunks_exact_mut(planes.width * 3).enumerate() {
            let luma = &planes.luma.0[row * planes.luma.1..][..planes.width];
            let blue = &planes.blue.0[row / 2 * planes.blue.1..][..half];
            let red = &planes.red.0[row / 2 * planes.red.1..][..half];
            let (luma, last_luma) = luma.as_chunks::<BLOCK>();
            // The rest of an odd row may need a whole block of chroma.
            let (blue, last_blue) = blue.split_at(luma.len() * HALF);
            let (red, last_red) = red.split_at(luma.len() * HALF);
            let (blue, red) = (blue.as_chunks().0, red.as_chunks().0);
            let (target, last) = target.as_chunks_mut::<{ 3 * BLOCK }>();
            for (((luma, blue), red), target) in luma.iter().zip(blue).zip(red).zip(target) {
                convert(luma, blue, red, self.factors, target);
            }
            if !last.is_empty() {
                let mut target = [0; 3 * BLOCK];
                let (luma, blue, red) = (filled(last_luma), filled(last_blue), filled(last_red));
                convert(&luma, &blue, &red, self.factors, &mut target);
                last.copy_from_slice(&target[..last.len()]);
            }
        }
    }
}

/// The end of a row as a block.
#[inline(always)]
fn filled<const N: usize>(values: &[u8]) -> [u8; N] {
    let mut block = [0; N];
    block[..values.len()].copy_from_slice(values);
    block
}

/// A product of what swscale scales by eight, of which it keeps the upper half.
#[inline(always)]
fn term(value: i16, factor: i16) -> i16 {
    ((i32::from(value * 8) * i32::from(factor)) >> 16) as i16
}

#[inline(always)]
fn convert(
    luma: &[u8; BLOCK],
    blue: &[u8; HALF],
    red: &[u8; HALF],
    factors: Factors,
    rgb: &mut [u8; 3 * BLOCK],
) {
    let mut chroma = [[0_i16; HALF]; 3];
    for i in 0..HALF {
        let (u, v) = (i16::from(blue[i]) - 128, i16::from(red[i]) - 128);
        chroma[0][i] = term(v, factors.red);
        chroma[1][i] = term(u, factors.green_blue) + term(v, factors.green_red);
        chroma[2][i] = term(u, factors.blue);
    }
    let mut channels = [[0_i16; BLOCK]; 3];
    for (channel, chroma) in channels.iter_mut().zip(&chroma) {
        for i in 0..HALF {
            channel[2 * i] = chroma[i];
            channel[2 * i + 1] = chroma[i];
        }
    }
    let mut pixels = [0_u32; BLOCK];
    for i in 0..BLOCK {
        let y = term(i16::from(luma[i]) - factors.black, factors.luma);
        let byte = |channel: usize| u32::from((y + channels[channel][i]).clamp(0, 255) as u8);
        pixels[i] = byte(0) | byte(1) << 8 | byte(2) << 16;
    }
    // Four bytes at once, of which the next pixel overwrites the last.
    for i in 0..BLOCK - 1 {
        rgb[3 * i..3 * i + 4].copy_from_slice(&pixels[i].to_le_bytes());
    }
    rgb[3 * BLOCK - 3..].copy_from_slice(&pixels[BLOCK - 1].to_le_bytes()[..3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula, pixel by pixel.
    fn by_hand(planes: &Planes<'_>, factors: Factors) -> Vec<u8> {
        let term = |value: u8, from: i16, factor: i16| {
            ((i32::from(value) - i32::from(from)) * 8 * i32::from(factor)) >> 16
        };
        let mut rgb = Vec::new();
        for row in 0..planes.height {
            for column in 0..planes.width {
                let at =
                    |plane: (&[u8], usize), by: usize| plane.0[row / by * plane.1 + column / by];
                let y = term(at(planes.luma, 1), factors.black, factors.luma);
                let [u, v] = [planes.blue, planes.red].map(|plane| at(plane, 2));
                let green = term(u, 128, factors.green_blue) + term(v, 128, factors.green_red);
                for chroma in [term(v, 128, factors.red), green, term(u, 128, factors.blue)] {
                    rgb.push((y + chroma).clamp(0, 255) as u8);
                }
            }
        }
        rgb
    }

    #[test]
    fn blocks_agree_with_the_formula() {
        for (height, width) in [(4, 64), (6, 50), (3, 31), (2, 33), (5, 7)] {
            let stride = width + 3;
            let bytes: Vec<u8> = (0..height * stride)
                .map(|i| (i * i * 31 + i * 7) as u8)
                .collect();
            let mirrored: Vec<u8> = bytes.iter().rev().copied().collect();
            let planes = Planes {
                height,
                width,
                luma: (&bytes, stride),
                blue: (&mirrored, stride),
                red: (&bytes[1..], stride),
            };
            for (matrix, full_range) in [(Matrix::Bt601, false), (Matrix::Bt709, true)] {
                let space = ColorSpace { matrix, full_range };
                let mut rgb = vec![0; height * width * 3];
                write_rgb(&planes, space, &mut rgb);
                assert_eq!(
                    rgb,
                    by_hand(&planes, Factors::of(space)),
                    "{height} x {width}"
                );
            }
        }
    }
}

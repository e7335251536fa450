//! How alike two pictures are: PSNR and SSIM.

use armilla_core::{Error, Image, Result};

/// Side and deviation of SSIM's Gaussian window, in pixels.
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;
/// What keeps SSIM's fractions finite, for values in `[0, 1]`: the squares of 0.01 and of 0.03.
const STABILISERS: [f64; 2] = [1e-4, 9e-4];
const CHANNELS: usize = 3;

/// Mean squared difference of two pictures' values, which count as `[0, 1]`.
///
/// # Errors
///
/// [`Error::Invalid`] when their sizes differ.
pub fn squared_difference(a: &Image, b: &Image) -> Result<f64> {
    check(a, b)?;
    let pairs = a.data().iter().zip(b.data());
    let squares = pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    Ok(squares.sum::<f64>() / (255.0 * 255.0 * a.data().len() as f64))
}

/// Peak signal-to-noise ratio in dB of a mean squared difference of values in `[0, 1]`; infinite for none.
#[must_use]
pub fn psnr(squared_difference: f64) -> f64 {
    -10.0 * squared_difference.log10()
}

/// Structural similarity (Wang et al. 2004, <https://doi.org/10.1109/TIP.2003.819861>): the mean over all whole windows of 11 x 11
/// pixels, weighted by a Gaussian of 1.5 px, and over the three colour channels, each by itself. 1 for equal pictures.
///
/// # Errors
///
/// [`Error::Invalid`] when their sizes differ or no window fits.
pub fn ssim(a: &Image, b: &Image) -> Result<f64> {
    check(a, b)?;
    if a.height().min(a.width()) < WINDOW {
        let found = format!("{} x {}", a.height(), a.width());
        let expected = format!("at least {WINDOW} x {WINDOW}");
        return Err(Error::invalid("picture to compare", expected, found));
    }
    let channels = (0..CHANNELS).map(|channel| {
        let plane = |image: &Image| {
            let values = image.data().iter().skip(channel).step_by(CHANNELS);
            values.map(|&value| f64::from(value) / 255.0).collect()
        };
        plane_ssim(&plane(a), &plane(b), a.width())
    });
    Ok(channels.sum::<f64>() / CHANNELS as f64)
}

/// SSIM of one channel, row after row.
fn plane_ssim(a: &Vec<f64>, b: &Vec<f64>, width: usize) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<_>>();
    let [mean_a, mean_b] = [a, b].map(|plane| smoothed(plane, width));
    let [square_a, square_b, both] =
        [(a, a), (b, b), (a, b)].map(|(a, b)| smoothed(&product(a, b), width));
    let [small, smaller] = [STABILISERS[1], STABILISERS[0]];
    let local = |at: usize| {
        let (a, b) = (mean_a[at], mean_b[at]);
        let (variances, covariance) = (
            square_a[at] - a * a + square_b[at] - b * b,
            both[at] - a * b,
        );
        (2.0 * a * b + smaller) * (2.0 * covariance + small)
            / ((a * a + b * b + smaller) * (variances + small))
    };
    (0..mean_a.len()).map(local).sum::<f64>() / mean_a.len() as f64
}

/// The Gaussian-weighted mean in every whole window.
fn smoothed(plane: &[f64], width: usize) -> Vec<f64> {
    let weights = gaussian();
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let weighted = weights
            .iter()
            .zip(values)
            .map(|(weight, value)| weight * value);
        weighted.sum::<f64>()
    };
    let (height, narrow) = (plane.len() / width, width + 1 - WINDOW);
    let rows: Vec<f64> = plane
        .chunks(width)
        .flat_map(|row| row.windows(WINDOW))
        .map(|window| mean(&mut window.iter().copied()))
        .collect();
    let at = |row: usize, column: usize| {
        let below = rows[row * narrow + column..].iter().step_by(narrow);
        mean(&mut below.copied())
    };
    (0..=height - WINDOW)
        .flat_map(|row| (0..narrow).map(move |column| (row, column)))
        .map(|(row, column)| at(row, column))
        .collect()
}

/// The window's weights along one axis; their sum is 1.
fn gaussian() -> [f64; WINDOW] {
    let weights: [f64; WINDOW] = std::array::from_fn(|at| {
        let away = at as f64 - (WINDOW / 2) as f64;
        (-away * away / (2.0 * SIGMA * SIGMA)).exp()
    });
    let total: f64 = weights.iter().sum();
    weights.map(|weight| weight / total)
}

fn check(a: &Image, b: &Image) -> Result<()> {
    let [a, b] = [a, b].map(|image| format!("{} x {}", image.height(), image.width()));
    match a == b {
        true => Ok(()),
        false => Err(Error::invalid("pictures to compare", a, b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::{normals, stream};

    fn noise(step: u64) -> Image {
        let values = normals(&mut stream(0, "similarity", step), 16 * 12 * 3);
        let pixels = values.iter().map(|value| (128.0 + 50.0 * value) as u8);
        Image::new(16, 12, pixels.collect()).unwrap()
    }

    #[test]
    fn psnr_by_hand() {
        let (black, grey) = (Image::filled(4, 4, [0; 3]), Image::filled(4, 4, [51; 3]));
        let squared = squared_difference(&black, &grey).unwrap();
        assert!((squared - 0.04).abs() < 1e-12);
        assert!((psnr(squared) - 13.979_400).abs() < 1e-6);
        assert_eq!(psnr(0.0), f64::INFINITY);
    }

    #[test]
    fn flat_pictures_by_hand() {
        // Without variance only the first factor is left: (2 · 0.2 · 0.4 + 1e-4) / (0.04 + 0.16 + 1e-4).
        let (a, b) = (
            Image::filled(11, 11, [51; 3]),
            Image::filled(11, 11, [102; 3]),
        );
        assert!((ssim(&a, &b).unwrap() - 0.1601 / 0.2001).abs() < 1e-9);
    }

    #[test]
    fn one_window_by_the_definition() {
        let (a, b) = (noise(0), noise(1));
        let crop = |image: &Image| {
            let rows = (0..11).flat_map(|row| image.data()[row * 36..row * 36 + 33].to_vec());
            Image::new(11, 11, rows.collect()).unwrap()
        };
        let (a, b) = (crop(&a), crop(&b));
        let weights = gaussian();
        let mean = |f: &dyn Fn(usize, usize) -> f64| {
            let all = (0..121).map(|at| weights[at / 11] * weights[at % 11] * f(at / 11, at % 11));
            all.sum::<f64>()
        };
        let mut expected = 0.0;
        for channel in 0..3 {
            let value =
                |image: &Image, row, column| f64::from(image.pixel(row, column)[channel]) / 255.0;
            let (x, y) = (mean(&|r, c| value(&a, r, c)), mean(&|r, c| value(&b, r, c)));
            let spread = |p: &Image, q: &Image, m: f64, n: f64| {
                mean(&|r, c| (value(p, r, c) - m) * (value(q, r, c) - n))
            };
            let (xx, yy, xy) = (
                spread(&a, &a, x, x),
                spread(&b, &b, y, y),
                spread(&a, &b, x, y),
            );
            expected += (2.0 * x * y + 1e-4) * (2.0 * xy + 9e-4)
                / ((x * x + y * y + 1e-4) * (xx + yy + 9e-4))
                / 3.0;
        }
        assert!((ssim(&a, &b).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn equal_is_one_order_does_not_matter_and_noise_lowers_it() {
        for step in 0..5 {
            let (a, b) = (noise(2 * step), noise(2 * step + 1));
            assert!((ssim(&a, &a).unwrap() - 1.0).abs() < 1e-9);
            let (there, back) = (ssim(&a, &b).unwrap(), ssim(&b, &a).unwrap());
            assert!(
                (there - back).abs() < 1e-12 && (-1.0..0.5).contains(&there),
                "{there}"
            );
            let mut near = a.clone();
            for (near, other) in near.data_mut().iter_mut().zip(b.data()) {
                *near = near.wrapping_add((other % 8) * u8::from(*near < 240));
            }
            let found = ssim(&a, &near).unwrap();
            assert!((0.9..1.0).contains(&found), "{found}");
        }
    }

    #[test]
    fn pictures_that_cannot_be_compared_are_named() {
        let (a, b) = (Image::filled(16, 16, [0; 3]), Image::filled(16, 8, [0; 3]));
        let error = ssim(&a, &b).unwrap_err().to_string();
        assert!(
            error.contains("16 x 16") && error.contains("16 x 8"),
            "{error}"
        );
        assert!(
            ssim(&b, &b)
                .unwrap_err()
                .to_string()
                .contains("at least 11")
        );
    }
}

//! SIGReg: latents whose every one-dimensional shadow looks standard normal cannot have collapsed.
//!
//! From LeJEPA and LeWorldModel (arXiv 2603.19312): the Epps-Pulley statistic, the distance between the empirical
//! characteristic function of the latents along a random direction and that of the normal distribution, averaged over directions.
//! It is taken per time step across the batch: along time the latents of one episode are not independent draws.

use armilla_nn::random::normal;
use armilla_nn::reduction::mean;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

/// Points at which the characteristic functions are compared, equally spaced from 0 to [`LAST_KNOT`].
const KNOTS: usize = 17;
const LAST_KNOT: f64 = 3.0;

/// Random unit vectors, to be drawn anew at every step.
///
/// # Shapes
///
/// - output: `[latent, projections]`
#[must_use]
pub fn directions(generator: &mut ChaCha8Rng, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let columns = normal(generator, shape, device);
    let norms = columns.clone().square().sum_dim(0).sqrt(); // [1, projections]
    columns / norms
}

/// The statistic: below about 1 for normal latents, and growing with the batch for any other distribution.
///
/// # Shapes
///
/// - latents: `[time, batch, latent]`
/// - directions: `[latent, projections]`
/// - output: `[1]`
#[must_use]
pub fn sigreg(latents: Tensor<3>, directions: Tensor<2>) -> Tensor<1> {
    let [time, batch, latent] = latents.dims();
    let projections = directions.dims()[1];
    let spacing = LAST_KNOT / (KNOTS - 1) as f64;
    let angle = latents
        .reshape([time * batch, latent])
        .matmul(directions)
        .reshape([time, batch, projections])
        * spacing;
    // Equally spaced knots need the cosine and sine of multiples of one angle: two trigonometric calls and angle addition.
    let (first_cos, first_sin) = (angle.clone().cos(), angle.sin());
    let (mut cos, mut sin) = (first_cos.clone(), first_sin.clone());
    let mut total = None;
    // At knot 0 both functions are 1.
    for knot in 1..KNOTS {
        let normal = (-0.5 * (knot as f64 * spacing).powi(2)).exp();
        let trapezoid = if knot + 1 == KNOTS { 1.0 } else { 2.0 };
        let weight = trapezoid * spacing * normal * batch as f64;
        let real = cos.clone().mean_dim(1) - normal; // [time, 1, projections]
        let imaginary = sin.clone().mean_dim(1);
        let error = (real.square() + imaginary.square()) * weight;
        total = Some(match total {
            None => error,
            Some(sum) => sum + error,
        });
        if knot + 1 < KNOTS {
            let next = cos.clone() * first_cos.clone() - sin.clone() * first_sin.clone();
            sin = sin * first_cos.clone() + cos * first_sin.clone();
            cos = next;
        }
    }
    total.map_or_else(|| Tensor::zeros([1], &Device::default()), mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;

    /// The definition, knot by knot, in double precision.
    fn by_definition(rows: &[f64]) -> f64 {
        let count = rows.len() as f64;
        let spacing = 3.0 / 16.0;
        let knots = (0..17).map(|k| {
            let t = f64::from(k) * spacing;
            let normal = (-t * t / 2.0).exp();
            let real = rows.iter().map(|x| (x * t).cos()).sum::<f64>() / count - normal;
            let imaginary = rows.iter().map(|x| (x * t).sin()).sum::<f64>() / count;
            let width = if k == 0 || k == 16 { 1.0 } else { 2.0 };
            (real.powi(2) + imaginary.powi(2)) * width * spacing * normal
        });
        knots.sum::<f64>() * count
    }

    fn value(latents: Tensor<3>, directions: Tensor<2>) -> f64 {
        f64::from(sigreg(latents, directions).into_scalar::<f32>())
    }

    #[test]
    fn equals_the_definition() {
        let device = Device::flex();
        let rows = [0.3, -1.2, 2.5, 0.0, -0.7];
        let latents = Tensor::<1>::from_floats(rows.map(|x| x as f32), &device).reshape([1, 5, 1]);
        let found = value(latents, Tensor::ones([1, 1], &device));
        assert!((found - by_definition(&rows)).abs() < 1e-5, "{found}");
        let collapsed = value(
            Tensor::zeros([1, 5, 1], &device),
            Tensor::ones([1, 1], &device),
        );
        assert!((collapsed - by_definition(&[0.0; 5])).abs() < 1e-5);
    }

    #[test]
    fn normal_latents_are_left_alone_and_collapsed_ones_are_not() {
        let device = Device::flex();
        let mut generator = stream(0, "test", 0);
        let directions = directions(&mut generator, [16, 64], &device);
        let norm: f32 = directions.clone().square().sum_dim(0).max().into_scalar();
        assert!((norm - 1.0).abs() < 1e-5);
        let good = normal(&mut generator, [2, 256, 16], &device);
        let healthy = value(good.clone(), directions.clone());
        let shrunk = value(good * 0.1, directions);
        assert!(
            healthy < 1.5 && shrunk > 50.0 * healthy,
            "{healthy} {shrunk}"
        );
    }

    #[test]
    fn the_statistic_is_taken_per_time_step() {
        // Each time step is a constant, so collapsed, though both together have spread.
        let device = Device::flex();
        let latents = Tensor::cat(
            vec![
                Tensor::<3>::ones([1, 64, 1], &device),
                -Tensor::<3>::ones([1, 64, 1], &device),
            ],
            0,
        );
        let found = value(latents, Tensor::ones([1, 1], &device));
        assert!((found - by_definition(&[1.0; 64])).abs() < 1e-3, "{found}");
    }
}

//! Exponentials without branches or tables, which the compiler turns into vector instructions.
//!
//! `mul_add` is one instruction where [`vectorized`](crate::vector) has AVX or NEON, and a call without: the processors it falls back for
//! are older than 2013.

/// `exp(x)`, to 2 units in the last place between -87 and 88; 0 below, where denormal numbers would slow all that comes after, and
/// the value at 88 above.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // x = n ln 2 + r with |r| <= ln 2 / 2; adding and taking away 1.5 * 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let vanishes = x < -87.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    // Cephes' polynomial for (exp(r) - 1 - r) / r^2.
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let value = p.mul_add(r * r, r) + 1.0;
    let power = ((shifted.to_bits() as i32) << 23).wrapping_add(0x3f80_0000);
    let value = value * f32::from_bits(power as u32);
    if vanishes { 0.0 } else { value }
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The error function, to 3e-7 (Abramowitz and Stegun 7.1.26), and `exp(-x^2)`, which it takes on the way.
#[inline(always)]
pub(crate) fn erf(x: f32) -> (f32, f32) {
    let t = 1.0 / x.abs().mul_add(0.327_591_1, 1.0);
    let p = 1.061_405_4_f32;
    let p = p.mul_add(t, -1.453_152);
    let p = p.mul_add(t, 1.421_413_7);
    let p = p.mul_add(t, -0.284_496_74);
    let p = p.mul_add(t, 0.254_829_6);
    let bell = exp(-x * x);
    ((1.0 - p * t * bell).copysign(x), bell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_single_precision() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert!(exp(-87.1) == 0.0 && exp(1000.0).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_error_function_by_its_table() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (2.0, 0.995_322_3),
        ] {
            let (above, below) = (erf(x).0, erf(-x).0);
            assert!((above - expected).abs() < 4e-7, "{x}: {above}");
            assert!((below + expected).abs() < 4e-7, "-{x}: {below}");
        }
    }
}

//! Activations and their slopes, value by value.

use rayon::prelude::*;

use crate::fresh::{Size, written};
use crate::math::{erf, exp, sigmoid};
use crate::vector::vectorized;

/// Values a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `x`.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `x * tanh(ln(1 + exp(x)))`.
    Mish,
}

/// A [`Function`] as a type, so that loops over it hold no choice.
pub(crate) trait Curve {
    /// Its value.
    fn value(x: f32) -> f32;
    /// Its derivative.
    fn slope(x: f32) -> f32;
}

pub(crate) struct Identity;
pub(crate) struct Relu;
pub(crate) struct Silu;
pub(crate) struct Gelu;
pub(crate) struct Mish;

impl Curve for Identity {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn slope(_: f32) -> f32 {
        1.0
    }
}

impl Curve for Relu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        // Not `max`, which would turn NaN into 0.
        if x < 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { 0.0 }
    }
}

impl Curve for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let s = sigmoid(x);
        s + x * s * (1.0 - s)
    }
}

impl Curve for Gelu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2).0)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        const INVERSE_SQRT_TAU: f32 = 0.398_942_3;
        let (erf, bell) = erf(x * std::f32::consts::FRAC_1_SQRT_2);
        0.5 * (1.0 + erf) + x * INVERSE_SQRT_TAU * bell
    }
}

impl Curve for Mish {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        let e = growth(x);
        let n = e * (e + 2.0);
        x * (n / (n + 2.0))
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let e = growth(x);
        let n = e * (e + 2.0);
        // The hyperbolic tangent, and its own slope by x.
        n / (n + 2.0) + x * (4.0 * e * (e + 1.0) / ((n + 2.0) * (n + 2.0)))
    }
}

/// `exp(x)` up to where `tanh(ln(1 + exp(x)))` is 1 in single precision, so that its squares stay finite.
#[inline(always)]
fn growth(x: f32) -> f32 {
    exp(if x > 20.0 { 20.0 } else { x })
}

/// Runs `$body` with `$curve` standing for the type of a [`Function`].
macro_rules! with_curve {
    ($function:expr, $curve:ident => $body:expr) => {
        match $function {
            $crate::Function::Identity => {
                type $curve = $crate::activation::Identity;
                $body
            }
            $crate::Function::Relu => {
                type $curve = $crate::activation::Relu;
                $body
            }
            $crate::Function::Silu => {
                type $curve = $crate::activation::Silu;
                $body
            }
            $crate::Function::Gelu => {
                type $curve = $crate::activation::Gelu;
                $body
            }
            $crate::Function::Mish => {
                type $curve = $crate::activation::Mish;
                $body
            }
        }
    };
}
pub(crate) use with_curve;

/// Values computed at a time: what fits a vector register.
const LANES: usize = 16;

/// The values of a function.
pub(crate) fn forward(input: &[f32], function: Function) -> Vec<f32> {
    let size = Size {
        length: input.len(),
        chunk: CHUNK,
    };
    let ([output], _) = written([size], |task, [output]| {
        let input = &input[task * CHUNK..][..output.len()];
        let output = output.copied(input);
        apply(output, function);
        ([output], ())
    });
    output
}

/// Replaces values by those of a function.
pub(crate) fn apply(values: &mut [f32], function: Function) {
    if function == Function::Identity {
        return;
    }
    with_curve!(function, C => vectorized!({
            let (blocks, last) = values.as_chunks_mut::<LANES>();
            for block in blocks {
                let x = *block;
                let mut value = [0.0; LANES];
                for lane in 0..LANES {
     value[lane] = C::value(x[lane]);
    }
                *block = value;
            }
            for value in last.iter_mut() {
     *value = C::value(*value);
    }
        }));
}

/// Turns the gradient of the output into that of the input.
pub(crate) fn backward(gradient: &mut [f32], input: &[f32], function: Function) {
    gradient
        .par_chunks_mut(CHUNK)
        .zip(input.par_chunks(CHUNK))
        .for_each(|(gradient, input)| {
            with_curve!(function, C => vectorized!(times_slope::<C>(gradient, input)));
        });
}

/// Multiplies gradients by the slopes at their inputs.
#[inline(always)]
pub(crate) fn times_slope<C: Curve>(gradient: &mut [f32], input: &[f32]) {
    let (gradients, last_gradients) = gradient.as_chunks_mut::<LANES>();
    let (inputs, last_inputs) = input.as_chunks::<LANES>();
    for (gradient, x) in gradients.iter_mut().zip(inputs) {
        let mut slope = [0.0; LANES];
        for lane in 0..LANES {
            slope[lane] = C::slope(x[lane]);
        }
        for lane in 0..LANES {
            gradient[lane] *= slope[lane];
        }
    }
    for (gradient, &x) in last_gradients.iter_mut().zip(last_inputs) {
        *gradient *= C::slope(x);
    }
}

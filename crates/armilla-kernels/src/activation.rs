//! Activations and their slopes, value by value.

use rayon::prelude::*;

use crate::math::{erf, sigmoid};

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
}

impl Function {
    /// Its value.
    #[inline(always)]
    pub(crate) fn value(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            // Not `max`, which would turn NaN into 0.
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Silu => x * sigmoid(x),
            Self::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
        }
    }

    /// Its derivative.
    #[inline(always)]
    pub(crate) fn slope(self, x: f32) -> f32 {
        match self {
            Self::Identity => 1.0,
            Self::Relu => {
                if x > 0.0 {
                    1.0
                } else {
                    0.0
                }
            }
            Self::Silu => {
                let s = sigmoid(x);
                s + x * s * (1.0 - s)
            }
            Self::Gelu => {
                const INVERSE_SQRT_TAU: f32 = 0.398_942_3;
                let below = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
                below + x * INVERSE_SQRT_TAU * crate::math::exp(-0.5 * x * x)
            }
        }
    }
}

/// Calls `$body` with `$function` as a constant, so that its loop holds no choice.
macro_rules! specialized {
    ($function:ident => $body:expr) => {
        match $function {
            Function::Identity => {
                #[allow(unused_variables, reason = "one arm for all functions")]
                let $function = Function::Identity;
                $body
            }
            Function::Relu => {
                let $function = Function::Relu;
                $body
            }
            Function::Silu => {
                let $function = Function::Silu;
                $body
            }
            Function::Gelu => {
                let $function = Function::Gelu;
                $body
            }
        }
    };
}
pub(crate) use specialized;

/// The values of a function.
pub(crate) fn forward(input: &[f32], function: Function) -> Vec<f32> {
    let mut output = vec![0.0; input.len()];
    output
        .par_chunks_mut(CHUNK)
        .zip(input.par_chunks(CHUNK))
        .for_each(|(output, input)| {
            specialized!(function => pulp::Arch::new().dispatch(
                #[inline(always)]
                || for (output, &x) in output.iter_mut().zip(input) {
                    *output = function.value(x);
                }
            ));
        });
    output
}

/// The gradient of the input.
pub(crate) fn backward(input: &[f32], gradient: &[f32], function: Function) -> Vec<f32> {
    let mut output = vec![0.0; input.len()];
    output
        .par_chunks_mut(CHUNK)
        .zip(input.par_chunks(CHUNK).zip(gradient.par_chunks(CHUNK)))
        .for_each(|(output, (input, gradient))| {
            specialized!(function => pulp::Arch::new().dispatch(
                #[inline(always)]
                || for ((output, &x), &gradient) in output.iter_mut().zip(input).zip(gradient) {
                    *output = gradient * function.slope(x);
                }
            ));
        });
    output
}

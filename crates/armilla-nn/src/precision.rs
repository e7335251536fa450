//! The precision of matrix products and convolutions.
//!
//! Mixed precision as is usual in training: weights, their gradients and moments, sums, normalisations, softmax and losses stay f32;
//! what goes into a matrix product or a convolution is rounded to bf16, and so are its result and the gradients that pass through it.
//! bf16 has the range of f32, so no loss is scaled.
//!
//! A precision holds for a thread while something runs, as PyTorch's `autocast` does: the layers that multiply lie deep inside models
//! that need not know of it, and the same weights serve both precisions. The trainer sets it by `TrainConfig::precision`; nothing else
//! does unless it says so.

use std::cell::Cell;

use burn::tensor::{Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// Which precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits throughout; NVIDIA's tensor cores may multiply them as TF32, with 11 bits of significand, where burn finds that faster.
    #[default]
    F32,
    /// Products of bf16 values, everything else in f32.
    Bf16,
}

thread_local! {
    static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// Runs something in this precision, on this thread.
    pub fn scope<T>(self, work: impl FnOnce() -> T) -> T {
        let _before = Restore(CURRENT.replace(self));
        work()
    }

    /// The precision in which this thread runs.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Whether a device computes in it. The CPU does so in bf16 too, but slower than in f32: it rounds and multiplies in f32.
    #[must_use]
    pub fn runs_on(self, device: &Device) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => device.supports_dtype(FloatDType::BF16),
        }
    }
}

/// Sets a thread's precision back, also when the work panics.
struct Restore(Precision);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// What goes into a product.
pub(crate) fn narrow<const D: usize>(values: Tensor<D>) -> Tensor<D> {
    match Precision::current() {
        Precision::F32 => values,
        Precision::Bf16 => values.cast(FloatDType::BF16),
    }
}

/// What comes out of one.
pub(crate) fn widen<const D: usize>(values: Tensor<D>) -> Tensor<D> {
    match Precision::current() {
        Precision::F32 => values,
        Precision::Bf16 => values.cast(FloatDType::F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::DType;

    #[test]
    fn it_holds_for_a_thread_while_something_runs() {
        let nested = Precision::Bf16.scope(|| {
            let other = std::thread::scope(|scope| scope.spawn(Precision::current).join().unwrap());
            (Precision::current(), other)
        });
        assert_eq!(nested, (Precision::Bf16, Precision::F32));
        let panicked = std::panic::catch_unwind(|| Precision::Bf16.scope(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(Precision::current(), Precision::F32);
    }

    #[test]
    fn only_products_are_narrow() {
        let device = Device::flex();
        assert!(Precision::Bf16.runs_on(&device));
        let one = Tensor::<1>::from_floats([1.001], &device);
        let narrowed = Precision::Bf16.scope(|| narrow(one.clone()));
        assert_eq!(narrowed.dtype(), DType::BF16);
        let back = Precision::Bf16.scope(|| widen(narrowed));
        assert_eq!(back.into_scalar::<f32>(), 1.0);
        assert_eq!(narrow(one).dtype(), DType::F32);
    }
}

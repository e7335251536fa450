//! Tensors and numbers drawn from keyed streams, and weights drawn from a seed.
//!
//! burn's own generator is one for the whole process and cannot be saved, so nothing here or above draws from it except
//! [`seeded`], which holds a lock while a model is built.

use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// Standard normal values.
///
/// # Shapes
///
/// - output: `shape`
#[must_use]
pub fn normal<const D: usize>(
    generator: &mut ChaCha8Rng,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    let values = armilla_core::random::normals(generator, shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Values uniform in `[0, 1)`.
///
/// # Shapes
///
/// - output: `shape`
#[must_use]
pub fn uniform<const D: usize>(
    generator: &mut ChaCha8Rng,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| generator.random()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A whole number below a bound, each as likely as the others.
#[must_use]
pub fn below(generator: &mut ChaCha8Rng, bound: usize) -> usize {
    generator.random_range(0..bound)
}

/// Builds a model whose weights depend on the seed alone, whatever other threads draw meanwhile.
#[must_use]
pub fn seeded<M: Module>(device: &Device, seed: u64, build: impl FnOnce() -> M) -> M {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    let module = build();
    // Parameters are drawn at first use: use them all while the generator is ours.
    module.visit(&mut Draw);
    drop(guard);
    module
}

struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        drop(param.val());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        drop(param.val());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        drop(param.val());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::LinearConfig;
    use armilla_core::random::stream;

    #[test]
    fn equal_streams_give_equal_tensors() {
        let device = Device::flex();
        let draw = |step| normal::<2>(&mut stream(7, "noise", step), [3, 4], &device).into_data();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let values = uniform::<1>(&mut stream(7, "uniform", 0), [1000], &device).into_data();
        assert!(
            values
                .iter::<f32>()
                .all(|value| (0.0..1.0).contains(&value))
        );
    }

    #[test]
    fn weights_depend_on_the_seed_alone() {
        let device = Device::flex();
        let build = |seed| seeded(&device, seed, || LinearConfig::new(4, 4).init(&device));
        let draw = |seed| build(seed).weight.val().into_data();
        let other = std::thread::scope(|scope| {
            let busy = scope.spawn(|| (0..50).fold(None, |_, _| Some(draw(9))));
            let repeated: Vec<_> = (0..50).map(|_| draw(1)).collect();
            assert!(repeated.iter().all(|data| *data == repeated[0]));
            busy.join().unwrap()
        });
        assert_ne!(Some(draw(1)), other);
    }
}

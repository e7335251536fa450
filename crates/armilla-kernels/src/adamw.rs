//! One step of AdamW in one pass over a parameter.

use crate::vector::vectorized;
use rayon::prelude::*;

/// Values a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// What a step does to each value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Share of the mean gradient that is kept.
    pub beta1: f32,
    /// Share of the mean squared gradient that is kept.
    pub beta2: f32,
    /// Added to the root.
    pub epsilon: f32,
    /// The step's size over `1 - beta1^steps`.
    pub rate: f32,
    /// `sqrt(1 - beta2^steps)`.
    pub root_correction: f32,
    /// What the value keeps after weight decay.
    pub kept: f32,
}

impl AdamWStep {
    /// Moves a parameter and its moments.
    pub(crate) fn apply(&self, parameter: [&mut [f32]; 3], gradient: &[f32]) {
        let [value, first, second] = parameter;
        value
            .par_chunks_mut(CHUNK)
            .zip(first.par_chunks_mut(CHUNK))
            .zip(second.par_chunks_mut(CHUNK))
            .zip(gradient.par_chunks(CHUNK))
            .for_each(|(((value, first), second), gradient)| {
                vectorized!(self.apply_chunk(value, first, second, gradient));
            });
    }

    #[inline(always)]
    fn apply_chunk(
        &self,
        value: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        gradient: &[f32],
    ) {
        let step = *self;
        let moments = first.iter_mut().zip(second);
        for ((value, (first, second)), gradient) in value.iter_mut().zip(moments).zip(gradient) {
            *first = *first * step.beta1 + gradient * (1.0 - step.beta1);
            *second = *second * step.beta2 + gradient * gradient * (1.0 - step.beta2);
            let spread = second.sqrt() / step.root_correction + step.epsilon;
            *value = *value * step.kept - *first / spread * step.rate;
        }
    }
}

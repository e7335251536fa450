//! Noise that is correlated over time, so that it moves an agent somewhere instead of shaking it.

use armilla_core::random::{normals, stream};

/// Share of the noise that one step keeps.
const CORRELATION: f32 = 0.8;

/// First-order autoregressive noise of unit variance, two values a step.
#[derive(Clone, Debug)]
pub(crate) struct CorrelatedNoise {
    seed: u64,
    stream: &'static str,
    /// Steps drawn so far; `value` belongs to step `drawn - 1`.
    drawn: u64,
    value: [f32; 2],
}

impl CorrelatedNoise {
    /// The noise of one episode.
    pub(crate) fn new(seed: u64, stream: &'static str) -> Self {
        Self {
            seed,
            stream,
            drawn: 0,
            value: [0.0; 2],
        }
    }

    /// The noise of a step. Asking again for the same step gives the same values; earlier steps must not be asked for.
    pub(crate) fn at(&mut self, step: u64) -> [f32; 2] {
        while self.drawn <= step {
            let fresh = normals(&mut stream(self.seed, self.stream, self.drawn), 2);
            let (kept, added) = if self.drawn == 0 {
                (0.0, 1.0)
            } else {
                (CORRELATION, (1.0 - CORRELATION * CORRELATION).sqrt())
            };
            self.value = [
                kept * self.value[0] + added * fresh[0],
                kept * self.value[1] + added * fresh[1],
            ];
            self.drawn += 1;
        }
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_variance_and_correlation() {
        let mut noise = CorrelatedNoise::new(3, "test");
        let values: Vec<f32> = (0..20_000).map(|step| noise.at(step)[0]).collect();
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        let lagged = values.windows(2).map(|w| w[0] * w[1]).sum::<f32>() / values.len() as f32;
        assert!((variance - 1.0).abs() < 0.1, "{variance}");
        assert!((lagged / variance - CORRELATION).abs() < 0.03, "{lagged}");
    }

    #[test]
    fn a_step_asked_twice_is_the_same() {
        let mut noise = CorrelatedNoise::new(3, "test");
        let first = noise.at(5);
        assert_eq!(first, noise.at(5));
        assert_ne!(first, noise.at(6));
    }
}

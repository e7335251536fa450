//! Noise along a plan, of variance 1: how the draw of one action resembles that of the next. The values of an action have nothing to do
//! with each other.

use std::f64::consts::TAU;

use armilla_core::random::normals;
use rand_chacha::ChaCha8Rng;

use crate::plan_config::{Noise, PlanConfig};

/// Draws noise for plans of so many actions of so many values.
#[derive(Debug)]
pub(super) struct NoiseSource {
    actions: usize,
    values: usize,
    shape: Shape,
}

/// What makes noise of independent normal values.
#[derive(Debug)]
enum Shape {
    White,
    /// The correlation from one action to the next.
    Autoregressive(f32),
    /// What each action takes of each wave, `[actions, waves]`; there are as many waves as actions.
    Colored(Vec<f32>),
}

impl NoiseSource {
    pub(super) fn new(config: &PlanConfig, actions: usize, values: usize) -> Self {
        let shape = match config.noise {
            Noise::White => Shape::White,
            Noise::Autoregressive => Shape::Autoregressive(config.noise_rho),
            Noise::Colored => Shape::Colored(waves(actions, config.noise_beta.into())),
        };
        Self {
            actions,
            values,
            shape,
        }
    }

    /// One draw, `actions * values` numbers.
    pub(super) fn draw(&self, generator: &mut ChaCha8Rng) -> Vec<f32> {
        let mut noise = normals(generator, self.actions * self.values);
        match &self.shape {
            Shape::White => noise,
            Shape::Autoregressive(rho) => {
                let fresh = (1.0 - rho * rho).sqrt();
                for index in self.values..noise.len() {
                    noise[index] = rho * noise[index - self.values] + fresh * noise[index];
                }
                noise
            }
            Shape::Colored(waves) => {
                let shares = waves.chunks(self.actions);
                shares
                    .flat_map(|shares| self.mixed(shares, &noise))
                    .collect()
            }
        }
    }

    /// One action's values from its share of each wave and the waves' strengths.
    fn mixed(&self, shares: &[f32], strengths: &[f32]) -> Vec<f32> {
        let mut action = vec![0.0; self.values];
        for (share, strengths) in shares.iter().zip(strengths.chunks(self.values)) {
            for (value, strength) in action.iter_mut().zip(strengths) {
                *value += share * strength;
            }
        }
        action
    }
}

/// The waves that a plan of so many actions can hold, each as strong as its power of the frequency says, `[actions, waves]`: an inverse
/// Fourier transform as a matrix. As in iCEM, the mean is as strong as the slowest wave. At every action the squares sum to 1.
fn waves(actions: usize, beta: f64) -> Vec<f32> {
    let count = actions as f64;
    let power = |frequency: usize| (frequency.max(1) as f64).powf(-beta);
    // Mean and fastest alternation are one wave each, others two, a cosine and a sine.
    let fastest = actions.is_multiple_of(2).then_some(actions / 2);
    let pairs = 1..actions.div_ceil(2);
    let total: f64 = std::iter::once(0)
        .chain(fastest)
        .map(|frequency| power(frequency) / 2.0)
        .chain(pairs.clone().map(power))
        .sum();
    let row = |action: usize| {
        let turn = move |frequency: usize| TAU * (frequency * action) as f64 / count;
        let single =
            move |frequency: usize| (power(frequency) / 2.0 / total).sqrt() * turn(frequency).cos();
        let pair = move |frequency: usize| {
            let strength = (power(frequency) / total).sqrt();
            [
                strength * turn(frequency).cos(),
                strength * turn(frequency).sin(),
            ]
        };
        let singles = std::iter::once(0).chain(fastest).map(single);
        singles
            .chain(pairs.clone().flat_map(pair))
            .map(|share| share as f32)
    };
    (0..actions).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::stream;

    const ACTIONS: usize = 16;

    /// Plans of two values an action.
    fn draws(config: &PlanConfig) -> Vec<Vec<f32>> {
        let source = NoiseSource::new(config, ACTIONS, 2);
        let mut generator = stream(0, "noise", 0);
        (0..4000).map(|_| source.draw(&mut generator)).collect()
    }

    fn config(noise: Noise) -> PlanConfig {
        PlanConfig {
            noise,
            ..PlanConfig::default()
        }
    }

    /// The mean product of two values of a plan.
    fn moment(plans: &[Vec<f32>], a: usize, b: usize) -> f32 {
        let products = plans.iter().map(|plan| plan[a] * plan[b]);
        products.sum::<f32>() / plans.len() as f32
    }

    /// How strong a frequency is in the first values of plans.
    fn power(plans: &[Vec<f32>], frequency: usize) -> f64 {
        let part = |plan: &Vec<f32>| {
            let values = plan.iter().step_by(2).enumerate();
            let parts = values.map(|(action, &value)| {
                let turn = TAU * (frequency * action) as f64 / ACTIONS as f64;
                [f64::from(value) * turn.cos(), f64::from(value) * turn.sin()]
            });
            let [real, imaginary] =
                parts.fold([0.0; 2], |sum, part| [sum[0] + part[0], sum[1] + part[1]]);
            real * real + imaginary * imaginary
        };
        plans.iter().map(part).sum::<f64>() / plans.len() as f64
    }

    #[test]
    fn each_kind_has_variance_1_and_its_own_correlation() {
        for (noise, next) in [(Noise::White, 0.0), (Noise::Autoregressive, 0.8)] {
            let plans = draws(&config(noise));
            let near = |found: f32, expected: f32| {
                assert!(
                    (found - expected).abs() < 0.07,
                    "{noise:?} {found} {expected}"
                )
            };
            near(moment(&plans, 20, 20), 1.0);
            near(moment(&plans, 20, 22), next);
            near(moment(&plans, 20, 24), next * next);
            near(moment(&plans, 20, 21), 0.0);
        }
    }

    #[test]
    fn colored_noise_falls_with_the_frequencys_power() {
        for beta in [0.0, 1.0, 2.0] {
            let plans = draws(&PlanConfig {
                noise_beta: beta,
                ..config(Noise::Colored)
            });
            for at in [0, 13, 30] {
                let found = moment(&plans, at, at);
                assert!((found - 1.0).abs() < 0.08, "{beta} {found}");
            }
            assert!(moment(&plans, 20, 21).abs() < 0.07);
            let slowest = power(&plans, 1);
            for frequency in [0_usize, 2, 4, 8] {
                let expected = (frequency.max(1) as f64).powf(-f64::from(beta));
                let ratio = power(&plans, frequency) / slowest / expected;
                assert!((ratio - 1.0).abs() < 0.12, "{beta} {frequency} {ratio}");
            }
        }
    }

    #[test]
    fn every_action_has_variance_1_exactly() {
        for actions in 1..10 {
            for beta in [0.0, 0.5, 3.0] {
                let waves = waves(actions, beta);
                assert_eq!(waves.len(), actions * actions);
                for shares in waves.chunks(actions) {
                    let variance = shares.iter().map(|share| share * share).sum::<f32>();
                    assert!((variance - 1.0).abs() < 1e-5, "{actions} {beta} {variance}");
                }
            }
        }
    }
}

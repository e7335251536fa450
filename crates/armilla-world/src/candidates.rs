//! One problem's side of a search: draws candidates, learns from their costs. Plain numbers; the model is elsewhere.
//!
//! Coordinates run from -1 to 1 between the action's bounds.

use armilla_core::random::{normals, stream};
use rand_chacha::ChaCha8Rng;

use crate::plan_config::{Method, PlanConfig, Returned};

/// The distribution of one problem's plans, each `horizon * action` numbers.
#[derive(Debug)]
pub struct Candidates<'a> {
    config: &'a PlanConfig,
    action: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
    /// iCEM's, best first.
    elites: Vec<Vec<f32>>,
    best: Option<(f32, Vec<f32>)>,
    generator: ChaCha8Rng,
}

impl<'a> Candidates<'a> {
    /// Starts around `warm_start`, or around the middle. `key` is episode and step: no problem's draws depend on another's.
    ///
    /// A warm start that is shorter than the horizon goes on with its last action; a longer one is cut.
    #[must_use]
    pub fn new(config: &'a PlanConfig, action: usize, key: (u64, u64), warm_start: &[f32]) -> Self {
        let length = config.horizon * action;
        let mut mean = warm_start.to_vec();
        while !mean.is_empty() && mean.len() < length {
            mean.push(mean[mean.len() - action]);
        }
        mean.resize(length, 0.0);
        Self {
            config,
            action,
            mean,
            std: vec![config.initial_std; length],
            elites: Vec::new(),
            best: None,
            generator: stream(config.seed, &format!("plan of episode {}", key.0), key.1),
        }
    }

    /// `num_samples` candidates, one after the other: the mean where it is new, kept elites, then draws.
    pub fn draw(&mut self, iteration: usize) -> Vec<f32> {
        let config = self.config;
        let last = iteration + 1 == config.iterations;
        let length = self.mean.len();
        let mut plans = Vec::with_capacity(config.num_samples * length);
        let with_mean = match config.method {
            Method::RandomShooting => iteration == 0,
            Method::Cem => true,
            Method::Icem => iteration == 0 || last,
        };
        if with_mean {
            plans.extend_from_slice(&self.mean);
        }
        for elite in &self.elites {
            plans.extend_from_slice(elite);
        }
        while plans.len() < config.num_samples * length {
            plans.extend(self.sample());
        }
        plans.truncate(config.num_samples * length);
        plans
    }

    /// One draw: noise correlated in time, as a first-order autoregressive process of variance 1.
    fn sample(&mut self) -> Vec<f32> {
        let mut noise = normals(&mut self.generator, self.mean.len());
        let rho = self.config.noise_rho;
        let fresh = (1.0 - rho * rho).sqrt();
        for index in self.action..noise.len() {
            noise[index] = rho * noise[index - self.action] + fresh * noise[index];
        }
        let spread = self.mean.iter().zip(&self.std);
        let values = spread
            .zip(noise)
            .map(|((mean, std), noise)| mean + std * noise);
        values.map(|value| value.clamp(-1.0, 1.0)).collect()
    }

    /// Learns from the candidates of one iteration and their costs. A cost that is not a number is the worst.
    pub fn update(&mut self, plans: &[f32], costs: &[f32]) {
        let length = self.mean.len();
        let worst_last = |cost: f32| if cost.is_nan() { f32::INFINITY } else { cost };
        let mut order: Vec<_> = (0..costs.len()).collect();
        order.sort_by(|&a, &b| worst_last(costs[a]).total_cmp(&worst_last(costs[b])));
        let plan = |index: usize| &plans[index * length..(index + 1) * length];
        let first = order[0];
        if self
            .best
            .as_ref()
            .is_none_or(|(cost, _)| costs[first] < *cost)
        {
            self.best = Some((costs[first], plan(first).to_vec()));
        }
        if self.config.method == Method::RandomShooting {
            return;
        }
        let elites: Vec<_> = order[..self.config.num_elites]
            .iter()
            .map(|&index| plan(index))
            .collect();
        let (count, momentum) = (elites.len() as f32, self.config.momentum);
        let blend = |old: f32, new: f32| momentum * old + (1.0 - momentum) * new;
        for at in 0..length {
            let mean = elites.iter().map(|plan| plan[at]).sum::<f32>() / count;
            let variance = elites
                .iter()
                .map(|plan| (plan[at] - mean).powi(2))
                .sum::<f32>()
                / count;
            self.mean[at] = blend(self.mean[at], mean);
            self.std[at] = blend(self.std[at], variance.sqrt()).max(self.config.std_min);
        }
        if self.config.method == Method::Icem {
            let kept = elites.iter().take(self.config.keep_elites);
            self.elites = kept.map(|plan| plan.to_vec()).collect();
        }
    }

    /// The plan to return.
    #[must_use]
    pub fn result(self) -> Vec<f32> {
        let has_mean = self.config.method != Method::RandomShooting;
        match self.best {
            Some((_, best)) if self.config.returned == Returned::Best || !has_mean => best,
            _ => self.mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_correlated_in_time_and_not_across_the_action() {
        let config = PlanConfig {
            noise_rho: 0.8,
            initial_std: 0.05,
            ..PlanConfig::default()
        };
        let mut candidates = Candidates::new(&config, 2, (0, 0), &[]);
        let plans: Vec<_> = (0..2000).map(|_| candidates.sample()).collect();
        let moment = |a: usize, b: usize| {
            plans.iter().map(|plan| plan[a] * plan[b]).sum::<f32>() / 2000.0 / 0.05_f32.powi(2)
        };
        assert!((moment(20, 20) - 1.0).abs() < 0.1, "{}", moment(20, 20));
        assert!((moment(20, 22) - 0.8).abs() < 0.1, "{}", moment(20, 22));
        assert!(moment(20, 21).abs() < 0.1, "{}", moment(20, 21));
    }

    #[test]
    fn elites_move_the_distribution_and_not_a_number_never_wins() {
        let config = PlanConfig {
            horizon: 1,
            num_samples: 4,
            num_elites: 2,
            keep_elites: 1,
            momentum: 0.0,
            std_min: 0.0,
            ..PlanConfig::default()
        };
        let mut candidates = Candidates::new(&config, 1, (0, 0), &[]);
        candidates.update(&[0.9, 0.2, 0.4, -1.0], &[f32::NAN, 1.0, 2.0, 3.0]);
        assert!((candidates.mean[0] - 0.3).abs() < 1e-6 && (candidates.std[0] - 0.1).abs() < 1e-6);
        assert_eq!(candidates.elites, [[0.2]]);
        assert_eq!(candidates.draw(1)[0], 0.2);
        assert_eq!(candidates.result(), [0.2]);
    }

    #[test]
    fn a_warm_start_is_tried_first_and_prolonged() {
        let config = PlanConfig {
            horizon: 3,
            ..PlanConfig::default()
        };
        let mut candidates = Candidates::new(&config, 2, (0, 0), &[0.1, 0.2, 0.3, 0.4]);
        let first = &candidates.draw(0)[..6];
        assert_eq!(first, [0.1, 0.2, 0.3, 0.4, 0.3, 0.4]);
        assert!(candidates.draw(1).iter().all(|value| value.abs() <= 1.0));
    }
}

//! One problem's side of a search: draws candidates, learns from their costs. Plain numbers; the model is elsewhere.

mod descent;
mod noise;

use armilla_core::random::{normals, stream};
use rand_chacha::ChaCha8Rng;

use crate::evaluation::Evaluated;
use crate::plan_config::{Coordinates, Method, Returned};
use crate::planner::{Planner, Problem};

use descent::Descent;
use noise::NoiseSource;

/// The plans that a search tries for one problem, each [`Planner::values`] numbers in the search's coordinates.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    planner: &'a Planner,
    noise: NoiseSource,
    mean: Vec<f32>,
    std: Vec<f32>,
    /// iCEM's, best first.
    elites: Vec<Vec<f32>>,
    /// Gradient descent's, where its last step led.
    points: Vec<f32>,
    descent: Descent,
    best: Option<(f32, Vec<f32>)>,
    generator: ChaCha8Rng,
}

impl<'a> Candidates<'a> {
    /// Starts around the problem's warm start, or around the middle. Episode and step name the random stream: no problem's draws depend
    /// on another's.
    ///
    /// A warm start that is shorter than the horizon goes on with its last action; a longer one is cut.
    pub(crate) fn new(planner: &'a Planner, problem: &Problem) -> Self {
        let (config, action) = (planner.config(), planner.space.action());
        let length = planner.values();
        let warm_start = problem.warm_start.iter();
        let mut mean: Vec<_> = warm_start
            .flat_map(|action| planner.space.to_unit(action))
            .collect();
        while !mean.is_empty() && mean.len() < length {
            mean.push(mean[mean.len() - action]);
        }
        mean.resize(length, 0.0);
        let name = format!("plan of episode {}", problem.episode);
        Self {
            planner,
            noise: NoiseSource::new(config, length / action, action),
            mean,
            std: vec![config.initial_std; length],
            elites: Vec::new(),
            points: Vec::new(),
            descent: Descent::default(),
            best: None,
            generator: stream(config.seed, &name, problem.step),
        }
    }

    /// `num_samples` candidates, one after the other: the mean where it is new, kept elites, then draws.
    pub(crate) fn draw(&mut self, iteration: usize) -> Vec<f32> {
        if !self.points.is_empty() {
            return self.points.clone();
        }
        let config = self.planner.config();
        let last = iteration + 1 == config.iterations;
        let length = self.mean.len();
        let mut plans = Vec::with_capacity(config.num_samples * length);
        let with_mean = match config.method {
            Method::RandomShooting | Method::Gradient => iteration == 0,
            Method::Cem | Method::Mppi => true,
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

    /// One draw around the mean.
    fn sample(&mut self) -> Vec<f32> {
        let noise = self.noise.draw(&mut self.generator);
        let spread = self.mean.iter().zip(&self.std);
        let values = spread
            .zip(noise)
            .map(|((mean, std), noise)| mean + std * noise);
        let mut plan: Vec<_> = values.collect();
        let config = self.planner.config();
        if config.coordinates == Coordinates::Bounds || config.method == Method::Gradient {
            self.planner.space.confine(&mut plan);
        }
        plan
    }

    /// Learns from the candidates of one iteration. A cost that is no finite number is the worst, and nothing is learnt from it.
    pub(crate) fn update(&mut self, plans: &[f32], found: &Evaluated) {
        let config = self.planner.config();
        let length = self.mean.len();
        let costs: Vec<_> = found
            .costs
            .iter()
            .map(|&cost| {
                if cost.is_finite() {
                    cost
                } else {
                    f32::INFINITY
                }
            })
            .collect();
        let mut order: Vec<_> = (0..costs.len()).collect();
        order.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        let plan = |index: usize| &plans[index * length..(index + 1) * length];
        let first = order[0];
        if self
            .best
            .as_ref()
            .is_none_or(|(cost, _)| costs[first] < *cost)
        {
            self.best = Some((costs[first], plan(first).to_vec()));
        }
        if config.method == Method::Gradient {
            self.descend(plans, &found.slopes);
        }
        if !config.method.has_elites() {
            return;
        }
        let elites = order[..config.num_elites].iter().copied();
        let elites: Vec<_> = elites.filter(|&index| costs[index].is_finite()).collect();
        if elites.is_empty() {
            return;
        }
        let weight = |index: usize| match config.method {
            Method::Mppi => (-(costs[index] - costs[first]) / config.temperature).exp(),
            _ => 1.0,
        };
        let weighted: Vec<_> = elites
            .iter()
            .map(|&index| (weight(index), plan(index)))
            .collect();
        self.fit(&weighted);
        if config.method == Method::Icem {
            let kept = elites.iter().take(config.keep_elites);
            self.elites = kept.map(|&index| plan(index).to_vec()).collect();
        }
    }

    /// Moves mean and deviation to those of plans with their weights, of which the largest is 1.
    fn fit(&mut self, elites: &[(f32, &[f32])]) {
        let config = self.planner.config();
        let total = elites.iter().map(|(weight, _)| weight).sum::<f32>();
        let momentum = config.momentum;
        let blend = |old: f32, new: f32| momentum * old + (1.0 - momentum) * new;
        let lost = match config.unbiased_std && config.method != Method::Mppi {
            true => 1.0,
            false => 0.0,
        };
        for at in 0..self.mean.len() {
            let sum = |value: &dyn Fn(f32) -> f32| {
                let values = elites.iter().map(|(weight, plan)| weight * value(plan[at]));
                values.sum::<f32>()
            };
            let mean = sum(&|value| value) / total;
            // One plan alone has no deviation, however it is counted.
            let variance = sum(&|value| (value - mean).powi(2)) / (total - lost).max(1.0);
            self.mean[at] = blend(self.mean[at], mean);
            self.std[at] = blend(self.std[at], variance.sqrt()).max(config.std_min);
        }
    }

    /// Takes a step from each plan against its slope, within the bounds; none without slopes.
    fn descend(&mut self, plans: &[f32], slopes: &[f32]) {
        let config = self.planner.config();
        self.points = plans.to_vec();
        if slopes.is_empty() {
            return;
        }
        self.descent
            .step(&mut self.points, slopes, config.learning_rate);
        if config.step_noise > 0.0 {
            let noise = normals(&mut self.generator, self.points.len());
            let points = self.points.iter_mut().zip(noise);
            points.for_each(|(point, noise)| *point += config.step_noise * noise);
        }
        self.planner.space.confine(&mut self.points);
    }

    /// The plan to return: the best, where a search was cut short or that is asked for, else the mean, if it learns one.
    pub(crate) fn result(self, cut_short: bool) -> Vec<f32> {
        let config = self.planner.config();
        let mean_wanted = config.returned == Returned::Mean && config.method.has_elites();
        match self.best {
            Some((_, best)) if cut_short || !mean_wanted => best,
            _ => self.mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan_config::PlanConfig;

    fn planner(config: PlanConfig, action: usize) -> Planner {
        Planner::new(config, &vec![-1.0; action], &vec![1.0; action]).unwrap()
    }

    fn problem(warm_start: &[[f32; 2]]) -> Problem {
        Problem {
            episode: 0,
            step: 0,
            context: Vec::new(),
            goal: Vec::new(),
            past: Vec::new(),
            warm_start: warm_start.iter().map(|action| action.to_vec()).collect(),
        }
    }

    fn costs(costs: &[f32]) -> Evaluated {
        Evaluated {
            costs: costs.to_vec(),
            slopes: Vec::new(),
        }
    }

    /// Four plans of one number, two of them elites.
    fn four(method: Method) -> PlanConfig {
        PlanConfig {
            method,
            horizon: 1,
            num_samples: 4,
            num_elites: 2,
            keep_elites: 1,
            momentum: 0.0,
            std_min: 0.0,
            ..PlanConfig::default()
        }
    }

    /// Mean and deviation after one update.
    fn learnt(config: PlanConfig) -> [f32; 2] {
        let planner = planner(config, 1);
        let mut candidates = Candidates::new(&planner, &problem(&[]));
        candidates.update(&[0.9, 0.2, 0.4, -1.0], &costs(&[f32::NAN, 1.0, 2.0, 3.0]));
        [candidates.mean[0], candidates.std[0]]
    }

    fn near(found: [f32; 2], expected: [f32; 2]) {
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        assert!(
            apart.max_by(f32::total_cmp).unwrap_or(0.0) < 1e-6,
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn elites_move_the_distribution_and_not_a_number_never_wins() {
        let planner = planner(four(Method::Icem), 1);
        let mut candidates = Candidates::new(&planner, &problem(&[]));
        candidates.update(&[0.9, 0.2, 0.4, -1.0], &costs(&[f32::NAN, 1.0, 2.0, 3.0]));
        near([candidates.mean[0], candidates.std[0]], [0.3, 0.1]);
        assert_eq!(candidates.elites, [[0.2]]);
        assert_eq!(candidates.draw(1)[0], 0.2);
        assert_eq!(candidates.result(false), [0.2]);
    }

    #[test]
    fn an_unbiased_deviation_divides_by_one_less() {
        let config = PlanConfig {
            unbiased_std: true,
            ..four(Method::Cem)
        };
        near(learnt(config), [0.3, 0.02_f32.sqrt()]);
    }

    #[test]
    fn mppi_weighs_elites_by_their_cost() {
        let config = PlanConfig {
            temperature: 1.0 / 3.0_f32.ln(),
            ..four(Method::Mppi)
        };
        // The second costs 1 more, which makes its weight a third: 3/4 and 1/4.
        near(learnt(config.clone()), [0.25, 0.0075_f32.sqrt()]);
        // Cold, the best decides alone; hot, all elites count alike, as in CEM.
        let at = |temperature: f32| PlanConfig {
            temperature,
            ..config.clone()
        };
        near(learnt(at(1e-3)), [0.2, 0.0]);
        near(learnt(at(1e9)), learnt(four(Method::Cem)));
    }

    #[test]
    fn nothing_is_learnt_where_no_cost_is_a_number() {
        for method in [
            Method::RandomShooting,
            Method::Cem,
            Method::Icem,
            Method::Mppi,
            Method::Gradient,
        ] {
            let planner = planner(four(method), 1);
            let mut candidates = Candidates::new(&planner, &problem(&[]));
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                candidates.update(&[0.9, 0.2, 0.4, -1.0], &costs(&[wrong; 4]));
                near([candidates.mean[0], candidates.std[0]], [0.0, 0.8]);
                assert!(candidates.elites.is_empty(), "{method:?} {wrong}");
            }
            candidates.update(&[0.5, 0.2, 0.4, -1.0], &costs(&[1.0, f32::NAN, 5.0, 4.0]));
            assert_eq!(candidates.result(false), [0.5], "{method:?}");
        }
    }

    #[test]
    fn the_only_cost_that_is_a_number_is_learnt_from_alone() {
        for (method, unbiased_std) in [
            (Method::Cem, false),
            (Method::Cem, true),
            (Method::Icem, false),
            (Method::Mppi, false),
        ] {
            let config = PlanConfig {
                keep_elites: 2,
                unbiased_std,
                ..four(method)
            };
            let planner = planner(config, 1);
            let mut candidates = Candidates::new(&planner, &problem(&[]));
            let mut one = [f32::NAN; 4];
            one[0] = 1.0;
            candidates.update(&[0.5, 0.2, 0.4, -1.0], &costs(&one));
            let kept: &[[f32; 1]] = match method {
                Method::Icem => &[[0.5]],
                _ => &[],
            };
            assert_eq!(candidates.elites, kept, "{method:?}");
            let found = [candidates.mean[0], candidates.std[0]];
            assert_eq!(found, [0.5, 0.0], "{method:?}");
            assert_eq!(candidates.result(false), [0.5], "{method:?}");
        }
    }

    #[test]
    fn gradient_descent_moves_all_its_points_and_keeps_the_best() {
        let config = PlanConfig {
            num_samples: 2,
            learning_rate: 0.25,
            ..four(Method::Gradient)
        };
        let planner = planner(config, 1);
        let mut candidates = Candidates::new(&planner, &problem(&[]));
        let starts = candidates.draw(0);
        assert_eq!(starts[0], 0.0);
        let found = Evaluated {
            slopes: vec![-3.0, 2.0],
            ..costs(&[1.0, 2.0])
        };
        candidates.update(&[0.0, -0.9], &found);
        let stepped = candidates.draw(1);
        // The second would pass its bound.
        near([stepped[0], stepped[1]], [0.25, -1.0]);
        candidates.update(&stepped, &costs(&[0.5, 3.0]));
        assert_eq!(candidates.result(false), [stepped[0]]);
    }

    #[test]
    fn a_warm_start_is_tried_first_and_prolonged() {
        let config = PlanConfig {
            horizon: 3,
            ..PlanConfig::default()
        };
        let planner = planner(config, 2);
        let mut candidates = Candidates::new(&planner, &problem(&[[0.1, 0.2], [0.3, 0.4]]));
        let found = &candidates.draw(0)[..6];
        let expected = [0.1, 0.2, 0.3, 0.4, 0.3, 0.4];
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        assert!(
            apart.max_by(f32::total_cmp).unwrap_or(0.0) < 1e-6,
            "{found:?}"
        );
        assert!(candidates.draw(1).iter().all(|value| value.abs() <= 1.0));
    }
}

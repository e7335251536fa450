//! Planning on a copy of the simulator: what a planner reaches whose model makes no mistake.
//!
//! iCEM (Pinneri et al. 2020, <https://arxiv.org/abs/2008.06389>): candidates are drawn about a mean with noise that is
//! correlated over time, the best of them give the next mean and deviation, some are kept, and the plan of the block before
//! is where the next search begins. Candidates are plain numbers and a cost is a function, so no tensor is needed.

use armilla_core::random::{normals, stream};
use rayon::prelude::*;

/// Control steps that one action of a plan is held for, as the world models' planners do; then a new plan is made.
pub(crate) const HELD_STEPS: usize = 5;
/// Share of the noise that one action of a plan keeps from the one before: plans that go somewhere, not to and fro.
const CORRELATION: f32 = 0.8;
/// Share of the candidates that the next mean is taken of.
const ELITE_SHARE: usize = 10;
/// Share of the elites that the next iteration looks at again.
const KEPT_SHARE: usize = 3;
/// Share of a new mean and deviation that is the old one's, so that a few elites do not end the search.
const MOMENTUM: f32 = 0.1;

/// An action of a plan, held for [`HELD_STEPS`].
pub(crate) type Held = [f32; 2];

/// How far and how hard to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    /// Actions of a plan.
    pub(crate) horizon: usize,
    /// Candidates of an iteration.
    pub(crate) samples: usize,
    /// Iterations of a plan.
    pub(crate) iterations: usize,
    /// Deviation that a search begins with, in the action's units.
    pub(crate) deviation: f32,
    /// Largest value of an action either way.
    pub(crate) limit: f32,
}

/// A planner's mind within one episode.
#[derive(Clone, Debug)]
pub(crate) struct Planner {
    search: Search,
    seed: u64,
    /// The plan, and the number of the action that is its first.
    plan: Option<(u64, Vec<Held>)>,
}

impl Planner {
    /// The planner of one episode.
    pub(crate) fn new(search: Search, seed: u64) -> Self {
        Self {
            search,
            seed,
            plan: None,
        }
    }

    /// The action at a step. A plan is made at every [`HELD_STEPS`]th, by the cost of what it leads to from the state there.
    pub(crate) fn act(&mut self, step: usize, cost: impl Fn(&[Held]) -> f32 + Sync) -> Held {
        let block = (step / HELD_STEPS) as u64;
        let before = match self.plan.take() {
            Some((first, plan)) if first == block => {
                let action = plan[0];
                self.plan = Some((first, plan));
                return action;
            }
            Some((_, plan)) => plan[1..].to_vec(),
            None => Vec::new(),
        };
        let plan = self.planned(block, before, cost);
        let action = plan[0];
        self.plan = Some((block, plan));
        action
    }

    fn planned(
        &self,
        block: u64,
        mut mean: Vec<Held>,
        cost: impl Fn(&[Held]) -> f32 + Sync,
    ) -> Vec<Held> {
        let search = self.search;
        mean.resize(search.horizon, [0.0; 2]);
        let mut deviation = vec![[search.deviation; 2]; search.horizon];
        let mut kept: Vec<Vec<Held>> = Vec::new();
        for iteration in 0..search.iterations {
            let step = block * search.iterations as u64 + iteration as u64;
            let mut candidates = vec![mean.clone()];
            candidates.append(&mut kept);
            candidates.extend(self.drawn(step, &mean, &deviation));
            let costs: Vec<f32> = candidates.par_iter().map(|plan| cost(plan)).collect();
            let mut order: Vec<usize> = (0..candidates.len()).collect();
            order.sort_by(|&a, &b| costs[a].total_cmp(&costs[b]));
            let elites: Vec<Vec<Held>> = order[..(search.samples / ELITE_SHARE).max(2)]
                .iter()
                .map(|&i| candidates[i].clone())
                .collect();
            fit(&mut mean, &mut deviation, &elites);
            kept = elites;
            kept.truncate((kept.len() / KEPT_SHARE).max(1));
        }
        // The best of the last iteration, which had the best of all before among its candidates.
        kept.swap_remove(0)
    }

    /// Candidates about a mean.
    fn drawn(&self, step: u64, mean: &[Held], deviation: &[Held]) -> Vec<Vec<Held>> {
        let mut generator = stream(self.seed, "search", step);
        let limit = self.search.limit;
        let fresh = (1.0 - CORRELATION * CORRELATION).sqrt();
        let candidate = |_| {
            let noise = normals(&mut generator, 2 * mean.len());
            let mut value = [noise[0], noise[1]];
            let at = |block: usize| -> Held {
                let next = |i: usize| CORRELATION * value[i] + fresh * noise[2 * block + i];
                if block > 0 {
                    value = [next(0), next(1)];
                }
                std::array::from_fn(|i| {
                    (mean[block][i] + deviation[block][i] * value[i]).clamp(-limit, limit)
                })
            };
            (0..mean.len()).map(at).collect()
        };
        (0..self.search.samples).map(candidate).collect()
    }
}

/// Moves mean and deviation to the elites'.
fn fit(mean: &mut [Held], deviation: &mut [Held], elites: &[Vec<Held>]) {
    let count = elites.len() as f32;
    for block in 0..mean.len() {
        for i in 0..2 {
            let values = elites.iter().map(|plan| plan[block][i]);
            let middle = values.clone().sum::<f32>() / count;
            let spread = values.map(|v| (v - middle).powi(2)).sum::<f32>() / count;
            let moved = |old: f32, new: f32| MOMENTUM * old + (1.0 - MOMENTUM) * new;
            mean[block][i] = moved(mean[block][i], middle);
            deviation[block][i] = moved(deviation[block][i], spread.sqrt());
        }
    }
}

/// The cost of a way: the least over its moments, where a later moment costs a little more, so that what can be reached now
/// is not put off.
pub(crate) fn least(costs: impl Iterator<Item = f32>, haste: f32) -> f32 {
    costs
        .enumerate()
        .map(|(step, cost)| cost + haste * step as f32)
        .fold(f32::INFINITY, f32::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Search = Search {
        horizon: 4,
        samples: 64,
        iterations: 6,
        deviation: 1.0,
        limit: 1.0,
    };

    /// Distance of the sum of a plan from a point.
    fn off(plan: &[Held], goal: Held) -> f32 {
        let sum = plan
            .iter()
            .fold([0.0; 2], |sum, a| [sum[0] + a[0], sum[1] + a[1]]);
        (sum[0] - goal[0]).hypot(sum[1] - goal[1])
    }

    #[test]
    fn a_plan_is_found_within_the_limit() {
        let planner = Planner::new(SEARCH, 1);
        let plan = planner.planned(0, Vec::new(), |plan| off(plan, [1.5, -2.0]));
        assert!(off(&plan, [1.5, -2.0]) < 0.1, "{plan:?}");
        let far = planner.planned(0, Vec::new(), |plan| off(plan, [9.0, 0.0]));
        assert!(far.concat().iter().all(|v| v.abs() <= 1.0));
        assert!(off(&far, [9.0, 0.0]) < 5.3, "{far:?}");
    }

    #[test]
    fn an_action_is_held_and_repeats() {
        let act = |step, planner: &mut Planner| planner.act(step, |plan| off(plan, [1.5, -2.0]));
        let (mut one, mut other) = (Planner::new(SEARCH, 1), Planner::new(SEARCH, 1));
        let first = act(0, &mut one);
        assert_eq!(first, act(HELD_STEPS - 1, &mut one));
        assert_ne!(first, act(HELD_STEPS, &mut one));
        assert_eq!(first, act(0, &mut other));
        assert_ne!(first, act(0, &mut Planner::new(SEARCH, 2)));
    }

    #[test]
    fn sooner_is_cheaper() {
        assert_eq!(least([3.0, 1.0, 2.0].into_iter(), 0.25), 1.25);
        assert_eq!(least([1.0, 1.0].into_iter(), 0.25), 1.0);
    }
}

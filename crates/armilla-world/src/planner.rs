//! Search for the actions whose predicted latents cost least: random shooting, CEM and iCEM, many problems at once.
//!
//! All candidates of several problems go through the model as the rows of one matrix. Each problem draws from a stream of its
//! own, keyed by seed, episode and step, so that a plan does not depend on what else was planned beside it.

use armilla_nn::lanes::side_by_side;

use crate::candidates::Candidates;
use crate::error::{Result, ensure};
use crate::evaluation::{Cost, Dynamics, Evaluation};
use crate::plan_config::PlanConfig;

/// Where a search starts and what it seeks.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Names the random stream, with `step`.
    pub episode: u64,
    /// Environment step, or any number that differs between the plans of an episode.
    pub step: u64,
    /// The last latents, oldest first, `[history, latent]`.
    pub context: Vec<f32>,
    /// The goal's latent.
    pub goal: Vec<f32>,
    /// Actions to search around, [`Plan::shifted`] of the plan before; may be empty.
    pub warm_start: Vec<Vec<f32>>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One action a model step, in its own units, `[horizon, action]`.
    pub actions: Vec<Vec<f32>>,
    /// Cost of the whole.
    pub cost: f32,
    /// Cost of each step, `[horizon]`.
    pub step_costs: Vec<f32>,
    /// Predicted latents, `[horizon, latent]`.
    pub latents: Vec<f32>,
}

impl Plan {
    /// What is left after `blocks` model steps were executed, to warm-start the next search.
    #[must_use]
    pub fn shifted(&self, blocks: usize) -> Vec<Vec<f32>> {
        self.actions[blocks.min(self.actions.len())..].to_vec()
    }
}

/// A search with its settings and the actions' bounds.
#[derive(Clone, Debug)]
pub struct Planner {
    pub(crate) config: PlanConfig,
    pub(crate) low: Vec<f32>,
    high: Vec<f32>,
}

impl Planner {
    /// Takes the bounds of an action, in its own units.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a setting is out of range or the bounds do not fit each other.
    pub fn new(config: PlanConfig, low: &[f32], high: &[f32]) -> Result<Self> {
        config.validate()?;
        let pairs = low.iter().zip(high);
        let ordered = pairs
            .clone()
            .all(|(low, high)| low.is_finite() && high.is_finite() && low <= high);
        let fits = ordered && low.len() == high.len() && !low.is_empty();
        let found = format!("{low:?} and {high:?}");
        ensure(
            fits,
            "action bounds",
            "finite, equally many, low at most high",
            found,
        )?;
        Ok(Self {
            config,
            low: low.to_vec(),
            high: high.to_vec(),
        })
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &PlanConfig {
        &self.config
    }

    /// A plan for each problem, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) when a latent or a warm start has the wrong width.
    pub fn plan(
        &self,
        dynamics: &dyn Dynamics,
        cost: &dyn Cost,
        problems: &[Problem],
    ) -> Result<Vec<Plan>> {
        let latent = dynamics.latent();
        for problem in problems {
            let found = problem.context.len();
            let whole = found > 0 && found.is_multiple_of(latent);
            ensure(
                whole,
                "context",
                format!("whole latents of {latent} values"),
                found,
            )?;
            let found = problem.goal.len();
            ensure(found == latent, "goal", format!("{latent} values"), found)?;
            let narrow = problem
                .warm_start
                .iter()
                .find(|action| action.len() != self.low.len());
            let found = narrow.map_or(self.low.len(), Vec::len);
            ensure(
                narrow.is_none(),
                "warm start",
                format!("{} values an action", self.low.len()),
                found,
            )?;
        }
        let together = (self.config.rows / self.config.num_samples).max(1);
        let groups: Vec<_> = problems.chunks(together).collect();
        let plans = side_by_side(&dynamics.device(), groups.len(), 1, |part| {
            let plans = groups[part]
                .iter()
                .flat_map(|group| self.search(dynamics, cost, group));
            plans.collect::<Vec<_>>()
        });
        Ok(plans.concat())
    }

    /// Plans for problems that go through the model together.
    fn search(&self, dynamics: &dyn Dynamics, cost: &dyn Cost, problems: &[Problem]) -> Vec<Plan> {
        let Self { config, low, .. } = self;
        let evaluation = Evaluation::new(self, dynamics, cost, problems);
        let mut searches: Vec<_> = problems
            .iter()
            .map(|problem| {
                let warm_start: Vec<_> = problem
                    .warm_start
                    .iter()
                    .flat_map(|action| self.to_unit(action))
                    .collect();
                Candidates::new(
                    config,
                    low.len(),
                    (problem.episode, problem.step),
                    &warm_start,
                )
            })
            .collect();
        for iteration in 0..config.iterations {
            let plans: Vec<_> = searches
                .iter_mut()
                .map(|search| search.draw(iteration))
                .collect();
            let costs = evaluation.costs(&plans, config.num_samples);
            for ((search, plans), costs) in searches
                .iter_mut()
                .zip(&plans)
                .zip(costs.chunks(config.num_samples))
            {
                search.update(plans, costs);
            }
        }
        let results: Vec<_> = searches.into_iter().map(Candidates::result).collect();
        evaluation.plans(&results)
    }

    /// An action's coordinates between the bounds, -1 to 1.
    fn to_unit(&self, action: &[f32]) -> Vec<f32> {
        let bounds = self.low.iter().zip(&self.high);
        let unit = |(value, (low, high)): (&f32, (&f32, &f32))| {
            let span = high - low;
            if span > 0.0 {
                (2.0 * (value - low) / span - 1.0).clamp(-1.0, 1.0)
            } else {
                0.0
            }
        };
        action.iter().zip(bounds).map(unit).collect()
    }

    /// The way back from [`Self::to_unit`], for actions one after the other.
    pub(crate) fn to_actions(&self, unit: &[f32]) -> Vec<f32> {
        let bounds = self.low.iter().zip(&self.high).cycle();
        let values = unit.iter().zip(bounds);
        values
            .map(|(unit, (low, high))| (low + (unit + 1.0) / 2.0 * (high - low)).clamp(*low, *high))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::LatentCost;
    use crate::plan_config::{Aggregation, Method};
    use burn::tensor::{Device, Tensor};

    /// A point that moves by its action; its latent is its position.
    struct PointMass;

    impl Dynamics for PointMass {
        fn device(&self) -> Device {
            Device::flex()
        }

        fn latent(&self) -> usize {
            2
        }

        fn rollout(&self, context: Tensor<3>, actions: Tensor<3>) -> Tensor<3> {
            context + actions.cumsum(1)
        }
    }

    fn problem(episode: u64, goal: [f32; 2]) -> Problem {
        Problem {
            episode,
            step: 0,
            context: vec![0.0, 0.0],
            goal: goal.to_vec(),
            warm_start: Vec::new(),
        }
    }

    fn planner(method: Method, aggregation: Aggregation) -> Planner {
        let config = PlanConfig {
            method,
            aggregation,
            horizon: 4,
            std_min: 0.02,
            ..PlanConfig::default()
        };
        Planner::new(config, &[-1.0, -2.0], &[1.0, 2.0]).unwrap()
    }

    #[test]
    fn every_method_reaches_a_goal() {
        let goals = [[1.5, -3.0], [-2.0, 2.0]];
        for (method, tolerance) in [
            (Method::RandomShooting, 0.3),
            (Method::Cem, 0.1),
            (Method::Icem, 0.1),
        ] {
            let planner = planner(method, Aggregation::LastStep);
            let problems = goals.map(|goal| problem(3, goal));
            let plans = planner.plan(&PointMass, &LatentCost, &problems).unwrap();
            for (plan, goal) in plans.iter().zip(goals) {
                let sum = |at: usize| plan.actions.iter().map(|action| action[at]).sum::<f32>();
                let miss = (sum(0) - goal[0]).hypot(sum(1) - goal[1]);
                assert!(miss < tolerance, "{method:?} misses {goal:?} by {miss}");
                assert!((plan.latents[6] - sum(0)).abs() < 1e-5);
                assert!((plan.cost - miss * miss / 2.0).abs() < 1e-4);
                assert!(
                    plan.actions
                        .iter()
                        .all(|action| action[0].abs() <= 1.0 && action[1].abs() <= 2.0)
                );
            }
        }
    }

    #[test]
    fn a_plan_does_not_depend_on_its_neighbours() {
        let planner = planner(Method::Icem, Aggregation::Minimum);
        let problems: Vec<_> = (0..19)
            .map(|index| problem(index, [1.0, index as f32 / 9.0]))
            .collect();
        let together = planner.plan(&PointMass, &LatentCost, &problems).unwrap();
        for index in [0, 7, 18] {
            let alone = planner
                .plan(&PointMass, &LatentCost, &problems[index..=index])
                .unwrap();
            assert_eq!(alone[0], together[index]);
        }
        assert_ne!(together[0].actions, together[1].actions);
    }

    #[test]
    fn a_warm_start_is_never_worse_than_what_it_starts_from() {
        let planner = planner(Method::Icem, Aggregation::Sum);
        let first = planner
            .plan(&PointMass, &LatentCost, &[problem(0, [2.0, 2.0])])
            .unwrap();
        let warm_start = first[0].shifted(0);
        let again = Problem {
            step: 1,
            warm_start,
            ..problem(0, [2.0, 2.0])
        };
        let second = planner.plan(&PointMass, &LatentCost, &[again]).unwrap();
        assert!(second[0].cost <= first[0].cost + 1e-5);
        assert_eq!(first[0].shifted(3), first[0].actions[3..]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let bounds = Planner::new(PlanConfig::default(), &[1.0], &[-1.0]).unwrap_err();
        assert!(bounds.to_string().contains("low at most high"));
        let mut wrong = problem(0, [0.0, 0.0]);
        wrong.goal = vec![0.0];
        let found = planner(Method::Cem, Aggregation::Sum).plan(&PointMass, &LatentCost, &[wrong]);
        assert_eq!(
            found.unwrap_err().to_string(),
            "goal: expected 2 values, found 1"
        );
    }
}

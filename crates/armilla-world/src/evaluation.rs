//! What a planner asks of a model, and how the candidates of several problems go through it together.

use std::ops::Range;

use armilla_nn::lanes::side_by_side;
use burn::tensor::{Device, Tensor, TensorData};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::plan_config::Aggregation;
use crate::planner::{Plan, Planner, Problem};

/// Candidates at least that a core evaluates on its own.
const SHARE: usize = 32;

/// What a planner needs of a model.
pub trait Dynamics: Sync {
    /// Where it computes.
    fn device(&self) -> Device;

    /// Values of one latent.
    fn latent(&self) -> usize;

    /// Where the actions lead.
    ///
    /// For gradient descent the actions are on the device's autodiff side and carry gradients. Parameters and context may stay where they
    /// are: burn takes them for constants, so only the way of the actions is recorded.
    ///
    /// # Shapes
    ///
    /// - context: its blocks in the actions' own units too
    /// - actions: `[rows, horizon, action]`, in the actions' own units; or `[rows, horizon, action_repeat * action]` from a planner that
    ///   [holds](crate::PlanConfig::hold) none
    /// - output: `[rows, horizon, latent]`
    fn rollout(&self, context: Context, actions: Tensor<3>) -> Tensor<3>;
}

/// What it costs to be somewhere.
pub trait Cost: Sync {
    /// The cost of many latents under the one goal of their group.
    ///
    /// # Shapes
    ///
    /// - latents: `[groups, rows, latent]`
    /// - goals: `[groups, latent]`
    /// - output: `[groups, rows]`
    fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2>;
}

/// Squared distance to the goal's latent, averaged over its values.
#[derive(Clone, Copy, Debug)]
pub struct LatentCost;

impl Cost for LatentCost {
    fn cost(&self, latents: Tensor<3>, goals: Tensor<2>) -> Tensor<2> {
        let [groups, rows, _] = latents.dims();
        let away = latents - goals.unsqueeze_dim(1);
        away.square().mean_dim(2).reshape([groups, rows])
    }
}

/// What the model says of the candidates of a problem.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evaluated {
    /// The cost of each.
    pub(crate) costs: Vec<f32>,
    /// How each cost changes with the candidate's numbers, one candidate after the other; empty unless it was asked for.
    pub(crate) slopes: Vec<f32>,
}

/// The model's side of a search: candidates in, costs out.
pub(crate) struct Evaluation<'a> {
    pub(crate) planner: &'a Planner,
    dynamics: &'a dyn Dynamics,
    cost: &'a dyn Cost,
    /// `[problems, 1, frames * latent]`
    contexts: Tensor<3>,
    /// `[problems, 1, (frames - 1) * block]`
    past: Option<Tensor<3>>,
    /// `[problems, latent]`
    goals: Tensor<2>,
}

impl<'a> Evaluation<'a> {
    /// Puts contexts and goals on the device.
    pub(crate) fn new(
        planner: &'a Planner,
        dynamics: &'a dyn Dynamics,
        cost: &'a dyn Cost,
        problems: &[Problem],
    ) -> Self {
        let (count, device) = (problems.len(), dynamics.device());
        let stack = |pick: fn(&Problem) -> &Vec<f32>| {
            let values: Vec<f32> = problems.iter().flat_map(pick).copied().collect();
            let width = values.len() / count;
            Tensor::<2>::from_data(TensorData::new(values, [count, width]), &device)
        };
        let contexts = stack(|problem| &problem.context).unsqueeze_dim(1);
        let past: Vec<f32> = problems.iter().flat_map(Problem::past).collect();
        let past = (!past.is_empty()).then(|| {
            let shape = [count, 1, past.len() / count];
            Tensor::from_data(TensorData::new(past, shape), &device)
        });
        Self {
            planner,
            dynamics,
            cost,
            contexts,
            past,
            goals: stack(|problem| &problem.goal),
        }
    }

    /// What `samples` plans of each problem cost, a share of the samples on each core; with their slopes where they are wanted.
    pub(crate) fn evaluate(
        &self,
        plans: &[Vec<f32>],
        samples: usize,
        with_slopes: bool,
    ) -> Result<Vec<Evaluated>> {
        let least = SHARE.div_ceil(plans.len());
        let most = (self.planner.config().rows / plans.len()).max(1);
        let parts = side_by_side(&self.dynamics.device(), samples, least, |part| {
            let pieces = part.clone().step_by(most);
            let pieces = pieces.map(|start| start..part.end.min(start + most));
            pieces
                .map(|piece| self.evaluate_together(plans, piece, with_slopes))
                .collect::<Result<Vec<_>>>()
        });
        let parts: Result<Vec<_>> = parts.into_iter().collect();
        let mut found = vec![Evaluated::default(); plans.len()];
        for piece in parts?.into_iter().flatten() {
            for (found, piece) in found.iter_mut().zip(piece) {
                found.costs.extend(piece.costs);
                found.slopes.extend(piece.slopes);
            }
        }
        Ok(found)
    }

    /// The same of some of the samples, the rows of one matrix.
    fn evaluate_together(
        &self,
        plans: &[Vec<f32>],
        samples: Range<usize>,
        with_slopes: bool,
    ) -> Result<Vec<Evaluated>> {
        let (wide, space) = (self.planner.values(), &self.planner.space);
        let values = samples.start * wide..samples.end * wide;
        let actions = plans
            .iter()
            .flat_map(|plans| space.to_actions(&plans[values.clone()]));
        let mut actions = self.tensor(actions.collect());
        if with_slopes {
            actions = actions.autodiff().require_grad();
        }
        let costs = self.costs(self.rollout(actions.clone()));
        let slopes = match with_slopes {
            true => self.slopes(actions, &costs)?,
            false => Vec::new(),
        };
        let costs: Vec<f32> = costs.inner().into_data().iter::<f32>().collect();
        let mut slopes = slopes.chunks(samples.len() * wide);
        let found = costs.chunks(samples.len()).map(|costs| Evaluated {
            costs: costs.to_vec(),
            slopes: slopes.next().unwrap_or_default().to_vec(),
        });
        Ok(found.collect())
    }

    /// Plans one after the other, in the actions' own units, on the device: `[plans, horizon, block]`.
    fn tensor(&self, actions: Vec<f32>) -> Tensor<3> {
        let (horizon, block) = (self.planner.config().horizon, self.planner.block());
        let shape = [actions.len() / self.planner.values(), horizon, block];
        Tensor::from_data(TensorData::new(actions, shape), &self.dynamics.device())
    }

    /// Predicted latents `[rows, horizon, latent]` of equally many plans a problem, `[rows, horizon, block]`.
    fn rollout(&self, actions: Tensor<3>) -> Tensor<3> {
        let rows = actions.dims()[0];
        let frames = self.contexts.dims()[2] / self.dynamics.latent();
        let repeated = |values: &Tensor<3>, steps: usize| {
            let [count, _, width] = values.dims();
            let values = values.clone().expand([count, rows / count, width]);
            values.reshape([rows, steps, width / steps])
        };
        let context = Context {
            latents: repeated(&self.contexts, frames),
            blocks: self.past.as_ref().map(|past| repeated(past, frames - 1)),
        };
        self.dynamics.rollout(context, actions)
    }

    /// The costs of all steps, `[rows, steps, latent]` to `[rows, steps]`.
    fn step_costs(&self, latents: Tensor<3>) -> Tensor<2> {
        let [rows, steps, latent] = latents.dims();
        let problems = self.goals.dims()[0];
        let latents = latents.reshape([problems, rows / problems * steps, latent]);
        let costs = self.cost.cost(latents, self.goals.clone());
        costs.reshape([rows, steps])
    }

    /// The costs of whole plans, `[rows, horizon, latent]` to `[rows]`.
    fn costs(&self, mut latents: Tensor<3>) -> Tensor<1> {
        let config = self.planner.config();
        if config.aggregation == Aggregation::LastStep {
            latents = latents.narrow(1, config.horizon - 1, 1);
        }
        config.aggregate(self.step_costs(latents))
    }

    /// How each cost changes with the coordinates of its actions.
    fn slopes(&self, actions: Tensor<3>, costs: &Tensor<1>) -> Result<Vec<f32>> {
        // Rows have nothing to do with each other, so the gradient of the sum is that of each.
        let total = costs.clone().sum();
        let found = total
            .is_tracked()
            .then(|| actions.grad_remove(&mut total.backward()));
        let slopes = found.flatten().ok_or_else(|| {
            let expected = "a model and a cost that gradients reach the actions through";
            Error::invalid("method `gradient`", expected, "none that do")
        })?;
        let mut slopes: Vec<f32> = slopes.into_data().iter::<f32>().collect();
        self.planner.space.slopes(&mut slopes);
        Ok(slopes)
    }

    /// The chosen plans, within the bounds, with what they lead to.
    pub(crate) fn plans(&self, chosen: &[Vec<f32>]) -> Vec<Plan> {
        let Planner { space, .. } = self.planner;
        let mut actions: Vec<_> = chosen
            .iter()
            .flat_map(|plan| space.to_actions(plan))
            .collect();
        space.clamp(&mut actions);
        let latents = self.rollout(self.tensor(actions.clone()));
        let steps = self.step_costs(latents.clone());
        let totals = self.planner.config().aggregate(steps.clone());
        let [steps, latents, totals] = [steps.into_data(), latents.into_data(), totals.into_data()]
            .map(|data| data.iter::<f32>().collect::<Vec<_>>());
        let each = |values: &[f32], plan: usize| {
            let width = values.len() / chosen.len();
            values[plan * width..][..width].to_vec()
        };
        let plans = totals.iter().enumerate().map(|(plan, &cost)| Plan {
            actions: each(&actions, plan)
                .chunks(space.action())
                .map(<[f32]>::to_vec)
                .collect(),
            cost,
            step_costs: each(&steps, plan),
            latents: each(&latents, plan),
            iterations: 0,
        });
        plans.collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Compares the slopes of a few plans of each problem with finite differences.
    pub(crate) fn check_slopes(
        planner: &Planner,
        dynamics: &dyn Dynamics,
        cost: &dyn Cost,
        problems: &[Problem],
    ) {
        const APART: f32 = 5e-3;
        const SAMPLES: usize = 3;
        let wide = planner.values();
        let evaluation = Evaluation::new(planner, dynamics, cost, problems);
        let value =
            |problem: usize, at: usize| ((problem * 31 + at * 17) % 23) as f32 / 15.0 - 0.75;
        let plan = |problem| (0..SAMPLES * wide).map(move |at| value(problem, at));
        let plans: Vec<Vec<_>> = (0..problems.len()).map(|at| plan(at).collect()).collect();
        let found = evaluation.evaluate(&plans, SAMPLES, true).unwrap();
        let plain = evaluation.evaluate(&plans, SAMPLES, false).unwrap();
        for (found, plain) in found.iter().zip(&plain) {
            assert_eq!(found.costs, plain.costs);
            assert!(plain.slopes.is_empty() && found.slopes.len() == SAMPLES * wide);
        }
        for at in 0..SAMPLES * wide {
            let moved = |by: f32| {
                let mut plans = plans.clone();
                plans.iter_mut().for_each(|plan| plan[at] += by);
                evaluation.evaluate(&plans, SAMPLES, false).unwrap()
            };
            let (more, less) = (moved(APART), moved(-APART));
            for ((found, more), less) in found.iter().zip(&more).zip(&less) {
                let expected = (more.costs[at / wide] - less.costs[at / wide]) / (2.0 * APART);
                let found = found.slopes[at];
                let near = (found - expected).abs() < 2e-3 + 0.02 * expected.abs();
                assert!(near, "slope {found} at {at}, by differences {expected}");
            }
        }
    }
}

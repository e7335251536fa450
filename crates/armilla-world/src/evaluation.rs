//! What a planner asks of a model, and how the candidates of several problems go through it together.

use armilla_nn::lanes::side_by_side;
use burn::tensor::{Device, Tensor, TensorData};

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
    /// # Shapes
    ///
    /// - context: `[rows, history, latent]`, oldest first
    /// - actions: `[rows, horizon, action]`, in the actions' own units
    /// - output: `[rows, horizon, latent]`
    fn rollout(&self, context: Tensor<3>, actions: Tensor<3>) -> Tensor<3>;
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

/// The model's side of a search: candidates in, costs out.
pub(crate) struct Evaluation<'a> {
    planner: &'a Planner,
    dynamics: &'a dyn Dynamics,
    cost: &'a dyn Cost,
    /// `[problems, 1, history * latent]`
    contexts: Tensor<3>,
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
        Self {
            planner,
            dynamics,
            cost,
            contexts,
            goals: stack(|problem| &problem.goal),
        }
    }

    /// Predicted latents `[problems * samples, horizon, latent]` of `samples` plans a problem.
    fn rollout(&self, plans: &[Vec<f32>], samples: usize) -> Tensor<3> {
        let (horizon, action) = (self.planner.config.horizon, self.planner.low.len());
        let rows = plans.len() * samples;
        let [count, _, width] = self.contexts.dims();
        let latent = self.dynamics.latent();
        let contexts = self.contexts.clone().expand([count, samples, width]);
        let contexts = contexts.reshape([rows, width / latent, latent]);
        let actions: Vec<f32> = plans
            .iter()
            .flat_map(|plans| self.planner.to_actions(plans))
            .collect();
        let actions = TensorData::new(actions, [rows, horizon, action]);
        self.dynamics.rollout(
            contexts,
            Tensor::from_data(actions, &self.dynamics.device()),
        )
    }

    /// The costs of all steps, `[problems * samples * steps]`.
    fn step_costs(&self, latents: Tensor<3>) -> Vec<f32> {
        let [rows, steps, latent] = latents.dims();
        let problems = self.goals.dims()[0];
        let latents = latents.reshape([problems, rows / problems * steps, latent]);
        let costs = self.cost.cost(latents, self.goals.clone());
        costs.into_data().iter::<f32>().collect()
    }

    /// The costs of whole plans, `[problems * samples]`, those of a share of the samples on each core.
    pub(crate) fn costs(&self, plans: &[Vec<f32>], samples: usize) -> Vec<f32> {
        let wide = self.planner.config.horizon * self.planner.low.len();
        let least = SHARE.div_ceil(plans.len());
        let parts = side_by_side(&self.dynamics.device(), samples, least, |part| {
            let values = part.start * wide..part.end * wide;
            let share: Vec<_> = plans
                .iter()
                .map(|plans| plans[values.clone()].to_vec())
                .collect();
            (part.len(), self.costs_together(&share, part.len()))
        });
        let of_problem = |problem: usize| {
            parts
                .iter()
                .flat_map(move |(samples, costs)| &costs[problem * samples..][..*samples])
        };
        (0..plans.len()).flat_map(of_problem).copied().collect()
    }

    fn costs_together(&self, plans: &[Vec<f32>], samples: usize) -> Vec<f32> {
        let config = &self.planner.config;
        let mut latents = self.rollout(plans, samples);
        if config.aggregation == Aggregation::LastStep {
            latents = latents.narrow(1, config.horizon - 1, 1);
        }
        let steps = latents.dims()[1];
        self.step_costs(latents)
            .chunks(steps)
            .map(|steps| config.aggregate(steps))
            .collect()
    }

    /// The chosen plans with what they lead to.
    pub(crate) fn plans(&self, chosen: &[Vec<f32>]) -> Vec<Plan> {
        let Planner { config, low, .. } = self.planner;
        let latents = self.rollout(chosen, 1);
        let costs = self.step_costs(latents.clone());
        let latents: Vec<f32> = latents.into_data().iter::<f32>().collect();
        let wide = config.horizon * self.dynamics.latent();
        let parts = costs.chunks(config.horizon).zip(latents.chunks(wide));
        let plans = chosen
            .iter()
            .zip(parts)
            .map(|(plan, (costs, latents))| Plan {
                actions: self
                    .planner
                    .to_actions(plan)
                    .chunks(low.len())
                    .map(<[f32]>::to_vec)
                    .collect(),
                cost: config.aggregate(costs),
                step_costs: costs.to_vec(),
                latents: latents.to_vec(),
            });
        plans.collect()
    }
}

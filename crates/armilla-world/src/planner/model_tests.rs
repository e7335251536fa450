//! Searches in a world model rather than a toy.

use armilla_core::Image;
use burn::tensor::{Device, Tensor};

use super::*;
use crate::context::Context;
use crate::evaluation::LatentCost;
use crate::evaluation::tests::check_slopes;
use crate::jepa::config::{JepaConfig, PredictorConfig, TransformerConfig};
use crate::observations::Frame;
use crate::plan_config::{Method, Objective};
use crate::world_model::tests::{jepa_config, world_model, world_model_of};
use crate::world_model::{DistanceCost, WorldModel};

fn problem(goal: f32) -> Problem {
    Problem {
        episode: 0,
        step: 0,
        context: [vec![0.2; 12], vec![-0.1; 12]].concat(),
        goal: vec![goal; 12],
        past: vec![vec![0.0; 6]],
        warm_start: Vec::new(),
    }
}

/// Plans for a model's bounds.
fn planner(model: &WorldModel, config: PlanConfig) -> Planner {
    let actions = &model.interface().actions;
    model.planner(config, &actions.low, &actions.high).unwrap()
}

#[test]
fn gradients_pass_through_the_model() {
    let model = world_model(2);
    for (hold, coordinates) in [(true, Coordinates::Bounds), (false, Coordinates::Standard)] {
        let config = PlanConfig {
            method: Method::Gradient,
            hold,
            coordinates,
            horizon: 3,
            ..PlanConfig::default()
        };
        let planner = planner(&model, config);
        let problems = [problem(0.3), problem(-0.6)];
        let costs: [&dyn Cost; 2] = [&LatentCost, &DistanceCost(model.model())];
        for cost in costs {
            check_slopes(&planner, &model, cost, &problems);
        }
    }
}

#[test]
fn gradients_pass_through_a_predictor_that_ends_in_batch_normalisation() {
    let transformer = TransformerConfig {
        depth: 1,
        heads: 2,
        ..TransformerConfig::default()
    };
    let model = world_model_of(&JepaConfig {
        predictor: PredictorConfig::Transformer(transformer),
        ..jepa_config(2)
    });
    let config = PlanConfig {
        method: Method::Gradient,
        horizon: 3,
        ..PlanConfig::default()
    };
    let problems = [problem(0.3), problem(-0.6)];
    check_slopes(&planner(&model, config), &model, &LatentCost, &problems);
}

#[test]
fn gradient_descent_finds_cheaper_plans_in_the_model() {
    let model = world_model(2);
    let cost = |iterations| {
        let config = PlanConfig {
            method: Method::Gradient,
            objective: Objective::Latent,
            horizon: 3,
            num_samples: 4,
            iterations,
            ..PlanConfig::default()
        };
        let plans = model.plan(&planner(&model, config), &[problem(0.3)]);
        plans.unwrap()[0].cost
    };
    let (drawn, descended) = (cost(1), cost(40));
    assert!(descended < drawn - 1e-4, "{descended} {drawn}");
}

#[test]
fn a_block_of_equal_actions_is_a_held_one() {
    let model = world_model(1);
    let device = Device::flex();
    let context = Context::of_one(Tensor::full([1, 12], 0.5, &device));
    let actions = Tensor::<3>::from_floats([[[3.0, -0.5], [0.2, 0.9]]], &device);
    let held = model.rollout(context.clone(), actions.clone());
    let blocks = model.rollout(context, actions.repeat_dim(2, 3));
    assert!((held - blocks).abs().max().into_scalar::<f32>() < 1e-6);
}

#[test]
fn blocks_of_actions_are_planned_in_every_view() {
    let model = world_model(1);
    let config = PlanConfig {
        hold: false,
        horizon: 2,
        views: 2,
        num_samples: 8,
        num_elites: 2,
        keep_elites: 1,
        iterations: 2,
        ..PlanConfig::default()
    };
    let start = Image::filled(16, 16, [200, 9, 90]);
    let latents = model
        .encode_views(&[&start, &start].map(Frame::from), 2)
        .unwrap();
    let problem = Problem {
        context: latents[0].clone(),
        past: Vec::new(),
        goal: latents[1].clone(),
        ..problem(0.0)
    };
    let problems = [problem];
    let plan = model.plan(&planner(&model, config.clone()), &problems);
    let plan = plan.unwrap().remove(0);
    assert_eq!((plan.actions.len(), plan.latents.len()), (6, 48));
    // A planner that was not told the repeat has one action a step.
    let actions = &model.interface().actions;
    let planner = Planner::new(config, &actions.low, &actions.high).unwrap();
    let error = model.plan(&planner, &problems).unwrap_err().to_string();
    assert!(
        error.starts_with("planner's actions a model step"),
        "{error}"
    );
}

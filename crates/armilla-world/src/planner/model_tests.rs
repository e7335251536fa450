//! Searches in a world model rather than a toy.

use armilla_core::Image;
use burn::tensor::{Device, Tensor};

use super::tests::METHODS;
use super::*;
use crate::context::Context;
use crate::dino_wm::tests::tiny;
use crate::evaluation::LatentCost;
use crate::evaluation::tests::check_slopes;
use crate::jepa::config::{JepaConfig, PredictorConfig, TransformerConfig};
use crate::model::Model;
use crate::observations::Frame;
use crate::plan_config::{Aggregation, Method, Objective};
use crate::scale::StateScale;
use crate::world_model::tests::{jepa_config, world_model, world_model_of};
use crate::world_model::{DistanceCost, Interface, ModelCost, WorldModel};

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

/// A small DINO-WM that takes proprioception, for the actions of the small Jepa.
fn dino_wm() -> WorldModel {
    let model = Model::DinoWm(tiny().init(0, &Device::flex()).unwrap());
    let states = StateScale {
        mean: vec![1.0, 0.0, 0.5],
        std: vec![2.0, 0.5, 1.0],
    };
    let interface = Interface {
        states,
        ..world_model(1).interface().clone()
    };
    WorldModel::new(&model, interface).unwrap()
}

/// From two frames to a third, each with proprioception where the model takes it.
fn seen(model: &WorldModel) -> Problem {
    let shape = model.shape();
    let levels = [30_u8, 90, 200];
    let images = levels.map(|level| Image::filled(16, 16, [level, 9, 90]));
    let states = levels.map(|level| vec![f32::from(level) / 100.0; shape.state]);
    let frames = images.iter().zip(&states).map(|(image, state)| Frame {
        images: vec![image],
        state,
    });
    let latents = model.encode(&frames.collect::<Vec<_>>()).unwrap();
    Problem {
        context: latents[..2].concat(),
        goal: latents[2].clone(),
        past: vec![vec![0.2; shape.block()]],
        ..problem(0.0)
    }
}

/// Plans for a model's bounds.
fn planner(model: &WorldModel, config: PlanConfig) -> Planner {
    let actions = &model.interface().actions;
    model.planner(config, &actions.low, &actions.high).unwrap()
}

/// Searches twice among few candidates.
fn check_plan(model: &WorldModel, method: Method, hold: bool) {
    let config = PlanConfig {
        method,
        hold,
        objective: Objective::Latent,
        horizon: 3,
        num_samples: 8,
        num_elites: 4,
        keep_elites: 2,
        iterations: 3,
        ..PlanConfig::default()
    };
    let (planner, problems) = (planner(model, config), [seen(model)]);
    let plans = model.plan(&planner, &problems).unwrap();
    let again = model.plan(&planner, &problems).unwrap();
    assert_eq!(plans, again, "{method:?}");
    let plan = &plans[0];
    assert!(plan.cost.is_finite(), "{method:?}");
    let inside = |action: &Vec<f32>| action[0].abs() <= 3.0 && action[1].abs() <= 1.0;
    assert!(plan.actions.iter().all(inside), "{method:?}");
    assert_eq!(plan.actions.concat().len(), planner.values());
    assert_eq!(plan.latents.len(), 3 * model.shape().latent);
}

#[test]
fn every_method_plans_in_every_model() {
    for model in [world_model(2), dino_wm()] {
        for method in METHODS {
            check_plan(&model, method, true);
            check_plan(&model, method, false);
        }
    }
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
fn gradients_pass_through_a_predictor_over_tokens() {
    let model = dino_wm();
    let there = seen(&model);
    let back = Problem {
        goal: there.context[..model.shape().latent].to_vec(),
        ..there.clone()
    };
    let problems = [there, back];
    for hold in [true, false] {
        let config = PlanConfig {
            method: Method::Gradient,
            aggregation: Aggregation::Sum,
            hold,
            horizon: 3,
            ..PlanConfig::default()
        };
        let cost = ModelCost(model.model());
        check_slopes(&planner(&model, config), &model, &cost, &problems);
    }
}

#[test]
fn gradient_descent_finds_cheaper_plans_in_the_model() {
    let (small, tokens) = (world_model(2), dino_wm());
    for (model, problem) in [(&small, problem(0.3)), (&tokens, seen(&tokens))] {
        let problems = [problem];
        let cost = |iterations| {
            let config = PlanConfig {
                method: Method::Gradient,
                objective: Objective::Latent,
                horizon: 3,
                num_samples: 4,
                iterations,
                ..PlanConfig::default()
            };
            let plans = model.plan(&planner(model, config), &problems);
            plans.unwrap()[0].cost
        };
        let (drawn, descended) = (cost(1), cost(40));
        assert!(descended < drawn - 1e-4, "{descended} {drawn}");
    }
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

//! What each method finds, and what none may do.

use std::time::Duration;

use super::*;
use crate::context::Context;
use crate::error::Error;
use crate::evaluation::LatentCost;
use crate::plan_config::{Aggregation, Method, Noise, Returned};
use burn::tensor::{Device, Tensor};

pub(super) const METHODS: [Method; 5] = [
    Method::RandomShooting,
    Method::Cem,
    Method::Icem,
    Method::Mppi,
    Method::Gradient,
];

/// A point that moves by its action; its latent is its position.
struct PointMass;

impl Dynamics for PointMass {
    fn device(&self) -> Device {
        Device::flex()
    }

    fn latent(&self) -> usize {
        2
    }

    fn rollout(&self, context: Context, actions: Tensor<3>) -> Tensor<3> {
        context.latents + actions.cumsum(1)
    }
}

fn problem(episode: u64, goal: [f32; 2]) -> Problem {
    Problem {
        episode,
        step: 0,
        context: vec![0.0, 0.0],
        goal: goal.to_vec(),
        past: Vec::new(),
        warm_start: Vec::new(),
    }
}

fn config(method: Method, aggregation: Aggregation) -> PlanConfig {
    PlanConfig {
        method,
        aggregation,
        horizon: 4,
        std_min: 0.02,
        ..PlanConfig::default()
    }
}

fn with_bounds(config: PlanConfig) -> Planner {
    Planner::new(config, &[-1.0, -2.0], &[1.0, 2.0]).unwrap()
}

fn planner(method: Method, aggregation: Aggregation) -> Planner {
    with_bounds(config(method, aggregation))
}

/// Plans of a planner for a point that moves.
fn found(planner: &Planner, problems: &[Problem]) -> Vec<Plan> {
    planner.plan(&PointMass, &LatentCost, problems).unwrap()
}

/// Where actions lead.
fn end(plan: &Plan) -> [f32; 2] {
    [0, 1].map(|at| plan.actions.iter().map(|action| action[at]).sum())
}

fn within(plan: &Plan) -> bool {
    let inside = |action: &Vec<f32>| action[0].abs() <= 1.0 && action[1].abs() <= 2.0;
    plan.actions.iter().all(inside)
}

#[test]
fn every_method_reaches_a_goal() {
    let goals = [[1.5, -3.0], [-2.0, 2.0]];
    let tolerances = [0.3, 0.1, 0.1, 0.1, 0.05];
    for (method, tolerance) in METHODS.into_iter().zip(tolerances) {
        let mut config = config(method, Aggregation::LastStep);
        if method == Method::Gradient {
            // As many candidates in all.
            (config.num_samples, config.iterations) = (16, 64);
        }
        let plans = found(&with_bounds(config), &goals.map(|goal| problem(3, goal)));
        for (plan, goal) in plans.iter().zip(goals) {
            let [x, y] = end(plan);
            let miss = (x - goal[0]).hypot(y - goal[1]);
            assert!(miss < tolerance, "{method:?} misses {goal:?} by {miss}");
            assert!((plan.latents[6] - x).abs() < 1e-5);
            assert!((plan.cost - miss * miss / 2.0).abs() < 1e-4);
            assert!(within(plan));
        }
    }
}

#[test]
fn every_method_that_learns_beats_drawing() {
    // Go there at once and stay: 512 candidates in all, of 8 numbers.
    let cost = |method| {
        let config = PlanConfig {
            noise: Noise::White,
            num_samples: 64,
            num_elites: 8,
            iterations: 8,
            learning_rate: 0.2,
            temperature: 0.1,
            ..config(method, Aggregation::Sum)
        };
        let problems: Vec<_> = (0..8)
            .map(|episode| problem(episode, [0.6, -1.5]))
            .collect();
        let plans = found(&with_bounds(config), &problems);
        plans.iter().map(|plan| plan.cost).sum::<f32>() / 8.0
    };
    let drawn = cost(Method::RandomShooting);
    for method in &METHODS[1..] {
        let learnt = cost(*method);
        assert!(learnt < 0.2 * drawn, "{method:?} {learnt}, drawn {drawn}");
    }
}

#[test]
fn the_same_seed_gives_the_same_plan_whatever_is_planned_beside_it() {
    for method in METHODS {
        for noise in [Noise::White, Noise::Autoregressive, Noise::Colored] {
            let config = PlanConfig {
                noise,
                num_samples: 32,
                rows: 64,
                step_noise: 0.01,
                ..config(method, Aggregation::Minimum)
            };
            let problems = [4, 5, 6].map(|episode| problem(episode, [1.0, 2.0]));
            let planner = with_bounds(config.clone());
            let together = found(&planner, &problems);
            assert_eq!(found(&planner, &problems), together);
            assert_eq!(
                found(&planner, &problems[2..])[0],
                together[2],
                "{method:?}"
            );
            assert_ne!(together[0].actions, together[1].actions);
            let other = with_bounds(PlanConfig { seed: 1, ..config });
            assert_ne!(found(&other, &problems)[0].actions, together[0].actions);
        }
    }
}

#[test]
fn rows_bound_what_is_evaluated_at_once_and_change_nothing() {
    for method in [Method::Icem, Method::Gradient] {
        let with_rows = |rows| {
            let config = PlanConfig {
                rows,
                ..config(method, Aggregation::Sum)
            };
            found(&with_bounds(config), &[problem(1, [1.0, 1.0])])
        };
        assert_eq!(with_rows(7), with_rows(2048));
    }
}

#[test]
fn slopes_are_those_of_finite_differences() {
    for aggregation in [
        Aggregation::LastStep,
        Aggregation::Sum,
        Aggregation::Minimum,
    ] {
        let mut config = config(Method::Gradient, aggregation);
        config.time_weight = 0.3;
        let planner = with_bounds(config);
        let problems = [problem(0, [1.0, -2.0]), problem(1, [-0.5, 0.3])];
        crate::evaluation::tests::check_slopes(&planner, &PointMass, &LatentCost, &problems);
    }
}

#[test]
fn actions_of_their_own_do_what_a_held_one_cannot() {
    /// A point that two actions a step push; only opposite ones leave it in place, and the latent tells both.
    struct Pair;

    impl Dynamics for Pair {
        fn device(&self) -> Device {
            Device::flex()
        }

        fn latent(&self) -> usize {
            2
        }

        fn rollout(&self, context: Context, actions: Tensor<3>) -> Tensor<3> {
            assert_eq!(actions.dims()[1..], [4, 2]);
            context.latents + actions
        }
    }

    let own = PlanConfig {
        hold: false,
        noise: Noise::White,
        iterations: 10,
        ..config(Method::Cem, Aggregation::Sum)
    };
    let planner = Planner::new(own, &[-1.0], &[1.0]).unwrap();
    let planner = planner.with_action_repeat(2);
    let goal = problem(0, [0.5, -0.5]);
    let plans = planner.plan(&Pair, &LatentCost, std::slice::from_ref(&goal));
    let plan = plans.unwrap().remove(0);
    assert!(plan.cost < 0.01, "{}", plan.cost);
    assert_eq!((plan.actions.len(), plan.step_costs.len()), (8, 4));
    assert_eq!(plan.shifted(5, 2), plan.actions[5..]);
    assert!(plan.environment_actions(2).eq(&plan.actions));
    assert_eq!(plan.latents[..2], plan.actions[..2].concat());
    let again = Problem {
        warm_start: plan.shifted(2, 2),
        ..goal
    };
    let second = planner.plan(&Pair, &LatentCost, &[again]).unwrap();
    assert!(second[0].cost <= plan.cost + 1e-5);
}

#[test]
fn a_held_action_counts_for_every_environment_step() {
    let plan = &found(
        &planner(Method::Cem, Aggregation::Sum),
        &[problem(0, [0.0, 1.0])],
    )[0];
    let actions: Vec<_> = plan.environment_actions(3).collect();
    assert_eq!(actions.len(), 12);
    assert_eq!(
        [actions[2], actions[3]],
        [&plan.actions[0], &plan.actions[1]]
    );
}

#[test]
fn standard_coordinates_draw_from_the_recordings_and_end_within_the_bounds() {
    let actions = ActionScale {
        mean: vec![0.8, 0.0],
        std: vec![0.1, 5.0],
        low: vec![-1.0, -2.0],
        high: vec![1.0, 2.0],
    };
    let config = PlanConfig {
        coordinates: Coordinates::Standard,
        initial_std: 1.0,
        num_samples: 300,
        num_elites: 30,
        momentum: 0.0,
        noise: Noise::White,
        unbiased_std: true,
        returned: Returned::Mean,
        ..config(Method::Cem, Aggregation::LastStep)
    };
    let error = Planner::new(config.clone(), &actions.low, &actions.high).unwrap_err();
    assert!(error.to_string().starts_with("coordinates: "), "{error}");
    let planner = Planner::in_units(config, &actions).unwrap();
    // Along x the recordings hardly vary; along y the goal is out of reach, and the model sees more than the bounds.
    let plan = &found(&planner, &[problem(0, [3.2, 20.0])])[0];
    assert!(
        within(plan)
            && plan
                .actions
                .iter()
                .all(|action| (action[0] - 0.8).abs() < 0.2)
    );
    assert!((end(plan)[1] - 8.0).abs() < 1e-5, "{:?}", plan.actions);
    let miss = [end(plan)[0] - 3.2, 12.0];
    assert!((plan.cost - (miss[0] * miss[0] + miss[1] * miss[1]) / 2.0).abs() < 1e-3);
    for method in METHODS {
        let config = PlanConfig {
            method,
            ..planner.config().clone()
        };
        let planner = Planner::in_units(config, &actions).unwrap();
        assert!(
            within(&found(&planner, &[problem(0, [3.2, 20.0])])[0]),
            "{method:?}"
        );
    }
}

/// A point that takes its time.
struct Slow(Duration);

impl Dynamics for Slow {
    fn device(&self) -> Device {
        Device::flex()
    }

    fn latent(&self) -> usize {
        2
    }

    fn rollout(&self, context: Context, actions: Tensor<3>) -> Tensor<3> {
        std::thread::sleep(self.0);
        PointMass.rollout(context, actions)
    }
}

#[test]
fn a_deadline_ends_a_search_with_the_best_so_far() {
    let slow = Slow(Duration::from_millis(20));
    let within_ms = |deadline_ms, iterations, problems: &[Problem]| {
        let config = PlanConfig {
            deadline_ms,
            iterations,
            num_samples: 16,
            num_elites: 4,
            keep_elites: 2,
            rows: 16,
            ..config(Method::Icem, Aggregation::LastStep)
        };
        let begun = Instant::now();
        let plans = with_bounds(config).plan(&slow, &LatentCost, problems);
        (plans.unwrap(), begun.elapsed())
    };
    let one = [problem(0, [1.0, 1.0])];
    let (plans, took) = within_ms(100, 1000, &one);
    assert!(
        (1..=5).contains(&plans[0].iterations),
        "{}",
        plans[0].iterations
    );
    assert!(took < Duration::from_secs(2), "{took:?}");
    // The best of as many iterations without a deadline; the draws do not depend on it.
    let (same, _) = within_ms(0, plans[0].iterations + 1, &one);
    assert!(same[0].cost <= plans[0].cost);
    // Several groups share the deadline, and each has its first iteration.
    let many: Vec<_> = (0..6).map(|episode| problem(episode, [1.0, 1.0])).collect();
    let (plans, _) = within_ms(1, 1000, &many);
    assert!(
        plans
            .iter()
            .all(|plan| plan.iterations == 1 && within(plan))
    );
    let (plans, _) = within_ms(60_000, 2, &one);
    assert_eq!(plans[0].iterations, 2);
}

#[test]
fn what_a_deadline_cuts_short_returns_what_was_tried() {
    let slow = Slow(Duration::from_millis(5));
    for method in METHODS {
        let config = PlanConfig {
            deadline_ms: 1,
            iterations: 1000,
            num_samples: 8,
            num_elites: 4,
            keep_elites: 2,
            returned: Returned::Mean,
            ..config(method, Aggregation::LastStep)
        };
        let problems = [problem(0, [1.0, 1.0])];
        let planned = |config| {
            with_bounds(config)
                .plan(&slow, &LatentCost, &problems)
                .unwrap()
        };
        let cut = planned(config.clone());
        assert_eq!(cut[0].iterations, 1, "{method:?}");
        let best = planned(PlanConfig {
            deadline_ms: 0,
            iterations: 1,
            returned: Returned::Best,
            ..config
        });
        assert_eq!(cut[0].actions, best[0].actions, "{method:?}");
    }
}

#[test]
fn gradients_need_a_way_through_the_model() {
    /// Where nothing leads anywhere.
    struct Still;

    impl Dynamics for Still {
        fn device(&self) -> Device {
            Device::flex()
        }

        fn latent(&self) -> usize {
            2
        }

        fn rollout(&self, context: Context, actions: Tensor<3>) -> Tensor<3> {
            let [_, horizon, _] = actions.dims();
            context.latents.repeat_dim(1, horizon)
        }
    }

    let planner = planner(Method::Gradient, Aggregation::Sum);
    let error = planner.plan(&Still, &LatentCost, &[problem(0, [0.0, 1.0])]);
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(
        error.to_string().starts_with("method `gradient`"),
        "{error}"
    );
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
    for method in METHODS {
        // Too few candidates to find by themselves what nothing is cheaper than.
        let planner = with_bounds(PlanConfig {
            num_samples: 8,
            num_elites: 4,
            keep_elites: 2,
            iterations: 3,
            ..config(method, Aggregation::Sum)
        });
        let cold = problem(0, [2.0, 2.0]);
        let warm = Problem {
            warm_start: vec![vec![1.0, 2.0], vec![1.0, 0.0], vec![0.0; 2], vec![0.0; 2]],
            ..cold.clone()
        };
        let plans = found(&planner, &[cold, warm]);
        let [cold, warm] = [0, 1].map(|at| plans[at].cost);
        // A quarter of the first step's cost, half of 1.
        assert!((warm - 0.125).abs() < 1e-5, "{method:?} {warm}");
        assert!(cold > warm + 1e-3, "{method:?} {cold}");
        assert_eq!(plans[0].shifted(3, 1), plans[0].actions[3..]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let bounds = Planner::new(PlanConfig::default(), &[1.0], &[-1.0]).unwrap_err();
    assert!(bounds.to_string().contains("low at most high"));
    let without = |change: fn(&mut PlanConfig), repeat| {
        let mut config = config(Method::Cem, Aggregation::Sum);
        config.hold = false;
        change(&mut config);
        let planner = with_bounds(config).with_action_repeat(repeat);
        let found = planner.plan(&PointMass, &LatentCost, &[problem(0, [0.0, 0.0])]);
        found.unwrap_err().to_string()
    };
    let none = without(|_| (), 0);
    assert_eq!(none, "action_repeat: expected at least 1, found 0");
    let colored = without(|config| config.noise = Noise::Colored, 257);
    assert!(
        colored.ends_with("at most 1024 actions, found 1028"),
        "{colored}"
    );
    let many = without(|config| config.num_samples = 1 << 16, 1 << 10);
    assert!(
        many.starts_with("num_samples: expected candidates of"),
        "{many}"
    );
    let mut wrong = problem(0, [0.0, 0.0]);
    wrong.goal = vec![0.0];
    let found = planner(Method::Cem, Aggregation::Sum).plan(&PointMass, &LatentCost, &[wrong]);
    assert_eq!(
        found.unwrap_err().to_string(),
        "goal: expected 2 values, found 1"
    );
}

//! The task as a whole: who succeeds, what is seen, what repeats.

use std::collections::BTreeSet;

use armilla_core::Rate;

use super::*;
use crate::simulator::run_script;

fn make(protocol: &str) -> TwoRoom {
    TwoRoom::new(protocol, 64).unwrap()
}

fn rate(protocol: &str, script: Script, seeds: std::ops::Range<u64>) -> f64 {
    let mut simulator = TwoRoom::new(protocol, 8).unwrap();
    Rate::of(seeds.map(|seed| run_script(&mut simulator, seed, script).unwrap().success)).value()
}

#[test]
fn crossing_needs_the_door() {
    assert_eq!(rate("crossing", Script::Expert, 0..60), 1.0);
    assert_eq!(rate("crossing", Script::Cheat, 0..60), 0.0);
    assert_eq!(rate("crossing", Script::Nothing, 0..60), 0.0);
    assert!(rate("crossing", Script::Random, 0..60) <= 0.05);
}

#[test]
fn ahead_is_nearly_solved_by_the_straight_line() {
    assert_eq!(rate("ahead", Script::Expert, 0..100), 1.0);
    assert!(rate("ahead", Script::Cheat, 0..100) > 0.85);
    let nothing = rate("ahead", Script::Nothing, 0..100);
    assert!((0.02..0.25).contains(&nothing), "{nothing}");
}

#[test]
fn a_recorded_expert_arrives() {
    let mut simulator = make("record");
    let mut opposite = 0;
    for seed in 0..60 {
        let outcome = run_script(&mut simulator, seed, Script::Expert).unwrap();
        assert!(outcome.success_at_end && outcome.steps < 120, "{outcome:?}");
        assert!(outcome.best["closeness"] > -f64::from(ARRIVED_PX));
        opposite += usize::from(outcome.labels["rooms"] == "opposite");
    }
    assert!((30..55).contains(&opposite), "{opposite}");
}

#[test]
fn evaluation_shares_no_layout_with_recordings() {
    let scenes = |protocol| {
        let mut simulator = make(protocol);
        let seeds = 0..300;
        seeds
            .map(|seed| {
                simulator
                    .reset(&Reset {
                        seed,
                        instruction: None,
                    })
                    .unwrap()
                    .1
                    .labels["scene"]
                    .clone()
            })
            .collect::<BTreeSet<_>>()
    };
    let recorded = scenes("record");
    assert!(recorded.is_disjoint(&scenes("crossing")));
    assert!(recorded.is_disjoint(&scenes("ahead")));
}

#[test]
fn the_same_seed_gives_the_same_pixels() {
    let episode = |seed| {
        let mut simulator = make("crossing");
        let (first, _) = simulator
            .reset(&Reset {
                seed,
                instruction: None,
            })
            .unwrap();
        let mut observations = vec![first];
        for _ in 0..10 {
            let action = simulator.scripted(Script::NoisyExpert(1.0)).unwrap();
            assert_eq!(
                action,
                simulator.scripted(Script::NoisyExpert(1.0)).unwrap()
            );
            observations.push(simulator.step(&action.executed).unwrap().observation);
        }
        observations
    };
    assert_eq!(episode(3), episode(3));
    assert_ne!(episode(3), episode(4));
}

#[test]
fn state_is_the_agent_and_the_goal_is_a_picture() {
    let mut simulator = make("crossing");
    let (observation, _) = simulator
        .reset(&Reset {
            seed: 5,
            instruction: None,
        })
        .unwrap();
    observation.check(&simulator.spec().features).unwrap();
    let task = simulator.episode().unwrap().task.clone();
    assert_eq!(observation.state, task.start);
    let goal = observation.goal.unwrap();
    assert_eq!(goal.images["top"], task.layout.draw(task.goal, 64));
    assert_eq!(goal.state, task.goal);
    let (recorded, _) = make("record")
        .reset(&Reset {
            seed: 5,
            instruction: None,
        })
        .unwrap();
    assert!(recorded.goal.is_none());
}

#[test]
fn crossing_runs_to_its_budget() {
    let mut simulator = make("crossing");
    for seed in 0..20 {
        let outcome = run_script(&mut simulator, seed, Script::Expert).unwrap();
        assert!(outcome.success && outcome.success_at_end);
        assert!(outcome.steps >= 20 && outcome.steps <= simulator.spec().max_steps);
        assert_eq!(outcome.steps, simulator.episode().unwrap().task.budget);
    }
}

#[test]
fn noise_moves_the_agent_and_leaves_the_label_clean() {
    let mut simulator = make("record");
    simulator
        .reset(&Reset {
            seed: 1,
            instruction: None,
        })
        .unwrap();
    let clean = simulator.scripted(Script::Expert).unwrap();
    let noisy = simulator.scripted(Script::NoisyExpert(2.0)).unwrap();
    assert_eq!(clean.executed, clean.label);
    assert_eq!(noisy.label, clean.label);
    assert_ne!(noisy.executed, noisy.label);
    assert!(noisy.executed.0.iter().all(|v| v.abs() <= 1.0));
}

#[test]
fn misuse_is_refused() {
    assert!(TwoRoom::new("sideways", 64).is_err_and(|e| e.to_string().contains("crossing")));
    let mut simulator = make("record");
    assert!(simulator.step(&Action(vec![0.0; 2])).is_err());
    simulator.reset(&Reset::default()).unwrap();
    assert!(simulator.step(&Action(vec![0.0; 3])).is_err());
    assert!(simulator.step(&Action(vec![f32::NAN, 0.0])).is_err());
}

#[test]
fn the_planner_finds_doors_that_the_straight_line_does_not() {
    let (ahead, crossing) = (
        rate("ahead", Script::Planner, 0..20),
        rate("crossing", Script::Planner, 0..20),
    );
    assert!(ahead >= 0.9 && crossing >= 0.25, "{ahead} {crossing}");
}

#[test]
fn varied_scenes_can_be_done_and_are_never_recorded() {
    for variation in ["colors", "sizes", "shapes"] {
        let protocol = format!("crossing:{variation}");
        assert_eq!(rate(&protocol, Script::Expert, 0..60), 1.0, "{variation}");
        assert_eq!(rate(&protocol, Script::Cheat, 0..60), 0.0, "{variation}");
    }
    assert!(TwoRoom::new("record:sizes", 64).is_err_and(|e| e.to_string().contains("never")));
}

#[test]
fn colours_and_shapes_leave_the_task_as_it_is() {
    let task = |variation| Task::sample(3, Protocol::Crossing, variation);
    let plain = task(None);
    for variation in [Variation::Colors, Variation::Shapes] {
        let varied = task(Some(variation));
        assert_ne!(varied.layout, plain.layout);
        assert_eq!((varied.start, varied.goal), (plain.start, plain.goal));
    }
}

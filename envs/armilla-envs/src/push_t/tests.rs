//! The task as a whole: who succeeds, what is seen, what repeats.

use std::collections::BTreeSet;

use armilla_core::Rate;

use super::task::{hash, sample};
use super::*;
use crate::simulator::run_script;

fn rate(script: Script, seeds: std::ops::Range<u64>) -> f64 {
    let mut simulator = PushT::new("push", 8).unwrap();
    Rate::of(seeds.map(|seed| run_script(&mut simulator, seed, script).unwrap().success)).value()
}

#[test]
fn the_expert_succeeds_and_the_ignorant_do_not() {
    assert!(rate(Script::Expert, 0..6) >= 0.8);
    assert_eq!(rate(Script::Nothing, 0..6), 0.0);
    assert_eq!(rate(Script::Cheat, 0..6), 0.0);
    assert_eq!(rate(Script::Random, 0..6), 0.0);
}

#[test]
fn the_same_seed_gives_the_same_pixels() {
    let episode = |seed| {
        let mut simulator = PushT::new("record", 32).unwrap();
        let (first, info) = simulator
            .reset(&Reset {
                seed,
                instruction: None,
            })
            .unwrap();
        assert!(!info.success);
        let mut observations = vec![first];
        for _ in 0..25 {
            let action = simulator.scripted(Script::NoisyExpert(0.3)).unwrap();
            assert_eq!(
                action,
                simulator.scripted(Script::NoisyExpert(0.3)).unwrap()
            );
            observations.push(simulator.step(&action.executed).unwrap().observation);
        }
        observations
    };
    assert_eq!(episode(3), episode(3));
    assert_ne!(episode(3), episode(4));
}

#[test]
fn state_is_the_agent_alone() {
    let mut simulator = PushT::new("push", 96).unwrap();
    let (observation, info) = simulator
        .reset(&Reset {
            seed: 5,
            instruction: None,
        })
        .unwrap();
    observation.check(&simulator.spec().features).unwrap();
    assert_eq!(observation.state, sample(5, true).agent);
    assert!(observation.goal.is_some() && observation.instruction.is_some());
    assert!(info.figures["coverage"] < 0.95 && info.figures["closeness"] < 0.0);
    let mut recording = PushT::new("record", 96).unwrap();
    assert!(
        recording
            .reset(&Reset {
                seed: 5,
                instruction: None
            })
            .unwrap()
            .0
            .goal
            .is_none()
    );
}

#[test]
fn evaluation_shares_no_start_with_recordings() {
    let starts = |held_out| {
        (0..500)
            .map(|seed| hash(sample(seed, held_out)))
            .collect::<BTreeSet<_>>()
    };
    assert!(starts(false).is_disjoint(&starts(true)));
    assert_eq!(starts(true).len(), 500);
}

#[test]
fn a_block_on_the_goal_ends_the_episode() {
    let mut simulator = PushT::new("push", 16).unwrap();
    simulator
        .reset(&Reset {
            seed: 1,
            instruction: None,
        })
        .unwrap();
    let solved = State {
        agent: [60.0, 60.0],
        agent_velocity: [0.0; 2],
        block: GOAL,
    };
    simulator.episode().unwrap().world = World::new(solved);
    let step = simulator.step(&Action(vec![60.0, 60.0])).unwrap();
    assert!(step.info.success && step.terminated && !step.truncated);
    assert_eq!(step.reward, 1.0);
}

#[test]
fn misuse_is_refused() {
    assert!(PushT::new("pull", 96).is_err_and(|e| e.to_string().contains("record")));
    let mut simulator = PushT::new("record", 16).unwrap();
    assert!(simulator.step(&Action(vec![0.0; 2])).is_err());
    simulator.reset(&Reset::default()).unwrap();
    assert!(simulator.step(&Action(vec![0.0; 3])).is_err());
    assert!(simulator.step(&Action(vec![f32::INFINITY, 0.0])).is_err());
}

//! The task as a whole: who succeeds, what is seen, what repeats.

use std::collections::BTreeSet;

use armilla_core::Rate;
use rayon::prelude::*;

use super::shape::Pose;
use super::task::{hash, sample};
use super::*;
use crate::simulator::run_script;

fn rate(script: Script, seeds: std::ops::Range<u64>) -> f64 {
    let mut simulator = PushT::new(Actions::Places, "push", 8).unwrap();
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
        let mut simulator = PushT::new(Actions::Places, "record", 32).unwrap();
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
    let mut simulator = PushT::new(Actions::Places, "push", 96).unwrap();
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
    let mut recording = PushT::new(Actions::Places, "record", 96).unwrap();
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
    let mut simulator = PushT::new(Actions::Places, "push", 16).unwrap();
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
    assert!(
        PushT::new(Actions::Places, "pull", 96).is_err_and(|e| e.to_string().contains("record"))
    );
    let mut simulator = PushT::new(Actions::Places, "record", 16).unwrap();
    assert!(simulator.step(&Action(vec![0.0; 2])).is_err());
    simulator.reset(&Reset::default()).unwrap();
    assert!(simulator.step(&Action(vec![0.0; 3])).is_err());
    assert!(simulator.step(&Action(vec![f32::INFINITY, 0.0])).is_err());
}

/// Success of scripts on the same tasks, which take longer to draw than to run.
fn floors(protocol: &str, scripts: &[Script], count: u64) -> Vec<f64> {
    let episodes: Vec<Vec<bool>> = (0..count)
        .into_par_iter()
        .map(|seed| {
            let mut simulator = PushT::new(Actions::Places, protocol, 1).unwrap();
            let task = Task::sample(seed, simulator.protocol, simulator.variation).unwrap();
            let run = |&script| succeeds(&mut simulator, seed, task.clone(), script);
            scripts.iter().map(run).collect()
        })
        .collect();
    (0..scripts.len())
        .map(|i| Rate::of(episodes.iter().map(|episode| episode[i])).value())
        .collect()
}

fn succeeds(simulator: &mut PushT, seed: u64, task: Task, script: Script) -> bool {
    let reset = Reset {
        seed,
        instruction: None,
    };
    let mut success = simulator.begin(&reset, task).1.success;
    loop {
        let action = simulator.scripted(script).unwrap().executed;
        let step = simulator.step(&action).unwrap();
        success |= step.info.success;
        if step.terminated || step.truncated {
            return success;
        }
    }
}

#[test]
fn the_block_protocol_tells_pushing_from_driving() {
    let scripts = [
        Script::Nothing,
        Script::Random,
        Script::Cheat,
        Script::Expert,
    ];
    let (ahead, block) = (floors("ahead", &scripts, 40), floors("block", &scripts, 40));
    assert!(ahead[0] <= 0.05 && block[0] == 0.0);
    assert!(ahead[2] > ahead[1] + 0.1 && ahead[2] > block[2]);
    assert!(block[1] <= 0.1 && block[2] <= 0.4);
    assert!(ahead[3] == 1.0 && block[3] == 1.0);
}

#[test]
fn the_planner_does_what_driving_alone_does_not() {
    let scripts = [Script::Planner, Script::Cheat];
    let block = floors("block", &scripts, 6);
    assert!(block[0] > block[1], "{block:?}");
}

#[test]
fn states_ahead_are_held_out_and_repeat() {
    let tasks = |protocol| {
        (0..12_u64)
            .into_par_iter()
            .map(|seed| Task::sample(seed, protocol, None).unwrap())
            .collect::<Vec<_>>()
    };
    let recorded: BTreeSet<_> = (0..2000).map(|seed| hash(sample(seed, false))).collect();
    for protocol in [Protocol::Ahead, Protocol::Block] {
        let drawn = tasks(protocol);
        let scenes: BTreeSet<_> = drawn.iter().map(|task| task.scene).collect();
        let starts: BTreeSet<_> = drawn.iter().map(|task| hash(task.start)).collect();
        assert!(scenes.is_disjoint(&recorded) && starts.is_disjoint(&recorded));
        assert!(scenes.iter().all(|scene| scene.is_multiple_of(4)));
        assert_eq!(scenes.len(), 12);
        let again = Task::sample(5, protocol, None).unwrap();
        assert_eq!(drawn[5], again);
        for task in &drawn {
            let ahead = task.ahead.as_ref().unwrap();
            assert!(ahead.is_reached(ahead.goal) && ahead.targets.len() == 25);
            if protocol == Protocol::Block {
                assert!(!ahead.is_block_there(task.start) && !ahead.is_reached(task.start));
            }
        }
    }
}

#[test]
fn success_ahead_by_hand() {
    let at = |agent, position, angle_rad| State {
        agent,
        agent_velocity: [0.0; 2],
        block: Pose {
            position,
            angle_rad,
        },
    };
    let ahead = task::Ahead {
        goal: at([100.0, 100.0], [300.0, 300.0], 3.1),
        targets: Vec::new(),
    };
    // Twelve and fifteen pixels are 19.2 together, twelve and sixteen are 20; angles go round.
    assert!(ahead.is_reached(at([112.0, 100.0], [300.0, 315.0], 3.1)));
    assert!(!ahead.is_reached(at([112.0, 100.0], [300.0, 316.0], 3.1)));
    assert!(ahead.is_reached(at([100.0, 100.0], [300.0, 300.0], -3.0)));
    assert!(!ahead.is_reached(at([100.0, 100.0], [300.0, 300.0], -2.8)));
    assert!((ahead.cost(at([110.0, 100.0], [300.0, 300.0], 3.1)) - 0.5).abs() < 1e-6);
}

#[test]
fn the_goal_picture_is_what_the_camera_sees_at_the_goal() {
    let mut simulator = PushT::new(Actions::Places, "block", 32).unwrap();
    let reset = Reset {
        seed: 7,
        instruction: None,
    };
    let (first, info) = simulator.reset(&reset).unwrap();
    assert!(!info.success && info.labels["family"] == "block-moves");
    for step in 1..=50 {
        let action = simulator.scripted(Script::Expert).unwrap().executed;
        let taken = simulator.step(&action).unwrap();
        if step == 25 {
            assert!(taken.info.success && !taken.terminated);
            let goal = first.goal.as_ref().unwrap();
            assert_eq!(taken.observation.images, goal.images);
            assert_eq!(taken.observation.state, goal.state);
        }
        assert_eq!(taken.truncated, step == 50);
    }
}

#[test]
fn planning_needs_a_state_to_reach() {
    let mut simulator = PushT::new(Actions::Places, "push", 16).unwrap();
    simulator.reset(&Reset::default()).unwrap();
    let error = simulator.scripted(Script::Planner).unwrap_err().to_string();
    assert!(error.contains("ahead or block"), "{error}");
}

#[test]
fn colours_and_shapes_leave_the_task_as_it_is() {
    let task = |variation| Task::sample(4, Protocol::Block, variation).unwrap();
    let plain = task(None);
    for variation in [Variation::Colors, Variation::Shapes] {
        let varied = task(Some(variation));
        assert_ne!(varied.look, plain.look);
        assert_eq!(
            (varied.start, varied.ahead),
            (plain.start, plain.ahead.clone())
        );
    }
    let sizes = task(Some(Variation::Sizes));
    assert!(sizes.look != plain.look && sizes.ahead != plain.ahead);
}

#[test]
fn varied_episodes_can_be_done() {
    for variation in ["colors", "sizes", "shapes"] {
        let rates = floors(&format!("block:{variation}"), &[Script::Expert], 4);
        assert_eq!(rates, [1.0], "{variation}");
    }
    assert!(
        PushT::new(Actions::Places, "record:colors", 64)
            .is_err_and(|e| e.to_string().contains("never"))
    );
}

#[test]
fn an_expert_that_can_gain_nothing_still_acts() {
    let mut expert = Expert::default();
    // The block lies at its goal, so that every push ends where it begins.
    let mut state = State {
        agent: [100.0, 100.0],
        agent_velocity: [0.0; 2],
        block: GOAL,
    };
    for _ in 0..60 {
        state.agent = within(expert.act(state));
        assert!(state.agent.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn moves_lead_where_places_do() {
    let mut places = PushT::new(Actions::Places, "block", 16).unwrap();
    let mut moves = PushT::new(Actions::Moves, "block", 16).unwrap();
    assert_eq!(moves.spec().action_low, [-1.0; 2]);
    let reset = Reset {
        seed: 3,
        instruction: None,
    };
    let (seen, _) = places.reset(&reset).unwrap();
    assert_eq!(seen, moves.reset(&reset).unwrap().0);
    for _ in 0..25 {
        let [place, step] =
            [&mut places, &mut moves].map(|each| each.scripted(Script::Expert).unwrap().executed);
        assert!(step.0.iter().all(|value| value.abs() <= 1.0));
        let (there, same) = (places.step(&place).unwrap(), moves.step(&step).unwrap());
        for (a, b) in there.observation.state.iter().zip(&same.observation.state) {
            assert!((a - b).abs() < 1.0, "{a} px and {b} px");
        }
        assert_eq!(there.info.success, same.info.success);
    }
    // A move of more than 1 is one of 1.
    let before = moves.episode().unwrap().world.state().agent;
    assert_eq!(
        Actions::Moves.target([5.0, 0.0], before),
        within([before[0] + MOVE_PX, before[1]])
    );
}

//! Tests of the whole simulator: its floors and its ceiling, and that each split differs in its own respect alone.

use std::collections::{BTreeMap, BTreeSet};

use armilla_core::EpisodeOutcome;

use super::ahead::{AHEAD_STEPS, MOVED_M, REACHED_M};
use super::instruction::FAMILIES;
use super::kinds::{Kind, UNSEEN_PAIRS};
use super::physics::PUSHER_RADIUS;
use super::scene::{Protocol, Scene};
use super::*;
use crate::registry::{EnvironmentConfig, make};
use crate::simulator::run_script;

fn outcomes(script: Script, seeds: u64) -> Vec<EpisodeOutcome> {
    outcomes_of("new-scenes", script, seeds)
}

fn outcomes_of(protocol: &str, script: Script, seeds: u64) -> Vec<EpisodeOutcome> {
    let mut table = Tabletop::new(protocol, 64).unwrap();
    (0..seeds)
        .map(|seed| run_script(&mut table, seed, script).unwrap())
        .collect()
}

fn share(outcomes: &[EpisodeOutcome]) -> f64 {
    outcomes.iter().filter(|outcome| outcome.success).count() as f64 / outcomes.len() as f64
}

fn scenes(protocol: Protocol, seeds: u64) -> Vec<Scene> {
    (0..seeds)
        .map(|seed| Scene::draw(protocol, seed).unwrap())
        .collect()
}

fn target(scene: &Scene) -> Kind {
    scene.layout.kinds[scene.task.target]
}

#[test]
fn the_expert_succeeds_in_every_family() {
    let outcomes = outcomes(Script::Expert, 120);
    assert!(share(&outcomes) >= 0.97, "{}", share(&outcomes));
    let mut families: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for outcome in outcomes {
        families
            .entry(outcome.labels["family"].clone())
            .or_default()
            .push(outcome);
    }
    assert_eq!(families.len(), FAMILIES.len());
    for (family, outcomes) in families {
        assert!(share(&outcomes) >= 0.9 && outcomes.len() >= 15, "{family}");
    }
}

#[test]
fn knowing_nothing_does_not_help() {
    let nothing = outcomes(Script::Nothing, 20);
    assert!(share(&nothing) == 0.0 && nothing.iter().all(|outcome| outcome.steps == MAX_STEPS));
    assert!(share(&outcomes(Script::Random, 60)) <= 0.05);
    let cheat = share(&outcomes(Script::Cheat, 60));
    assert!(cheat < 0.45, "driving straight at the target does {cheat}");
}

#[test]
fn noise_moves_what_is_done_and_not_what_is_kept() {
    let mut table = Tabletop::new("record", 64).unwrap();
    table
        .reset(&Reset {
            seed: 5,
            instruction: None,
        })
        .unwrap();
    let noisy = table.scripted(Script::NoisyExpert(0.3)).unwrap();
    let clean = table.scripted(Script::Expert).unwrap();
    assert_eq!(noisy.label, clean.executed);
    assert_ne!(noisy.executed, clean.executed);
    assert!(share(&outcomes(Script::NoisyExpert(0.3), 60)) >= 0.9);
}

#[test]
fn a_seed_repeats_and_an_instruction_can_be_replaced() {
    let run = |instruction: Option<&str>| {
        let mut table = Tabletop::new("unseen-pairs", 64).unwrap();
        let instruction = instruction.map(str::to_owned);
        let (first, info) = table
            .reset(&Reset {
                seed: 9,
                instruction,
            })
            .unwrap();
        let mut last = first.clone();
        for _ in 0..6 {
            let action = table.scripted(Script::NoisyExpert(0.5)).unwrap().executed;
            last = table.step(&action).unwrap().observation;
        }
        (first, last, info)
    };
    assert_eq!(run(None), run(None));
    let (blank, _, info) = run(Some(""));
    assert_eq!(blank.instruction.as_deref(), Some(""));
    assert_eq!((&blank.images, info), (&run(None).0.images, run(None).2));
}

#[test]
fn splits_share_no_scene_and_nothing_is_solved_at_reset() {
    let mut seen = BTreeSet::new();
    for name in ["record", "new-scenes"] {
        let mut table = Tabletop::new(name, 8).unwrap();
        for seed in 0..300 {
            let (observation, info) = table
                .reset(&Reset {
                    seed,
                    instruction: None,
                })
                .unwrap();
            assert!(
                !info.success && info.figures["distance"] > 0.05,
                "{name} {seed}"
            );
            assert!(
                seen.insert(info.labels["scene"].clone()),
                "{name} {seed} is drawn twice"
            );
            assert_eq!(
                observation.instruction.as_ref(),
                info.labels.get("instruction")
            );
        }
    }
}

#[test]
fn training_sees_nothing_that_is_held_out() {
    for scene in scenes(Protocol::Record, 400) {
        let family = scene.task.family();
        assert!(
            scene.layout.kinds.iter().all(|kind| kind.is_seen()),
            "{}",
            scene.instruction
        );
        assert!(
            !family.unseen_targets().contains(&target(&scene)),
            "{}",
            scene.instruction
        );
        assert!(scene.template.contains("/seen/"), "{}", scene.template);
    }
}

#[test]
fn each_protocol_holds_out_one_thing() {
    for scene in scenes(Protocol::NewTemplates, 60) {
        let unseen = scene.task.family().unseen_targets();
        assert!(scene.template.contains("/unseen/") && !unseen.contains(&target(&scene)));
        assert!(scene.layout.kinds.iter().all(|kind| kind.is_seen()));
    }
    for scene in scenes(Protocol::UnseenPairs, 60) {
        let held_out = scene
            .layout
            .kinds
            .iter()
            .filter(|kind| !kind.is_seen())
            .count();
        assert!(UNSEEN_PAIRS.contains(&target(&scene)) && held_out == 1);
        assert!(scene.template.contains("/seen/"));
    }
    for scene in scenes(Protocol::UnseenVerbObject, 60) {
        assert!(
            scene
                .task
                .family()
                .unseen_targets()
                .contains(&target(&scene))
        );
        assert!(
            scene.template.contains("/seen/")
                && scene.layout.kinds.iter().all(|kind| kind.is_seen())
        );
    }
}

#[test]
fn language_is_needed() {
    let (mut ambiguous, count) = (0, 300);
    for scene in scenes(Protocol::NewScenes, count) {
        let kinds = &scene.layout.kinds;
        let names: BTreeSet<_> = kinds.iter().map(Kind::to_string).collect();
        assert_eq!(names.len(), kinds.len(), "two objects of one kind");
        let others = kinds.iter().filter(|&&kind| kind != target(&scene));
        ambiguous += usize::from(others.clone().any(|kind| kind.resembles(target(&scene))));
        let named = others
            .filter(|kind| scene.swapped.contains(&kind.to_string()))
            .count();
        assert!(
            named >= 1 && scene.swapped != scene.instruction,
            "{}",
            scene.swapped
        );
    }
    assert!(
        ambiguous as f64 >= 0.9 * count as f64,
        "{ambiguous} of {count}"
    );
}

#[test]
fn pictures_ask_for_what_the_expert_does_and_driving_alone_does_not() {
    let rate = |protocol, script, seeds| share(&outcomes_of(protocol, script, seeds));
    for protocol in ["ahead", "object"] {
        assert_eq!(rate(protocol, Script::Expert, 40), 1.0, "{protocol}");
    }
    assert_eq!(rate("object", Script::Nothing, 40), 0.0);
    assert!(rate("object", Script::Random, 40) <= 0.05);
    let cheat = rate("object", Script::Cheat, 40);
    assert!(cheat <= 0.3, "driving to the pusher's place does {cheat}");
    let planner = rate("object", Script::Planner, 6);
    assert!(
        planner > cheat,
        "{planner} with the simulator, {cheat} by driving"
    );
}

#[test]
fn pictures_show_a_moment_of_a_held_out_way() {
    let recorded: BTreeSet<_> = scenes(Protocol::Record, 300)
        .iter()
        .map(|scene| scene.layout.hash())
        .collect();
    let mut families = BTreeSet::new();
    for seed in 0..40 {
        let (scene, ahead) = Ahead::draw(Protocol::Object, seed, PUSHER_RADIUS).unwrap();
        assert!(!recorded.contains(&scene.layout.hash()));
        assert_eq!(ahead.commands.len(), AHEAD_STEPS);
        assert_eq!(ahead.farthest(&ahead.goal), 0.0);
        assert!(ahead.farthest(&ahead.start) >= MOVED_M && MOVED_M > REACHED_M);
        assert_eq!(
            Ahead::draw(Protocol::Object, seed, PUSHER_RADIUS)
                .unwrap()
                .1,
            ahead
        );
        families.insert(ahead.family(&scene.layout.kinds));
    }
    assert!(
        families.len() >= 4 && !families.contains("moves-nothing"),
        "{families:?}"
    );
}

#[test]
fn a_goal_is_what_the_camera_sees_once_it_is_reached() {
    let reset = Reset {
        seed: 3,
        instruction: None,
    };
    let mut table = Tabletop::new("object", 64).unwrap();
    let (mut seen, _) = table.reset(&reset).unwrap();
    assert_ne!(
        seen.goal.as_ref().unwrap().images["top"],
        seen.images["top"]
    );
    let mut last = None;
    for _ in 0..AHEAD_STEPS {
        let action = table.scripted(Script::Expert).unwrap().executed;
        let step = table.step(&action).unwrap();
        seen = step.observation.clone();
        last = Some(step);
    }
    let (step, goal) = (last.unwrap(), seen.goal.unwrap());
    assert_eq!((&goal.images, &goal.state), (&seen.images, &seen.state));
    assert!(step.info.success && !step.terminated && !step.truncated);
    assert!(table.scripted(Script::Planner).is_ok());
    let error = {
        let mut words = Tabletop::new("new-scenes", 64).unwrap();
        words.reset(&reset).unwrap();
        words.scripted(Script::Planner).unwrap_err().to_string()
    };
    assert!(
        error.contains("object") && error.contains("new-scenes"),
        "{error}"
    );
}

#[test]
fn a_step_before_the_first_reset_is_refused() {
    let mut table = Tabletop::new("record", 64).unwrap();
    let error = table.step(&Action(vec![0.0, 0.0])).unwrap_err().to_string();
    assert!(error.contains("reset"), "{error}");
    let error = Tabletop::new("nowhere", 64).err().unwrap().to_string();
    assert!(
        error.contains("unseen-verb-object") && error.contains("nowhere"),
        "{error}"
    );
}

#[test]
fn colours_and_shapes_leave_the_task_as_it_is() {
    let begun = |protocol: &str| {
        let mut table = Tabletop::new(protocol, 64).unwrap();
        let reset = Reset {
            seed: 3,
            instruction: None,
        };
        let (observation, info) = table.reset(&reset).unwrap();
        let Episode { look, physics, .. } = table.episode.unwrap();
        (observation, info, look, physics.table())
    };
    for base in ["new-scenes", "object"] {
        let (plain, info, look, table) = begun(base);
        for variation in ["colors", "shapes"] {
            let varied = begun(&format!("{base}:{variation}"));
            assert_eq!((&varied.1, &varied.3), (&info, &table), "{variation}");
            assert_eq!(varied.0.instruction, plain.instruction);
            assert_ne!(varied.2, look, "{variation}");
            assert_ne!(varied.0.images, plain.images, "{variation}");
        }
        let sizes = begun(&format!("{base}:sizes")).3;
        assert_ne!(sizes.pusher_radius, table.pusher_radius);
    }
}

#[test]
fn varied_episodes_can_be_done() {
    for variation in ["colors", "sizes", "shapes"] {
        for (protocol, least) in [("new-scenes", 0.9), ("object", 1.0)] {
            let outcomes = outcomes_of(&format!("{protocol}:{variation}"), Script::Expert, 40);
            let share = share(&outcomes);
            assert!(share >= least, "{protocol}:{variation} {share}");
        }
    }
    let config = EnvironmentConfig {
        name: "tabletop".to_owned(),
        protocol: "object:colors".to_owned(),
        image_size: 64,
    };
    assert_eq!(make(&config).unwrap().spec().protocol, config.protocol);
    let refused = Tabletop::new("record:colors", 64);
    assert!(refused.is_err_and(|error| error.to_string().contains("never")));
}

//! What a simulator's owner can see, and the scripts that act on it.

use armilla_core::environment::{Environment, Reset};
use armilla_core::{Action, EpisodeOutcome, Observation, Result};

/// Objects that moved by less than this share of the world's side, and turned by less than [`TURNED_RAD`], stayed.
const MOVED: f64 = 1e-3;
/// See [`MOVED`].
const TURNED_RAD: f64 = 0.01;

/// A controller that acts on the simulator's truth, which no policy gets to see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Script {
    /// Holds still.
    Nothing,
    /// Uniformly random actions.
    Random,
    /// The task's cheapest cheat: the straight line to the goal, ignoring walls (`two-room`); driving only the agent to its
    /// goal pose (`push-t`, and `tabletop` where the goal is a picture); driving towards the named object without pushing it
    /// anywhere (`tabletop`).
    Cheat,
    /// The scripted expert.
    Expert,
    /// The expert with time-correlated noise on the executed action; the level is in units of the action range.
    NoisyExpert(f32),
    /// A planner that searches on a copy of the simulator for the goal picture's state: what planning reaches with a model
    /// that makes no mistake. `two-room`, `push-t` with `ahead` and `block`, `tabletop` with `ahead` and `object`.
    Planner,
}

/// What a script wants done: the action carried out, and the action a recording keeps as its label.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptedAction {
    /// Carried out by the simulator.
    pub executed: Action,
    /// The clean command of the expert at this state (equal to `executed` for every other script).
    pub label: Action,
}

/// What is where at a moment, which no policy gets to see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Values by name, always the same names in the same order; none for what the scene does not have.
    pub values: Vec<(&'static str, Option<f64>)>,
    /// All objects but the agent: place in shares of the world's side, and angle in radians.
    pub objects: Vec<[f64; 3]>,
}

impl Truth {
    /// Whether any object is elsewhere, or turned.
    #[must_use]
    pub fn has_moved_since(&self, earlier: &Self) -> bool {
        let moved = |(now, then): (&[f64; 3], &[f64; 3])| {
            let turn = (now[2] - then[2] + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU);
            (now[0] - then[0]).hypot(now[1] - then[1]) > MOVED
                || (turn - std::f64::consts::PI).abs() > TURNED_RAD
        };
        self.objects.iter().zip(&earlier.objects).any(moved)
    }
}

/// An environment whose truth is at hand.
pub trait Simulator: Environment {
    /// The script's action at the present state. Deterministic in the reset's seed and the steps taken.
    ///
    /// # Errors
    ///
    /// When no episode was begun, or the environment or its protocol has no such script.
    fn scripted(&mut self, script: Script) -> Result<ScriptedAction>;

    /// What is where now.
    ///
    /// # Errors
    ///
    /// When no episode was begun.
    fn truth(&mut self) -> Result<Truth>;

    /// Does what cannot happen: puts the agent, and in `push-t` the block too, somewhere else at once. Deterministic in the reset's
    /// seed and the steps taken.
    ///
    /// # Errors
    ///
    /// When no episode was begun.
    fn teleport(&mut self) -> Result<Observation>;
}

/// Runs one episode of a script from reset to its end, by calling the simulator.
///
/// # Errors
///
/// What the simulator returns.
pub fn run_script(
    simulator: &mut dyn Simulator,
    seed: u64,
    script: Script,
) -> Result<EpisodeOutcome> {
    let (_, info) = simulator.reset(&Reset {
        seed,
        instruction: None,
    })?;
    let mut outcome = EpisodeOutcome::begin(seed, &info);
    loop {
        let action = simulator.scripted(script)?.executed;
        let step = simulator.step(&action)?;
        outcome.steps += 1;
        outcome.note(&step.info);
        if step.terminated || step.truncated {
            return Ok(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EnvironmentConfig, make};

    #[test]
    fn small_moves_do_not_count_and_angles_wrap() {
        let at = |pose| Truth {
            objects: vec![[0.0; 3], pose],
            ..Truth::default()
        };
        let before = at([0.5, 0.5, 3.138]);
        assert!(!at([0.5005, 0.5, -3.138]).has_moved_since(&before));
        assert!(at([0.502, 0.5, 3.138]).has_moved_since(&before));
        assert!(at([0.5, 0.5, 3.1]).has_moved_since(&before));
        assert!(!Truth::default().has_moved_since(&before));
    }

    #[test]
    fn truth_has_the_same_names_everywhere_and_teleporting_changes_it() {
        for (name, protocol, agent) in [
            ("two-room", "crossing", 20.0),
            ("push-t", "push", 20.0),
            ("push-t-moves", "push", 20.0),
            ("tabletop", "new-scenes", 0.1),
        ] {
            let config = EnvironmentConfig {
                name: name.to_owned(),
                protocol: protocol.to_owned(),
                image_size: 64,
            };
            let mut simulator = make(&config).unwrap();
            let reset = |seed| Reset {
                seed,
                instruction: None,
            };
            assert!(simulator.truth().is_err() && simulator.teleport().is_err());
            let mut names = Vec::new();
            for seed in 0..4 {
                let (seen, _) = simulator.reset(&reset(seed)).unwrap();
                let before = simulator.truth().unwrap();
                let place = [0, 1].map(|at| before.values[at].1.unwrap() as f32);
                assert!((place[0] - seen.state[0]).abs() < 1e-4, "{name}");
                let after = simulator.teleport().unwrap();
                let away = (after.state[0] - place[0]).hypot(after.state[1] - place[1]);
                assert!(away > agent, "{name}: {away}");
                assert_ne!(after.first_image(), seen.first_image());
                names.push(
                    before
                        .values
                        .iter()
                        .map(|(name, _)| *name)
                        .collect::<Vec<_>>(),
                );
                simulator.reset(&reset(seed)).unwrap();
                assert_eq!(simulator.truth().unwrap(), before);
                assert_eq!(
                    simulator.teleport().unwrap(),
                    after,
                    "the same seed and step"
                );
            }
            assert!(names.iter().all(|found| *found == names[0]), "{names:?}");
        }
    }
}

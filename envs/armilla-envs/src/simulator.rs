//! What a simulator's owner can see, and the scripts that act on it.

use armilla_core::environment::{Environment, Reset};
use armilla_core::{Action, EpisodeOutcome, Result};

/// A controller that acts on the simulator's truth, which no policy gets to see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Script {
    /// Holds still.
    Nothing,
    /// Uniformly random actions.
    Random,
    /// The task's cheapest cheat: the straight line to the goal, ignoring walls (`two-room`); driving only the agent to its
    /// goal pose (`push-t`); driving towards the named object without pushing it anywhere (`tabletop`).
    Cheat,
    /// The scripted expert.
    Expert,
    /// The expert with time-correlated noise on the executed action; the level is in units of the action range.
    NoisyExpert(f32),
    /// A planner that searches on a copy of the simulator for the goal picture's state: what planning reaches with a model
    /// that makes no mistake. `two-room`, and `push-t` with `ahead` and `block`.
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

/// An environment whose truth is at hand.
pub trait Simulator: Environment {
    /// The script's action at the present state. Deterministic in the reset's seed and the steps taken.
    ///
    /// # Errors
    ///
    /// When no episode was begun, or the environment or its protocol has no such script.
    fn scripted(&mut self, script: Script) -> Result<ScriptedAction>;
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

//! The planner on a copy of the simulator, for the protocols whose goal is a picture.

use rapier2d::prelude::Vector;

use super::ACTION_SCALE_M;
use super::ahead::Ahead;
use super::physics::{Physics, Table};
use crate::search::{HELD_STEPS, Held, Planner, Search, least};

/// A plan reaches a little further than the 25 steps that the way took.
const SEARCH: Search = Search {
    horizon: 6,
    samples: 64,
    iterations: 4,
    deviation: 0.6,
    limit: 1.0,
};
/// What a step of delay costs, in units of what success allows: less than any difference that matters.
const HASTE: f32 = 0.005;

/// The planner of one episode.
pub(super) fn planner(seed: u64) -> Planner {
    Planner::new(SEARCH, seed)
}

/// The action at a state.
pub(super) fn action(planner: &mut Planner, step: usize, from: &Table, ahead: &Ahead) -> Vector {
    command(planner.act(step, |plan| cost(from, plan, ahead)))
}

/// The command of a plan's action, of norm 1 at most.
fn command(held: Held) -> Vector {
    Vector::from(held).clamp_length_max(1.0)
}

/// The least that is left to do at any moment of a plan.
fn cost(from: &Table, plan: &[Held], ahead: &Ahead) -> f32 {
    let mut physics = Physics::of(from);
    let commands = plan.iter().flat_map(|&held| [command(held); HELD_STEPS]);
    let left = commands.map(|command| {
        physics.step(command * ACTION_SCALE_M);
        ahead.cost(&physics.table())
    });
    least(left, HASTE)
}

//! The planner on a copy of the simulator, for the protocols whose goal is a state.

use super::shape::Point;
use super::task::{Ahead, Task, within};
use super::world::{State, World};
use crate::search::{HELD_STEPS, Held, Planner, Search, least};

/// A plan reaches a little further than the 25 steps that the way took. 64 × 4 rollouts of 30 steps take about a quarter of
/// a second on one core, and an episode plans ten times.
const SEARCH: Search = Search {
    horizon: 6,
    samples: 64,
    iterations: 4,
    deviation: 30.0,
    limit: 60.0,
};
/// What a step of delay costs, in units of what success allows: less than any difference that matters.
const HASTE: f32 = 0.005;

/// The planner of one episode.
pub(super) fn planner(seed: u64) -> Planner {
    Planner::new(SEARCH, seed)
}

/// The target at a state, if the goal is a state too: so far ahead of the agent as the plan says, which is a steady speed as long as it is held.
pub(super) fn target(
    planner: &mut Planner,
    step: usize,
    state: State,
    task: &Task,
) -> Option<Point> {
    let ahead = task.ahead.as_ref()?;
    let copy = || World::with_agent(state, task.look.agent_radius_px);
    let offset = planner.act(step, |plan| cost(copy(), plan, ahead));
    Some(led(state, offset))
}

fn led(state: State, offset: Held) -> Point {
    within(std::array::from_fn(|i| state.agent[i] + offset[i]))
}

/// The least that is left to do at any moment of a plan.
fn cost(mut world: World, plan: &[Held], ahead: &Ahead) -> f32 {
    let offsets = plan.iter().flat_map(|&offset| [offset; HELD_STEPS]);
    let left = offsets.map(|offset| {
        world.control(led(world.state(), offset));
        ahead.cost(world.state())
    });
    least(left, HASTE)
}

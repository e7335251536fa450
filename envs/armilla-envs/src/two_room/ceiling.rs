//! The planner on a copy of the simulator.

use super::layout::Point;
use super::task::{Task, advanced, distance};
use crate::search::{HELD_STEPS, Held, Planner, Search, least};

/// Long plans see the way through the door before its end: 16 actions crossed more often than 10, and the least distance over
/// the horizon more often than the last or the sum. A rollout costs microseconds.
const SEARCH: Search = Search {
    horizon: 16,
    samples: 256,
    iterations: 5,
    deviation: 1.0,
    limit: 1.0,
};
/// What a step of delay costs, in pixels.
const HASTE_PX: f32 = 0.05;

/// The planner of one episode.
pub(super) fn planner(seed: u64) -> Planner {
    Planner::new(SEARCH, seed)
}

/// The action at a place. The cost is the distance to the goal as if there were no wall, which is all that a distance of
/// positions can say; the wall is in the dynamics alone.
pub(super) fn action(planner: &mut Planner, step: usize, from: Point, task: &Task) -> Held {
    planner.act(step, |plan| {
        let mut at = from;
        let actions = plan.iter().flat_map(|&action| [action; HELD_STEPS]);
        let left = actions.map(|action| {
            at = advanced(&task.layout, at, action);
            distance(at, task.goal)
        });
        least(left, HASTE_PX)
    })
}

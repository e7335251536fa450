//! Starts, goals and budgets of the protocols, and the scripted ways there.

use std::collections::BTreeMap;

use armilla_core::random::{fnv1a, normals, stream};
use rand::RngExt as _;

use super::layout::{Layout, Point, Split};
use super::{SPEED_PX, SUCCESS_PX};
use crate::variation::Variation;

/// Start and goal are at least this far apart, except in `ahead`.
const APART_PX: f32 = 40.0;
/// Share of `record`'s episodes with start and goal in opposite rooms.
const OPPOSITE_SHARE: f64 = 0.7;
/// Steps of an episode of `record`, and the most that any script may need.
const RECORD_STEPS: usize = 120;
/// The goal of `ahead` is the state so many steps later; upstream's budget is twice that.
const AHEAD_STEPS: usize = 25;
/// The fewest steps that an episode of `crossing` has.
const CROSSING_STEPS_LOW: usize = 20;
/// The most steps that the expert can need, with room to spare: about 400 px.
const EXPERT_STEPS_HIGH: usize = 100;
/// Upstream's recordings: noise on each axis of the expert's action, and how often it repeats its last one.
const UPSTREAM_NOISE: f32 = 2.0;
const UPSTREAM_REPEAT: f64 = 0.05;
const UPSTREAM_STEPS: usize = 100;

/// Which episodes are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Record,
    Ahead,
    Crossing,
}

impl Protocol {
    pub(super) fn max_steps(self) -> usize {
        match self {
            Self::Record => RECORD_STEPS,
            Self::Ahead => 2 * AHEAD_STEPS,
            Self::Crossing => 2 * EXPERT_STEPS_HIGH,
        }
    }

    pub(super) fn shows_goal(self) -> bool {
        self != Self::Record
    }
}

/// A layout with a start, a goal and a number of steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) layout: Layout,
    pub(super) start: Point,
    pub(super) goal: Point,
    pub(super) budget: usize,
}

impl Task {
    /// The task of a seed. Colours and shapes leave start and goal as they are without.
    pub(super) fn sample(seed: u64, protocol: Protocol, variation: Option<Variation>) -> Self {
        let split = if protocol == Protocol::Record {
            Split::Training
        } else {
            Split::HeldOut
        };
        let mut layout = Layout::sample(seed, split);
        if let Some(variation) = variation {
            layout = layout.varied(seed, variation);
        }
        match protocol {
            Protocol::Record => Self::record(seed, layout),
            Protocol::Ahead => Self::ahead(seed, layout),
            Protocol::Crossing => Self::crossing(seed, layout),
        }
    }

    fn record(seed: u64, layout: Layout) -> Self {
        let mut generator = stream(seed, "two-room/record", 0);
        let opposite = generator.random_bool(OPPOSITE_SHARE);
        loop {
            let (start, goal) = (
                layout.sample_point(&mut generator),
                layout.sample_point(&mut generator),
            );
            let is_opposite = layout.side(start) != layout.side(goal);
            if is_opposite == opposite && distance(start, goal) >= APART_PX {
                return Self {
                    layout,
                    start,
                    goal,
                    budget: RECORD_STEPS,
                };
            }
        }
    }

    /// A row of what upstream's noisy expert does, and the row 25 steps later.
    fn ahead(seed: u64, layout: Layout) -> Self {
        let mut generator = stream(seed, "two-room/ahead", 0);
        loop {
            let (start, target) = (
                layout.sample_point(&mut generator),
                layout.sample_point(&mut generator),
            );
            let mut path = vec![start];
            let mut action = [0.0; 2];
            while path.len() <= UPSTREAM_STEPS
                && distance(path[path.len() - 1], target) >= SUCCESS_PX
            {
                let at = path[path.len() - 1];
                if path.len() == 1 || !generator.random_bool(UPSTREAM_REPEAT) {
                    let noise = normals(&mut generator, 2);
                    let clean = expert(&layout, at, target);
                    action = std::array::from_fn(|i| clean[i] + UPSTREAM_NOISE * noise[i]);
                }
                path.push(advanced(&layout, at, action));
            }
            if path.len() > AHEAD_STEPS {
                let row = generator.random_range(0..path.len() - AHEAD_STEPS);
                let (start, goal) = (path[row], path[row + AHEAD_STEPS]);
                return Self {
                    layout,
                    start,
                    goal,
                    budget: 2 * AHEAD_STEPS,
                };
            }
        }
    }

    fn crossing(seed: u64, layout: Layout) -> Self {
        let mut generator = stream(seed, "two-room/crossing", 0);
        loop {
            let (start, goal) = (
                layout.sample_point(&mut generator),
                layout.sample_point(&mut generator),
            );
            if layout.side(start) == layout.side(goal) || distance(start, goal) < APART_PX {
                continue;
            }
            let Some(needed) = steps_to(goal, start, EXPERT_STEPS_HIGH, |at| {
                advanced(&layout, at, expert(&layout, at, goal))
            }) else {
                continue;
            };
            let budget = (2 * needed).max(CROSSING_STEPS_LOW);
            let straight = |at| advanced(&layout, at, towards(at, goal));
            if steps_to(goal, start, budget, straight).is_none() {
                return Self {
                    layout,
                    start,
                    goal,
                    budget,
                };
            }
        }
    }

    /// What tells episodes apart and sorts them.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let bytes: Vec<u8> = [self.start, self.goal]
            .concat()
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let opposite = self.layout.side(self.start) != self.layout.side(self.goal);
        BTreeMap::from([
            ("scene".to_owned(), self.layout.scene()),
            ("start".to_owned(), format!("{:016x}", fnv1a(&bytes))),
            (
                "rooms".to_owned(),
                if opposite { "opposite" } else { "same" }.to_owned(),
            ),
        ])
    }
}

/// Steps after which a way comes within the success radius, if it does within the limit.
fn steps_to(
    goal: Point,
    start: Point,
    limit: usize,
    next: impl Fn(Point) -> Point,
) -> Option<usize> {
    let mut at = start;
    for step in 0..=limit {
        if distance(at, goal) < SUCCESS_PX {
            return Some(step);
        }
        at = next(at);
    }
    None
}

/// Where an action takes the agent.
pub(super) fn advanced(layout: &Layout, from: Point, action: [f32; 2]) -> Point {
    layout.moved(from, action.map(|value| value.clamp(-1.0, 1.0) * SPEED_PX))
}

/// Distance between two points.
pub(super) fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The action straight to a target: full speed until the last step, which ends on it.
pub(super) fn towards(from: Point, target: Point) -> [f32; 2] {
    let reach = distance(from, target).max(SPEED_PX);
    std::array::from_fn(|i| (target[i] - from[i]) / reach)
}

/// The expert's action: straight if that is free, else to the door, through it, and on.
pub(super) fn expert(layout: &Layout, from: Point, goal: Point) -> [f32; 2] {
    // Lined up with the door by half the passage, the way to the other side of the wall touches nothing.
    let lined_up = layout.off_door(from) <= layout.passage_half() / 2.0 || layout.within_wall(from);
    let target = if layout.is_straight_free(from, goal) {
        goal
    } else if lined_up {
        layout.gate(layout.side(goal))
    } else {
        layout.gate(layout.side(from))
    };
    towards(from, target)
}

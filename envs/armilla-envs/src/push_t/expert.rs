//! The expert: plans pushes on the simulator.
//!
//! A push is a straight drive against a point of the block's outline. For every point that the agent can get to, the planner
//! drives a copy of the world and notes where the block is along the way; it takes the push and the length that bring the
//! block closer to its goal fastest, counting the way there. Once there, it plans that push again from where it really is.

use super::path;
use super::shape::{
    BARS, CENTER_OF_GRAVITY, GOAL, INERTIA, Point, Pose, coverage, difference, distance, rotated,
};
use super::world::{AGENT_RADIUS_PX, SUBSTEPS, State, World};

/// How far from the outline a push begins.
const GAP_PX: f32 = 4.0;
/// Distance between two points of the outline.
const SPACING_PX: f32 = 7.5;
/// How far ahead of the agent its target is, which sets its speed: half of it a step.
const LEAD_PX: f32 = 40.0;
/// The same, for the last few pixels.
const FINE_LEAD_PX: f32 = 10.0;
/// Below this pose cost, pushes are fine.
const FINE_COST_PX: f32 = 15.0;
/// The longest push, coarse and fine.
const LONGEST_PX: f32 = 140.0;
const LONGEST_FINE_PX: f32 = 30.0;
/// Angles off the outline's normal that are tried at the start of a push.
const TILTS_RAD: [f32; 5] = [0.0, -0.3, 0.3, -0.15, 0.15];
/// Coverage that counts as done, a little above the task's own so that it is met for sure.
const DONE_COVERAGE: f32 = 0.955;
/// Steps that a change of direction costs.
const OVERHEAD_STEPS: f32 = 4.0;
/// Pose cost that is as good as none.
const NEGLIGIBLE_COST_PX: f32 = 3.0;

/// The expert's mind within one episode.
#[derive(Clone, Debug, Default)]
pub(super) struct Expert {
    phase: Option<Phase>,
}

#[derive(Clone, Debug)]
enum Phase {
    /// On the way to where a push begins; the block should stay where it was.
    Approach { contact: Contact, block: Pose },
    /// Pushing until the agent is at a point, for at most so many more steps.
    Push {
        end: Point,
        lead: f32,
        steps_left: usize,
    },
}

/// A place at the block's outline, in the block's frame.
#[derive(Clone, Copy, Debug)]
struct Contact {
    /// Where the agent's centre is when the push begins.
    start: Point,
    /// Towards the block.
    direction: Point,
}

/// A push that was tried.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// Where the agent ends, in the world.
    end: Point,
    lead: f32,
    /// Progress a step, the higher the better.
    gain: f32,
}

impl Expert {
    /// The target for the agent at a state.
    pub(super) fn act(&mut self, state: State) -> Point {
        let mut has_chosen = false;
        loop {
            match self.phase.clone() {
                // The push just chosen ends where it begins, and so would the next.
                None if has_chosen => return away_from_block(state),
                None => {
                    has_chosen = true;
                    let Some(contact) = choose(state) else {
                        return away_from_walls(state);
                    };
                    self.phase = Some(Phase::Approach {
                        contact,
                        block: state.block,
                    });
                }
                Some(Phase::Approach { contact, block }) => {
                    let start = block.to_world(contact.start);
                    let (moved, turned) = difference(block, state.block);
                    if moved > 1.0 || turned > 0.02 {
                        self.phase = None;
                    } else if distance(state.agent, start) > 3.0 || speed(state) > 40.0 {
                        let next = path::next(state.block, state.agent, start).unwrap_or(start);
                        return led(state.agent, next, LEAD_PX);
                    } else {
                        self.phase = Some(refine(state, contact));
                    }
                }
                Some(Phase::Push {
                    end,
                    lead,
                    steps_left,
                }) => {
                    if steps_left == 0 || distance(state.agent, end) < 0.7 {
                        self.phase = None;
                    } else {
                        self.phase = Some(Phase::Push {
                            end,
                            lead,
                            steps_left: steps_left - 1,
                        });
                        return led(state.agent, end, lead);
                    }
                }
            }
        }
    }
}

/// A step back, after which another push may look better.
fn away_from_block(state: State) -> Point {
    let block = state.block.position;
    let apart = [0, 1].map(|axis| state.agent[axis] - block[axis]);
    let away = [0, 1].map(|axis| state.agent[axis] + apart[axis]);
    led(state.agent, away, LEAD_PX)
}

/// The best place to push at.
fn choose(state: State) -> Option<Contact> {
    let ways = path::Ways::new(state.block, state.agent);
    let mut best: Option<(f32, Contact)> = None;
    for contact in contacts() {
        let start = state.block.to_world(contact.start);
        let Some(way) = ways.length(start) else {
            continue;
        };
        let at_start = State {
            agent: start,
            agent_velocity: [0.0; 2],
            block: state.block,
        };
        let direction = rotated(contact.direction, state.block.angle_rad);
        let outcome = push(at_start, direction, 2.0 * way / LEAD_PX + OVERHEAD_STEPS);
        if best.is_none_or(|(gain, _)| outcome.gain > gain) {
            best = Some((outcome.gain, contact));
        }
    }
    best.map(|(_, contact)| contact)
}

/// The best push at a place, from where the agent really is.
fn refine(state: State, contact: Contact) -> Phase {
    let best = TILTS_RAD
        .map(|tilt| {
            push(
                state,
                rotated(contact.direction, state.block.angle_rad + tilt),
                0.0,
            )
        })
        .into_iter()
        .reduce(|a, b| if b.gain > a.gain { b } else { a });
    let outcome = best.unwrap_or(Outcome {
        end: state.agent,
        lead: LEAD_PX,
        gain: 0.0,
    });
    let steps = distance(state.agent, outcome.end) * 2.0 / outcome.lead + 2.0 * OVERHEAD_STEPS;
    Phase::Push {
        end: outcome.end,
        lead: outcome.lead,
        steps_left: steps as usize,
    }
}

/// Drives a copy of the world in a direction and finds where it is best to stop. `steps_before` is what it cost to get there.
fn push(start: State, direction: Point, steps_before: f32) -> Outcome {
    let before = cost(start.block);
    let fine = before < FINE_COST_PX;
    let (lead, longest) = if fine {
        (FINE_LEAD_PX, LONGEST_FINE_PX)
    } else {
        (LEAD_PX, LONGEST_PX)
    };
    let target: Point = std::array::from_fn(|i| start.agent[i] + longest * direction[i]);
    let mut world = World::new(start);
    let mut best = Outcome {
        end: start.agent,
        lead,
        gain: f32::NEG_INFINITY,
    };
    let steps = (longest * 2.0 / lead + OVERHEAD_STEPS) as usize;
    for step in 0..steps {
        let state = world.state();
        let goal = led(state.agent, target, lead);
        for substep in 0..SUBSTEPS {
            world.drive(goal);
            let state = world.state();
            let after = cost(state.block);
            let spent =
                steps_before + OVERHEAD_STEPS + step as f32 + substep as f32 / SUBSTEPS as f32;
            let gain =
                ((before + NEGLIGIBLE_COST_PX).ln() - (after + NEGLIGIBLE_COST_PX).ln()) / spent;
            if gain > best.gain {
                best = Outcome {
                    end: state.agent,
                    gain,
                    ..best
                };
            }
        }
        if !path::is_inside(world.state().agent) {
            break;
        }
    }
    best
}

/// How far the block is from its goal, in pixels: a turn counts by the radius of gyration. Zero when the task is done.
pub(super) fn cost(block: Pose) -> f32 {
    let (moved, turned) = difference(block, GOAL);
    let cost = moved.hypot(turned * INERTIA.sqrt());
    if cost < FINE_COST_PX && coverage(block, GOAL) > DONE_COVERAGE {
        0.0
    } else {
        cost
    }
}

/// Places all along the outline where the agent fits.
fn contacts() -> Vec<Contact> {
    let upright = Pose {
        position: [0.0; 2],
        angle_rad: 0.0,
    };
    let mut places = Vec::new();
    for bar in BARS {
        for (i, from) in bar.into_iter().enumerate() {
            let to = bar[(i + 1) % 4];
            let length = distance(from, to);
            let along: Point = std::array::from_fn(|k| (to[k] - from[k]) / length);
            // The corners run from x to y, so the outside is to the right of the way.
            let outward = [along[1], -along[0]];
            let count = (length / SPACING_PX) as usize;
            for k in 0..count {
                let share = (k as f32 + 0.5) / count as f32;
                let out = AGENT_RADIUS_PX + GAP_PX;
                let start: Point =
                    std::array::from_fn(|c| from[c] + share * (to[c] - from[c]) + out * outward[c]);
                if upright.distance(start) > AGENT_RADIUS_PX + GAP_PX / 2.0 {
                    places.push(Contact {
                        start,
                        direction: outward.map(|v| -v),
                    });
                }
            }
        }
    }
    places
}

/// A target at most so far ahead of the agent on the way to a point.
fn led(agent: Point, to: Point, lead: f32) -> Point {
    let share = (lead / distance(agent, to).max(1e-6)).min(1.0);
    std::array::from_fn(|i| agent[i] + share * (to[i] - agent[i]))
}

fn speed(state: State) -> f32 {
    distance(state.agent_velocity, [0.0; 2])
}

/// Where to go when nothing can be pushed: out of the way, over the middle.
fn away_from_walls(state: State) -> Point {
    led(state.agent, GOAL.to_world(CENTER_OF_GRAVITY), LEAD_PX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_by_hand() {
        assert_eq!(cost(GOAL), 0.0);
        let beside = Pose {
            position: [286.0, 296.0],
            ..GOAL
        };
        assert!((cost(beside) - 50.0).abs() < 1e-3);
        let turn = Pose {
            position: GOAL.to_world([-45.0, 45.0]),
            angle_rad: GOAL.angle_rad - std::f32::consts::FRAC_PI_2,
        };
        assert!(
            (cost(turn) - std::f32::consts::FRAC_PI_2 * INERTIA.sqrt()).abs() < 1e-2,
            "{}",
            cost(turn)
        );
    }

    #[test]
    fn every_side_offers_contacts_that_fit() {
        let contacts = contacts();
        let upright = Pose {
            position: [0.0; 2],
            angle_rad: 0.0,
        };
        for direction in [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]] {
            assert!(
                contacts
                    .iter()
                    .filter(|c| distance(c.direction, direction) < 1e-6)
                    .count()
                    > 3
            );
        }
        assert!(
            contacts
                .iter()
                .all(|c| upright.distance(c.start) > AGENT_RADIUS_PX)
        );
    }

    #[test]
    fn a_push_is_stopped_where_it_is_best() {
        // The block lies 60 px short of its goal along the stem; the agent is at the middle of the top.
        let block = Pose {
            position: GOAL.to_world([0.0, -60.0]),
            ..GOAL
        };
        let agent = block.to_world([0.0, -19.0]);
        let state = State {
            agent,
            agent_velocity: [0.0; 2],
            block,
        };
        let outcome = push(state, rotated([0.0, 1.0], GOAL.angle_rad), 0.0);
        assert!(
            distance(agent, outcome.end) > 55.0 && outcome.gain > 0.0,
            "{outcome:?}"
        );
        assert!(distance(agent, outcome.end) < 70.0, "{outcome:?}");
    }
}

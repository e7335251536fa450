//! Starts, goals and budgets of the protocols.

use armilla_core::random::{fnv1a, normals, stream};
use armilla_core::{Error, Result};
use rand::RngExt as _;

use super::expert::Expert;
use super::picture::Look;
use super::shape::{CENTER_OF_GRAVITY, GOAL, Point, Pose, coverage, distance, rotated};
use super::world::{State, WORLD_PX, World};
use super::{MAX_STEPS, SUCCESS_COVERAGE};
use crate::noise::CorrelatedNoise;
use crate::variation::Variation;

/// The goal of `ahead` and `block` is the state so many steps later; upstream's budget is twice that.
pub(super) const AHEAD_STEPS: usize = 25;
/// Agent and block together, as four coordinates, are closer to their goal than this, and the block's angle than that.
const SUCCESS_PX: f32 = 20.0;
const SUCCESS_RAD: f32 = std::f32::consts::PI / 9.0;
/// Noise of the ways that moments are taken from: what `record/push-t` records.
const WAY_NOISE: f32 = 0.3;
/// Moments tried on one way, and ways tried, before a seed is given up.
const MOMENTS_A_WAY: usize = 16;
const WAYS: usize = 64;

/// Which episodes are drawn, and what they ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Record,
    Push,
    Ahead,
    Block,
}

impl Protocol {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "record" => Self::Record,
            "push" => Self::Push,
            "ahead" => Self::Ahead,
            "block" => Self::Block,
            _ => return None,
        })
    }

    pub(super) fn is_held_out(self) -> bool {
        self != Self::Record
    }

    pub(super) fn max_steps(self) -> usize {
        match self {
            Self::Record | Self::Push => MAX_STEPS,
            Self::Ahead | Self::Block => 2 * AHEAD_STEPS,
        }
    }
}

/// Where an episode begins and what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) start: State,
    /// Hash of the start that gym-pusht's distribution gave; it says which split the episode belongs to.
    pub(super) scene: u64,
    /// `None` where the block is to cover gym-pusht's goal.
    pub(super) ahead: Option<Ahead>,
    pub(super) look: Look,
}

/// A state to reach, and a way there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ahead {
    pub(super) goal: State,
    /// The targets that led from the start to the goal.
    pub(super) targets: Vec<Point>,
}

impl Task {
    /// The task of a seed.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when no moment of the ways tried is as the protocol asks; no seed is known for which that is so.
    pub(super) fn sample(
        seed: u64,
        protocol: Protocol,
        variation: Option<Variation>,
    ) -> Result<Self> {
        let look = Look::of(seed, variation);
        match protocol {
            Protocol::Record | Protocol::Push => {
                let start = sample(seed, protocol.is_held_out());
                Ok(Self {
                    start,
                    scene: hash(start),
                    ahead: None,
                    look,
                })
            }
            Protocol::Ahead | Protocol::Block => {
                Self::ahead(seed, protocol == Protocol::Block, look)
            }
        }
    }

    /// A moment of a noisy expert's way from a held-out start, and the moment 25 steps later.
    fn ahead(seed: u64, block_moves: bool, look: Look) -> Result<Self> {
        let mut generator = stream(seed, "push-t/ahead", u64::from(block_moves));
        for _ in 0..WAYS {
            let way = Way::walked(generator.random(), look.agent_radius_px);
            if way.targets.len() < AHEAD_STEPS {
                continue;
            }
            for _ in 0..MOMENTS_A_WAY {
                let row = generator.random_range(0..=way.targets.len() - AHEAD_STEPS);
                let targets = way.targets[row..row + AHEAD_STEPS].to_vec();
                let start = way.states[row];
                let ahead = Ahead {
                    goal: followed(look.agent_radius_px, start, &targets),
                    targets,
                };
                if !block_moves || !is_block_there(start.block, ahead.goal.block) {
                    return Ok(Self {
                        start,
                        scene: way.scene,
                        ahead: Some(ahead),
                        look,
                    });
                }
            }
        }
        Err(Error::invalid(
            "seed of push-t",
            format!("a moment within {WAYS} ways at which the block moves"),
            seed,
        ))
    }
}

impl Ahead {
    /// How far a state is from the goal: the distance of the four coordinates in pixels, and the block's angle.
    pub(super) fn remaining(&self, state: State) -> (f32, f32) {
        let (goal, block) = (self.goal, state.block);
        let apart =
            distance(state.agent, goal.agent).hypot(distance(block.position, goal.block.position));
        (apart, turn(block, goal.block))
    }

    /// The same as one figure, each part in units of what success allows.
    pub(super) fn cost(&self, state: State) -> f32 {
        let (apart, turned) = self.remaining(state);
        (apart / SUCCESS_PX).hypot(turned / SUCCESS_RAD)
    }

    /// Upstream's criterion.
    pub(super) fn is_reached(&self, state: State) -> bool {
        let (apart, turned) = self.remaining(state);
        apart < SUCCESS_PX && turned < SUCCESS_RAD
    }

    /// Whether the block is at its goal, wherever the agent is.
    pub(super) fn is_block_there(&self, state: State) -> bool {
        is_block_there(state.block, self.goal.block)
    }
}

fn is_block_there(block: Pose, goal: Pose) -> bool {
    distance(block.position, goal.position) < SUCCESS_PX && turn(block, goal) < SUCCESS_RAD
}

/// The angle between two poses, at most half a turn.
fn turn(a: Pose, b: Pose) -> f32 {
    super::difference(a, b).1
}

/// Where targets lead. From the state alone, so that the goal is reached to the bit by who repeats the targets.
fn followed(agent_radius_px: f32, start: State, targets: &[Point]) -> State {
    let mut world = World::with_agent(start, agent_radius_px);
    for &target in targets {
        world.control(target);
    }
    world.state()
}

/// A noisy expert's episode of the task `push`.
struct Way {
    scene: u64,
    /// One more than targets.
    states: Vec<State>,
    targets: Vec<Point>,
}

impl Way {
    /// The way of a seed. The expert plans as if the agent had its usual size.
    fn walked(seed: u64, agent_radius_px: f32) -> Self {
        let start = sample(seed, true);
        let mut world = World::with_agent(start, agent_radius_px);
        world.settle();
        let mut expert = Expert::default();
        let mut noise = CorrelatedNoise::new(seed, "push-t/way");
        let mut way = Self {
            scene: hash(start),
            states: vec![world.state()],
            targets: Vec::new(),
        };
        for step in 0..MAX_STEPS {
            let state = world.state();
            if coverage(state.block, GOAL) > SUCCESS_COVERAGE {
                break;
            }
            let clean = within(expert.act(state));
            let target = disturbed(clean, state.agent, WAY_NOISE, noise.at(step as u64));
            world.control(target);
            way.states.push(world.state());
            way.targets.push(target);
        }
        way
    }
}

/// A target with noise of a level, as large as the lead over the agent.
pub(super) fn disturbed(target: Point, agent: Point, level: f32, noise: [f32; 2]) -> Point {
    let scale = level * distance(target, agent);
    within(std::array::from_fn(|i| target[i] + scale * noise[i]))
}

/// A target brought into the world.
pub(super) fn within(target: Point) -> Point {
    target.map(|value| value.clamp(0.0, WORLD_PX))
}

/// The start of a seed, drawn as gym-pusht draws it. Every start belongs to one split by its hash.
pub(super) fn sample(seed: u64, held_out: bool) -> State {
    let mut generator = stream(seed, "push-t/start", u64::from(held_out));
    loop {
        let agent = std::array::from_fn(|_| generator.random_range(50..450) as f32);
        let corner: Point = std::array::from_fn(|_| generator.random_range(100..400) as f32);
        let angle_rad = (normals(&mut generator, 1)[0] - 0.5) * std::f32::consts::TAU;
        // Upstream sets the position before the angle, and the turn is about the centre of gravity.
        let turned = rotated(CENTER_OF_GRAVITY, angle_rad);
        let position = std::array::from_fn(|i| corner[i] + CENTER_OF_GRAVITY[i] - turned[i]);
        let start = State {
            agent,
            agent_velocity: [0.0; 2],
            block: Pose {
                position,
                angle_rad,
            },
        };
        if hash(start).is_multiple_of(4) == held_out && coverage(start.block, GOAL) < 0.9 {
            return start;
        }
    }
}

/// What tells starts apart.
pub(super) fn hash(start: State) -> u64 {
    let values = [
        start.agent,
        start.block.position,
        [start.block.angle_rad; 2],
    ]
    .concat();
    fnv1a(
        &values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect::<Vec<_>>(),
    )
}

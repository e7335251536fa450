//! `push-t`: push the T-shaped block onto the T drawn on the floor.
//!
//! The task is gym-pusht's `PushT-v0`: a world of 512 px, an agent that a PD controller drives to the action (a position in
//! px) at 10 Hz, a block that rests as soon as nothing pushes it, frictionless contacts, a reward that grows with the share
//! of the goal that the block covers, success above 95 %, and the same picture. Physics is by `rapier2d`. From gym-pusht's
//! own states, ten steps later the block is 0.12 px from gym-pusht's in the median (see the test in `world`).
//!
//! Protocols, which share no start:
//!
//! - `record`: episodes to learn from.
//! - `push`: held-out starts; the observation also carries a picture of the goal.
//!
//! Of [`Script`]s: the cheat drives to the middle of the goal; a noise level of 1 is as large as the expert's own lead over
//! the agent at that step, so that its last fine pushes are disturbed finely.

mod expert;
mod path;
mod picture;
mod shape;
mod world;

use std::collections::BTreeMap;

use armilla_core::random::{fnv1a, normals, stream};
use armilla_core::{
    Action, Environment, EnvironmentSpec, Error, Feature, Features, Image, Info, Observation,
    Reset, Result, Step,
};
use rand::RngExt as _;

use crate::noise::CorrelatedNoise;
use crate::simulator::{Script, ScriptedAction, Simulator, Truth};
use expert::Expert;
use shape::{CENTER_OF_GRAVITY, GOAL, Point, Pose, coverage, difference, distance, rotated};
pub use world::WORLD_PX;
use world::{State, World};

/// The protocols that [`PushT::new`] knows.
pub const PROTOCOLS: &[&str] = &["record", "push"];

/// Covering more of the goal than this is success.
const SUCCESS_COVERAGE: f32 = 0.95;
/// Steps after which an episode is cut, as gym-pusht registers it.
const MAX_STEPS: usize = 300;
/// Agent and block teleport at least so far.
const TELEPORT_PX: f32 = 80.0;
/// Control steps a second.
const RATE_HZ: f64 = 10.0;
/// The task in words, as LeRobot's recordings of it say it.
const INSTRUCTION: &str = "Push the T-shaped block onto the T-shaped target.";

/// The simulator of `push-t`.
pub struct PushT {
    spec: EnvironmentSpec,
    held_out: bool,
    image_size: usize,
    episode: Option<Episode>,
}

/// What belongs to the running episode.
struct Episode {
    seed: u64,
    instruction: String,
    world: World,
    steps: usize,
    goal_image: Option<Image>,
    /// Hash of the start.
    start: String,
    expert: Expert,
    /// The expert's last target and its step: asking twice at a step must not move its plan on.
    planned: Option<(usize, Point)>,
    noise: CorrelatedNoise,
}

impl PushT {
    /// A simulator of a protocol, with pictures of `image_size` pixels a side.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown protocol or an empty picture.
    pub fn new(protocol: &str, image_size: usize) -> Result<Self> {
        if !PROTOCOLS.contains(&protocol) {
            return Err(Error::invalid(
                "protocol of push-t",
                format!("one of {PROTOCOLS:?}"),
                protocol,
            ));
        }
        if image_size == 0 {
            return Err(Error::invalid("image_size", "at least 1 pixel", image_size));
        }
        let spec = EnvironmentSpec {
            name: "push-t".to_owned(),
            protocol: protocol.to_owned(),
            features: Features::robot(
                ("top", Feature::camera(image_size, image_size)),
                Feature::vector(&["x_px", "y_px"]),
                Feature::vector(&["target_x_px", "target_y_px"]),
            ),
            rate_hz: RATE_HZ,
            max_steps: MAX_STEPS,
            action_low: vec![0.0; 2],
            action_high: vec![WORLD_PX; 2],
        };
        Ok(Self {
            spec,
            held_out: protocol == "push",
            image_size,
            episode: None,
        })
    }

    fn episode(&mut self) -> Result<&mut Episode> {
        self.episode
            .as_mut()
            .ok_or_else(|| Error::OutOfOrder("push-t: reset it before stepping".to_owned()))
    }
}

impl Environment for PushT {
    fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }

    fn reset(&mut self, reset: &Reset) -> Result<(Observation, Info)> {
        let start = sample(reset.seed, self.held_out);
        let mut world = World::new(start);
        // One physics step pushes overlapping bodies apart, as upstream's reset does.
        world.settle();
        let episode = Episode {
            seed: reset.seed,
            instruction: reset
                .instruction
                .clone()
                .unwrap_or_else(|| INSTRUCTION.to_owned()),
            world,
            steps: 0,
            goal_image: self
                .held_out
                .then(|| picture::draw(start.agent, GOAL, self.image_size)),
            start: format!("{:016x}", hash(start)),
            expert: Expert::default(),
            planned: None,
            noise: CorrelatedNoise::new(reset.seed, "push-t/noise"),
        };
        let episode = self.episode.insert(episode);
        Ok((episode.observe(self.image_size), episode.info()))
    }

    fn step(&mut self, action: &Action) -> Result<Step> {
        action.check(2)?;
        let image_size = self.image_size;
        let episode = self.episode()?;
        episode
            .world
            .control([action.0[0], action.0[1]].map(|value| value.clamp(0.0, WORLD_PX)));
        episode.steps += 1;
        let info = episode.info();
        let covered = coverage(episode.world.state().block, GOAL);
        Ok(Step {
            observation: episode.observe(image_size),
            reward: (covered / SUCCESS_COVERAGE).clamp(0.0, 1.0),
            terminated: info.success,
            truncated: !info.success && episode.steps >= MAX_STEPS,
            info,
        })
    }
}

impl Simulator for PushT {
    fn scripted(&mut self, script: Script) -> Result<ScriptedAction> {
        let episode = self.episode()?;
        let state = episode.world.state();
        let label = match script {
            Script::Nothing => state.agent,
            Script::Random => {
                let mut generator = stream(episode.seed, "push-t/random", episode.steps as u64);
                std::array::from_fn(|_| generator.random_range(0.0..=WORLD_PX))
            }
            Script::Cheat => GOAL.to_world(CENTER_OF_GRAVITY),
            Script::Expert | Script::NoisyExpert(_) => episode.planned(state),
        };
        let label = label.map(|value| value.clamp(0.0, WORLD_PX));
        let mut executed = label;
        if let Script::NoisyExpert(level) = script {
            let noise = episode.noise.at(episode.steps as u64);
            let scale = level * distance(label, state.agent);
            executed = std::array::from_fn(|i| (label[i] + scale * noise[i]).clamp(0.0, WORLD_PX));
        }
        Ok(ScriptedAction {
            executed: Action(executed.to_vec()),
            label: Action(label.to_vec()),
        })
    }

    fn truth(&mut self) -> Result<Truth> {
        let State { agent, block, .. } = self.episode()?.world.state();
        let center = block.to_world(CENTER_OF_GRAVITY);
        let (sine, cosine) = block.angle_rad.sin_cos();
        let values = [
            ("agent_x", agent[0]),
            ("agent_y", agent[1]),
            ("block_x", center[0]),
            ("block_y", center[1]),
            ("block_angle_sine", sine),
            ("block_angle_cosine", cosine),
        ];
        let [x, y] = center.map(|value| f64::from(value / WORLD_PX));
        Ok(Truth {
            values: values
                .map(|(name, value)| (name, Some(f64::from(value))))
                .into(),
            objects: vec![[x, y, f64::from(block.angle_rad)]],
        })
    }

    fn teleport(&mut self) -> Result<Observation> {
        let (image_size, held_out) = (self.image_size, self.held_out);
        let episode = self.episode()?;
        let mut generator = stream(episode.seed, "push-t/teleport", episode.steps as u64);
        let from = episode.world.state();
        let is_far = |to: State| {
            let center = |state: State| state.block.to_world(CENTER_OF_GRAVITY);
            distance(to.agent, from.agent) >= TELEPORT_PX
                && distance(center(to), center(from)) >= TELEPORT_PX
        };
        loop {
            let mut world = World::new(sample(generator.random(), held_out));
            world.settle();
            if is_far(world.state()) {
                episode.world = world;
                return Ok(episode.observe(image_size));
            }
        }
    }
}

impl Episode {
    /// The expert's target at this step.
    fn planned(&mut self, state: State) -> Point {
        match self.planned {
            Some((step, target)) if step == self.steps => target,
            _ => {
                let target = self.expert.act(state);
                self.planned = Some((self.steps, target));
                target
            }
        }
    }

    fn observe(&self, image_size: usize) -> Observation {
        let state = self.world.state();
        Observation {
            images: BTreeMap::from([(
                "top".to_owned(),
                picture::draw(state.agent, state.block, image_size),
            )]),
            state: state.agent.to_vec(),
            instruction: Some(self.instruction.clone()),
            goal: self.goal_image.clone(),
            captured_at_secs: self.steps as f64 / RATE_HZ,
        }
    }

    fn info(&self) -> Info {
        let block = self.world.state().block;
        let (covered, (moved, turned)) = (coverage(block, GOAL), difference(block, GOAL));
        let figures = [
            ("coverage", covered),
            ("distance_px", moved),
            ("turn_rad", turned),
            ("closeness", -expert::cost(block)),
        ];
        Info {
            success: covered > SUCCESS_COVERAGE,
            figures: figures
                .map(|(name, value)| (name.to_owned(), f64::from(value)))
                .into(),
            labels: BTreeMap::from([
                ("scene".to_owned(), self.start.clone()),
                ("start".to_owned(), self.start.clone()),
            ]),
        }
    }
}

/// The start of a seed, drawn as gym-pusht draws it. Every start belongs to one split by its hash.
fn sample(seed: u64, held_out: bool) -> State {
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

fn hash(start: State) -> u64 {
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

#[cfg(test)]
mod tests;

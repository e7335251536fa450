//! `two-room`: reach the place of the goal picture, through a door if it is in the other room.
//!
//! The task is stable-worldmodel's `TwoRoom` in its 224-pixel form: a point agent with a body of 7 px moves by up to 5 px a
//! step on each axis, a wall with one door splits the world, and coming within 16 px of the goal is success. Wall, door and
//! colours vary by seed. We differ where a step meets a wall: it is carried out piece by piece and slides, where upstream
//! judges the end point alone and throws the agent back.
//!
//! Protocols:
//!
//! - `record`: episodes to learn from, on training layouts. They end at the goal; there is no goal picture.
//! - `ahead`: upstream's evaluation. The goal is what a noisy expert does 25 steps later; 50 steps, held-out layouts.
//! - `crossing`: start and goal in opposite rooms, at least 40 px apart, and the straight line fails; twice the expert's
//!   steps, held-out layouts.
//!
//! The two held-out ones take a [`Variation`]: `crossing:colors`.

mod ceiling;
mod layout;
mod task;

use std::collections::BTreeMap;

use armilla_core::random::stream;
use armilla_core::{
    Action, Environment, EnvironmentSpec, Error, Feature, Features, Goal, Info, Observation, Reset,
    Result, Step, environment,
};
use rand::RngExt as _;

use crate::noise::CorrelatedNoise;
use crate::search::Planner;
use crate::simulator::{Script, ScriptedAction, Simulator, Truth};
use crate::variation::{self, Variation};
use layout::Point;
pub use layout::WORLD_PX;
use task::{Protocol, Task, distance};

/// The protocols that [`TwoRoom::new`] knows.
pub const PROTOCOLS: &[&str] = &["record", "ahead", "crossing"];

/// Pixels a step at a full action, on each axis.
pub const SPEED_PX: f32 = 5.0;
/// Closer to the goal than this is success.
const SUCCESS_PX: f32 = 16.0;
/// Closer to the goal than this ends an episode of `record`.
const ARRIVED_PX: f32 = 4.0;
/// The agent teleports at least so far.
const TELEPORT_PX: f32 = 40.0;
/// Control steps a second.
const RATE_HZ: f64 = 10.0;

/// The simulator of `two-room`.
pub struct TwoRoom {
    spec: EnvironmentSpec,
    protocol: Protocol,
    variation: Option<Variation>,
    image_size: usize,
    episode: Option<Episode>,
}

/// What belongs to the running episode.
struct Episode {
    seed: u64,
    instruction: Option<String>,
    task: Task,
    agent: Point,
    steps: usize,
    goal: Option<Goal>,
    noise: CorrelatedNoise,
    planner: Planner,
}

impl TwoRoom {
    /// A simulator of a protocol, with pictures of `image_size` pixels a side.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown protocol or an empty picture.
    pub fn new(protocol: &str, image_size: usize) -> Result<Self> {
        let (base, variation) = variation::split(protocol)?;
        let kind = match base {
            "record" => Protocol::Record,
            "ahead" => Protocol::Ahead,
            "crossing" => Protocol::Crossing,
            _ => {
                return Err(Error::invalid(
                    "protocol of two-room",
                    format!("one of {PROTOCOLS:?}"),
                    protocol,
                ));
            }
        };
        if image_size == 0 {
            return Err(Error::invalid("image_size", "at least 1 pixel", image_size));
        }
        let spec = EnvironmentSpec {
            name: "two-room".to_owned(),
            protocol: protocol.to_owned(),
            features: Features::robot(
                ("top", Feature::camera(image_size, image_size)),
                Feature::vector(&["x_px", "y_px"]),
                Feature::vector(&["dx", "dy"]),
            ),
            rate_hz: RATE_HZ,
            max_steps: kind.max_steps(),
            action_low: vec![-1.0; 2],
            action_high: vec![1.0; 2],
        };
        Ok(Self {
            spec,
            protocol: kind,
            variation,
            image_size,
            episode: None,
        })
    }

    fn episode(&mut self) -> Result<&mut Episode> {
        self.episode
            .as_mut()
            .ok_or_else(|| Error::OutOfOrder("two-room: reset it before stepping".to_owned()))
    }
}

impl Environment for TwoRoom {
    fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }

    fn reset(&mut self, reset: &Reset) -> Result<(Observation, Info)> {
        let task = Task::sample(reset.seed, self.protocol, self.variation);
        let goal = self.protocol.shows_goal().then(|| Goal {
            state: task.goal.to_vec(),
            ..Goal::picture("top", task.layout.draw(task.goal, self.image_size))
        });
        let episode = Episode {
            seed: reset.seed,
            instruction: reset.instruction.clone(),
            agent: task.start,
            steps: 0,
            goal,
            noise: CorrelatedNoise::new(reset.seed, "two-room/noise"),
            planner: ceiling::planner(reset.seed),
            task,
        };
        let episode = self.episode.insert(episode);
        Ok((episode.observe(self.image_size), episode.info()))
    }

    fn step(&mut self, action: &Action) -> Result<Step> {
        action.check(2)?;
        let (image_size, protocol) = (self.image_size, self.protocol);
        let episode = self.episode()?;
        episode.agent = task::advanced(
            &episode.task.layout,
            episode.agent,
            [action.0[0], action.0[1]],
        );
        episode.steps += 1;
        let info = episode.info();
        let terminated =
            protocol == Protocol::Record && distance(episode.agent, episode.task.goal) < ARRIVED_PX;
        Ok(Step {
            observation: episode.observe(image_size),
            reward: f32::from(info.success),
            terminated,
            truncated: !terminated && episode.steps >= episode.task.budget,
            info,
        })
    }
}

impl Simulator for TwoRoom {
    fn scripted(&mut self, script: Script) -> Result<ScriptedAction> {
        let episode = self.episode()?;
        let (agent, goal) = (episode.agent, episode.task.goal);
        let label = match script {
            Script::Nothing => [0.0; 2],
            Script::Random => {
                let mut generator = stream(episode.seed, "two-room/random", episode.steps as u64);
                std::array::from_fn(|_| generator.random_range(-1.0..=1.0))
            }
            Script::Cheat => task::towards(agent, goal),
            Script::Expert | Script::NoisyExpert(_) => {
                task::expert(&episode.task.layout, agent, goal)
            }
            Script::Planner => {
                ceiling::action(&mut episode.planner, episode.steps, agent, &episode.task)
            }
        };
        let mut executed = label;
        if let Script::NoisyExpert(level) = script {
            let noise = episode.noise.at(episode.steps as u64);
            executed = std::array::from_fn(|i| (label[i] + level * noise[i]).clamp(-1.0, 1.0));
        }
        Ok(ScriptedAction {
            executed: Action(executed.to_vec()),
            label: Action(label.to_vec()),
        })
    }

    fn truth(&mut self) -> Result<Truth> {
        let [x, y] = self.episode()?.agent.map(|value| Some(f64::from(value)));
        Ok(Truth {
            values: vec![("agent_x", x), ("agent_y", y)],
            objects: Vec::new(),
        })
    }

    fn teleport(&mut self) -> Result<Observation> {
        let image_size = self.image_size;
        let episode = self.episode()?;
        let mut generator = stream(episode.seed, "two-room/teleport", episode.steps as u64);
        let from = episode.agent;
        while distance(episode.agent, from) < TELEPORT_PX {
            episode.agent = episode.task.layout.sample_point(&mut generator);
        }
        Ok(episode.observe(image_size))
    }
}

impl Episode {
    fn observe(&self, image_size: usize) -> Observation {
        let picture = self.task.layout.draw(self.agent, image_size);
        Observation {
            images: BTreeMap::from([("top".to_owned(), picture)]),
            state: self.agent.to_vec(),
            instruction: self.instruction.clone(),
            goal: self.goal.clone(),
            captured_at_secs: self.steps as f64 / RATE_HZ,
        }
    }

    fn info(&self) -> Info {
        let remaining = f64::from(distance(self.agent, self.task.goal));
        environment::Info {
            success: remaining < f64::from(SUCCESS_PX),
            figures: BTreeMap::from([
                ("closeness".to_owned(), -remaining),
                ("distance_px".to_owned(), remaining),
            ]),
            labels: self.task.labels(),
        }
    }
}

#[cfg(test)]
mod tests;

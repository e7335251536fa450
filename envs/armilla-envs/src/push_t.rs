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
//! - `ahead`: stable-worldmodel's evaluation. Start and goal are moments of a noisy expert's way from a held-out start, 25
//!   steps apart; 50 steps to bring agent and block there.
//! - `block`: the same, only with pairs between which the block moves by 20 px or 20°.
//!
//! Its twin `push-t-moves` takes [`Actions::Moves`], as stable-worldmodel's `swm/PushT-v1` does: what an action does to the picture
//! says what the action was, which a world model learns from. All else is the same.
//!
//! All but `record` take a [`Variation`]: `block:colors`. With `sizes` the expert plans as if the agent had its usual size.
//!
//! Of [`Script`]s: the cheat drives to the agent's place in the goal picture, or to the middle of the goal; the expert of
//! `ahead` and `block` repeats the way; a noise level of 1 is as large as the expert's own lead over the agent at that step,
//! so that its last fine pushes are disturbed finely.

mod ceiling;
mod expert;
mod path;
mod picture;
mod shape;
mod task;
mod world;

use std::collections::BTreeMap;

use armilla_core::random::stream;
use armilla_core::{
    Action, Environment, EnvironmentSpec, Error, Feature, Features, Goal, Info, Observation, Reset,
    Result, Step,
};
use rand::RngExt as _;

use crate::noise::CorrelatedNoise;
use crate::search::Planner;
use crate::simulator::{Script, ScriptedAction, Simulator, Truth};
use crate::variation::{self, Variation};
use expert::Expert;
use shape::{CENTER_OF_GRAVITY, GOAL, Point, coverage, difference, distance};
use task::{Protocol, Task, within};
pub use world::WORLD_PX;
use world::{State, World};

/// The protocols that [`PushT::new`] knows.
pub const PROTOCOLS: &[&str] = &["record", "push", "ahead", "block"];

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

/// Pixels from the agent to where a move of 1 drives it, as stable-worldmodel has it.
pub const MOVE_PX: f32 = 100.0;

/// What the two numbers of an action are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actions {
    /// The place in the world that the agent is driven to, in px.
    Places,
    /// Where it is driven to from where it is, in units of 100 px, -1 to 1.
    Moves,
}

impl Actions {
    /// The environment that takes them.
    fn environment(self) -> &'static str {
        match self {
            Self::Places => "push-t",
            Self::Moves => "push-t-moves",
        }
    }

    /// The place that an action drives the agent to.
    fn target(self, action: Point, agent: Point) -> Point {
        within(match self {
            Self::Places => action,
            Self::Moves => std::array::from_fn(|i| agent[i] + MOVE_PX * action[i].clamp(-1.0, 1.0)),
        })
    }

    /// The action that drives the agent to a place, or as far towards it as one does.
    fn towards(self, target: Point, agent: Point) -> Point {
        match self {
            Self::Places => target,
            Self::Moves => {
                std::array::from_fn(|i| ((target[i] - agent[i]) / MOVE_PX).clamp(-1.0, 1.0))
            }
        }
    }
}

/// The simulator of `push-t` and of `push-t-moves`.
pub struct PushT {
    spec: EnvironmentSpec,
    actions: Actions,
    protocol: Protocol,
    variation: Option<Variation>,
    image_size: usize,
    episode: Option<Episode>,
}

/// What belongs to the running episode.
struct Episode {
    seed: u64,
    instruction: String,
    world: World,
    steps: usize,
    goal: Option<Goal>,
    task: Task,
    expert: Expert,
    /// The expert's last target and its step: asking twice at a step must not move its plan on.
    planned: Option<(usize, Point)>,
    noise: CorrelatedNoise,
    planner: Planner,
}

impl PushT {
    /// A simulator of a protocol, with pictures of `image_size` pixels a side.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown protocol or an empty picture.
    pub fn new(actions: Actions, protocol: &str, image_size: usize) -> Result<Self> {
        let (base, variation) = variation::split(protocol)?;
        let kind = Protocol::named(base).ok_or_else(|| {
            let known = format!("one of {PROTOCOLS:?}");
            Error::invalid(
                format!("protocol of {}", actions.environment()),
                known,
                base,
            )
        })?;
        if image_size == 0 {
            return Err(Error::invalid("image_size", "at least 1 pixel", image_size));
        }
        let (names, low, high) = match actions {
            Actions::Places => (["target_x_px", "target_y_px"], 0.0, WORLD_PX),
            Actions::Moves => (["move_x", "move_y"], -1.0, 1.0),
        };
        let spec = EnvironmentSpec {
            name: actions.environment().to_owned(),
            protocol: protocol.to_owned(),
            features: Features::robot(
                ("top", Feature::camera(image_size, image_size)),
                Feature::vector(&["x_px", "y_px"]),
                Feature::vector(&names),
            ),
            rate_hz: RATE_HZ,
            max_steps: kind.max_steps(),
            action_low: vec![low; 2],
            action_high: vec![high; 2],
        };
        Ok(Self {
            spec,
            actions,
            protocol: kind,
            variation,
            image_size,
            episode: None,
        })
    }

    /// Begins the episode of a task.
    fn begin(&mut self, reset: &Reset, task: Task) -> (Observation, Info) {
        let mut world = World::with_agent(task.start, task.look.agent_radius_px);
        let shown = match &task.ahead {
            Some(ahead) => ahead.goal,
            None => {
                // One physics step pushes overlapping bodies apart, as upstream's reset does.
                world.settle();
                State {
                    block: GOAL,
                    ..task.start
                }
            }
        };
        let episode = Episode {
            seed: reset.seed,
            instruction: reset
                .instruction
                .clone()
                .unwrap_or_else(|| INSTRUCTION.to_owned()),
            world,
            steps: 0,
            goal: self.protocol.is_held_out().then(|| Goal {
                state: shown.agent.to_vec(),
                ..Goal::picture(
                    "top",
                    picture::draw(&task.look, shown.agent, shown.block, self.image_size),
                )
            }),
            task,
            expert: Expert::default(),
            planned: None,
            noise: CorrelatedNoise::new(reset.seed, "push-t/noise"),
            planner: ceiling::planner(reset.seed),
        };
        let episode = self.episode.insert(episode);
        (episode.observe(self.image_size), episode.info())
    }

    fn episode(&mut self) -> Result<&mut Episode> {
        self.episode.as_mut().ok_or_else(before_reset)
    }
}

fn before_reset() -> Error {
    Error::OutOfOrder("push-t and push-t-moves: reset them before stepping".to_owned())
}

impl Environment for PushT {
    fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }

    fn reset(&mut self, reset: &Reset) -> Result<(Observation, Info)> {
        let task = Task::sample(reset.seed, self.protocol, self.variation)?;
        Ok(self.begin(reset, task))
    }

    fn step(&mut self, action: &Action) -> Result<Step> {
        action.check(2)?;
        let (image_size, budget) = (self.image_size, self.spec.max_steps);
        let actions = self.actions;
        let episode = self.episode()?;
        let agent = episode.world.state().agent;
        let target = actions.target([action.0[0], action.0[1]], agent);
        episode.world.control(target);
        episode.steps += 1;
        let info = episode.info();
        // Where a goal picture says it all, an episode runs on, so that *at the end* tells who stays.
        let terminated = info.success && episode.task.ahead.is_none();
        Ok(Step {
            observation: episode.observe(image_size),
            reward: episode.reward(),
            terminated,
            truncated: !terminated && episode.steps >= budget,
            info,
        })
    }
}

impl Simulator for PushT {
    fn scripted(&mut self, script: Script) -> Result<ScriptedAction> {
        let episode = self.episode.as_mut().ok_or_else(before_reset)?;
        let state = episode.world.state();
        let label = match script {
            Script::Nothing => state.agent,
            Script::Random => {
                let mut generator = stream(episode.seed, "push-t/random", episode.steps as u64);
                std::array::from_fn(|_| generator.random_range(0.0..=WORLD_PX))
            }
            Script::Cheat => match &episode.task.ahead {
                Some(ahead) => ahead.goal.agent,
                None => GOAL.to_world(CENTER_OF_GRAVITY),
            },
            Script::Expert | Script::NoisyExpert(_) => episode.planned(state),
            Script::Planner => {
                let (steps, task) = (episode.steps, &episode.task);
                ceiling::target(&mut episode.planner, steps, state, task).ok_or_else(|| {
                    let protocols = "protocol ahead or block, whose goal is a state";
                    Error::invalid("planning with push-t", protocols, &self.spec.protocol)
                })?
            }
        };
        let label = within(label);
        let mut executed = label;
        if let Script::NoisyExpert(level) = script {
            let noise = episode.noise.at(episode.steps as u64);
            executed = task::disturbed(label, state.agent, level, noise);
        }
        let action = |target| Action(self.actions.towards(target, state.agent).to_vec());
        Ok(ScriptedAction {
            executed: action(executed),
            label: action(label),
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
        let (image_size, held_out) = (self.image_size, self.protocol.is_held_out());
        let episode = self.episode()?;
        let mut generator = stream(episode.seed, "push-t/teleport", episode.steps as u64);
        let from = episode.world.state();
        let is_far = |to: State| {
            let center = |state: State| state.block.to_world(CENTER_OF_GRAVITY);
            distance(to.agent, from.agent) >= TELEPORT_PX
                && distance(center(to), center(from)) >= TELEPORT_PX
        };
        loop {
            let start = task::sample(generator.random(), held_out);
            let mut world = World::with_agent(start, episode.task.look.agent_radius_px);
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
        if let Some(ahead) = &self.task.ahead {
            let target = ahead.targets.get(self.steps).copied();
            return target.unwrap_or(ahead.goal.agent);
        }
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
                picture::draw(&self.task.look, state.agent, state.block, image_size),
            )]),
            state: state.agent.to_vec(),
            instruction: Some(self.instruction.clone()),
            goal: self.goal.clone(),
            captured_at_secs: self.steps as f64 / RATE_HZ,
        }
    }

    /// Between 0 and 1: how much of the goal is covered, or whether the goal state is reached.
    fn reward(&self) -> f32 {
        let state = self.world.state();
        match &self.task.ahead {
            Some(ahead) => f32::from(ahead.is_reached(state)),
            None => (coverage(state.block, GOAL) / SUCCESS_COVERAGE).clamp(0.0, 1.0),
        }
    }

    fn info(&self) -> Info {
        let state = self.world.state();
        let mut labels = BTreeMap::from([
            ("scene".to_owned(), format!("{:016x}", self.task.scene)),
            (
                "start".to_owned(),
                format!("{:016x}", task::hash(self.task.start)),
            ),
        ]);
        let (success, figures) = match &self.task.ahead {
            Some(ahead) => {
                let stays = ahead.is_block_there(self.task.start);
                let family = if stays { "block-stays" } else { "block-moves" };
                labels.insert("family".to_owned(), family.to_owned());
                let (apart, turned) = ahead.remaining(state);
                let figures = vec![
                    ("distance_px", apart),
                    ("turn_rad", turned),
                    ("closeness", -ahead.cost(state)),
                ];
                (ahead.is_reached(state), figures)
            }
            None => {
                let covered = coverage(state.block, GOAL);
                let (moved, turned) = difference(state.block, GOAL);
                let figures = vec![
                    ("coverage", covered),
                    ("distance_px", moved),
                    ("turn_rad", turned),
                    ("closeness", -expert::cost(state.block)),
                ];
                (covered > SUCCESS_COVERAGE, figures)
            }
        };
        let named = |(name, value): (&str, f32)| (name.to_owned(), f64::from(value));
        Info {
            success,
            figures: figures.into_iter().map(named).collect(),
            labels,
        }
    }
}

#[cfg(test)]
mod tests;

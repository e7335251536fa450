//! Tabletop: a pusher, three or four coloured shapes, and an instruction that says what to do with which.
//!
//! A unit-square table (1 m) seen from above by camera `top`; x to the right, y downwards. The action is the pusher's
//! displacement in one step of 0.1 s, in units of 4 cm, at most 1 in norm; `state` is the pusher's position alone. There are 20
//! kinds of objects (five colours × four shapes) and four families of instructions: `push_to`, `push_edge`, `touch` and
//! `push_away`; the module `judge` says when each is done. An episode ends when its task is done or, for `touch`, when the
//! first touch was of a wrong object.
//!
//! Objects are pushed quasi-statically by `rapier2d` (module `physics`). Scenes are drawn so that (modules `scene`, `layout`):
//!
//! - the straight push that the task needs is free, and driving straight at the target pushes it elsewhere;
//! - mostly neither the colour nor the shape alone tells which object is meant;
//! - another target could be asked for as well (label `swapped`), and nothing is solved at reset.
//!
//! `ahead` and `object` ask by a picture in place of words (module `ahead`): pusher and objects are to be where they were 25 steps
//! later on a noisy expert's way, within 50 steps; in `object`, where one of them must move. The cheat of these drives the pusher
//! to its place and minds no object, the expert repeats the way.
//!
//! All but `record` take a [`Variation`]: `new-scenes:colors`. Colours are paler than recorded and keep their names; sizes and shapes are
//! the pusher's.
//!
//! Held out of the `record` protocol: four colour × shape pairs altogether, three target kinds a family, two phrasings a family.

mod ahead;
mod ceiling;
mod expert;
mod instruction;
mod judge;
mod kinds;
mod layout;
mod navigation;
mod physics;
mod picture;
mod scene;
mod shapes;
#[cfg(test)]
mod tests;

use armilla_core::environment::{Environment, Reset};
use armilla_core::features::{Feature, Features};
use armilla_core::random::stream;
use armilla_core::{Action, EnvironmentSpec, Error, Goal, Info, Observation, Result, Step};
use rand::RngExt as _;
use rapier2d::prelude::Vector;

use self::ahead::Ahead;
use self::judge::{Judge, Verdict};
use self::kinds::Kind;
use self::physics::{Physics, STEP_SECS, Table};
use self::picture::Look;
use self::scene::{Protocol, Scene};
use crate::noise::CorrelatedNoise;
use crate::search::Planner;
use crate::simulator::{Script, ScriptedAction, Simulator, Truth};
use crate::variation::{self, Variation};

/// Which episodes can be drawn: `record` is for training, and each of the others differs from it in one respect; `ahead` and `object`
/// ask by a picture.
pub const PROTOCOLS: &[&str] = &[
    "record",
    "new-scenes",
    "new-templates",
    "unseen-pairs",
    "unseen-verb-object",
    "ahead",
    "object",
];

/// Steps after which an episode is truncated.
const MAX_STEPS: usize = 80;
/// What the protocols say that ask by a picture.
const PICTURE_INSTRUCTION: &str = "Bring everything to where the picture has it.";
/// The pusher teleports at least so far.
const TELEPORT_M: f32 = 0.2;
/// The pusher's displacement for an action of 1, in metres.
pub const ACTION_SCALE_M: f32 = 0.04;

/// Names of the places of the one object of a colour, in the order of the colours. Which object a target is, only words tell; a
/// picture tells what is where by colour, in scenes that have one object of it.
const COLOR_PLACES: [[&str; 2]; 5] = [
    ["red_x", "red_y"],
    ["green_x", "green_y"],
    ["blue_x", "blue_y"],
    ["yellow_x", "yellow_y"],
    ["purple_x", "purple_y"],
];

/// The simulator.
pub struct Tabletop {
    spec: EnvironmentSpec,
    protocol: Protocol,
    variation: Option<Variation>,
    image_size: usize,
    episode: Option<Episode>,
}

/// What lasts from a reset to the next.
struct Episode {
    seed: u64,
    look: Look,
    scene: Scene,
    /// Where the goal is a picture: what it shows, and the picture.
    ahead: Option<(Ahead, Goal)>,
    /// What the observation says; the scene's own instruction unless the reset replaced it.
    instruction: String,
    physics: Physics,
    judge: Judge,
    steps: usize,
    noise: CorrelatedNoise,
    planner: Planner,
}

impl Tabletop {
    /// A table whose episodes are those of a protocol, seen by a camera of `image_size` pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown protocol or an empty picture.
    pub fn new(protocol: &str, image_size: usize) -> Result<Self> {
        if image_size == 0 {
            return Err(Error::invalid(
                "image_size",
                "at least one pixel",
                image_size,
            ));
        }
        let (base, variation) = variation::split(protocol)?;
        let kind = Protocol::parse(base)?;
        let spec = EnvironmentSpec {
            name: "tabletop".to_owned(),
            protocol: protocol.to_owned(),
            features: Features::robot(
                ("top", Feature::camera(image_size, image_size)),
                Feature::vector(&["pusher_x_m", "pusher_y_m"]),
                Feature::vector(&["dx_4cm", "dy_4cm"]),
            ),
            rate_hz: 1.0 / f64::from(STEP_SECS),
            max_steps: if kind.has_picture() {
                ahead::BUDGET_STEPS
            } else {
                MAX_STEPS
            },
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
        self.episode.as_mut().ok_or_else(before_reset)
    }
}

fn before_reset() -> Error {
    Error::OutOfOrder("tabletop: reset it before the first step".to_owned())
}

/// A table as a goal: its picture, and where the pusher is.
fn shown(look: &Look, table: &Table, kinds: &[Kind], size: usize) -> Goal {
    let picture = picture::draw(look, &Physics::of(table), kinds, size);
    Goal {
        state: table.pusher.to_array().to_vec(),
        ..Goal::picture("top", picture)
    }
}

impl Environment for Tabletop {
    fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }

    fn reset(&mut self, reset: &Reset) -> Result<(Observation, Info)> {
        let look = Look::of(reset.seed, self.variation);
        let episode = if self.protocol.has_picture() {
            let (scene, ahead) = Ahead::draw(self.protocol, reset.seed, look.pusher_radius)?;
            let goal = shown(&look, &ahead.goal, &scene.layout.kinds, self.image_size);
            Episode::new(reset, look, scene, Some((ahead, goal)))
        } else {
            Episode::new(reset, look, Scene::draw(self.protocol, reset.seed)?, None)
        };
        let episode = self.episode.insert(episode);
        Ok((episode.observe(self.image_size), episode.info()))
    }

    fn step(&mut self, action: &Action) -> Result<Step> {
        action.check(2)?;
        let (size, budget) = (self.image_size, self.spec.max_steps);
        let episode = self.episode()?;
        let command = Vector::new(action.0[0], action.0[1]).clamp_length_max(1.0);
        let touched = episode.physics.step(command * ACTION_SCALE_M);
        episode.judge.note(&touched);
        episode.steps += 1;
        let info = episode.info();
        // Where the goal is a picture an episode runs on, so that *at the end* tells who stays.
        let terminated = episode.ahead.is_none() && (info.success || episode.verdict().failed);
        Ok(Step {
            observation: episode.observe(size),
            reward: if info.success { 1.0 } else { 0.0 },
            terminated,
            truncated: !terminated && episode.steps >= budget,
            info,
        })
    }
}

impl Simulator for Tabletop {
    fn scripted(&mut self, script: Script) -> Result<ScriptedAction> {
        let episode = self.episode.as_mut().ok_or_else(before_reset)?;
        let task = episode.scene.task;
        let step = episode.steps as u64;
        let command = match (script, &episode.ahead) {
            (Script::Nothing, _) => Vector::ZERO,
            (Script::Random, _) => {
                let mut rng = stream(episode.seed, "tabletop-random", step);
                let [x, y] = [(); 2].map(|()| rng.random_range(-1.0..=1.0));
                // As the table carries it out, so that a recording says what was done.
                Vector::new(x, y).clamp_length_max(1.0)
            }
            (Script::Cheat, None) => expert::approach(&episode.physics, task.target),
            (Script::Cheat, Some((ahead, _))) => expert::drive(&episode.physics, ahead.goal.pusher),
            (Script::Expert | Script::NoisyExpert(_), None) => {
                expert::action(&episode.physics, task)
            }
            (Script::Expert | Script::NoisyExpert(_), Some((ahead, _))) => {
                let command = ahead.commands.get(episode.steps);
                command.copied().unwrap_or(Vector::ZERO)
            }
            (Script::Planner, Some((ahead, _))) => {
                let table = episode.physics.table();
                ceiling::action(&mut episode.planner, episode.steps, &table, ahead)
            }
            (Script::Planner, None) => {
                let protocols = "protocol ahead or object, whose goal is a picture";
                let found = &self.spec.protocol;
                return Err(Error::invalid("planning with tabletop", protocols, found));
            }
        };
        let label = Action(command.to_array().to_vec());
        let Script::NoisyExpert(level) = script else {
            return Ok(ScriptedAction {
                executed: label.clone(),
                label,
            });
        };
        let noisy = expert::disturbed(command, level, episode.noise.at(step));
        Ok(ScriptedAction {
            executed: Action(noisy.to_array().to_vec()),
            label,
        })
    }

    fn truth(&mut self) -> Result<Truth> {
        let Episode { physics, scene, .. } = self.episode()?;
        let place = |name: [&'static str; 2], place: Option<Vector>| {
            let place = place.map(|place| place.to_array().map(f64::from));
            [0, 1].map(|axis| (name[axis], place.map(|place| place[axis])))
        };
        let mut values = place(["pusher_x", "pusher_y"], Some(physics.pusher())).to_vec();
        for (color, name) in COLOR_PLACES.into_iter().enumerate() {
            let mut same = (0..physics.len()).filter(|&at| scene.layout.kinds[at].color == color);
            let only = same.next().filter(|_| same.next().is_none());
            values.extend(place(name, only.map(|at| physics.center(at))));
        }
        let pose = |at| {
            let [x, y] = physics.center(at).to_array().map(f64::from);
            [x, y, f64::from(physics.pose(at).rotation.angle())]
        };
        Ok(Truth {
            values,
            objects: (0..physics.len()).map(pose).collect(),
        })
    }

    fn teleport(&mut self) -> Result<Observation> {
        let size = self.image_size;
        let episode = self.episode()?;
        let mut rng = stream(episode.seed, "tabletop-teleport", episode.steps as u64);
        let from = episode.physics.pusher();
        loop {
            let to = Vector::new(rng.random_range(0.1..=0.9), rng.random_range(0.1..=0.9));
            if (to - from).length() >= TELEPORT_M && episode.physics.put_pusher(to) {
                return Ok(episode.observe(size));
            }
        }
    }
}

impl Episode {
    fn new(reset: &Reset, look: Look, scene: Scene, ahead: Option<(Ahead, Goal)>) -> Self {
        let start = match &ahead {
            Some((ahead, _)) => ahead.start.clone(),
            None => scene.layout.table(look.pusher_radius),
        };
        let own = match &ahead {
            Some(_) => PICTURE_INSTRUCTION,
            None => &scene.instruction,
        };
        Self {
            seed: reset.seed,
            instruction: reset.instruction.clone().unwrap_or_else(|| own.to_owned()),
            physics: Physics::of(&start),
            judge: Judge::new(scene.layout.centers.clone()),
            steps: 0,
            noise: CorrelatedNoise::new(reset.seed, "tabletop-noise"),
            planner: ceiling::planner(reset.seed),
            look,
            scene,
            ahead,
        }
    }

    fn verdict(&self) -> Verdict {
        self.judge.verdict(&self.physics, self.scene.task)
    }

    fn observe(&self, size: usize) -> Observation {
        let picture = picture::draw(&self.look, &self.physics, &self.scene.layout.kinds, size);
        Observation {
            images: [("top".to_owned(), picture)].into(),
            state: self.physics.pusher().to_array().to_vec(),
            instruction: Some(self.instruction.clone()),
            goal: self.ahead.as_ref().map(|(_, goal)| goal.clone()),
            captured_at_secs: self.steps as f64 * f64::from(STEP_SECS),
        }
    }

    fn info(&self) -> Info {
        match &self.ahead {
            Some((ahead, _)) => self.info_of_picture(ahead),
            None => self.info_of_words(),
        }
    }

    fn info_of_words(&self) -> Info {
        let verdict = self.verdict();
        let scene = &self.scene;
        let labels = [
            ("family", scene.task.family().name().to_owned()),
            ("instruction", scene.instruction.clone()),
            ("swapped", scene.swapped.clone()),
            ("template", scene.template.clone()),
            ("scene", scene.layout.hash()),
            ("target", scene.layout.kinds[scene.task.target].to_string()),
        ];
        Info {
            success: verdict.success,
            figures: [("distance".to_owned(), f64::from(verdict.distance))].into(),
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }

    fn info_of_picture(&self, ahead: &Ahead) -> Info {
        let (table, kinds) = (self.physics.table(), &self.scene.layout.kinds);
        let farthest = ahead.farthest(&table);
        let figures = [("distance", farthest), ("closeness", -ahead.cost(&table))];
        let labels = [
            ("family", ahead.family(kinds)),
            ("scene", self.scene.layout.hash()),
        ];
        Info {
            success: farthest < ahead::REACHED_M,
            figures: figures
                .map(|(name, value)| (name.to_owned(), f64::from(value)))
                .into(),
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }
}

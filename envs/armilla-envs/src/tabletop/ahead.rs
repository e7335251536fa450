//! Protocols whose goal is a picture: everything where it was 25 steps later on a noisy expert's way.

use armilla_core::random::stream;
use armilla_core::{Error, Result};
use rand::RngExt as _;
use rapier2d::prelude::Vector;

use super::kinds::Kind;
use super::physics::{Physics, Table};
use super::scene::{Protocol, Scene};
use super::{ACTION_SCALE_M, Judge, MAX_STEPS, expert};
use crate::noise::CorrelatedNoise;

/// The goal is the state so many steps later, as in push-t.
pub(super) const AHEAD_STEPS: usize = 25;
/// Steps that an episode has.
pub(super) const BUDGET_STEPS: usize = 2 * AHEAD_STEPS;
/// The pusher and each object are closer to where the goal has them than this: a third of an object's width.
pub(super) const REACHED_M: f32 = 0.04;
/// An object that is to move does so at least as far.
pub(super) const MOVED_M: f32 = 2.0 * REACHED_M;
/// Noise of the ways that moments are taken from.
const WAY_NOISE: f32 = 0.25;
/// Moments tried on one way, and ways tried, before a seed is given up.
const MOMENTS_A_WAY: usize = 16;
const WAYS: usize = 256;

/// Where an episode begins, the state to reach, and a way there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ahead {
    pub(super) start: Table,
    pub(super) goal: Table,
    /// The actions that led from the start to the goal.
    pub(super) commands: Vec<Vector>,
}

impl Ahead {
    /// A moment of a noisy expert's way in a held-out scene, and the moment 25 steps later. With [`Protocol::Object`] an object moves
    /// between them. The pusher's radius is in metres.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when no moment of the ways tried is as the protocol asks; no seed is known for which that is so.
    pub(super) fn draw(protocol: Protocol, seed: u64, pusher_radius: f32) -> Result<(Scene, Self)> {
        let must_move = protocol == Protocol::Object;
        let mut rng = stream(seed, "tabletop-ahead", u64::from(must_move));
        for _ in 0..WAYS {
            let seed = rng.random();
            let scene = Scene::draw(Protocol::NewScenes, seed)?;
            let way = Way::walked(&scene, seed, pusher_radius);
            if way.commands.len() < AHEAD_STEPS {
                continue;
            }
            for _ in 0..MOMENTS_A_WAY {
                let from = rng.random_range(0..=way.commands.len() - AHEAD_STEPS);
                let commands = way.commands[from..from + AHEAD_STEPS].to_vec();
                let start = way.tables[from].clone();
                let goal = followed(&start, &commands);
                let ahead = Self {
                    start,
                    goal,
                    commands,
                };
                if !must_move || !ahead.moved().is_empty() {
                    return Ok((scene, ahead));
                }
            }
        }
        Err(Error::invalid(
            "seed of tabletop",
            format!("a moment within {WAYS} ways at which an object moves"),
            seed,
        ))
    }

    /// The objects that are to move.
    pub(super) fn moved(&self) -> Vec<usize> {
        let far = |&index: &usize| self.start.apart(&self.goal)[index + 1] >= MOVED_M;
        (0..self.start.objects.len()).filter(far).collect()
    }

    /// What is to move, as a family's name: `moves-nothing`, the shape of the one object that is (`moves-cross`), or `moves-several`.
    pub(super) fn family(&self, kinds: &[Kind]) -> String {
        match self.moved()[..] {
            [] => "moves-nothing".to_owned(),
            [only] => format!("moves-{}", kinds[only].shape.name()),
            _ => "moves-several".to_owned(),
        }
    }

    /// How far, in metres, pusher or object is from its place that is farthest from it.
    pub(super) fn farthest(&self, table: &Table) -> f32 {
        table.apart(&self.goal).into_iter().fold(0.0, f32::max)
    }

    /// How far all are from their places together, in units of what success allows.
    pub(super) fn cost(&self, table: &Table) -> f32 {
        let squares = table.apart(&self.goal).into_iter();
        squares.map(|apart| apart * apart).sum::<f32>().sqrt() / REACHED_M
    }
}

/// Where actions lead. From the state alone, so that the goal is reached to the bit by who repeats them.
fn followed(start: &Table, commands: &[Vector]) -> Table {
    let mut physics = Physics::of(start);
    for &command in commands {
        physics.step(command * ACTION_SCALE_M);
    }
    physics.table()
}

/// A noisy expert's episode of a scene's own task.
struct Way {
    /// One more than commands.
    tables: Vec<Table>,
    commands: Vec<Vector>,
}

impl Way {
    fn walked(scene: &Scene, seed: u64, pusher_radius: f32) -> Self {
        let mut physics = Physics::of(&scene.layout.table(pusher_radius));
        let mut judge = Judge::new(scene.layout.centers.clone());
        let mut noise = CorrelatedNoise::new(seed, "tabletop-way");
        let mut way = Self {
            tables: vec![physics.table()],
            commands: Vec::new(),
        };
        for step in 0..MAX_STEPS as u64 {
            let verdict = judge.verdict(&physics, scene.task);
            if verdict.success || verdict.failed {
                break;
            }
            let clean = expert::action(&physics, scene.task);
            let command = expert::disturbed(clean, WAY_NOISE, noise.at(step));
            let touched = physics.step(command * ACTION_SCALE_M);
            judge.note(&touched);
            way.tables.push(physics.table());
            way.commands.push(command);
        }
        way
    }
}

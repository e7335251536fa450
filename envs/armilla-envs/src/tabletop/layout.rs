//! Where things are at the start, and what can be asked for from there.

use armilla_core::random::fnv1a;
use rand::RngExt as _;
use rapier2d::prelude::Vector;

use super::expert::{BEHIND_GAP, push_direction};
use super::instruction::{EDGES, Family, Goal, Task};
use super::judge::{AWAY_GROWTH, EDGE_BAND, edge_distance};
use super::kinds::Kind;
use super::navigation::distance_to_segment;
use super::physics::{PUSHER_RADIUS, Table};

/// Nearest that an object's centre starts to the table's rim, in metres.
const RIM: f32 = 0.16;
/// Free space between objects' enclosing circles at the start: a pusher fits through.
const GAP: f32 = 2.0 * PUSHER_RADIUS + 0.01;
/// Objects start turned by up to this from upright, in radians.
const TURN: f32 = 0.35;
/// How far the pusher starts from an object it is to touch, between centres.
const TOUCH_START: f32 = 0.36;

/// Cosine of the angle between the pusher's straight way to the target and the push: below it, driving straight at the target
/// pushes it elsewhere, so that an episode asks for going around and not only for finding the target.
const HEAD_ON: f32 = 0.5;

/// Where things are at the start.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Kind of each object.
    pub(super) kinds: Vec<Kind>,
    /// Centre of each object, in metres.
    pub(super) centers: Vec<Vector>,
    /// Angle of each object, in radians.
    pub(super) angles: Vec<f32>,
    /// The pusher's centre, in metres.
    pub(super) pusher: Vector,
}

impl Layout {
    /// Random places, or none when they are too close together.
    pub(super) fn draw(rng: &mut impl rand::Rng, kinds: &[Kind]) -> Option<Self> {
        let mut layout = Self {
            kinds: kinds.to_vec(),
            centers: Vec::new(),
            angles: Vec::new(),
            pusher: Vector::ZERO,
        };
        for index in 0..kinds.len() {
            let center = draw_point(rng, RIM);
            if (0..index).any(|other| {
                (center - layout.centers[other]).length()
                    < layout.radius(other) + layout.radius(index) + GAP
            }) {
                return None;
            }
            layout.centers.push(center);
            layout.angles.push(rng.random_range(-TURN..TURN));
        }
        layout.pusher = draw_point(rng, PUSHER_RADIUS + 0.02);
        let clear = (0..kinds.len()).all(|index| {
            (layout.pusher - layout.centers[index]).length() > layout.reach(index) + 0.04
        });
        clear.then_some(layout)
    }

    /// The table so laid out, with a pusher of a radius in metres.
    pub(super) fn table(&self, pusher_radius: f32) -> Table {
        let object = |at: usize| (self.kinds[at].shape, self.centers[at], self.angles[at]);
        Table {
            pusher: self.pusher,
            pusher_radius,
            objects: (0..self.kinds.len()).map(object).collect(),
        }
    }

    /// Hash of kinds and places, for telling splits apart.
    pub(super) fn hash(&self) -> String {
        let millimetres =
            |p: Vector| ((p.x * 1000.0).round() as i32, (p.y * 1000.0).round() as i32);
        let objects: Vec<_> = self
            .kinds
            .iter()
            .zip(&self.centers)
            .map(|(kind, &p)| (kind, millimetres(p)))
            .collect();
        format!(
            "{:016x}",
            fnv1a(format!("{objects:?} {:?}", millimetres(self.pusher)).as_bytes())
        )
    }

    /// Every task of a family that can be done from here by a straight push (or a touch).
    pub(super) fn tasks(&self, family: Family) -> Vec<Task> {
        let mut tasks = Vec::new();
        for target in 0..self.kinds.len() {
            let others = (0..self.kinds.len()).filter(|&other| other != target);
            match family {
                Family::PushTo => tasks.extend(others.map(|other| Task {
                    target,
                    goal: Goal::To(other),
                })),
                Family::PushAway => tasks.extend(others.map(|other| Task {
                    target,
                    goal: Goal::Away(other),
                })),
                Family::PushEdge => tasks.extend(EDGES.map(|edge| Task {
                    target,
                    goal: Goal::Edge(edge),
                })),
                Family::Touch => tasks.push(Task {
                    target,
                    goal: Goal::Touch,
                }),
            }
        }
        tasks.retain(|&task| self.feasible(task));
        tasks
    }

    /// Whether a straight push does it: the place behind the target is free, the way ahead is free, the task is not done yet.
    fn feasible(&self, task: Task) -> bool {
        let target = task.target;
        let start = self.centers[target];
        let Some(direction) = push_direction(task, |index| self.centers[index]) else {
            return (self.pusher - start).length() > TOUCH_START;
        };
        let (length, lengths) = match task.goal {
            Goal::To(other) => (
                (self.centers[other] - start).length() - self.radius(target) - self.radius(other),
                0.09..0.45,
            ),
            Goal::Edge(edge) => (edge_distance(edge, start) - EDGE_BAND, 0.12..0.5),
            Goal::Touch | Goal::Away(_) => (AWAY_GROWTH + 0.03, 0.0..1.0),
        };
        let end = start + direction * length.max(0.0);
        let behind = start - direction * (self.reach(target) + BEHIND_GAP);
        let approach = (start - self.pusher).normalize_or_zero();
        lengths.contains(&length)
            && approach.dot(direction) < HEAD_ON
            && inside(end, self.radius(target))
            && inside(behind, PUSHER_RADIUS + 0.005)
            && self
                .others(task, false)
                .all(|index| (self.centers[index] - behind).length() > self.reach(index) + 0.01)
            && self.others(task, true).all(|index| {
                let aside = distance_to_segment(self.centers[index], start, end);
                aside > self.radius(target) + self.radius(index) + 0.015
            })
    }

    /// Objects other than the target; without the one it is pushed to or from when `ahead`.
    fn others(&self, task: Task, ahead: bool) -> impl Iterator<Item = usize> {
        let left_out = move |index| ahead && task.reference() == Some(index);
        (0..self.kinds.len()).filter(move |&index| index != task.target && !left_out(index))
    }

    fn radius(&self, index: usize) -> f32 {
        self.kinds[index].shape.radius()
    }

    fn reach(&self, index: usize) -> f32 {
        self.radius(index) + PUSHER_RADIUS
    }
}

/// A uniform point of the table, this far from its rim.
fn draw_point(rng: &mut impl rand::Rng, rim: f32) -> Vector {
    Vector::new(
        rng.random_range(rim..1.0 - rim),
        rng.random_range(rim..1.0 - rim),
    )
}

/// Whether a point is at least this far from the rim.
fn inside(point: Vector, rim: f32) -> bool {
    point.x.min(point.y) >= rim && point.x.max(point.y) <= 1.0 - rim
}

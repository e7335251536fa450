//! The scripted expert, a function of positions alone: no modes, no timers, so that a reactive policy can imitate it.
//!
//! To push object A in direction d it heads for the point behind A, by the shortest way around every object, and blends into
//! pushing as it comes to stand behind A. While pushing it steers back behind A's centre whenever A turns away.

use rapier2d::prelude::Vector;

use super::ACTION_SCALE_M;
use super::instruction::{Edge, Goal, Task};
use super::navigation::{Disc, heading};
use super::physics::Physics;

/// Share of full speed at which the expert pushes and touches.
const CONTACT_SPEED: f32 = 0.7;
/// Free space behind an object, in metres of gap, without which a straight push is not asked for.
pub(super) const BEHIND_GAP: f32 = 0.02;
/// How far behind the object the way there ends, in metres of gap.
const STAND_OFF: f32 = 0.035;
/// Clearance the way keeps from objects, in metres: two pixels of a 64-pixel picture, so that who imitates it may be one off.
const CLEARANCE: f32 = 0.03;
/// Steering while pushing: sideways speed for one radian off.
const STEERING: f32 = 2.5;

/// The direction in which a task's target has to move; none for touching.
pub(super) fn push_direction(task: Task, center: impl Fn(usize) -> Vector) -> Option<Vector> {
    let target = center(task.target);
    match task.goal {
        Goal::To(other) => Some((center(other) - target).normalize_or_zero()),
        Goal::Away(other) => Some((target - center(other)).normalize_or_zero()),
        Goal::Edge(Edge::Left) => Some(-Vector::X),
        Goal::Edge(Edge::Right) => Some(Vector::X),
        Goal::Edge(Edge::Top) => Some(-Vector::Y),
        Goal::Edge(Edge::Bottom) => Some(Vector::Y),
        Goal::Touch => None,
    }
}

/// The expert's action, of norm 1 at most.
pub(super) fn action(physics: &Physics, task: Task) -> Vector {
    match push_direction(task, |index| physics.center(index)) {
        Some(direction) => push(physics, task.target, direction),
        None => touch(physics, task.target),
    }
}

/// A command with noise of a level, of norm 1 at most.
pub(super) fn disturbed(command: Vector, level: f32, noise: [f32; 2]) -> Vector {
    (command + level * Vector::from(noise)).clamp_length_max(1.0)
}

/// Straight at a place, as fast as can be without passing it.
pub(super) fn drive(physics: &Physics, place: Vector) -> Vector {
    ((place - physics.pusher()) / ACTION_SCALE_M).clamp_length_max(1.0)
}

/// Straight at an object, whatever stands in the way.
pub(super) fn approach(physics: &Physics, target: usize) -> Vector {
    (physics.center(target) - physics.pusher()).normalize_or_zero()
}

/// Goes to the target around the others.
fn touch(physics: &Physics, target: usize) -> Vector {
    let (pusher, center) = (physics.pusher(), physics.center(target));
    let others: Vec<_> = (0..physics.len())
        .filter(|&index| index != target)
        .collect();
    let gap = (center - pusher).length() - reach(physics, target);
    let speed = CONTACT_SPEED + (1.0 - CONTACT_SPEED) * smooth_step(0.02, 0.10, gap);
    speed * way(physics, center, &discs(physics, &others))
}

/// Goes behind the target and pushes it.
fn push(physics: &Physics, target: usize, direction: Vector) -> Vector {
    let (pusher, center) = (physics.pusher(), physics.center(target));
    let reach = reach(physics, target);
    let offset = center - pusher;
    let angle = direction.angle_to(offset);
    let aligned = 1.0 - smooth_step(0.3, 0.6, angle.abs());
    let near = 1.0 - smooth_step(STAND_OFF + 0.02, STAND_OFF + 0.06, offset.length() - reach);
    let pushing = aligned * near;
    let forward = CONTACT_SPEED
        * (direction + STEERING * angle.clamp(-0.8, 0.8) * direction.perp()).normalize_or_zero();
    if pushing > 0.999 {
        return forward;
    }
    let low = Vector::splat(physics.pusher_radius() + 0.002);
    let behind = (center - direction * (reach + STAND_OFF)).clamp(low, Vector::ONE - low);
    let all: Vec<_> = (0..physics.len()).collect();
    let around = way(physics, behind, &discs(physics, &all));
    pushing * forward + (1.0 - pushing) * around
}

/// Unit direction of the way to a place, bent away from the objects whose clearance it is already in.
fn way(physics: &Physics, goal: Vector, discs: &[Disc]) -> Vector {
    let pusher = physics.pusher();
    let ahead = heading(pusher, goal, discs, physics.pusher_radius());
    let bent = discs.iter().fold(ahead, |bent, disc| {
        let outward = pusher - disc.center;
        let depth = (disc.radius - outward.length()) / CLEARANCE;
        bent + outward.normalize_or_zero() * depth.clamp(0.0, 1.0)
    });
    bent.normalize_or_zero()
}

/// Distance between the centres of pusher and object at which they may touch.
fn reach(physics: &Physics, index: usize) -> f32 {
    physics.shape(index).radius() + physics.pusher_radius()
}

/// What the pusher's centre keeps out of so as not to touch these objects.
fn discs(physics: &Physics, indices: &[usize]) -> Vec<Disc> {
    let disc = |&index: &usize| Disc {
        center: physics.center(index),
        radius: reach(physics, index) + CLEARANCE,
    };
    indices.iter().map(disc).collect()
}

/// 0 below `low`, 1 above `high`, smooth between.
fn smooth_step(low: f32, high: f32, value: f32) -> f32 {
    let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
    share * share * (3.0 - 2.0 * share)
}

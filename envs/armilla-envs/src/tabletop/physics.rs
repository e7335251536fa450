//! Quasi-static pushing on a table with a rim, by `rapier2d`.
//!
//! The table is a unit square (1 m), x to the right and y downwards as in the picture. Objects have no momentum: their
//! velocities are cleared after each substep, as friction with a table does at 10 cm/s. The pusher is a heavy disc whose
//! velocity is set anew each substep, so that objects barely slow it down and the rim stops it.

use rapier2d::parry::query;
use rapier2d::prelude::*;

use super::kinds::Shape;

/// Radius of the pusher, in metres, where it does not vary.
pub(super) const PUSHER_RADIUS: f32 = 0.04;
/// Seconds a control step.
pub(super) const STEP_SECS: f32 = 0.1;
/// Physics steps a control step.
const SUBSTEPS: usize = 4;
/// The pusher and an object nearer than this touch, in metres.
const TOUCH_GAP: f32 = 0.003;
const PUSHER_MASS: f32 = 8.0;

/// One object in the physics: its body and the pieces of its shape.
struct Body {
    handle: RigidBodyHandle,
    shape: Shape,
    pieces: Vec<SharedShape>,
}

/// The table, the pusher and the objects.
pub(super) struct Physics {
    world: PhysicsWorld,
    pusher: RigidBodyHandle,
    pusher_radius: f32,
    bodies: Vec<Body>,
}

/// Where all things are, which is all there is to know: nothing has momentum.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    /// The pusher's centre, in metres.
    pub(super) pusher: Vector,
    /// Its radius, in metres.
    pub(super) pusher_radius: f32,
    /// Shape, centre in metres and angle in radians of each object.
    pub(super) objects: Vec<(Shape, Vector, f32)>,
}

impl Table {
    /// How far, in metres, the pusher and then each object are from where they are on another table of the same objects.
    pub(super) fn apart(&self, other: &Self) -> Vec<f32> {
        let pusher = (self.pusher - other.pusher).length();
        let objects = self.objects.iter().zip(&other.objects);
        let objects = objects.map(|(one, other)| (one.1 - other.1).length());
        [pusher].into_iter().chain(objects).collect()
    }
}

impl Physics {
    /// Where all things are.
    pub(super) fn table(&self) -> Table {
        let object = |index| {
            let pose = self.pose(index);
            (self.shape(index), pose.translation, pose.rotation.angle())
        };
        Table {
            pusher: self.pusher(),
            pusher_radius: self.pusher_radius,
            objects: (0..self.len()).map(object).collect(),
        }
    }

    /// Lays out a table.
    pub(super) fn of(table: &Table) -> Self {
        let mut world = PhysicsWorld {
            gravity: Vector::ZERO,
            ..PhysicsWorld::default()
        };
        world.integration_parameters.dt = STEP_SECS / SUBSTEPS as f32;
        // Rapier's tolerances are meant for metre-sized bodies; these are a tenth of that.
        world.integration_parameters.length_unit = 0.1;
        world.integration_parameters.contact_recycling = false;
        insert_rim(&mut world);
        let body = RigidBodyBuilder::dynamic()
            .translation(table.pusher)
            .lock_rotations()
            .can_sleep(false);
        let (pusher, _) = world.insert(
            body,
            ColliderBuilder::ball(table.pusher_radius)
                .mass(PUSHER_MASS)
                .friction(0.3),
        );
        let bodies = table
            .objects
            .iter()
            .map(|&(shape, center, angle)| insert_object(&mut world, shape, center, angle))
            .collect();
        Self {
            world,
            pusher,
            pusher_radius: table.pusher_radius,
            bodies,
        }
    }

    /// A table with a pusher as recorded, and each object's shape, centre and angle.
    #[cfg(test)]
    pub(super) fn new(
        pusher: Vector,
        objects: impl IntoIterator<Item = (Shape, Vector, f32)>,
    ) -> Self {
        Self::of(&Table {
            pusher,
            pusher_radius: PUSHER_RADIUS,
            objects: objects.into_iter().collect(),
        })
    }

    /// The pusher's radius, in metres.
    pub(super) fn pusher_radius(&self) -> f32 {
        self.pusher_radius
    }

    /// Moves the pusher by up to `displacement` in one control step; returns the objects it touched, in order of touching.
    pub(super) fn step(&mut self, displacement: Vector) -> Vec<usize> {
        let mut touched = Vec::new();
        for _ in 0..SUBSTEPS {
            self.world.bodies[self.pusher].set_linvel(displacement / STEP_SECS, true);
            self.world.step();
            for body in &self.bodies {
                let body = &mut self.world.bodies[body.handle];
                body.set_linvel(Vector::ZERO, true);
                body.set_angvel(0.0, true);
            }
            for index in 0..self.bodies.len() {
                if !touched.contains(&index) && self.pusher_gap(index) < TOUCH_GAP {
                    touched.push(index);
                }
            }
        }
        touched
    }

    /// Puts the pusher somewhere else at once, if no object is there.
    pub(super) fn put_pusher(&mut self, place: Vector) -> bool {
        let room = |body: &Body| self.pusher_radius + body.shape.radius() + TOUCH_GAP;
        let is_free = (0..self.len())
            .all(|index| (self.center(index) - place).length() > room(&self.bodies[index]));
        if is_free {
            self.world.bodies[self.pusher].set_translation(place, true);
        }
        is_free
    }

    /// The pusher's centre.
    pub(super) fn pusher(&self) -> Vector {
        self.world.bodies[self.pusher].translation()
    }

    /// Centre and angle of an object.
    pub(super) fn pose(&self, index: usize) -> Pose {
        *self.world.bodies[self.bodies[index].handle].position()
    }

    /// Centre of an object.
    pub(super) fn center(&self, index: usize) -> Vector {
        self.pose(index).translation
    }

    /// Shape of an object.
    pub(super) fn shape(&self, index: usize) -> Shape {
        self.bodies[index].shape
    }

    /// Number of objects.
    pub(super) fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Distance between the outlines of two objects, zero where they touch.
    pub(super) fn gap(&self, first: usize, second: usize) -> f32 {
        let pieces = |index: usize| self.bodies[index].pieces.iter();
        let pairs = pieces(first).flat_map(|a| pieces(second).map(move |b| (a, b)));
        let (pose_a, pose_b) = (self.pose(first), self.pose(second));
        pairs
            .map(|(a, b)| distance(&pose_a, a, &pose_b, b))
            .fold(f32::INFINITY, f32::min)
    }

    /// Distance between the outlines of the pusher and an object; only an upper bound while they are far apart.
    fn pusher_gap(&self, index: usize) -> f32 {
        let pose = self.pose(index);
        let apart = (pose.translation - self.pusher()).length() - self.pusher_radius;
        if apart > self.bodies[index].shape.radius() + 0.02 {
            return apart;
        }
        let (ball, at) = (
            SharedShape::ball(self.pusher_radius),
            Pose::from_translation(self.pusher()),
        );
        self.bodies[index]
            .pieces
            .iter()
            .map(|piece| distance(&at, &ball, &pose, piece))
            .fold(f32::INFINITY, f32::min)
    }
}

/// Distance between two convex shapes.
fn distance(pose_a: &Pose, a: &SharedShape, pose_b: &Pose, b: &SharedShape) -> f32 {
    // The dispatcher knows every pair of convex shapes, so it cannot refuse.
    query::distance(pose_a, &**a, pose_b, &**b).map_or(f32::INFINITY, |distance| distance.distance)
}

/// Four fixed slabs around the table.
fn insert_rim(world: &mut PhysicsWorld) {
    for (x, y, half_x, half_y) in [
        (-0.1, 0.5, 0.1, 0.7),
        (1.1, 0.5, 0.1, 0.7),
        (0.5, -0.1, 0.7, 0.1),
        (0.5, 1.1, 0.7, 0.1),
    ] {
        let slab = RigidBodyBuilder::fixed().translation(Vector::new(x, y));
        world.insert(slab, ColliderBuilder::cuboid(half_x, half_y).friction(0.1));
    }
}

/// One object of unit mass, spread evenly over its pieces.
fn insert_object(world: &mut PhysicsWorld, shape: Shape, center: Vector, angle: f32) -> Body {
    let handle = world.insert_body(
        RigidBodyBuilder::dynamic()
            .pose(Pose::new(center, angle))
            .can_sleep(false),
    );
    let pieces = shape.pieces();
    for piece in &pieces {
        let collider = ColliderBuilder::new(piece.clone())
            .mass(1.0 / pieces.len() as f32)
            .friction(0.3);
        world.insert_collider(collider, Some(handle));
    }
    Body {
        handle,
        shape,
        pieces,
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::{CIRCLE_RADIUS, CROSS_HALF, SQUARE_HALF};
    use super::*;

    fn table(shape: Shape) -> Physics {
        Physics::new(Vector::new(0.3, 0.5), [(shape, Vector::new(0.5, 0.5), 0.0)])
    }

    #[test]
    fn an_untouched_object_stays_and_a_pushed_one_stops_with_the_pusher() {
        let mut physics = table(Shape::Square);
        assert_eq!(physics.step(Vector::new(0.02, 0.0)), []);
        assert_eq!(physics.center(0), Vector::new(0.5, 0.5));
        for _ in 0..8 {
            physics.step(Vector::new(0.04, 0.0));
        }
        let pushed = physics.center(0);
        let contact = physics.pusher().x + PUSHER_RADIUS + SQUARE_HALF;
        assert!((pushed.x - contact).abs() < 0.01, "{pushed} {contact}");
        physics.step(Vector::ZERO);
        assert!((physics.center(0) - pushed).length() < 0.004);
    }

    #[test]
    fn the_rim_holds_pusher_and_object() {
        for shape in super::super::kinds::SHAPES {
            let mut physics = table(shape);
            for _ in 0..40 {
                physics.step(Vector::new(0.04, 0.0));
            }
            assert!(
                physics.pusher().x < 1.0 && physics.center(0).x < 1.0,
                "{shape:?} {} {}",
                physics.pusher(),
                physics.center(0)
            );
        }
    }

    #[test]
    fn gap_is_between_outlines() {
        let at = |x: f32| Vector::new(x, 0.5);
        let physics = Physics::new(
            Vector::new(0.1, 0.1),
            [(Shape::Circle, at(0.3), 0.0), (Shape::Cross, at(0.7), 0.0)],
        );
        let expected = 0.4 - CIRCLE_RADIUS - CROSS_HALF.0;
        assert!(
            (physics.gap(0, 1) - expected).abs() < 1e-3,
            "{}",
            physics.gap(0, 1)
        );
    }
}

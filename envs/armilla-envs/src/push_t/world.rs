//! The physics: a T that rests as soon as nothing pushes it, and an agent that nothing pushes back.

use rapier2d::prelude::*;

use super::shape::{BARS, CENTER_OF_GRAVITY, INERTIA, MASS, Point, Pose};

/// Radius of the agent.
pub(super) const AGENT_RADIUS_PX: f32 = 15.0;
/// Side of the square world.
pub const WORLD_PX: f32 = 512.0;
/// Middle line of the walls on the low and on the high side, and half their thickness.
pub(super) const WALL_LOW_PX: f32 = 5.0;
pub(super) const WALL_HIGH_PX: f32 = 506.0;
pub(super) const WALL_RADIUS_PX: f32 = 2.0;
/// Time of one physics step, and how many there are in a control step.
const SUBSTEP_SECS: f32 = 0.01;
pub(super) const SUBSTEPS: usize = 10;
/// The agent's controller: acceleration per pixel of distance, and per pixel a second of speed.
const STIFFNESS: f32 = 100.0;
const DAMPING: f32 = 20.0;

/// All that a world is: bodies carry nothing over from one physics step to the next but the agent's velocity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct State {
    pub(super) agent: Point,
    /// In pixels a second.
    pub(super) agent_velocity: Point,
    pub(super) block: Pose,
}

/// A running simulation.
pub(super) struct World {
    physics: PhysicsWorld,
    agent: RigidBodyHandle,
    block: RigidBodyHandle,
}

impl World {
    /// A world in a state.
    pub(super) fn new(state: State) -> Self {
        Self::with_agent(state, AGENT_RADIUS_PX)
    }

    /// A world in a state, with an agent of another size.
    pub(super) fn with_agent(state: State, radius_px: f32) -> Self {
        let mut physics = PhysicsWorld {
            gravity: Vector::ZERO,
            ..PhysicsWorld::default()
        };
        physics.integration_parameters = parameters();
        let agent_body = RigidBodyBuilder::kinematic_velocity_based()
            .translation(state.agent.into())
            .linvel(state.agent_velocity.into())
            .can_sleep(false);
        let (agent, _) = physics.insert(agent_body, ColliderBuilder::ball(radius_px).friction(0.0));
        let block_body = RigidBodyBuilder::dynamic()
            .translation(state.block.position.into())
            .rotation(state.block.angle_rad)
            .additional_mass_properties(MassProperties::new(
                CENTER_OF_GRAVITY.into(),
                MASS,
                INERTIA,
            ))
            .can_sleep(false);
        let block = physics.insert_body(block_body);
        for bar in BARS {
            let half: Point = std::array::from_fn(|i| (bar[2][i] - bar[0][i]) / 2.0);
            let middle: Point = std::array::from_fn(|i| (bar[2][i] + bar[0][i]) / 2.0);
            let collider = ColliderBuilder::cuboid(half[0], half[1])
                .translation(middle.into())
                .density(0.0)
                .friction(0.0);
            physics.insert_collider(collider, Some(block));
        }
        let walls = physics.insert_body(RigidBodyBuilder::fixed());
        let (low, high) = (WALL_LOW_PX, WALL_HIGH_PX);
        let corners: [Point; 4] = [[low, low], [high, low], [high, high], [low, high]];
        for (i, corner) in corners.into_iter().enumerate() {
            let wall = ColliderBuilder::capsule_from_endpoints(
                corner.into(),
                corners[(i + 1) % 4].into(),
                WALL_RADIUS_PX,
            );
            physics.insert_collider(wall.friction(0.0), Some(walls));
        }
        Self {
            physics,
            agent,
            block,
        }
    }

    /// The present state.
    pub(super) fn state(&self) -> State {
        let (agent, block) = (
            &self.physics.bodies[self.agent],
            &self.physics.bodies[self.block],
        );
        State {
            agent: agent.translation().into(),
            agent_velocity: agent.linvel().into(),
            block: Pose {
                position: block.translation().into(),
                angle_rad: block.rotation().angle(),
            },
        }
    }

    /// One control step towards a target position of the agent.
    pub(super) fn control(&mut self, target: Point) {
        for _ in 0..SUBSTEPS {
            self.drive(target);
        }
    }

    /// One physics step of the agent's controller towards a target.
    pub(super) fn drive(&mut self, target: Point) {
        let agent = &mut self.physics.bodies[self.agent];
        let (position, velocity) = (agent.translation(), agent.linvel());
        let acceleration = (Vector::from(target) - position) * STIFFNESS - velocity * DAMPING;
        agent.set_linvel(velocity + acceleration * SUBSTEP_SECS, true);
        self.settle();
    }

    /// One physics step. The block's velocity does not outlive it: pushing is quasi-static.
    pub(super) fn settle(&mut self) {
        self.physics.step();
        let block = &mut self.physics.bodies[self.block];
        block.set_linvel(Vector::ZERO, true);
        block.set_angvel(0.0, true);
    }
}

/// Stiff contacts, no shortcuts: the engine's defaults are for metres and for stacks of things.
fn parameters() -> IntegrationParameters {
    IntegrationParameters {
        dt: SUBSTEP_SECS,
        length_unit: 1.0,
        normalized_max_corrective_velocity: 100.0,
        normalized_prediction_distance: 0.1,
        normalized_max_linear_velocity: Real::MAX,
        contact_recycling: false,
        max_ccd_substeps: 0,
        ..IntegrationParameters::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::{GOAL, coverage, difference, distance};
    use super::*;

    fn away() -> State {
        State {
            agent: [100.0, 100.0],
            agent_velocity: [0.0; 2],
            block: Pose {
                position: [300.0, 300.0],
                angle_rad: 0.0,
            },
        }
    }

    #[test]
    fn the_agent_follows_the_controller() {
        let mut world = World::new(away());
        let (mut position, mut velocity) = (100.0_f32, 0.0_f32);
        for _ in 0..5 {
            world.control([160.0, 100.0]);
            for _ in 0..10 {
                velocity += (100.0 * (160.0 - position) - 20.0 * velocity) * 0.01;
                position += velocity * 0.01;
            }
            let state = world.state();
            assert!(
                (state.agent[0] - position).abs() < 0.01 && (state.agent[1] - 100.0).abs() < 0.01,
                "{state:?}"
            );
        }
        assert!(position > 155.0);
    }

    #[test]
    fn an_untouched_block_rests() {
        let mut world = World::new(away());
        for _ in 0..10 {
            world.control([160.0, 100.0]);
        }
        assert_eq!(world.state().block, away().block);
    }

    #[test]
    fn a_push_moves_the_block_only_while_it_lasts() {
        let start = State {
            agent: [300.0, 270.0],
            ..away()
        };
        let mut world = World::new(start);
        for _ in 0..10 {
            world.control([300.0, 320.0]);
        }
        let pushed = world.state();
        // Through the centre of gravity: straight on, by what the agent travelled after it touched.
        assert!((pushed.block.position[1] - 335.0).abs() < 1.0, "{pushed:?}");
        assert!(
            pushed.block.angle_rad.abs() < 0.01 && (pushed.block.position[0] - 300.0).abs() < 0.5
        );
        for _ in 0..10 {
            world.control([300.0, 200.0]);
        }
        let left = world.state();
        assert!(
            (left.block.position[1] - pushed.block.position[1]).abs() < 0.5,
            "{left:?}"
        );
    }

    #[test]
    fn walls_hold_the_block() {
        let mut world = World::new(State {
            agent: [300.0, 340.0],
            ..away()
        });
        for step in 0..60 {
            world.control([300.0, (340.0 + 5.0 * step as f32).min(500.0)]);
        }
        // The stem's end is 120 px below the origin; the wall's face is at 504.
        let state = world.state();
        assert!(state.block.to_world([0.0, 120.0])[1] < 506.0, "{state:?}");
    }

    /// What gym-pusht makes of the same ten actions from the same state; written by `scripts/fixtures/push_t.py`.
    #[test]
    fn short_windows_agree_with_gym_pusht() {
        let (mut errors, mut turns) = (Vec::new(), Vec::new());
        for line in include_str!("fixtures/gym_pusht.txt").lines() {
            let row: Vec<f32> = line
                .split(' ')
                .map(|value| value.parse().unwrap())
                .collect();
            let pose = |values: &[f32]| Pose {
                position: [values[0], values[1]],
                angle_rad: values[2],
            };
            let (agent, block) = ([row[0], row[1]], pose(&row[2..5]));
            let mut world = World::new(State {
                agent,
                agent_velocity: [0.0; 2],
                block,
            });
            for action in row[5..25].chunks_exact(2) {
                world.control([action[0], action[1]]);
            }
            let (state, theirs) = (world.state(), pose(&row[27..30]));
            assert!(distance(state.agent, [row[25], row[26]]) < 0.01);
            assert!((coverage(theirs, GOAL) - row[30]).abs() < 2e-3);
            let (moved, turned) = difference(state.block, theirs);
            errors.push(moved);
            turns.push(turned);
        }
        errors.sort_by(f32::total_cmp);
        turns.sort_by(f32::total_cmp);
        assert_eq!(errors.len(), 60);
        assert!(errors[30] < 0.2 && errors[54] < 0.5, "{errors:?}");
        assert!(turns[30] < 0.002 && turns[54] < 0.005, "{turns:?}");
    }
}

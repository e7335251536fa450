//! When a task is done.
//!
//! - `touch`: the pusher touches the target before any other object; the first touch decides.
//! - `push_to`: the outlines of target and other object are less than 3.5 cm apart, the target having come at least 5 cm and
//!   the other object having been moved by less than 10 cm.
//! - `push_edge`: the target's centre is less than 18 cm from the edge.
//! - `push_away`: the distance between the centres has grown by 15 cm, the target having come at least 10 cm and the other
//!   object having been moved by less than 5 cm.

use rapier2d::prelude::Vector;

use super::instruction::{Edge, Goal, Task};
use super::physics::Physics;

/// Nearest to the edge, in metres, that counts as at the edge.
pub(super) const EDGE_BAND: f32 = 0.18;
/// Growth of distance, in metres, that counts as away.
pub(super) const AWAY_GROWTH: f32 = 0.15;
/// Gap between outlines, in metres, that counts as next to.
const NEXT_TO_GAP: f32 = 0.035;

/// What the episode's past contributes to its success.
#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    starts: Vec<Vector>,
    first_touched: Option<usize>,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// The task is done.
    pub(super) success: bool,
    /// The task can no longer be done: the pusher touched a wrong object first.
    pub(super) failed: bool,
    /// Metres that are missing; zero when done.
    pub(super) distance: f32,
}

impl Judge {
    /// Remembers the start.
    pub(super) fn new(starts: Vec<Vector>) -> Self {
        Self {
            starts,
            first_touched: None,
        }
    }

    /// Notes what a step touched, in order.
    pub(super) fn note(&mut self, touched: &[usize]) {
        self.first_touched = self.first_touched.or(touched.first().copied());
    }

    /// Judges the present moment.
    pub(super) fn verdict(&self, physics: &Physics, task: Task) -> Verdict {
        let target = task.target;
        let center = physics.center(target);
        let moved = |index: usize| (physics.center(index) - self.starts[index]).length();
        let between = |other: usize| (physics.center(other) - center).length();
        let (distance, fair) = match task.goal {
            Goal::To(other) => (
                physics.gap(target, other) - NEXT_TO_GAP,
                moved(target) > 0.05 && moved(other) < 0.10,
            ),
            Goal::Edge(edge) => (edge_distance(edge, center) - EDGE_BAND, true),
            Goal::Touch => return self.touch_verdict(physics, target),
            Goal::Away(other) => {
                let before = (self.starts[other] - self.starts[target]).length();
                (
                    AWAY_GROWTH - (between(other) - before),
                    moved(target) > 0.10 && moved(other) < 0.05,
                )
            }
        };
        Verdict {
            success: fair && distance <= 0.0,
            failed: false,
            distance: distance.max(0.0),
        }
    }

    fn touch_verdict(&self, physics: &Physics, target: usize) -> Verdict {
        let success = self.first_touched == Some(target);
        let failed = self.first_touched.is_some() && !success;
        let distance = if success {
            0.0
        } else {
            (physics.center(target) - physics.pusher()).length()
        };
        Verdict {
            success,
            failed,
            distance,
        }
    }
}

/// Distance of a point from an edge of the table.
pub(super) fn edge_distance(edge: Edge, point: Vector) -> f32 {
    match edge {
        Edge::Left => point.x,
        Edge::Right => 1.0 - point.x,
        Edge::Top => point.y,
        Edge::Bottom => 1.0 - point.y,
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Shape;
    use super::*;

    fn scene(first: f32, second: f32) -> (Physics, Judge) {
        let at = |x: f32| Vector::new(x, 0.5);
        let physics = Physics::new(
            at(0.06),
            [
                (Shape::Circle, at(first), 0.0),
                (Shape::Circle, at(second), 0.0),
            ],
        );
        (physics, Judge::new(vec![at(first), at(second)]))
    }

    /// Pushes to the right until the task is judged done, and says after how many steps.
    fn push_right(task: Task) -> Option<usize> {
        let (mut physics, mut judge) = scene(0.3, 0.6);
        assert!(!judge.verdict(&physics, task).success);
        (1..30).find(|_| {
            let touched = physics.step(Vector::new(0.03, 0.0));
            judge.note(&touched);
            judge.verdict(&physics, task).success
        })
    }

    #[test]
    fn pushing_right_does_what_it_should() {
        let steps = |target, goal| push_right(Task { target, goal });
        assert!(steps(0, Goal::To(1)).is_some_and(|n| n < 15));
        assert!(steps(0, Goal::Touch).is_some_and(|n| n < 8));
        assert_eq!(
            steps(1, Goal::Touch),
            None,
            "the other object is touched first"
        );
        assert!(steps(1, Goal::Edge(Edge::Right)).is_some());
        assert_eq!(
            steps(1, Goal::To(0)),
            None,
            "the other object is brought to the target"
        );
        assert_eq!(steps(0, Goal::Away(1)), None);
    }

    #[test]
    fn bringing_the_reference_does_not_count_as_away() {
        let (mut physics, judge) = scene(0.3, 0.6);
        for _ in 0..10 {
            physics.step(Vector::new(-0.03, 0.0));
        }
        assert!(
            !judge
                .verdict(
                    &physics,
                    Task {
                        target: 1,
                        goal: Goal::Away(0)
                    }
                )
                .success
        );
    }
}

//! The T: its geometry, where it is, and how much of the goal it covers.

use std::f32::consts::{PI, TAU};

/// A point or a direction, `[x, y]` in pixels, y down.
pub(super) type Point = [f32; 2];

/// Width of the bars.
const BAR_PX: f32 = 30.0;
/// Length of the T's top, and distance from the top's outer edge to the stem's end.
const LENGTH_PX: f32 = 120.0;
/// Centre of gravity in the block's frame: gym-pusht takes the mean of the two bars' centres, not the area's.
pub(super) const CENTER_OF_GRAVITY: Point = [0.0, 45.0];
/// Mass and moment of inertia: gym-pusht's 1, and twice the top's moment about the block's origin.
pub(super) const MASS: f32 = 1.0;
pub(super) const INERTIA: f32 = 3000.0;
/// Area of the T.
const AREA: f32 = BAR_PX * LENGTH_PX + BAR_PX * (LENGTH_PX - BAR_PX);

/// The T's two bars, corners in order, in the block's frame: the origin is the middle of the top's outer edge.
pub(super) const BARS: [[Point; 4]; 2] = [
    [
        [-LENGTH_PX / 2.0, 0.0],
        [LENGTH_PX / 2.0, 0.0],
        [LENGTH_PX / 2.0, BAR_PX],
        [-LENGTH_PX / 2.0, BAR_PX],
    ],
    [
        [-BAR_PX / 2.0, BAR_PX],
        [BAR_PX / 2.0, BAR_PX],
        [BAR_PX / 2.0, LENGTH_PX],
        [-BAR_PX / 2.0, LENGTH_PX],
    ],
];

/// Where the block's origin is, and how it is turned (x towards y).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pose {
    pub(super) position: Point,
    pub(super) angle_rad: f32,
}

impl Pose {
    /// A point of the block's frame, in the world.
    pub(super) fn to_world(self, point: Point) -> Point {
        let turned = rotated(point, self.angle_rad);
        [self.position[0] + turned[0], self.position[1] + turned[1]]
    }

    /// A point of the world, in the block's frame.
    pub(super) fn to_local(self, point: Point) -> Point {
        rotated(
            [point[0] - self.position[0], point[1] - self.position[1]],
            -self.angle_rad,
        )
    }

    /// Distance from a point of the world to the block, zero inside.
    pub(super) fn distance(self, point: Point) -> f32 {
        let local = self.to_local(point);
        let to_bar = |bar: &[Point; 4]| {
            let away = |i: usize| (bar[0][i] - local[i]).max(local[i] - bar[2][i]).max(0.0);
            away(0).hypot(away(1))
        };
        BARS.iter().map(to_bar).fold(f32::INFINITY, f32::min)
    }
}

/// The goal of gym-pusht.
pub(super) const GOAL: Pose = Pose {
    position: [256.0, 256.0],
    angle_rad: std::f32::consts::FRAC_PI_4,
};

/// How far apart two poses are: the distance of the centres of gravity, and the angle between -pi and pi.
pub(super) fn difference(a: Pose, b: Pose) -> (f32, f32) {
    let (from, to) = (a.to_world(CENTER_OF_GRAVITY), b.to_world(CENTER_OF_GRAVITY));
    let turn = (a.angle_rad - b.angle_rad + PI).rem_euclid(TAU) - PI;
    (distance(from, to), turn.abs())
}

/// Distance between two points.
pub(super) fn distance(a: Point, b: Point) -> f32 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// A vector turned by an angle, x towards y.
pub(super) fn rotated(vector: Point, angle_rad: f32) -> Point {
    let (sin, cos) = angle_rad.sin_cos();
    [
        cos * vector[0] - sin * vector[1],
        sin * vector[0] + cos * vector[1],
    ]
}

/// Share of the goal's T that the block's T covers. The bars of a T do not overlap, so the areas add up.
pub(super) fn coverage(block: Pose, goal: Pose) -> f32 {
    let place = |pose: Pose| BARS.map(|bar| bar.map(|point| pose.to_world(point)));
    let (block, goal) = (place(block), place(goal));
    let area: f32 = goal
        .iter()
        .flat_map(|clip| block.iter().map(move |bar| area(&clipped(bar, clip))))
        .sum();
    area / AREA
}

/// The part of a polygon within a convex one (Sutherland and Hodgman 1974), both with corners in turning order x to y.
fn clipped(polygon: &[Point], clip: &[Point]) -> Vec<Point> {
    let mut kept = polygon.to_vec();
    for (i, &from) in clip.iter().enumerate() {
        let to = clip[(i + 1) % clip.len()];
        let inside =
            |p: Point| (to[0] - from[0]) * (p[1] - from[1]) - (to[1] - from[1]) * (p[0] - from[0]);
        let mut next = Vec::with_capacity(kept.len() + 1);
        for (k, &current) in kept.iter().enumerate() {
            let previous = kept[(k + kept.len() - 1) % kept.len()];
            let (a, b) = (inside(previous), inside(current));
            if (a >= 0.0) != (b >= 0.0) {
                let share = a / (a - b);
                next.push(std::array::from_fn(|c| {
                    previous[c] + share * (current[c] - previous[c])
                }));
            }
            if b >= 0.0 {
                next.push(current);
            }
        }
        kept = next;
    }
    kept
}

/// Area of a polygon, by the shoelace formula.
fn area(polygon: &[Point]) -> f32 {
    let origin = polygon.first().copied().unwrap_or_default();
    let twice: f32 = polygon
        .windows(2)
        .map(|w| {
            (w[0][0] - origin[0]) * (w[1][1] - origin[1])
                - (w[0][1] - origin[1]) * (w[1][0] - origin[0])
        })
        .sum();
    twice.abs() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_by_hand() {
        assert!((coverage(GOAL, GOAL) - 1.0).abs() < 1e-4);
        let away = Pose {
            position: [56.0, 56.0],
            ..GOAL
        };
        assert_eq!(coverage(away, GOAL), 0.0);
        // Moved by 10 px along the top: both bars lose 10 px of their width in that direction.
        let straight = Pose {
            position: [200.0, 200.0],
            angle_rad: 0.0,
        };
        let moved = Pose {
            position: [210.0, 200.0],
            angle_rad: 0.0,
        };
        let lost = (10.0 * 30.0 + 10.0 * 90.0) / AREA;
        assert!((coverage(moved, straight) - (1.0 - lost)).abs() < 1e-4);
        // Upside down about the top's outer edge, nothing is shared.
        let flipped = Pose {
            position: [200.0, 200.0],
            angle_rad: std::f32::consts::PI,
        };
        assert!(coverage(flipped, straight) < 1e-4);
        // Turned by a quarter about the top's middle, both tops share a square of 30 px.
        let quarter = Pose {
            position: [215.0, 215.0],
            angle_rad: std::f32::consts::FRAC_PI_2,
        };
        let upper = clipped(
            &BARS[0].map(|p| quarter.to_world(p)),
            &BARS[0].map(|p| straight.to_world(p)),
        );
        assert!((area(&upper) - 900.0).abs() < 0.1, "{}", area(&upper));
    }

    #[test]
    fn coverage_is_symmetric() {
        let block = Pose {
            position: [270.0, 240.0],
            angle_rad: 2.0,
        };
        assert!((coverage(block, GOAL) - coverage(GOAL, block)).abs() < 1e-4);
    }

    #[test]
    fn distances_by_hand() {
        let pose = Pose {
            position: [100.0, 100.0],
            angle_rad: 0.0,
        };
        assert_eq!(pose.distance([100.0, 90.0]), 10.0);
        assert_eq!(pose.distance([100.0, 150.0]), 0.0);
        assert_eq!(pose.distance([163.0, 134.0]), 5.0);
        assert_eq!(pose.distance([100.0, 230.0]), 10.0);
        let there = GOAL.to_local(GOAL.to_world([7.0, 9.0]));
        assert!((there[0] - 7.0).abs() < 1e-4 && (there[1] - 9.0).abs() < 1e-4);
    }
}

//! Ways around the block: straight lines between points beside its corners.

use super::shape::{Point, Pose, distance};
use super::world::{AGENT_RADIUS_PX, WORLD_PX};

/// How far the agent's centre keeps from the block on its way.
const CLEARANCE_PX: f32 = AGENT_RADIUS_PX + 2.0;
/// How far it keeps from the edge of the world.
const MARGIN_PX: f32 = 4.0;
/// Distance between two points at which a way is looked at.
const PROBE_PX: f32 = 5.0;
/// Points to turn at, in the block's frame: beside the outer corners, with room for the agent's momentum.
const TURNS: [Point; 6] = [
    [-84.0, -24.0],
    [84.0, -24.0],
    [84.0, 54.0],
    [39.0, 144.0],
    [-39.0, 144.0],
    [-84.0, 54.0],
];

/// The shortest ways from a point to all others.
pub(super) struct Ways {
    block: Pose,
    /// The points to turn at, the way's beginning last, and how far each is from it.
    points: Vec<Point>,
    lengths: Vec<f32>,
}

impl Ways {
    /// The ways from a point. One too close to the block is left straight outwards first.
    pub(super) fn new(block: Pose, from: Point) -> Self {
        let mut points: Vec<Point> = TURNS.iter().map(|&turn| block.to_world(turn)).collect();
        points.push(cleared(block, from));
        let count = points.len();
        let mut lengths = vec![f32::INFINITY; count];
        lengths[count - 1] = 0.0;
        let mut done = vec![false; count];
        while let Some(i) = (0..count)
            .filter(|&i| !done[i])
            .min_by(|&a, &b| lengths[a].total_cmp(&lengths[b]))
        {
            done[i] = true;
            for k in 0..count {
                let length = lengths[i] + distance(points[i], points[k]);
                if length < lengths[k] && is_clear(block, points[i], points[k]) {
                    lengths[k] = length;
                }
            }
        }
        Self {
            block,
            points,
            lengths,
        }
    }

    /// The length of the way to a point, if there is one.
    pub(super) fn length(&self, to: Point) -> Option<f32> {
        let ends = self.points.iter().zip(&self.lengths);
        ends.filter(|&(&point, length)| length.is_finite() && is_clear(self.block, point, to))
            .map(|(&point, length)| length + distance(point, to))
            .min_by(f32::total_cmp)
    }
}

/// The next point to head for on the way between two points.
pub(super) fn next(block: Pose, from: Point, to: Point) -> Option<Point> {
    let free = cleared(block, from);
    if free != from && block.distance(from) < CLEARANCE_PX - 0.5 {
        return Some(free);
    }
    if is_clear(block, free, to) {
        return Some(to);
    }
    let back = Ways::new(block, to);
    let turns = back.points.iter().zip(&back.lengths).take(TURNS.len());
    turns
        .filter(|&(&turn, length)| {
            length.is_finite() && distance(turn, free) > 4.0 && is_clear(block, free, turn)
        })
        .min_by(|a, b| (a.1 + distance(*a.0, free)).total_cmp(&(b.1 + distance(*b.0, free))))
        .map(|(&turn, _)| turn)
}

/// Whether the agent's centre may be at a point, as far as the world's edge is concerned.
pub(super) fn is_inside(point: Point) -> bool {
    point
        .iter()
        .all(|v| (MARGIN_PX..=WORLD_PX - MARGIN_PX).contains(v))
}

/// The point itself, or the nearest one outwards that is clear of the block.
fn cleared(block: Pose, mut point: Point) -> Point {
    for _ in 0..20 {
        let missing = CLEARANCE_PX + 0.5 - block.distance(point);
        if missing <= 0.0 {
            break;
        }
        // Uphill on the distance, by its slope; inside the block, where it is flat, away from the middle.
        let slope = |i: usize| {
            let mut ahead = point;
            ahead[i] += 0.5;
            let mut behind = point;
            behind[i] -= 0.5;
            block.distance(ahead) - block.distance(behind)
        };
        let mut outward = [slope(0), slope(1)];
        if outward[0].hypot(outward[1]) < 0.1 {
            let middle = block.to_world([0.0, 45.0]);
            outward = [point[0] - middle[0], point[1] - middle[1] + 1e-3];
        }
        let length = outward[0].hypot(outward[1]);
        point = std::array::from_fn(|i| point[i] + outward[i] / length * missing.min(6.0));
    }
    point
}

/// Whether the agent can go straight between two points.
fn is_clear(block: Pose, from: Point, to: Point) -> bool {
    let probes = (distance(from, to) / PROBE_PX).ceil().max(1.0);
    (0..=probes as usize).all(|k| {
        let share = k as f32 / probes;
        let point = std::array::from_fn(|i| from[i] + share * (to[i] - from[i]));
        is_inside(point) && block.distance(point) >= CLEARANCE_PX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Pose = Pose {
        position: [256.0, 200.0],
        angle_rad: 0.0,
    };

    #[test]
    fn a_free_way_is_straight() {
        let (from, to) = ([50.0, 100.0], [450.0, 100.0]);
        assert_eq!(next(BLOCK, from, to), Some(to));
        assert_eq!(Ways::new(BLOCK, from).length(to), Some(400.0));
    }

    #[test]
    fn the_block_is_gone_around() {
        let (mut at, to) = ([256.0, 150.0], [290.0, 260.0]);
        assert!(Ways::new(BLOCK, at).length(to).unwrap() > 200.0);
        let mut legs = 0;
        while at != to {
            at = next(BLOCK, at, to).unwrap();
            assert!(BLOCK.distance(at) >= CLEARANCE_PX - 1e-3);
            legs += 1;
            assert!(legs < 6);
        }
    }

    #[test]
    fn a_touching_agent_leaves_first() {
        let leaving = next(BLOCK, [256.0, 185.0], [290.0, 260.0]).unwrap();
        assert!(
            (leaving[0] - 256.0).abs() < 0.5 && (182.0..184.0).contains(&leaving[1]),
            "{leaving:?}"
        );
    }

    #[test]
    fn what_the_wall_blocks_is_not_reached() {
        let flush = Pose {
            position: [256.0, 10.0],
            angle_rad: 0.0,
        };
        assert_eq!(Ways::new(flush, [256.0, 400.0]).length([256.0, -9.0]), None);
    }
}

//! Shortest ways around discs.

use rapier2d::prelude::Vector;

/// A disc to keep out of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disc {
    pub(super) center: Vector,
    pub(super) radius: f32,
}

/// Where a way first bends.
struct Corner {
    at: Vector,
    /// Where it bends next, or ends.
    next: Vector,
    disc: Disc,
}

/// Corners of the polygon that stands for a disc in the search.
const CORNERS: usize = 16;

/// Unit direction in which the shortest way from `start` to `goal` around the discs begins, staying `margin` inside the
/// unit square. A disc that holds `start` or `goal` shrinks until it does not. Straight on where there is no way.
pub(super) fn heading(start: Vector, goal: Vector, discs: &[Disc], margin: f32) -> Vector {
    let straight = (goal - start).normalize_or_zero();
    let discs: Vec<_> = discs.iter().map(|disc| shrink(disc, start, goal)).collect();
    if free(start, goal, &discs) {
        return straight;
    }
    first_corner(start, goal, &discs, margin).map_or(straight, |corner| tangent(start, &corner))
}

/// The largest disc of the same centre that holds neither point.
fn shrink(disc: &Disc, start: Vector, goal: Vector) -> Disc {
    let room = (start - disc.center)
        .length()
        .min((goal - disc.center).length())
        - 1e-4;
    Disc {
        center: disc.center,
        radius: disc.radius.min(room.max(0.0)),
    }
}

/// Whether the segment misses every disc.
fn free(from: Vector, to: Vector, discs: &[Disc]) -> bool {
    discs
        .iter()
        .all(|disc| distance_to_segment(disc.center, from, to) >= disc.radius)
}

/// Distance from a point to a segment.
pub(super) fn distance_to_segment(point: Vector, from: Vector, to: Vector) -> f32 {
    let along = to - from;
    let share = ((point - from).dot(along) / along.length_squared().max(1e-12)).clamp(0.0, 1.0);
    (from + along * share - point).length()
}

/// Direction from `start` along the tangent of the corner's disc, on the side where the way passes it. The exact tangent rather
/// than the corner, so that the heading turns smoothly as the start moves.
fn tangent(start: Vector, corner: &Corner) -> Vector {
    let to_center = corner.disc.center - start;
    let distance = to_center.length().max(1e-6);
    let angle = (corner.disc.radius / distance).min(1.0).asin();
    // The corner tells the side, unless it is so near that it lies beside the start; then what comes after it tells.
    let ahead = if (corner.at - start).length() > 0.5 * corner.disc.radius {
        corner.at
    } else {
        corner.next
    };
    let side = if to_center.perp_dot(ahead - start) >= 0.0 {
        1.0
    } else {
        -1.0
    };
    Vector::from_angle(side * angle).rotate(to_center / distance)
}

/// First corner of the shortest way over the discs' polygons (Dijkstra from the goal).
fn first_corner(start: Vector, goal: Vector, discs: &[Disc], margin: f32) -> Option<Corner> {
    let inside = |p: &Vector| p.x.min(p.y) >= margin && p.x.max(p.y) <= 1.0 - margin;
    let mut nodes = vec![(goal, usize::MAX)];
    for (index, disc) in discs.iter().enumerate() {
        let radius = disc.radius / (std::f32::consts::PI / CORNERS as f32).cos() + 1e-3;
        let corners = (0..CORNERS).map(|k| {
            disc.center
                + radius * Vector::from_angle(k as f32 * std::f32::consts::TAU / CORNERS as f32)
        });
        nodes.extend(
            corners
                .filter(inside)
                .filter(|&p| free(p, p, discs))
                .map(|p| (p, index)),
        );
    }
    let mut costs = vec![f32::INFINITY; nodes.len()];
    let mut next = vec![0; nodes.len()];
    let mut settled = vec![false; nodes.len()];
    costs[0] = 0.0;
    let mut best: Option<(f32, usize)> = None;
    loop {
        let open = (0..nodes.len()).filter(|&k| !settled[k] && costs[k].is_finite());
        let current = open.min_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        let Some(current) = current.filter(|&k| best.is_none_or(|(cost, _)| costs[k] < cost))
        else {
            break;
        };
        settled[current] = true;
        let (at, _) = nodes[current];
        let total = costs[current] + (at - start).length();
        if current > 0 && best.is_none_or(|(cost, _)| total < cost) && free(start, at, discs) {
            best = Some((total, current));
        }
        for node in 1..nodes.len() {
            let cost = costs[current] + (nodes[node].0 - at).length();
            if !settled[node] && cost < costs[node] && free(at, nodes[node].0, discs) {
                (costs[node], next[node]) = (cost, current);
            }
        }
    }
    best.map(|(_, node)| Corner {
        at: nodes[node].0,
        next: nodes[next[node]].0,
        disc: discs[nodes[node].1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Disc = Disc {
        center: Vector::new(0.5, 0.5),
        radius: 0.2,
    };

    #[test]
    fn a_clear_way_is_straight() {
        let heading = heading(Vector::new(0.1, 0.1), Vector::new(0.9, 0.1), &[WALL], 0.04);
        assert!((heading - Vector::new(1.0, 0.0)).length() < 1e-6);
    }

    #[test]
    fn following_the_heading_goes_around() {
        let (mut at, goal) = (Vector::new(0.1, 0.48), Vector::new(0.9, 0.5));
        for step in 0..120 {
            at += 0.01 * heading(at, goal, &[WALL], 0.04);
            assert!((at - WALL.center).length() > 0.19, "step {step} at {at}");
            if (at - goal).length() < 0.02 {
                return;
            }
        }
        panic!("never arrived, at {at}");
    }

    #[test]
    fn the_heading_turns_smoothly_along_the_way() {
        let goal = Vector::new(0.9, 0.5);
        let mut at = Vector::new(0.1, 0.45);
        let mut before = heading(at, goal, &[WALL], 0.04);
        for _ in 0..80 {
            at += 0.01 * before;
            let now = heading(at, goal, &[WALL], 0.04);
            assert!(
                now.angle_to(before).abs() < 0.12,
                "at {at}: {before} then {now}"
            );
            before = now;
        }
    }
}

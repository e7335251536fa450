//! Where the wall and its door are, what that forbids, and how it looks.

use armilla_core::Image;
use armilla_core::random::{fnv1a, stream};
use rand::RngExt as _;

use crate::draw::{Canvas, Rgb};

/// Side of the square world, in pixels of stable-worldmodel's picture.
pub const WORLD_PX: f32 = 224.0;
/// How far the agent's centre stays from a wall.
const AGENT_RADIUS_PX: f32 = 7.0;
/// Radius of the drawn disc: a little more than the body, so that it is well seen at 64 pixels.
const DRAWN_RADIUS_PX: f32 = 9.0;
/// Inner edge of the border on each side, and the thickness of its line.
const BORDER_PX: f32 = 14.0;
const BORDER_LINE_PX: f32 = 4.0;
/// Half the width of the door.
const DOOR_HALF_PX: f32 = 14.0;
/// Upstream judges the agent's centre against the door, and lets it this far past the door's edge.
const DOOR_MARGIN_PX: f32 = 1.75;
/// How far the agent's centre may be from the door's middle while it goes through.
pub(super) const PASSAGE_HALF_PX: f32 = DOOR_HALF_PX + DOOR_MARGIN_PX;
/// A step is carried out in pieces no longer than this.
const PIECE_PX: f32 = 1.0;
/// Smallest and largest coordinate the agent's centre can have.
const LOW_PX: f32 = BORDER_PX + AGENT_RADIUS_PX;
const HIGH_PX: f32 = WORLD_PX - LOW_PX;

/// A point or a step in the world, `[x, y]` in pixels, y down.
pub(super) type Point = [f32; 2];

/// Which layouts an episode may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// For recordings.
    Training,
    /// For evaluation: no wall and door that a recording can have.
    HeldOut,
}

/// A wall with one door across the world, and the colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The axis the wall is crossed along: 0 for a vertical wall (crossed along x), 1 for a horizontal one.
    pub(super) axis: usize,
    wall_px: u8,
    thickness_px: u8,
    door_px: u8,
    background: Rgb,
    wall: Rgb,
    agent: Rgb,
}

impl Layout {
    /// The layout of a seed. Every geometry belongs to one split by its hash, so the splits share none.
    pub(super) fn sample(seed: u64, split: Split) -> Self {
        let mut generator = stream(seed, "two-room/layout", u64::from(split == Split::HeldOut));
        loop {
            let layout = Self {
                axis: generator.random_range(0..2),
                wall_px: generator.random_range(92..=132),
                thickness_px: generator.random_range(7..=20),
                door_px: generator.random_range(38..=186),
                background: std::array::from_fn(|_| generator.random_range(205..=255)),
                wall: std::array::from_fn(|_| generator.random_range(0..=90)),
                agent: vivid(generator.random_range(0.0..6.0)),
            };
            if layout.split() == split {
                return layout;
            }
        }
    }

    /// The split that the geometry belongs to.
    fn split(&self) -> Split {
        if fnv1a(&self.geometry()).is_multiple_of(4) {
            Split::HeldOut
        } else {
            Split::Training
        }
    }

    fn geometry(&self) -> [u8; 4] {
        [
            self.axis as u8,
            self.wall_px,
            self.thickness_px,
            self.door_px,
        ]
    }

    /// A name for the layout: the hash of its geometry and colours.
    pub(super) fn scene(&self) -> String {
        let bytes = [
            &self.geometry()[..],
            &self.background,
            &self.wall,
            &self.agent,
        ]
        .concat();
        format!("{:016x}", fnv1a(&bytes))
    }

    /// A point by its coordinates across the wall and along it.
    fn point(&self, across: f32, along: f32) -> Point {
        if self.axis == 0 {
            [across, along]
        } else {
            [along, across]
        }
    }

    /// Half the thickness of what keeps the agent's centre out.
    fn half_zone(&self) -> f32 {
        f32::from(self.thickness_px) / 2.0 + AGENT_RADIUS_PX
    }

    /// Which room a point is in: -1 or 1, judged at the middle of the wall.
    pub(super) fn side(&self, point: Point) -> f32 {
        if point[self.axis] < f32::from(self.wall_px) {
            -1.0
        } else {
            1.0
        }
    }

    /// Distance of a point from the middle of the door, along the wall.
    pub(super) fn off_door(&self, point: Point) -> f32 {
        (point[1 - self.axis] - f32::from(self.door_px)).abs()
    }

    /// The point in front of the door's middle, just clear of the wall, in the room of a side.
    pub(super) fn gate(&self, side: f32) -> Point {
        let across = f32::from(self.wall_px) + side * (self.half_zone() + 1.0);
        self.point(across, f32::from(self.door_px))
    }

    /// Whether the agent's centre is where the wall's middle part (door included) keeps it narrow.
    pub(super) fn within_wall(&self, point: Point) -> bool {
        (point[self.axis] - f32::from(self.wall_px)).abs() < self.half_zone()
    }

    /// Whether the agent can be at a point.
    pub(super) fn is_free(&self, point: Point) -> bool {
        let inside = point.iter().all(|v| (LOW_PX..=HIGH_PX).contains(v));
        inside && (!self.within_wall(point) || self.off_door(point) <= PASSAGE_HALF_PX)
    }

    /// A point of a room, clear of the wall and the door.
    pub(super) fn sample_point(&self, generator: &mut impl rand::Rng) -> Point {
        loop {
            let point = std::array::from_fn(|_| generator.random_range(LOW_PX..=HIGH_PX));
            if !self.within_wall(point) {
                return point;
            }
        }
    }

    /// Whether the straight way between two points touches no wall.
    pub(super) fn is_straight_free(&self, from: Point, to: Point) -> bool {
        let (start, end) = (from[self.axis], to[self.axis]);
        let wall = f32::from(self.wall_px);
        let (near, far) = (wall - self.half_zone(), wall + self.half_zone());
        if start.max(end) <= near || start.min(end) >= far {
            return true;
        }
        // The part of the way within the wall's slab is straight too, so its two ends decide.
        [start, end].iter().all(|&across| {
            let share = if start == end {
                0.0
            } else {
                (across.clamp(near, far) - start) / (end - start)
            };
            self.off_door(std::array::from_fn(|i| from[i] + share * (to[i] - from[i])))
                <= PASSAGE_HALF_PX
        })
    }

    /// Moves the agent by a step, sliding along what is in its way.
    pub(super) fn moved(&self, from: Point, step: Point) -> Point {
        let pieces = (step[0].hypot(step[1]) / PIECE_PX).ceil().max(1.0);
        let mut at = from;
        for _ in 0..pieces as usize {
            for (i, change) in step.iter().enumerate() {
                at[i] = self.slid(at, i, change / pieces);
            }
        }
        at
    }

    /// The coordinate `i` after a short move along it, stopped at what is in the way.
    fn slid(&self, at: Point, i: usize, change: f32) -> f32 {
        let mut next = at;
        next[i] = (at[i] + change).clamp(LOW_PX, HIGH_PX);
        if self.is_free(next) {
            return next[i];
        }
        let (middle, half) = if i == self.axis {
            (f32::from(self.wall_px), self.half_zone())
        } else {
            (f32::from(self.door_px), PASSAGE_HALF_PX)
        };
        // Outside the wall's slab the slab's edge is in the way; in the passage its side is.
        let edge = middle + half.copysign(at[i] - middle);
        next[i] = edge;
        if self.is_free(next) { edge } else { at[i] }
    }

    /// The picture with the agent at a point.
    pub(super) fn draw(&self, agent: Point, image_size: usize) -> Image {
        let mut canvas = Canvas::new(image_size, WORLD_PX, self.background);
        let (outer, inner) = (BORDER_PX - BORDER_LINE_PX, BORDER_PX);
        for axis in 0..2 {
            for near in [outer, WORLD_PX - inner] {
                let (mut low, mut high) = ([outer; 2], [WORLD_PX - outer; 2]);
                (low[axis], high[axis]) = (near, near + BORDER_LINE_PX);
                canvas.rectangle(low, high, self.wall);
            }
        }
        let (wall, half) = (f32::from(self.wall_px), f32::from(self.thickness_px) / 2.0);
        let door = f32::from(self.door_px);
        for (start, end) in [
            (outer, door - DOOR_HALF_PX),
            (door + DOOR_HALF_PX, WORLD_PX - outer),
        ] {
            canvas.rectangle(
                self.point(wall - half, start),
                self.point(wall + half, end),
                self.wall,
            );
        }
        canvas.circle(agent, DRAWN_RADIUS_PX, self.agent);
        canvas.into_image()
    }
}

/// A saturated colour of a hue in [0, 6): 0 is red, 2 green, 4 blue.
fn vivid(hue: f32) -> Rgb {
    std::array::from_fn(|channel| {
        let away = (hue - 2.0 * channel as f32).rem_euclid(6.0);
        let away = away.min(6.0 - away);
        (220.0 * (2.0 - away).clamp(0.0, 1.0)) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn splits_share_no_layout() {
        let of = |split| {
            (0..600)
                .map(|seed| Layout::sample(seed, split))
                .collect::<Vec<_>>()
        };
        let (training, held_out) = (of(Split::Training), of(Split::HeldOut));
        let geometries = |layouts: &[Layout]| {
            layouts
                .iter()
                .map(Layout::geometry)
                .collect::<BTreeSet<_>>()
        };
        assert!(geometries(&training).is_disjoint(&geometries(&held_out)));
        let scenes =
            |layouts: &[Layout]| layouts.iter().map(Layout::scene).collect::<BTreeSet<_>>();
        assert!(scenes(&training).is_disjoint(&scenes(&held_out)));
        assert!(scenes(&training).len() > 590 && scenes(&held_out).len() > 590);
        assert!(training.iter().any(|l| l.axis == 0) && training.iter().any(|l| l.axis == 1));
    }

    #[test]
    fn nothing_goes_through_the_wall() {
        for seed in 0..300 {
            let layout = Layout::sample(seed, Split::Training);
            let mut generator = stream(seed, "test", 0);
            let mut at = layout.sample_point(&mut generator);
            for _ in 0..200 {
                let step = std::array::from_fn(|_| generator.random_range(-30.0..30.0));
                let next = layout.moved(at, step);
                assert!(layout.is_free(next), "{layout:?} {at:?} {next:?}");
                if layout.side(at) != layout.side(next) {
                    // It changed rooms within one long step: it must have been able to pass the door.
                    let reach = PASSAGE_HALF_PX + step[1 - layout.axis].abs();
                    assert!(
                        layout.off_door(next) <= reach + 1e-3,
                        "{layout:?} {at:?} {next:?}"
                    );
                }
                at = next;
            }
        }
    }

    #[test]
    fn steps_by_hand() {
        let layout = Layout {
            axis: 0,
            wall_px: 112,
            thickness_px: 10,
            door_px: 60,
            background: [255; 3],
            wall: [0; 3],
            agent: [255, 0, 0],
        };
        // The wall's slab begins 5 + 7 px before its middle; the rest of a step slides along it.
        for (from, step, expected) in [
            ([50.0, 50.0], [3.0, -4.0], [53.0, 46.0]),
            ([98.0, 150.0], [5.0, 5.0], [100.0, 155.0]),
            ([98.0, 60.0], [5.0, 0.0], [103.0, 60.0]),
            ([112.0, 74.0], [0.0, 5.0], [112.0, 75.75]),
            ([23.0, 22.0], [-5.0, -5.0], [21.0, 21.0]),
        ] {
            let to = layout.moved(from, step);
            let away = (to[0] - expected[0]).hypot(to[1] - expected[1]);
            assert!(away < 1e-4, "{from:?} {step:?} {to:?}");
        }
        assert!(layout.is_straight_free([50.0, 60.0], [180.0, 60.0]));
        assert!(!layout.is_straight_free([50.0, 100.0], [180.0, 100.0]));
        assert!(layout.is_straight_free([50.0, 100.0], [90.0, 190.0]));
    }
}

//! Where the wall and its door are, what that forbids, and how it looks.

use std::ops::RangeInclusive;

use armilla_core::Image;
use armilla_core::random::{fnv1a, stream};
use rand::RngExt as _;

use crate::draw::{Canvas, Form, Rgb, pale, vivid};
use crate::variation::Variation;

/// Side of the square world, in pixels of stable-worldmodel's picture.
pub const WORLD_PX: f32 = 224.0;
/// How far the agent's centre stays from a wall.
const AGENT_RADIUS_PX: u8 = 7;
/// How much larger the agent is drawn than its body, so that it is well seen at 64 pixels.
const DRAWN_MORE_PX: f32 = 2.0;
/// Inner edge of the border on each side, and the thickness of its line.
const BORDER_PX: f32 = 14.0;
const BORDER_LINE_PX: f32 = 4.0;
/// Half the width of the door.
const DOOR_HALF_PX: u8 = 14;
/// Upstream judges the agent's centre against the door, and lets it this far past the door's edge.
const DOOR_MARGIN_PX: f32 = 1.75;
/// Thickness of walls in recordings, and with [`Variation::Sizes`].
const THICKNESS_PX: RangeInclusive<u8> = 7..=20;
const VARIED_THICKNESS_PX: RangeInclusive<u8> = 24..=32;
/// Body and half door with [`Variation::Sizes`]; a large body and a narrow door would leave no way.
const VARIED_SIZES_PX: [(u8, u8); 3] = [(4, 10), (4, 20), (11, 20)];
/// A step is carried out in pieces no longer than this.
const PIECE_PX: f32 = 1.0;

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
    body_px: u8,
    door_half_px: u8,
    form: Form,
}

impl Layout {
    /// The layout of a seed. Every geometry belongs to one split by its hash, so the splits share none.
    pub(super) fn sample(seed: u64, split: Split) -> Self {
        let mut generator = stream(seed, "two-room/layout", u64::from(split == Split::HeldOut));
        loop {
            let layout = Self {
                axis: generator.random_range(0..2),
                wall_px: generator.random_range(92..=132),
                thickness_px: generator.random_range(THICKNESS_PX),
                door_px: generator.random_range(38..=186),
                background: std::array::from_fn(|_| generator.random_range(205..=255)),
                wall: std::array::from_fn(|_| generator.random_range(0..=90)),
                agent: vivid(generator.random_range(0.0..6.0)),
                body_px: AGENT_RADIUS_PX,
                door_half_px: DOOR_HALF_PX,
                form: Form::Disc,
            };
            if layout.split() == split {
                return layout;
            }
        }
    }

    /// The layout with one factor outside what recordings have; the rest stays as the seed gave it.
    pub(super) fn varied(self, seed: u64, variation: Variation) -> Self {
        let mut generator = stream(seed, "two-room/variation", 0);
        match variation {
            Variation::Colors => {
                let hue = generator.random_range(0.0..6.0);
                Self {
                    background: std::array::from_fn(|_| generator.random_range(100..=160)),
                    wall: vivid(hue),
                    agent: pale(hue + generator.random_range(2.0..4.0)),
                    ..self
                }
            }
            Variation::Sizes => {
                let (body_px, door_half_px) = VARIED_SIZES_PX[generator.random_range(0..3)];
                Self {
                    thickness_px: generator.random_range(VARIED_THICKNESS_PX),
                    body_px,
                    door_half_px,
                    ..self
                }
            }
            Variation::Shapes => Self {
                form: Form::OTHERS[generator.random_range(0..3)],
                ..self
            },
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

    /// A name for the layout: the hash of its geometry, its colours, and what only evaluation varies.
    pub(super) fn scene(&self) -> String {
        let mut bytes = [
            &self.geometry()[..],
            &self.background,
            &self.wall,
            &self.agent,
        ]
        .concat();
        let varied = [self.body_px, self.door_half_px, self.form as u8];
        if varied != [AGENT_RADIUS_PX, DOOR_HALF_PX, Form::Disc as u8] {
            bytes.extend(varied);
        }
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
        f32::from(self.thickness_px) / 2.0 + f32::from(self.body_px)
    }

    /// How far the agent's centre may be from the door's middle while it goes through.
    pub(super) fn passage_half(&self) -> f32 {
        f32::from(self.door_half_px) + DOOR_MARGIN_PX
    }

    /// Coordinates that the agent's centre can have.
    fn room(&self) -> RangeInclusive<f32> {
        let low = BORDER_PX + f32::from(self.body_px);
        low..=WORLD_PX - low
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
        let inside = point.iter().all(|v| self.room().contains(v));
        inside && (!self.within_wall(point) || self.off_door(point) <= self.passage_half())
    }

    /// A point of a room, clear of the wall and the door.
    pub(super) fn sample_point(&self, generator: &mut impl rand::Rng) -> Point {
        loop {
            let point = std::array::from_fn(|_| generator.random_range(self.room()));
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
                <= self.passage_half()
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
        next[i] = (at[i] + change).clamp(*self.room().start(), *self.room().end());
        if self.is_free(next) {
            return next[i];
        }
        let (middle, half) = if i == self.axis {
            (f32::from(self.wall_px), self.half_zone())
        } else {
            (f32::from(self.door_px), self.passage_half())
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
        let (door, opening) = (f32::from(self.door_px), f32::from(self.door_half_px));
        for (start, end) in [(outer, door - opening), (door + opening, WORLD_PX - outer)] {
            canvas.rectangle(
                self.point(wall - half, start),
                self.point(wall + half, end),
                self.wall,
            );
        }
        let radius = f32::from(self.body_px) + DRAWN_MORE_PX;
        canvas.form(self.form, agent, radius, self.agent);
        canvas.into_image()
    }
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
                    let reach = layout.passage_half() + step[1 - layout.axis].abs();
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
            body_px: AGENT_RADIUS_PX,
            door_half_px: DOOR_HALF_PX,
            form: Form::Disc,
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

    /// How far a colour is from the nearest of others.
    fn away(color: Rgb, others: impl Iterator<Item = Rgb>) -> f32 {
        let apart = |other: Rgb| {
            let squares = color
                .iter()
                .zip(other)
                .map(|(&a, b)| (f32::from(a) - f32::from(b)).powi(2));
            squares.sum::<f32>().sqrt()
        };
        others.map(apart).fold(f32::INFINITY, f32::min)
    }

    #[test]
    fn varied_colours_are_away_from_recorded_ones() {
        let recorded: Vec<_> = (0..2000)
            .map(|seed| Layout::sample(seed, Split::Training))
            .collect();
        for seed in 0..300 {
            let plain = Layout::sample(seed, Split::HeldOut);
            let varied = plain.clone().varied(seed, Variation::Colors);
            assert_eq!(varied.geometry(), plain.geometry());
            assert_ne!(varied.scene(), plain.scene());
            let parts: [fn(&Layout) -> Rgb; 3] = [|l| l.background, |l| l.wall, |l| l.agent];
            for part in parts {
                assert!(
                    away(part(&varied), recorded.iter().map(part)) > 70.0,
                    "{varied:?}"
                );
            }
            // It must still be seen.
            let drawn = [varied.background, varied.wall, varied.agent];
            for (i, &color) in drawn.iter().enumerate() {
                let others = drawn.iter().enumerate().filter(|(k, _)| *k != i);
                assert!(away(color, others.map(|(_, c)| *c)) > 60.0, "{varied:?}");
            }
        }
    }

    #[test]
    fn varied_sizes_and_shapes_are_none_of_the_recorded() {
        for seed in 0..300 {
            let plain = Layout::sample(seed, Split::HeldOut);
            let sizes = plain.clone().varied(seed, Variation::Sizes);
            assert!(!THICKNESS_PX.contains(&sizes.thickness_px));
            assert!(sizes.body_px != AGENT_RADIUS_PX && sizes.door_half_px != DOOR_HALF_PX);
            let shapes = plain.clone().varied(seed, Variation::Shapes);
            assert_ne!(shapes.form, Form::Disc);
            let at = [60.0, 60.0];
            assert_ne!(shapes.draw(at, 64), plain.draw(at, 64));
            assert_eq!(shapes.moved(at, [4.0, 3.0]), plain.moved(at, [4.0, 3.0]));
        }
    }
}

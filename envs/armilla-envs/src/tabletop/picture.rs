//! What the camera above the table sees.

use armilla_core::Image;
use armilla_core::random::stream;
use rand::RngExt as _;

use super::kinds::{COLORS, Kind};
use super::physics::{PUSHER_RADIUS, Physics};
use crate::draw::{Canvas, Form, Rgb, vivid};
use crate::variation::Variation;

/// What things look like, and how large the pusher is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    table: Rgb,
    pusher: Rgb,
    /// In the order of [`COLORS`].
    objects: [Rgb; COLORS.len()],
    form: Form,
    /// In metres, in the physics too.
    pub(super) pusher_radius: f32,
}

/// The pusher's radius with [`Variation::Sizes`], in metres.
const VARIED_RADII: [f32; 2] = [0.03, 0.05];

impl Look {
    /// The look of a seed, as recorded but for what varies.
    pub(super) fn of(seed: u64, variation: Option<Variation>) -> Self {
        let mut generator = stream(seed, "tabletop-variation", 0);
        let recorded = Self {
            table: [226, 221, 211],
            pusher: [28, 28, 32],
            objects: COLORS.map(|(_, color)| color),
            form: Form::Disc,
            pusher_radius: PUSHER_RADIUS,
        };
        match variation {
            None => recorded,
            Some(Variation::Colors) => Self {
                table: std::array::from_fn(|_| generator.random_range(100..=160)),
                pusher: vivid(generator.random_range(0.0..6.0)),
                // Paler, but still what their names say.
                objects: recorded.objects.map(|color| color.map(half_white)),
                ..recorded
            },
            Some(Variation::Sizes) => Self {
                pusher_radius: VARIED_RADII[generator.random_range(0..2)],
                ..recorded
            },
            Some(Variation::Shapes) => Self {
                form: Form::OTHERS[generator.random_range(0..3)],
                ..recorded
            },
        }
    }
}

/// Half way to white, of one channel.
fn half_white(value: u8) -> u8 {
    u8::MAX - (u8::MAX - value) / 2
}

/// Draws table, objects and pusher; the table fills the picture.
pub(super) fn draw(look: &Look, physics: &Physics, kinds: &[Kind], size: usize) -> Image {
    let mut canvas = Canvas::new(size, 1.0, look.table);
    for (index, kind) in kinds.iter().enumerate() {
        let (pose, color) = (physics.pose(index), look.objects[kind.color]);
        let corners = kind.shape.outline();
        if corners.is_empty() {
            canvas.circle(pose.translation.to_array(), kind.shape.radius(), color);
        } else {
            let placed: Vec<_> = corners
                .iter()
                .map(|&corner| pose.transform_point(corner).to_array())
                .collect();
            canvas.polygon(&placed, color);
        }
    }
    let pusher = physics.pusher().to_array();
    canvas.form(look.form, pusher, look.pusher_radius, look.pusher);
    canvas.into_image()
}

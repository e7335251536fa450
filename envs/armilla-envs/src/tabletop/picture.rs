//! What the camera above the table sees.

use armilla_core::Image;

use super::kinds::{COLORS, Kind};
use super::physics::{PUSHER_RADIUS, Physics};
use crate::draw::{Canvas, Rgb};

const TABLE: Rgb = [226, 221, 211];
const PUSHER: Rgb = [28, 28, 32];

/// Draws table, objects and pusher; the table fills the picture.
pub(super) fn draw(physics: &Physics, kinds: &[Kind], size: usize) -> Image {
    let mut canvas = Canvas::new(size, 1.0, TABLE);
    for (index, kind) in kinds.iter().enumerate() {
        let (pose, color) = (physics.pose(index), COLORS[kind.color].1);
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
    canvas.circle(physics.pusher().to_array(), PUSHER_RADIUS, PUSHER);
    canvas.into_image()
}

//! Geometry of the shapes, in metres around their centre.

use rapier2d::prelude::{SharedShape, Vector};

use super::kinds::Shape;

/// Half the side of a square.
pub(super) const SQUARE_HALF: f32 = 0.066;
/// Half the length and half the width of a cross's bars.
pub(super) const CROSS_HALF: (f32, f32) = (0.092, 0.03);
/// Radius of a circle.
pub(super) const CIRCLE_RADIUS: f32 = 0.074;
/// Distance from a triangle's centre to its corners.
const TRIANGLE_RADIUS: f32 = 0.1;

impl Shape {
    /// Radius of the smallest circle around its centre that holds it, in metres.
    pub(super) fn radius(self) -> f32 {
        match self {
            Self::Circle => CIRCLE_RADIUS,
            Self::Square => SQUARE_HALF * std::f32::consts::SQRT_2,
            Self::Triangle => TRIANGLE_RADIUS,
            Self::Cross => CROSS_HALF.0.hypot(CROSS_HALF.1),
        }
    }

    /// Corners of its outline around its centre, in metres; none for the circle.
    pub(super) fn outline(self) -> Vec<Vector> {
        let (long, short) = CROSS_HALF;
        match self {
            Self::Circle => Vec::new(),
            Self::Square => [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
                .map(|(x, y)| Vector::new(x, y) * SQUARE_HALF)
                .to_vec(),
            Self::Triangle => [-90.0_f32, 30.0, 150.0]
                .map(|degrees| Vector::from_angle(degrees.to_radians()) * TRIANGLE_RADIUS)
                .to_vec(),
            Self::Cross => [
                (-short, -long),
                (short, -long),
                (short, -short),
                (long, -short),
                (long, short),
                (short, short),
                (short, long),
                (-short, long),
                (-short, short),
                (-long, short),
                (-long, -short),
                (-short, -short),
            ]
            .map(|(x, y)| Vector::new(x, y))
            .to_vec(),
        }
    }

    /// Convex pieces that make it up.
    pub(super) fn pieces(self) -> Vec<SharedShape> {
        let (long, short) = CROSS_HALF;
        match self {
            Self::Circle => vec![SharedShape::ball(CIRCLE_RADIUS)],
            Self::Square => vec![SharedShape::cuboid(SQUARE_HALF, SQUARE_HALF)],
            Self::Triangle => {
                let corners = self.outline();
                vec![SharedShape::triangle(corners[0], corners[1], corners[2])]
            }
            Self::Cross => vec![
                SharedShape::cuboid(long, short),
                SharedShape::cuboid(short, long),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::SHAPES;

    #[test]
    fn the_radius_reaches_the_farthest_corner() {
        for shape in SHAPES {
            let farthest = shape
                .outline()
                .iter()
                .map(|corner| corner.length())
                .fold(0.0, f32::max);
            assert!(
                farthest == 0.0 || (farthest - shape.radius()).abs() < 1e-6,
                "{shape:?} {farthest}"
            );
        }
    }

    #[test]
    fn pieces_fill_the_outline() {
        for shape in SHAPES {
            for corner in shape.outline() {
                let inner = corner * 0.99;
                assert!(
                    shape
                        .pieces()
                        .iter()
                        .any(|piece| piece.contains_local_point(inner)),
                    "{shape:?} {corner}"
                );
            }
        }
    }
}

//! The camera: a thin layer over `tiny-skia`.
//!
//! A [`Canvas`] takes shapes in world units and rasterizes them straight at the picture's size, anti-aliased, so no large
//! picture is drawn to be shrunk afterwards. The world's origin is the top-left corner, x to the right and y down.

use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, TAU};

use armilla_core::Image;
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Transform};

/// An RGB colour.
pub type Rgb = [u8; 3];

/// What a round body is drawn as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Disc,
    /// Three equal sides, a corner up.
    Triangle,
    /// Four equal sides, one of them up.
    Square,
    /// Four equal sides, a corner up.
    Diamond,
}

impl Form {
    /// All that a disc can be drawn as instead.
    pub(crate) const OTHERS: [Self; 3] = [Self::Triangle, Self::Square, Self::Diamond];
}

/// A saturated colour of a hue in [0, 6): 0 is red, 2 green, 4 blue. One channel is always 0.
pub(crate) fn vivid(hue: f32) -> Rgb {
    std::array::from_fn(|channel| {
        let away = (hue - 2.0 * channel as f32).rem_euclid(6.0);
        let away = away.min(6.0 - away);
        (220.0 * (2.0 - away).clamp(0.0, 1.0)) as u8
    })
}

/// A pale colour of a hue: no channel below 130.
pub(crate) fn pale(hue: f32) -> Rgb {
    vivid(hue).map(|value| 130 + value / 2)
}

/// A square picture being drawn.
pub struct Canvas {
    pixmap: Pixmap,
    transform: Transform,
}

impl Canvas {
    /// A picture of `image_size` pixels a side that shows the square world from 0 to `world_size`, filled with one colour.
    ///
    /// # Panics
    ///
    /// When the picture has no pixel.
    #[must_use]
    pub fn new(image_size: usize, world_size: f32, background: Rgb) -> Self {
        let side = u32::try_from(image_size).unwrap_or(u32::MAX);
        let mut pixmap =
            Pixmap::new(side, side).expect("a picture has at least one pixel and fits the memory");
        let [red, green, blue] = background;
        pixmap.fill(Color::from_rgba8(red, green, blue, 255));
        let scale = image_size as f32 / world_size;
        Self {
            pixmap,
            transform: Transform::from_scale(scale, scale),
        }
    }

    /// Fills the axis-aligned rectangle between two corners, `[x, y]` each. An empty one draws nothing.
    pub fn rectangle(&mut self, low: [f32; 2], high: [f32; 2], color: Rgb) {
        if let Some(rect) = Rect::from_ltrb(low[0], low[1], high[0], high[1]) {
            self.fill(&PathBuilder::from_rect(rect), color);
        }
    }

    /// Fills a disc.
    pub fn circle(&mut self, center: [f32; 2], radius: f32, color: Rgb) {
        if let Some(path) = PathBuilder::from_circle(center[0], center[1], radius) {
            self.fill(&path, color);
        }
    }

    /// Fills a form of the area of a disc.
    pub fn form(&mut self, form: Form, center: [f32; 2], radius: f32, color: Rgb) {
        let (corners, first_rad) = match form {
            Form::Disc => return self.circle(center, radius, color),
            Form::Triangle => (3, -FRAC_PI_2),
            Form::Square => (4, FRAC_PI_4),
            Form::Diamond => (4, 0.0),
        };
        let between = TAU / corners as f32;
        let outer = radius * (TAU / (corners as f32 * between.sin())).sqrt();
        let points: Vec<_> = (0..corners)
            .map(|corner| (first_rad + corner as f32 * between).sin_cos())
            .map(|(sin, cos)| [center[0] + outer * cos, center[1] + outer * sin])
            .collect();
        self.polygon(&points, color);
    }

    /// Fills the polygon through these points. Fewer than three draw nothing.
    pub fn polygon(&mut self, points: &[[f32; 2]], color: Rgb) {
        let (Some(first), true) = (points.first(), points.len() >= 3) else {
            return;
        };
        let mut builder = PathBuilder::with_capacity(points.len() + 1, points.len());
        builder.move_to(first[0], first[1]);
        for point in &points[1..] {
            builder.line_to(point[0], point[1]);
        }
        builder.close();
        if let Some(path) = builder.finish() {
            self.fill(&path, color);
        }
    }

    /// Fills a polygon given in its own frame, placed at a position and turned by an angle (x towards y).
    pub fn polygon_at(
        &mut self,
        points: &[[f32; 2]],
        position: [f32; 2],
        angle_rad: f32,
        color: Rgb,
    ) {
        let (sin, cos) = angle_rad.sin_cos();
        let placed: Vec<_> = points
            .iter()
            .map(|[x, y]| {
                [
                    position[0] + cos * x - sin * y,
                    position[1] + sin * x + cos * y,
                ]
            })
            .collect();
        self.polygon(&placed, color);
    }

    /// The finished picture.
    #[must_use]
    pub fn into_image(self) -> Image {
        let (height, width) = (self.pixmap.height() as usize, self.pixmap.width() as usize);
        let mut image = Image::filled(height, width, [0; 3]);
        for (rgb, rgba) in image
            .data_mut()
            .chunks_exact_mut(3)
            .zip(self.pixmap.data().chunks_exact(4))
        {
            rgb.copy_from_slice(&rgba[..3]);
        }
        image
    }

    /// Fills a path given in world units.
    fn fill(&mut self, path: &Path, color: Rgb) {
        let mut paint = Paint::default();
        paint.set_color_rgba8(color[0], color[1], color[2], 255);
        paint.anti_alias = true;
        self.pixmap
            .fill_path(path, &paint, FillRule::Winding, self.transform, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Rgb = [255; 3];
    const RED: Rgb = [255, 0, 0];

    /// Share of the picture that a red shape covers, counting partly covered pixels partly.
    fn covered(canvas: Canvas) -> f32 {
        let image = canvas.into_image();
        let missing: f32 = image
            .data()
            .chunks_exact(3)
            .map(|rgb| f32::from(255 - rgb[1]) / 255.0)
            .sum();
        missing / (image.height() * image.width()) as f32
    }

    #[test]
    fn world_units_scale_to_pixels() {
        let mut canvas = Canvas::new(64, 512.0, WHITE);
        canvas.rectangle([0.0, 256.0], [256.0, 512.0], RED);
        let image = canvas.into_image();
        assert_eq!((image.height(), image.width()), (64, 64));
        assert_eq!(image.pixel(63, 0), RED);
        assert_eq!(image.pixel(63, 32), WHITE);
        assert_eq!(image.pixel(31, 0), WHITE);
    }

    #[test]
    fn areas_are_right() {
        let mut disc = Canvas::new(64, 10.0, WHITE);
        disc.circle([5.0, 5.0], 2.0, RED);
        assert!((covered(disc) - std::f32::consts::PI * 4.0 / 100.0).abs() < 2e-3);
        let mut turned = Canvas::new(64, 10.0, WHITE);
        turned.polygon_at(
            &[[-2.0, -1.0], [2.0, -1.0], [2.0, 1.0], [-2.0, 1.0]],
            [5.0, 5.0],
            0.7,
            RED,
        );
        assert!((covered(turned) - 0.08).abs() < 2e-3);
    }

    #[test]
    fn forms_have_the_disc_s_area() {
        for form in Form::OTHERS {
            let mut canvas = Canvas::new(64, 10.0, WHITE);
            canvas.form(form, [5.0, 5.0], 2.0, RED);
            let area = covered(canvas);
            assert!(
                (area - 0.04 * std::f32::consts::PI).abs() < 4e-3,
                "{form:?} {area}"
            );
        }
    }

    #[test]
    fn a_quarter_turn_takes_x_to_y() {
        let mut canvas = Canvas::new(10, 10.0, WHITE);
        let arm = [[0.0, -0.5], [4.0, -0.5], [4.0, 0.5], [0.0, 0.5]];
        canvas.polygon_at(&arm, [5.5, 5.0], std::f32::consts::FRAC_PI_2, RED);
        let image = canvas.into_image();
        assert_eq!(image.pixel(7, 5), RED);
        assert_eq!(image.pixel(2, 5), WHITE);
    }

    #[test]
    fn nothing_is_drawn_of_degenerate_shapes() {
        let mut canvas = Canvas::new(8, 8.0, WHITE);
        canvas.polygon(&[[0.0, 0.0], [8.0, 8.0]], RED);
        canvas.rectangle([4.0, 4.0], [4.0, 8.0], RED);
        canvas.circle([4.0, 4.0], -1.0, RED);
        assert!(covered(canvas) < 1e-6);
    }
}

//! Pictures beside the same pictures turned and shifted: what [`sprites`](crate::jepa::sprites) and points in their [`plane`](crate::jepa::plane) learn from.

use std::f32::consts::TAU;

use armilla_core::WindowBatch;
use armilla_nn::images::{CHANNELS, images_to_tensor};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// How far a turned picture is shifted along each axis, at most, as a share of its side.
const SHIFT: f32 = 0.15;

/// Pictures of a camera that looks down, each beside itself shifted, then turned about its middle by an angle of its own.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The pictures, `[batch, height, width, 3]`, in `[-0.5, 0.5]`.
    pub plain: Tensor<4>,
    /// The same turned and shifted; what lies outside has the picture's middle colour, mostly its
    /// ground's: a border would be an edge that says how the picture was turned.
    pub turned: Tensor<4>,
    /// Cosine of each angle, from x to the right towards y down, `[batch, 1]`.
    pub cosines: Tensor<2>,
    /// Its sine.
    pub sines: Tensor<2>,
    /// What is moved to the middle before it is turned, from there and in sides of the picture, `[batch, 2]`.
    pub middles: Tensor<2>,
}

impl Rotated {
    /// Turns the first picture, the first camera's, of each window of the first half: they suffice, and cost half as much.
    #[must_use]
    pub fn draw(windows: &WindowBatch, generator: &mut ChaCha8Rng, device: &Device) -> Self {
        let camera = &windows.cameras[0];
        let each = camera.images.len() / windows.batch.max(1);
        let batch = windows.batch.div_ceil(2);
        let first = |index: usize| &camera.images[index * each..][..camera.picture_len()];
        let ways: Vec<_> = (0..batch).map(|_| Way::draw(generator)).collect();
        let pictures = ways.par_iter().enumerate();
        let (plain, turned): (Vec<_>, Vec<_>) = pictures
            .map(|(index, way)| {
                let picture = first(index);
                (picture.to_vec(), way.picture(picture, camera.width))
            })
            .unzip();
        let shape = [batch, camera.height, camera.width];
        let images = |pixels: Vec<Vec<u8>>| images_to_tensor(&pixels.concat(), shape, device);
        let column = |value: fn(&Way) -> f32| {
            let values: Vec<_> = ways.iter().map(value).collect();
            Tensor::from_data(TensorData::new(values, [batch, 1]), device)
        };
        let middles: Vec<_> = ways.iter().flat_map(|way| way.middle).collect();
        Self {
            middles: Tensor::from_data(TensorData::new(middles, [batch, 2]), device),
            plain: images(plain),
            turned: images(turned),
            cosines: column(|way| way.cosine),
            sines: column(|way| way.sine),
        }
    }

    /// Arrows in the plane of the turned pictures as they were before.
    ///
    /// # Shapes
    ///
    /// - arrows: `[batch, arrows, 2]`, x and y of each, and the same out
    #[must_use]
    pub fn arrows_back(&self, arrows: Tensor<3>) -> Tensor<3> {
        let [cosines, sines] =
            [&self.cosines, &self.sines].map(|column| column.clone().unsqueeze_dim::<3>(2));
        turned(&arrows, cosines, -sines)
    }

    /// Points in the plane of the turned pictures, from their middle in sides, where they were before.
    ///
    /// # Shapes
    ///
    /// - as of [`Self::arrows_back`]
    #[must_use]
    pub fn points_back(&self, points: Tensor<3>) -> Tensor<3> {
        self.arrows_back(points) + self.middles.clone().unsqueeze_dim::<3>(1)
    }
}

/// Vectors turned from x towards y by angles with these cosines and sines.
///
/// # Shapes
///
/// - vectors: `[batch, vectors, 2]`, and the same out
/// - cosines, sines: `[batch, vectors, 1]`, either of the two 1 where all are turned alike
pub(crate) fn turned(vectors: &Tensor<3>, cosines: Tensor<3>, sines: Tensor<3>) -> Tensor<3> {
    let [x, y] = [0, 1].map(|axis| vectors.clone().narrow(2, axis, 1));
    let turned = [
        x.clone() * cosines.clone() - y.clone() * sines.clone(),
        x * sines + y * cosines,
    ];
    Tensor::cat(turned.into(), 2)
}

/// How a picture is shifted, then turned.
struct Way {
    cosine: f32,
    sine: f32,
    /// What comes to the middle, from there in sides of the picture, x then y.
    middle: [f32; 2],
}

impl Way {
    fn draw(generator: &mut ChaCha8Rng) -> Self {
        let (sine, cosine) = generator.random_range(0.0..TAU).sin_cos();
        let middle = std::array::from_fn(|_| generator.random_range(-SHIFT..SHIFT));
        Self {
            cosine,
            sine,
            middle,
        }
    }

    /// A picture `[height, width, channel]`, each of its pixels mixed from the four around the place that it comes from.
    fn picture(&self, picture: &[u8], width: usize) -> Vec<u8> {
        let height = picture.len() / (width * CHANNELS);
        let outside = middle_color(picture);
        let pixel = |row: usize, column: usize| match row < height && column < width {
            true => std::array::from_fn(|channel| {
                f32::from(picture[(row * width + column) * CHANNELS + channel])
            }),
            false => outside,
        };
        let half = |length: usize| (length as f32 - 1.0) / 2.0;
        let mut turned = Vec::with_capacity(picture.len());
        for index in 0..height * width {
            let x = (index % width) as f32 - half(width);
            let y = (index / width) as f32 - half(height);
            let from_x = self.cosine * x + self.sine * y + self.middle[0] * width as f32;
            let from_y = self.cosine * y - self.sine * x + self.middle[1] * height as f32;
            let [from_x, from_y] = [from_x + half(width), from_y + half(height)];
            let [left, top] = [from_x.floor(), from_y.floor()];
            let [right, below] = [from_x - left, from_y - top];
            // Negative places become far ones, which lie outside too.
            let at = |place: f32| (place as isize).cast_unsigned();
            let corners: [([f32; CHANNELS], f32); 4] = [
                (pixel(at(top), at(left)), (1.0 - below) * (1.0 - right)),
                (pixel(at(top), at(left + 1.0)), (1.0 - below) * right),
                (pixel(at(top + 1.0), at(left)), below * (1.0 - right)),
                (pixel(at(top + 1.0), at(left + 1.0)), below * right),
            ];
            turned.extend((0..CHANNELS).map(|channel| {
                let parts = corners.iter().map(|(color, share)| color[channel] * share);
                (parts.sum::<f32>() + 0.5) as u8
            }));
        }
        turned
    }
}

/// The median of each channel.
fn middle_color(picture: &[u8]) -> [f32; CHANNELS] {
    std::array::from_fn(|channel| {
        let values = picture.iter().skip(channel).step_by(CHANNELS);
        let mut values: Vec<_> = values.copied().collect();
        let middle = values.len() / 2;
        f32::from(*values.select_nth_unstable(middle).1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::CameraWindows;
    use armilla_core::random::stream;

    const SIDE: usize = 33;

    /// A picture with a bright square around a place, `[x, y]` from the middle.
    fn lit([x, y]: [i32; 2]) -> Vec<u8> {
        let mut picture = vec![0; SIDE * SIDE * CHANNELS];
        for (row, column) in (-1..=1).flat_map(|row| (-1..=1).map(move |column| (row, column))) {
            let at = (y + row + 16) * SIDE as i32 + x + column + 16;
            picture[at as usize * CHANNELS..][..CHANNELS].fill(255);
        }
        picture
    }

    /// Where the light is, `[x, y]` from the middle.
    fn place(picture: &[f32]) -> [f32; 2] {
        let (mut sum, mut place) = (0.0, [0.0; 2]);
        for (index, pixel) in picture.chunks(CHANNELS).enumerate() {
            let light = (pixel[0] + 0.5 - 0.05).max(0.0);
            sum += light;
            place[0] += light * ((index % SIDE) as f32 - 16.0);
            place[1] += light * ((index / SIDE) as f32 - 16.0);
        }
        place.map(|value| value / sum)
    }

    #[test]
    fn arrows_and_points_of_turned_pictures_are_turned_back() {
        // Both ends of an arrow in pictures that are turned and shifted alike.
        let ends = [[-2, 1], [3, -4]];
        for seed in 0..20 {
            let [from, to] = ends.map(|end| {
                let windows = WindowBatch {
                    batch: 1,
                    cameras: vec![CameraWindows {
                        height: SIDE,
                        width: SIDE,
                        images: lit(end),
                        ..CameraWindows::default()
                    }],
                    ..WindowBatch::default()
                };
                let mut generator = stream(seed, "rotations", 0);
                Rotated::draw(&windows, &mut generator, &Device::flex())
            });
            let [from_end, to_end] = [&from, &to].map(|rotated| {
                let turned = rotated.turned.clone().into_data();
                place(&turned.iter::<f32>().collect::<Vec<_>>())
            });
            let arrow = [to_end[0] - from_end[0], to_end[1] - from_end[1]];
            let arrow = Tensor::from_floats([[arrow]], &Device::flex());
            let point = Tensor::from_floats([[to_end]], &Device::flex()) / SIDE as f32;
            let found = [
                (from.arrows_back(arrow), [5.0, -5.0]),
                (from.points_back(point) * SIDE as f32, [3.0, -4.0]),
            ];
            for (found, expected) in found {
                let found = found.into_data();
                for (found, expected) in found.iter::<f32>().zip(expected) {
                    assert!((found - expected).abs() < 0.2, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn nothing_turned_is_the_picture_itself() {
        let way = Way {
            cosine: 1.0,
            sine: 0.0,
            middle: [0.0; 2],
        };
        let picture: Vec<_> = (0..SIDE * SIDE * CHANNELS)
            .map(|value| value as u8)
            .collect();
        assert_eq!(way.picture(&picture, SIDE), picture);
        let away = Way {
            middle: [2.0, 0.0],
            ..way
        };
        let ground = lit([3, -4]);
        assert_eq!(away.picture(&ground, SIDE), vec![0; ground.len()]);
    }
}

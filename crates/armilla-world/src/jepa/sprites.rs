//! Sprites: things that look the same wherever they are and however they are turned. A picture is a ground that never changes, and
//! sprites laid on it, each at a place and with a heading; learning to paint pictures so tells where the things are and how they are turned,
//! without being told. What a fixed ground shows, as a goal beneath a block, is the ground's and no longer disturbs.
//!
//! What a sprite looks like is a small network over places in its own frame (as NeRF's over a scene, arXiv 2003.08934), so that its
//! place and heading get gradients from every pixel. From a turned picture too the picture is painted as it was, by the pose turned
//! back: headings must turn with pictures, which leads out of most of the angles at which painting alone would stay.
//! Sprites as a decoder's parts are those of AIR (arXiv 1603.08575) and MarioNette (arXiv 2104.14553).

use armilla_nn::Activation;
use armilla_nn::layers::{Linear, LinearConfig, Mlp, MlpConfig, batch_norm};
use armilla_nn::random::below;
use armilla_nn::reduction::{mean, mean_squared_error};
use burn::module::{Initializer, Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::FRAC_PI_2;

use super::plane::{Seen, WIDTH, grid};
use crate::rotation::Rotated;

/// How far a sprite reaches from its place, in sides of the picture; beyond, it fades away.
const REACH: f32 = 0.15;
/// How steeply.
const FADING: f32 = 3.0;
/// What a sprite's opacity begins with, before the sigmoid.
const TRANSPARENT: f32 = -1.0;
/// Waves over a sprite along each of its axes, from a quarter of one across its reach, each twice as many as the one before.
const OCTAVES: usize = 3;
/// Width of the network that paints a sprite.
const HIDDEN: usize = 48;
/// Pixels of each picture that are painted at a step.
const PAINTED: usize = 512;
/// The ground's colours are this many times its parameters, which move by the learning rate and begin at grey.
const GROUND: f32 = 16.0;
/// Weight of the painted pixels' error.
const PAINTING: f64 = 4.0;
/// Weight of how far poses of a picture and of it turned are apart. A heading's length grows or shrinks freely, so that this holds it small
/// and easy to turn.
const AGREEMENT: f64 = 4e-3;
/// Keeps the direction of a heading without length.
const SHORTEST: f32 = 1e-3;

/// Pictures to poses, and poses to pictures.
#[derive(Module, Debug)]
pub struct Sprites {
    /// Features to how much the place of each sprite attends to a place.
    places: Linear,
    /// The same for its heading.
    looks: Linear,
    norm: BatchNorm,
    /// What a sprite looks at, to its heading.
    headings: Linear,
    /// Places in each sprite's frame to colour and opacity.
    painters: Vec<Mlp>,
    /// The colours of what never changes, `[pixels, 3]`.
    ground: Param<Tensor<2>>,
}

/// Where sprites are and how they are turned.
#[derive(Clone, Debug)]
pub(super) struct Poses {
    /// From the picture's middle in its sides, x to the right and y down, `[batch, sprites, 2]`.
    pub(super) places: Tensor<3>,
    /// Where each sprite's own x axis points, of any length, `[batch, sprites, 2]`.
    pub(super) headings: Tensor<3>,
}

impl Sprites {
    /// As many sprites over pictures of so many pixels, as high as wide.
    pub(super) fn new(count: usize, pixels: usize, device: &Device) -> Self {
        let linear = |outputs| LinearConfig::new(WIDTH, outputs).init(device);
        let painter = MlpConfig::new(2 + 4 * OCTAVES, HIDDEN, 4)
            .with_activation(Activation::Silu)
            .with_depth(3);
        Self {
            places: linear(count),
            looks: linear(count),
            norm: BatchNormConfig::new(WIDTH).init(device),
            headings: linear(2),
            painters: (0..count).map(|_| painter.init(device)).collect(),
            ground: Initializer::Zeros.init([pixels, 3], device),
        }
    }

    pub(super) fn poses(&self, seen: &Seen) -> Poses {
        let looked = seen.attention(&self.looks).matmul(seen.features.clone()); // [batch, sprites, WIDTH]
        let [batch, sprites, width] = looked.dims();
        let looked = batch_norm(&self.norm, looked.reshape([batch * sprites, width]), None);
        Poses {
            places: seen.attended(&self.places),
            headings: self.headings.forward(looked).reshape([batch, sprites, 2]),
        }
    }

    /// The colours of some pixels of pictures with the poses.
    ///
    /// # Shapes
    ///
    /// - pixels: which, row by row, and the same of all pictures
    /// - output: `[batch, pixels, 3]`, about `[-0.5, 0.5]`
    fn paint(&self, poses: &Poses, pixels: &Tensor<1, Int>) -> Tensor<3> {
        let side = self.ground.dims()[0].isqrt();
        let middles = grid(side, side, &poses.places.device()).select(0, pixels.clone());
        let ground = self.ground.val().select(0, pixels.clone()) * GROUND;
        let Poses { places, headings } = poses.unit();
        let mut picture = ground.unsqueeze::<3>(); // [1, pixels, 3]
        for (index, painter) in self.painters.iter().enumerate() {
            let of_it = |values: &Tensor<3>| values.clone().narrow(1, index, 1); // [batch, 1, 2]
            let apart = (middles.clone().unsqueeze::<3>() - of_it(&places)) / REACH;
            let painted = painter.forward(waves(in_frame(&apart, &of_it(&headings))));
            let beyond = relu(apart.square().sum_dim(2) - 1.0) * FADING;
            let opacity = sigmoid(painted.clone().narrow(2, 3, 1) + TRANSPARENT - beyond);
            picture = picture.clone() + (painted.narrow(2, 0, 3) - picture) * opacity;
        }
        picture
    }

    /// How far pictures painted from the poses seen in them, and in them turned, are from the pictures, and those poses from each other.
    pub(super) fn loss(
        &self,
        seen: &Seen,
        rotated: &Rotated,
        generator: &mut ChaCha8Rng,
    ) -> Tensor<1> {
        let [batch, height, width, channel] = rotated.plain.dims();
        let pixels: Vec<_> = (0..PAINTED)
            .map(|_| below(generator, height * width) as i64)
            .collect();
        let pixels = TensorData::new(pixels, [PAINTED]);
        let pixels = Tensor::<1, Int>::from_data(pixels, &rotated.plain.device());
        let pictures = rotated.plain.clone();
        let pictures = pictures.reshape([batch, height * width, channel]);
        let pictures = pictures.select(1, pixels.clone());
        let both = self.poses(seen);
        let of_both = |from: usize| Poses {
            places: both.places.clone().narrow(0, from, batch),
            headings: both.headings.clone().narrow(0, from, batch),
        };
        let (plain, turned) = (of_both(0), of_both(batch));
        let back = Poses {
            places: rotated.points_back(turned.places),
            headings: rotated.arrows_back(turned.headings),
        };
        let errors = [&plain, &back]
            .map(|poses| mean_squared_error(self.paint(poses, &pixels), pictures.clone()));
        let apart = mean((plain.places - back.places).square()) * 16.0
            + mean((plain.headings - back.headings).square());
        Tensor::cat(errors.into(), 0).mean() * PAINTING + apart * AGREEMENT
    }
}

impl Poses {
    /// The same with headings of length 1.
    pub(super) fn unit(&self) -> Self {
        let length = self.headings.clone().square().sum_dim(2) + SHORTEST * SHORTEST;
        Self {
            places: self.places.clone(),
            headings: self.headings.clone() / length.sqrt(),
        }
    }
}

/// Places as a sprite has them that is turned to a heading, `[batch, pixels, 2]`.
fn in_frame(places: &Tensor<3>, heading: &Tensor<3>) -> Tensor<3> {
    let [x, y] = [0, 1].map(|axis| places.clone().narrow(2, axis, 1));
    let [cosine, sine] = [0, 1].map(|axis| heading.clone().narrow(2, axis, 1));
    let along = x.clone() * cosine.clone() + y.clone() * sine.clone();
    let across = y * cosine - x * sine;
    Tensor::cat(vec![along, across], 2)
}

/// Places, and sines and cosines of ever shorter waves over them, so that a small network can paint edges.
fn waves(places: Tensor<3>) -> Tensor<3> {
    let mut parts = vec![places.clone()];
    for octave in 0..OCTAVES {
        let phase = places.clone() * (FRAC_PI_2 * (1 << octave) as f32);
        parts.extend([phase.clone().sin(), phase.cos()]);
    }
    Tensor::cat(parts, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jepa::Jepa;
    use crate::jepa::config::JepaConfig;
    use crate::jepa::loss::tests::{Descent, reached};
    use crate::jepa::plane::tests::bars;
    use crate::world_model::tests::jepa_config;
    use armilla_core::random::stream;
    use armilla_nn::random::seeded;
    use burn::module::Module as _;

    const SIDE: usize = 16;

    #[test]
    fn a_sprite_is_painted_where_it_is_and_as_it_is_turned() {
        let device = Device::flex();
        let sprites = seeded(&device, 0, || Sprites::new(2, SIDE * SIDE, &device));
        let paint = |places: [[f32; 2]; 2], headings: [[f32; 2]; 2]| {
            let [places, headings] =
                [places, headings].map(|values| Tensor::from_floats([values], &device));
            let pixels = Tensor::arange(0..(SIDE * SIDE) as i64, &device);
            sprites.paint(&Poses { places, headings }, &pixels)
        };
        // A quarter turn brings x to y and y to -x: the pixel of (row, column) to (column, last - row).
        let plain = paint([[0.1, -0.2], [-0.3, 0.2]], [[2.0, 1.0], [0.0, -0.3]]);
        let turned = paint([[0.2, 0.1], [-0.2, -0.3]], [[-1.0, 2.0], [0.3, 0.0]]);
        let [plain, turned] = [plain, turned].map(|picture| picture.into_data());
        let [plain, turned] = [&plain, &turned].map(|data| data.iter().collect::<Vec<f32>>());
        assert!(plain.iter().any(|value| value.abs() > 0.01));
        for (index, pixel) in plain.chunks(3).enumerate() {
            let (row, column) = (index / SIDE, index % SIDE);
            let there = column * SIDE + SIDE - 1 - row;
            for (found, expected) in turned[there * 3..].iter().zip(pixel) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn a_sprite_learns_how_a_thing_is_turned() {
        let device = Device::flex().autodiff();
        let config = JepaConfig {
            sprites: 1,
            points: 0,
            ..jepa_config(1)
        };
        let (mut jepa, (rotated, angles)) = (config.init(0, &device).unwrap(), bars(&device));
        let loss = |jepa: &Jepa, step: u64| {
            let plane = jepa.plane.as_ref().unwrap();
            plane.loss(&rotated, &mut stream(0, "pixels", step))
        };
        assert_eq!(reached(&jepa, &loss(&jepa, 0)), ["plane"]);
        let first = loss(&jepa, 0).into_scalar::<f32>();
        for step in 0..300 {
            let gradients = loss(&jepa, step).backward();
            let rate = 3e-3 * (1.0 - step as f64 / 300.0);
            jepa = jepa.map(&mut Descent {
                gradients: &gradients,
                rate,
            });
        }
        let last = loss(&jepa, 0).into_scalar::<f32>();
        assert!(last < 0.2 * first, "{first} then {last}");
        let poses = jepa.plane.unwrap().forward(rotated.plain).into_data();
        let poses: Vec<f32> = poses.iter().collect();
        // Between heading and angle lies the same turn everywhere: the mean of its sines and cosines is near the unit circle.
        let apart = poses.chunks(4).zip(&angles);
        let apart = apart.map(|(pose, angle)| pose[3].atan2(pose[2]) - angle);
        let (sine, cosine) = apart.fold((0.0, 0.0), |(sine, cosine), apart| {
            (sine + apart.sin() / 16.0, cosine + apart.cos() / 16.0)
        });
        let together = f32::hypot(sine, cosine);
        assert!(together > 0.95, "{together} {poses:?}");
    }
}

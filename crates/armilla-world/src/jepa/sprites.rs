//! Sprites: things that look the same wherever they are and however they are turned. A picture is a ground that never changes, and
//! sprites laid on it, each at a place and with a heading; learning to paint pictures so tells where the things are and how they are turned,
//! without being told. What a fixed ground shows, as a goal beneath a block, is the ground's and no longer disturbs.
//!
//! What a sprite looks like is a small network over places in its own frame (as NeRF's over a scene, arXiv 2003.08934), so that its
//! place and heading get gradients from every pixel. Those lead astray where a thing is turned far from how it is painted: at each step
//! every sprite is tried in many turns, painted in the one that fits each picture best, and its heading drawn there (as
//! expectation maximisation aligns pictures of particles: RELION, Scheres, J. Struct. Biol. 180, 2012). And from a picture turned and shifted
//! the picture is painted as it was, by the pose turned back: poses must move with pictures.
//! Sprites as a decoder's parts are those of AIR (arXiv 1603.08575) and MarioNette (arXiv 2104.14553).

use armilla_nn::Activation;
use armilla_nn::layers::{Linear, LinearConfig, Mlp, MlpConfig, batch_norm};
use armilla_nn::random::below;
use armilla_nn::reduction::mean_squared_error;
use burn::module::{Initializer, Module, Param, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::{FRAC_PI_2, TAU};

use super::plane::{Seen, WIDTH, grid};
use crate::rotation::{Rotated, turned};

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
/// Pixels of those that say which turn fits best.
const FITTED: usize = 128;
/// Turns that each sprite is tried in. A third of a turn must be among them, as a half and a quarter are: a T is much like a star of three
/// arms, and tried in eight turns alone its painter may paint that star and never learn which arm is which (docs/results.md).
const TURNS: usize = 24;
/// How much of a step's mean picture goes into the running one.
const MOMENTUM: f64 = 0.05;
/// Weight of the painted pixels' error.
const PAINTING: f64 = 4.0;
/// Weight of how far headings are from the turns that fit best.
const FITTING: f64 = 0.04;
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
    /// The mean picture, `[pixels, 3]`: what never changes, but for traces of what does.
    mean: RunningState<Tensor<2>>,
    /// The ground's colours beside that mean.
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
            mean: RunningState::new(Tensor::zeros([pixels, 3], device)),
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
        let Poses { places, headings } = poses;
        let side = self.ground.dims()[0].isqrt();
        let middles = grid(side, side, &places.device()).select(0, pixels.clone());
        let mean = self.mean.value().to_device(&places.device());
        let ground = (self.ground.val() + mean).select(0, pixels.clone());
        let mut picture = ground.unsqueeze::<3>(); // [1, pixels, 3]
        for (index, painter) in self.painters.iter().enumerate() {
            let of_it = |values: &Tensor<3>| values.clone().narrow(1, index, 1); // [batch, 1, 2]
            let apart = (middles.clone().unsqueeze::<3>() - of_it(places)) / REACH;
            let painted = painter.forward(waves(in_frame(&apart, &of_it(headings))));
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
        let pictures = rotated.plain.clone();
        let pictures = pictures.reshape([batch, height * width, channel]);
        self.see_ground(&pictures);
        let pixels: Vec<_> = (0..PAINTED)
            .map(|_| below(generator, height * width) as i64)
            .collect();
        let pixels = TensorData::new(pixels, [PAINTED]);
        let pixels = Tensor::<1, Int>::from_data(pixels, &pictures.device());
        let pictures = pictures.select(1, pixels.clone()).repeat_dim(0, 2);
        let poses = self.poses(seen).straightened(rotated);
        let agreement = poses.disagreement();
        let unit = poses.unit();
        let fitting = self.best_turns(&unit, &pixels, &pictures);
        let apart = mean_squared_error(unit.headings, fitting.headings.clone().detach());
        let painting = mean_squared_error(self.paint(&fitting, &pixels), pictures);
        painting * PAINTING + apart * FITTING + agreement * AGREEMENT
    }

    /// Moves the mean picture in training.
    fn see_ground(&self, pictures: &Tensor<3>) {
        if !pictures.is_autodiff() {
            return;
        }
        let now: Tensor<2> = pictures.clone().mean_dim(0).squeeze_dim(0);
        let mean = self.mean.value_sync().to_device(&now.device());
        let moved = mean * (1.0 - MOMENTUM) + now * MOMENTUM;
        self.mean.update(moved.detach());
    }

    /// Poses with each heading in the turn of it that fits the pictures best.
    fn best_turns(&self, poses: &Poses, pixels: &Tensor<1, Int>, pictures: &Tensor<3>) -> Poses {
        let pixels = pixels.clone().narrow(0, 0, FITTED);
        let pictures = pictures.clone().narrow(1, 0, FITTED);
        let fixed = poses.detach();
        let errors_in = |turn: usize, index: usize| {
            let turned = fixed.with_turned(index, turn as f32 * TAU / TURNS as f32);
            let error = self.paint(&turned, &pixels) - pictures.clone();
            error.detach().square().flatten::<2>(1, 2).mean_dim(1) // [batch, 1]
        };
        let headings = (0..self.painters.len()).map(|index| {
            let errors = (0..TURNS).map(|turn| errors_in(turn, index));
            let best = Tensor::cat(errors.collect(), 1).argmin(1).float(); // [batch, 1]
            let angle = best.unsqueeze_dim::<3>(2) * (TAU / TURNS as f32);
            let heading = poses.headings.clone().narrow(1, index, 1);
            turned(&heading, angle.clone().cos(), angle.sin())
        });
        Poses {
            places: poses.places.clone(),
            headings: Tensor::cat(headings.collect(), 1),
        }
    }
}

impl Poses {
    /// Those of pictures and of the pictures turned, the latter as they were before.
    fn straightened(self, rotated: &Rotated) -> Self {
        let batch = self.places.dims()[0] / 2;
        let half = |values: &Tensor<3>, from| values.clone().narrow(0, from, batch);
        let places = vec![
            half(&self.places, 0),
            rotated.points_back(half(&self.places, batch)),
        ];
        let headings = vec![
            half(&self.headings, 0),
            rotated.arrows_back(half(&self.headings, batch)),
        ];
        Self {
            places: Tensor::cat(places, 0),
            headings: Tensor::cat(headings, 0),
        }
    }

    /// How far those of pictures and of the pictures turned are apart; places count in a quarter of the picture's side.
    fn disagreement(&self) -> Tensor<1> {
        let batch = self.places.dims()[0] / 2;
        let apart = |values: Tensor<3>| {
            mean_squared_error(
                values.clone().narrow(0, 0, batch),
                values.narrow(0, batch, batch),
            )
        };
        apart(self.places.clone() * 4.0) + apart(self.headings.clone())
    }

    /// The same with headings of length 1.
    pub(super) fn unit(&self) -> Self {
        let length = self.headings.clone().square().sum_dim(2) + SHORTEST * SHORTEST;
        Self {
            places: self.places.clone(),
            headings: self.headings.clone() / length.sqrt(),
        }
    }

    fn detach(&self) -> Self {
        Self {
            places: self.places.clone().detach(),
            headings: self.headings.clone().detach(),
        }
    }

    /// The same but for one sprite's headings, turned by an angle in radians.
    fn with_turned(&self, index: usize, angle: f32) -> Self {
        let sprites = self.headings.dims()[1];
        let (sine, cosine) = angle.sin_cos();
        let column = |rest, value| {
            let mut values = vec![rest; sprites];
            values[index] = value;
            let values = TensorData::new(values, [1, sprites, 1]);
            Tensor::from_data(values, &self.headings.device())
        };
        Self {
            places: self.places.clone(),
            headings: turned(&self.headings, column(1.0, cosine), column(0.0, sine)),
        }
    }
}

/// Places as a sprite has them that is turned to a heading, `[batch, pixels, 2]`.
fn in_frame(places: &Tensor<3>, heading: &Tensor<3>) -> Tensor<3> {
    let [cosine, sine] = [0, 1].map(|axis| heading.clone().narrow(2, axis, 1));
    turned(places, cosine, -sine)
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
    use crate::jepa::loss::tests::{Descent, reached};
    use crate::jepa::plane::tests::rotated;
    use crate::world_model::tests::jepa_config;
    use armilla_core::random::stream;
    use armilla_nn::random::seeded;

    const SIDE: usize = 16;
    const STEPS: u64 = 100;

    #[test]
    fn a_sprite_is_painted_where_it_is_and_as_it_is_turned() {
        let device = Device::flex();
        let sprites = seeded(&device, 0, || Sprites::new(2, SIDE * SIDE, &device));
        let paint = |places: [[f32; 2]; 2], headings: [[f32; 2]; 2]| {
            let [places, headings] =
                [places, headings].map(|values| Tensor::from_floats([values], &device));
            let pixels = Tensor::arange(0..(SIDE * SIDE) as i64, &device);
            sprites.paint(&Poses { places, headings }.unit(), &pixels)
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
    fn a_heading_turns_to_where_its_sprite_fits_best() {
        let device = Device::flex();
        let sprites = seeded(&device, 0, || Sprites::new(1, SIDE * SIDE, &device));
        let poses = |turned_by: f32| {
            let angles = [0.3, 2.0, -1.0].map(|angle| angle + turned_by);
            let headings = angles.map(|angle: f32| [[angle.cos(), angle.sin()]]);
            Poses {
                places: Tensor::from_floats([[[0.1, -0.2]], [[0.0, 0.3]], [[-0.2, 0.1]]], &device),
                headings: Tensor::from_floats(headings, &device),
            }
        };
        let pixels = Tensor::arange(0..(SIDE * SIDE) as i64, &device);
        let pictures = sprites.paint(&poses(0.0), &pixels);
        for arms in [1, 2, 3, 4, 6, 8] {
            let turned_by = TAU / arms as f32;
            let found = sprites.best_turns(&poses(turned_by + 0.05), &pixels, &pictures);
            let apart = (found.headings - poses(0.05).headings).abs().max();
            assert!(
                apart.into_scalar::<f32>() < 1e-5,
                "turned to the next of {arms} arms"
            );
        }
    }

    #[test]
    fn the_loss_trains_the_plane_alone_and_falls() {
        let device = Device::flex().autodiff();
        let mut jepa = jepa_config(1).init(0, &device).unwrap();
        let loss = |jepa: &Jepa, step: u64| {
            let rotated = rotated(step, &device);
            let plane = jepa.plane.as_ref().unwrap();
            plane.loss(&rotated, &mut stream(0, "pixels", step))
        };
        assert_eq!(reached(&jepa, &loss(&jepa, 0)), ["plane"]);
        let first = loss(&jepa, 0).into_scalar::<f32>();
        for step in 0..STEPS {
            let gradients = loss(&jepa, step).backward();
            let rate = 3e-3 * (1.0 - step as f64 / STEPS as f64);
            jepa = jepa.map(&mut Descent {
                gradients: &gradients,
                rate,
            });
        }
        let last = loss(&jepa, 0).into_scalar::<f32>();
        assert!(last < 0.2 * first, "{first} then {last}");
    }

    #[test]
    fn a_thing_of_known_poses_is_painted_better_than_by_the_ground_alone() {
        let device = Device::flex().autodiff();
        let mut sprites = seeded(&device, 0, || Sprites::new(1, SIDE * SIDE, &device));
        let pictures = rotated(0, &device).plain;
        let batch = pictures.dims()[0];
        let pictures = pictures.reshape([batch, SIDE * SIDE, 3]);
        let headings = (0..batch).flat_map(|index| {
            let (sine, cosine) = (index as f32 * 0.7).sin_cos();
            [cosine, sine]
        });
        let headings = TensorData::new(headings.collect(), [batch, 1, 2]);
        let poses = Poses {
            places: Tensor::zeros([batch, 1, 2], &device),
            headings: Tensor::from_data(headings, &device),
        };
        let pixels = Tensor::arange(0..(SIDE * SIDE) as i64, &device);
        let error = |sprites: &Sprites| {
            mean_squared_error(sprites.paint(&poses, &pixels), pictures.clone())
        };
        for step in 0..3 * STEPS {
            let gradients = error(&sprites).backward();
            let rate = 1e-2 * (1.0 - step as f64 / (3 * STEPS) as f64);
            sprites = sprites.map(&mut Descent {
                gradients: &gradients,
                rate,
            });
        }
        let mean = pictures.clone().mean_dim(0).expand(pictures.dims());
        let ground = mean_squared_error(mean, pictures.clone()).into_scalar::<f32>();
        let found = error(&sprites).into_scalar::<f32>();
        assert!(found < 0.5 * ground, "{found}, the ground alone {ground}");
    }
}

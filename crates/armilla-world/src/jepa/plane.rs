//! What a latent knows of the plane of the picture: points that follow what they attend to, and [`sprites`](super::sprites), things with a
//! place and a heading. Both are learnt without being told, from pictures and the same pictures turned and shifted.
//!
//! They have convolutions of their own, which their loss alone trains. A point is the mean of the grid's places by a softmax over what is
//! seen there; it must move as the picture does (equivariance, as arXiv 1705.02193 learns landmarks), and points of different scenes
//! must differ (the variance and covariance of VICReg, arXiv 2105.04906).

use armilla_nn::images::CHANNELS;
use armilla_nn::layers::{ConvBlock, ConvBlockConfig, Linear, LinearConfig, StridedConvConfig};
use armilla_nn::reduction::mean_squared_error;
use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

use super::config::JepaConfig;
use super::regularization::{covariance, variance};
use super::sprites::{Poses, Sprites};
use crate::rotation::Rotated;

/// Channels of the convolutions: after two of stride 2 a place tells edges and corners apart, the sides of a thing and not the whole of it.
const SEEN: [usize; 2] = [16, 32];
/// Features at each place.
pub(super) const WIDTH: usize = 128;
/// Weight of the covariance beside error and variance.
const COVARIANCE: f64 = 0.4;
/// Units of a place along a side of the picture: things all over it have a deviation of about 1.
const SIDE: f32 = 4.0;

/// Pictures to sprites' poses and points.
#[derive(Module, Debug)]
pub struct Plane {
    seeing: Vec<ConvBlock>,
    sprites: Option<Sprites>,
    /// Features to how much each point attends to a place.
    points: Option<Linear>,
}

/// What is seen at each place of a grid over pictures.
pub(super) struct Seen {
    /// `[batch, places, WIDTH]`.
    pub(super) features: Tensor<3>,
    /// The middle of each place, from the picture's in sides, `[places, 2]`.
    grid: Tensor<2>,
}

impl Plane {
    pub(super) fn new(config: &JepaConfig, device: &Device) -> Self {
        let layer = |conv: StridedConvConfig| {
            let block = ConvBlockConfig::new(conv, config.activation);
            block.init(device)
        };
        let around = StridedConvConfig::new(SEEN[1], WIDTH).with_side(3);
        let pixels = config.image_size * config.image_size;
        Self {
            seeing: vec![
                layer(StridedConvConfig::new(CHANNELS, SEEN[0])),
                layer(StridedConvConfig::new(SEEN[0], SEEN[1])),
                layer(around.with_stride(1)),
            ],
            sprites: (config.sprites > 0).then(|| Sprites::new(config.sprites, pixels, device)),
            points: (config.points > 0)
                .then(|| LinearConfig::new(WIDTH, config.points).init(device)),
        }
    }

    /// Sprites' poses, x to the right and y down of each place and heading, then points.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    /// - output: `[batch, sprites * 4 + points * 2]`
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let seen = self.seen(images);
        let poses = self.sprites.as_ref().map(|sprites| {
            let Poses { places, headings } = sprites.poses(&seen).unit();
            Tensor::cat(vec![places * SIDE, headings], 2).flatten(1, 2)
        });
        let points = self.points.as_ref();
        let points = points.map(|points| seen.attended(points).flatten(1, 2) * SIDE);
        Tensor::cat(poses.into_iter().chain(points).collect(), 1)
    }

    fn seen(&self, images: Tensor<4>) -> Seen {
        let layers = self.seeing.iter();
        let places = layers.fold(images, |places, layer| layer.forward(places));
        let [_, rows, columns, _] = places.dims();
        Seen {
            grid: grid(rows, columns, &places.device()),
            features: places.flatten(1, 2),
        }
    }

    /// How far pictures painted from poses are from those seen, how far points of turned pictures are from those turned, and how alike those
    /// of different pictures are. `generator` draws the pixels that are painted.
    pub(super) fn loss(&self, rotated: &Rotated, generator: &mut ChaCha8Rng) -> Tensor<1> {
        let pictures = Tensor::cat(vec![rotated.plain.clone(), rotated.turned.clone()], 0);
        let seen = self.seen(pictures);
        let sprites = self.sprites.as_ref();
        let sprites = sprites.map(|sprites| sprites.loss(&seen, rotated, generator));
        let points = self.points.as_ref();
        let points = points.map(|points| points_loss(seen.attended(points), rotated));
        Tensor::cat(sprites.into_iter().chain(points).collect(), 0).sum()
    }
}

impl Seen {
    /// How much each of some things attends to each place, `[batch, things, places]`.
    pub(super) fn attention(&self, attention: &Linear) -> Tensor<3> {
        let scores = attention.forward(self.features.clone());
        softmax(scores.swap_dims(1, 2), 2)
    }

    /// The mean of the places that each thing attends to, from the picture's middle in sides, `[batch, things, 2]`.
    pub(super) fn attended(&self, attention: &Linear) -> Tensor<3> {
        let attention = self.attention(attention);
        let [batch, things, _] = attention.dims();
        let attention = attention.flatten::<2>(0, 1);
        attention
            .matmul(self.grid.clone())
            .reshape([batch, things, 2])
    }
}

/// The loss of points of pictures and of the pictures turned, `[2 * batch, points, 2]`.
fn points_loss(points: Tensor<3>, rotated: &Rotated) -> Tensor<1> {
    let batch = points.dims()[0] / 2;
    let plain = points.clone().narrow(0, 0, batch);
    let back = rotated.points_back(points.narrow(0, batch, batch));
    let error = mean_squared_error(plain.clone() * SIDE, back * SIDE);
    let plain = (plain * SIDE).flatten::<2>(1, 2).unsqueeze_dim::<3>(1); // [batch, 1, values]
    let others = plain.dims()[2].saturating_sub(1) as f64;
    error + variance(plain.clone()) + covariance(plain) * (COVARIANCE * others)
}

/// The middle of each place of a grid, row by row, from the picture's middle in sides, `[places, 2]`.
pub(super) fn grid(rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    let middle = |index: usize, count: usize| (index as f32 + 0.5) / count as f32 - 0.5;
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let values = places.flat_map(|(row, column)| [middle(column, columns), middle(row, rows)]);
    let values: Vec<_> = values.collect();
    Tensor::from_data(TensorData::new(values, [rows * columns, 2]), device)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::jepa::Jepa;
    use crate::jepa::loss::tests::{Descent, reached};
    use crate::observations::Observations;
    use crate::world_model::tests::jepa_config;
    use armilla_core::random::stream;
    use armilla_core::{CameraWindows, WindowBatch};

    const PIXELS: usize = 16;

    /// A model with as many sprites and points.
    fn jepa(sprites: usize, points: usize, device: &Device) -> Jepa {
        let config = JepaConfig {
            sprites,
            points,
            ..jepa_config(1)
        };
        config.init(0, device).unwrap()
    }

    /// Pictures of a bar that is bright at one end, each turned otherwise, beside themselves turned once more.
    pub(crate) fn rotated(seed: u64, device: &Device) -> Rotated {
        let bar = |index: usize| {
            let (sine, cosine) = (index as f32 * 0.7).sin_cos();
            let mut picture = vec![0; PIXELS * PIXELS * 3];
            for along in -2..=2_i16 {
                let middle = PIXELS as f32 / 2.0;
                let [x, y] = [cosine, sine].map(|part| (middle + part * f32::from(along)) as usize);
                picture[(y * PIXELS + x) * 3..][..3].fill((155 + along * 50) as u8);
            }
            picture
        };
        let windows = WindowBatch {
            batch: 32,
            cameras: vec![CameraWindows {
                height: PIXELS,
                width: PIXELS,
                images: (0..32).flat_map(bar).collect(),
                ..CameraWindows::default()
            }],
            ..WindowBatch::default()
        };
        Rotated::draw(&windows, &mut stream(seed, "rotations", 0), device)
    }

    #[test]
    fn poses_and_points_lie_after_all_else() {
        let device = Device::flex();
        let pictures = rotated(0, &device).plain;
        for (sprites, points) in [(1, 0), (0, 2), (1, 1)] {
            let jepa = jepa(sprites, points, &device);
            let latents = jepa.encode(Observations::of_one_camera(pictures.clone()));
            let plane = jepa.plane.as_ref().unwrap().forward(pictures.clone());
            let [_, values] = plane.dims();
            assert_eq!(values, 4 * sprites + 2 * points);
            assert_eq!(jepa.config().pictured(), 12 - values);
            let found = latents.narrow(1, 12 - values, values);
            assert_eq!(found.into_data(), plane.into_data());
        }
    }

    #[test]
    fn points_come_to_move_as_the_picture_does_and_to_differ() {
        let device = Device::flex().autodiff();
        let (mut jepa, rotated) = (jepa(0, 2, &device), rotated(0, &device));
        let loss = |jepa: &Jepa| {
            let plane = jepa.plane.as_ref().unwrap();
            plane.loss(&rotated, &mut stream(0, "pixels", 0))
        };
        assert_eq!(reached(&jepa, &loss(&jepa)), ["plane"]);
        let first = loss(&jepa).into_scalar::<f32>();
        for step in 0..100 {
            let gradients = loss(&jepa).backward();
            let rate = 3e-3 * (1.0 - f64::from(step) / 100.0);
            jepa = jepa.map(&mut Descent {
                gradients: &gradients,
                rate,
            });
        }
        let last = loss(&jepa).into_scalar::<f32>();
        assert!(last < 0.5 * first, "{first} then {last}");
    }

    #[test]
    fn places_of_a_grid_lie_around_the_middle() {
        let device = Device::flex();
        let middles = grid(2, 4, &device).into_data();
        let middles: Vec<f32> = middles.iter().collect();
        assert_eq!(middles[..4], [-0.375, -0.25, -0.125, -0.25]);
        assert_eq!(middles[14..], [0.375, 0.25]);
    }
}

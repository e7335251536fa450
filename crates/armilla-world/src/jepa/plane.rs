//! Points and arrows in the plane of the picture: where things are and which way they point, learnt without being told. A picture that
//! is turned and shifted has them turned and shifted (equivariance, as arXiv 1705.02193 learns landmarks and arXiv 2204.11371 latents of
//! world models), and those of different scenes differ (the variance and covariance of VICReg, arXiv 2105.04906).
//!
//! It has two convolutions of its own. A point is the mean of their grid's places by a softmax over what is seen there, so it follows
//! whatever it attends to. Arrows are read from the mean of what is seen over all places, which knows no place: what is left to tell
//! scenes apart by are directions, of things and of what they cover (docs/results.md tells how far that carries). Prediction and decoded
//! pictures leave how a thing is turned out of a latent, or fold it in, for it changes a picture less than its place does.

use armilla_nn::Activation;
use armilla_nn::images::CHANNELS;
use armilla_nn::layers::{
    ConvBlock, ConvBlockConfig, Linear, LinearConfig, StridedConvConfig, batch_norm,
};
use armilla_nn::reduction::mean_squared_error;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

use super::config::JepaConfig;
use super::regularization::{covariance, variance};
use crate::rotation::Rotated;

/// Channels of the convolutions: after two of stride 2 a place tells edges and corners apart, the sides of a thing and not the whole of it.
const SEEN: [usize; 2] = [16, 32];
/// Features at each place.
const WIDTH: usize = 128;
/// Weight of the covariance beside error and variance.
const COVARIANCE: f64 = 0.4;
/// Units of a point along a side of the picture: things all over it have a deviation of about 1.
const SIDE: f32 = 4.0;

/// Pictures to arrows and points.
#[derive(Module, Debug)]
pub struct Plane {
    seeing: Vec<ConvBlock>,
    features: Linear,
    norm: BatchNorm,
    arrows: Option<Arrows>,
    /// Features to how much each point attends to a place.
    points: Option<Linear>,
    #[module(skip)]
    activation: Activation,
}

/// The mean of the features over all places, to arrows.
#[derive(Module, Debug)]
struct Arrows {
    norm: BatchNorm,
    linear: Linear,
}

impl Plane {
    pub(super) fn new(config: &JepaConfig, device: &Device) -> Self {
        let norm = || BatchNormConfig::new(WIDTH).init(device);
        let linear = |outputs| LinearConfig::new(WIDTH, outputs).init(device);
        let layer = |input, output| {
            let conv = StridedConvConfig::new(input, output);
            ConvBlockConfig::new(conv, config.activation).init(device)
        };
        let features = LinearConfig::new(SEEN[1], WIDTH);
        Self {
            seeing: vec![layer(CHANNELS, SEEN[0]), layer(SEEN[0], SEEN[1])],
            features: features.with_bias(false).init(device),
            norm: norm(),
            arrows: (config.arrows > 0).then(|| Arrows {
                norm: norm(),
                linear: linear(2 * config.arrows),
            }),
            points: (config.points > 0).then(|| linear(config.points)),
            activation: config.activation,
        }
    }

    /// Arrows, then points, x to the right and y down of each.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
    /// - output: `[batch, (arrows + points) * 2]`
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let (arrows, points) = self.parts(images);
        Tensor::cat(arrows.into_iter().chain(points).collect(), 1)
    }

    fn parts(&self, images: Tensor<4>) -> (Option<Tensor<2>>, Option<Tensor<2>>) {
        let layers = self.seeing.iter();
        let places = layers.fold(images, |places, layer| layer.forward(places));
        let [batch, rows, columns, width] = places.dims();
        let places = places.reshape([batch * rows * columns, width]);
        let features = self.features.forward(places);
        let features = batch_norm(&self.norm, features, Some(self.activation));
        let features = features.reshape([batch, rows * columns, WIDTH]);
        let arrows = self.arrows.as_ref().map(|arrows| {
            let summary = features.clone().mean_dim(1).reshape([batch, WIDTH]);
            let summary = batch_norm(&arrows.norm, summary, None);
            arrows.linear.forward(summary)
        });
        let points = self.points.as_ref().map(|attention| {
            let attention = attention.forward(features).swap_dims(1, 2);
            let attention = softmax(attention, 2).flatten::<2>(0, 1); // [batch * points, places]
            let grid = grid(rows, columns, &attention.device());
            let points = attention.matmul(grid); // [batch * points, 2]
            let values = points.dims()[0] / batch * 2;
            points.reshape([batch, values])
        });
        (arrows, points)
    }

    /// How far arrows and points of turned pictures are from those turned, and how alike those of different pictures are.
    pub(super) fn loss(&self, rotated: &Rotated) -> Tensor<1> {
        let pictures = Tensor::cat(vec![rotated.plain.clone(), rotated.turned.clone()], 0);
        let (arrows, points) = self.parts(pictures);
        let arrows = arrows.map(|arrows| term(arrows, |plain| rotated.arrows(plain)));
        let turned = |plain: Tensor<2>| rotated.points(plain / SIDE) * SIDE;
        let points = points.map(|points| term(points, turned));
        let terms: Vec<_> = arrows.into_iter().chain(points).collect();
        Tensor::cat(terms, 0).sum()
    }
}

/// The part of the loss of values of pictures and of the pictures turned, `[2 * batch, values]`.
fn term(values: Tensor<2>, turn: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<1> {
    let batch = values.dims()[0] / 2;
    let plain = values.clone().narrow(0, 0, batch);
    let error = mean_squared_error(turn(plain.clone()), values.narrow(0, batch, batch));
    let plain = plain.unsqueeze_dim::<3>(1); // [batch, 1, values]
    error + variance(plain.clone()) + covariance(plain) * COVARIANCE
}

/// The middle of each place of a grid, row by row, from the picture's middle, `[places, 2]`.
fn grid(rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    let middle = |index: usize, count: usize| ((index as f32 + 0.5) / count as f32 - 0.5) * SIDE;
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let values = places.flat_map(|(row, column)| [middle(column, columns), middle(row, rows)]);
    let values: Vec<_> = values.collect();
    Tensor::from_data(TensorData::new(values, [rows * columns, 2]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jepa::Jepa;
    use crate::jepa::loss::tests::{Descent, reached};
    use crate::observations::Observations;
    use crate::world_model::tests::jepa_config;
    use armilla_core::random::stream;
    use armilla_core::{CameraWindows, WindowBatch};

    const PIXELS: usize = 16;

    fn jepa(device: &Device) -> Jepa {
        jepa_config(1).init(0, device).unwrap()
    }

    /// Pictures of a bar that is bright at one end, each turned otherwise.
    fn bars(device: &Device) -> Rotated {
        let bar = |index: usize| {
            let (sine, cosine) = (index as f32 * 0.7).sin_cos();
            let mut picture = vec![0; PIXELS * PIXELS * 3];
            for along in -5..=5_i16 {
                let middle = PIXELS as f32 / 2.0;
                let [x, y] = [cosine, sine].map(|part| (middle + part * f32::from(along)) as usize);
                picture[(y * PIXELS + x) * 3..][..3].fill(155 + (along * 20) as u8);
            }
            picture
        };
        let windows = WindowBatch {
            batch: 16,
            cameras: vec![CameraWindows {
                height: PIXELS,
                width: PIXELS,
                images: (0..16).flat_map(bar).collect(),
                ..CameraWindows::default()
            }],
            ..WindowBatch::default()
        };
        Rotated::draw(&windows, &mut stream(0, "rotations", 0), device)
    }

    #[test]
    fn arrows_and_points_lie_between_what_is_projected_and_the_embedding() {
        let jepa = jepa(&Device::flex());
        let pictures = bars(&Device::flex()).plain;
        let latents = jepa.encode(Observations::of_one_camera(pictures.clone()));
        let arrows = jepa.plane.as_ref().unwrap().forward(pictures);
        assert_eq!(jepa.config().projected(), 4);
        assert_eq!(latents.narrow(1, 4, 4).into_data(), arrows.into_data());
    }

    #[test]
    fn what_is_in_the_plane_comes_to_turn_with_it_and_to_differ() {
        let device = Device::flex().autodiff();
        let (mut jepa, rotated) = (jepa(&device), bars(&device));
        let loss = |jepa: &Jepa| jepa.plane.as_ref().unwrap().loss(&rotated);
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
        assert_eq!(middles[..4], [-1.5, -1.0, -0.5, -1.0]);
        assert_eq!(middles[14..], [1.5, 1.0]);
    }
}

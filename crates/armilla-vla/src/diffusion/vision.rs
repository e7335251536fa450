//! Pictures to the points where a ResNet-18's features are strongest.
//!
//! The points are the means of each feature map's softmax ([Finn et al.](https://arxiv.org/abs/1509.06113)).

use armilla_nn::Activation;
use armilla_nn::layers::{Linear, LinearConfig};
use armilla_nn::resnet::ResNet18;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, activation, s};

use super::DiffusionConfig;

/// The encoder of one camera, or of all.
#[derive(Module, Debug)]
pub(super) struct Vision {
    backbone: ResNet18,
    /// To one map for each keypoint.
    maps: Linear,
    /// Where the cells of a map are, column and row from -1 to 1, `[cells, 2]`; LeRobot saves it though it is a formula.
    pub(super) places: Param<Tensor<2>>,
    output: Linear,
}

impl DiffusionConfig {
    /// Values that an encoder gives for one picture.
    pub(super) fn features(&self) -> usize {
        2 * self.keypoints
    }

    /// An encoder of pictures of so many rows and columns.
    pub(super) fn vision(&self, picture: [usize; 2], device: &Device) -> Vision {
        let grid = ResNet18::grid(self.seen(picture));
        let features = self.features();
        Vision {
            backbone: ResNet18::new(self.norm(), device),
            maps: LinearConfig::new(ResNet18::FEATURES, self.keypoints).init(device),
            places: Param::from_tensor(places(grid, device)).set_require_grad(false),
            output: LinearConfig::new(features, features).init(device),
        }
    }

    /// Resizes pictures and crops them, beginning at a row and a column, or in the middle.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, channel]`, and the same out
    pub(super) fn frame(&self, images: Tensor<4>, corner: Option<[usize; 2]>) -> Tensor<4> {
        let resized = match self.resize {
            Some(size) => resize(images, size),
            None => images,
        };
        let [_, height, width, _] = resized.dims();
        let Some([rows, columns]) = self.cropped() else {
            return resized;
        };
        let [top, left] = corner.unwrap_or_else(|| {
            // Halves go to the even number, as Python rounds.
            let middle = |rest: usize| (rest as f64 / 2.0).round_ties_even() as usize;
            [middle(height - rows), middle(width - columns)]
        });
        resized.slice(s![.., top..top + rows, left..left + columns, ..])
    }
}

impl Vision {
    /// Encodes pictures.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, height, width, 3]`
    /// - output: `[batch, 2 * keypoints]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let maps = self.maps.forward(self.backbone.forward(images));
        let [batch, rows, columns, keypoints] = maps.dims();
        let cells = rows * columns;
        let maps = maps.reshape([batch, cells, keypoints]).swap_dims(1, 2);
        let strength = activation::softmax(maps.reshape([batch * keypoints, cells]), 1);
        let points = strength.matmul(self.places.val()); // [batch * keypoints, 2]
        let points = points.reshape([batch, 2 * keypoints]);
        self.output.activated(points, Activation::Relu)
    }
}

/// Column and row of each cell of a grid, from -1 to 1.
fn places([rows, columns]: [usize; 2], device: &Device) -> Tensor<2> {
    let place = |index: usize, count: usize| {
        let apart = 2.0 / (count.max(2) - 1) as f64;
        (-1.0 + index as f64 * apart) as f32
    };
    let cells = (0..rows * columns).flat_map(|cell| {
        let (row, column) = (cell / columns, cell % columns);
        [place(column, columns), place(row, rows)]
    });
    let places: Vec<f32> = cells.collect();
    Tensor::from_data(TensorData::new(places, [rows * columns, 2]), device)
}

/// Resizes by linear interpolation with antialiasing, as torchvision does with tensors: rows and columns one after the other, each by a
/// matrix.
fn resize(images: Tensor<4>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [batch, height, width, channels] = images.dims();
    let device = images.device();
    let flat = images.reshape([batch * height, width, channels]);
    let narrowed: Tensor<3> = interpolation(width, columns, &device)
        .unsqueeze::<3>()
        .matmul(flat); // [batch * height, columns, channel]
    let flat = narrowed.reshape([batch, height, columns * channels]);
    let lowered: Tensor<3> = interpolation(height, rows, &device)
        .unsqueeze::<3>()
        .matmul(flat);
    lowered.reshape([batch, rows, columns, channels])
}

/// Shares of the old pixels in each new one, `[new, old]`: a triangle around its place, as wide as the coarser of both grids.
fn interpolation(old: usize, new: usize, device: &Device) -> Tensor<2> {
    let scale = old as f64 / new as f64;
    let reach = scale.max(1.0);
    let shares = (0..new).flat_map(|pixel| {
        let center = scale * (pixel as f64 + 0.5);
        let height =
            move |place: usize| (1.0 - (place as f64 + 0.5 - center).abs() / reach).max(0.0);
        let sum: f64 = (0..old).map(height).sum();
        (0..old).map(move |place| (height(place) / sum) as f32)
    });
    let shares: Vec<f32> = shares.collect();
    Tensor::from_data(TensorData::new(shares, [new, old]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn places_by_hand() {
        let device = Device::flex();
        let found = values(places([2, 3], &device));
        let expected = [
            -1.0, -1.0, 0.0, -1.0, 1.0, -1.0, -1.0, 1.0, 0.0, 1.0, 1.0, 1.0,
        ];
        assert_eq!(found, expected);
        assert_eq!(values(places([1, 1], &device)), [-1.0, -1.0]);
    }

    #[test]
    fn shares_of_pixels_by_hand() {
        let device = Device::flex();
        // Twice as fine: the outermost pixels keep their neighbour's value.
        let found = values(interpolation(2, 4, &device));
        let expected = [1.0, 0.0, 0.75, 0.25, 0.25, 0.75, 0.0, 1.0];
        assert_eq!(found, expected);
        // Half as fine: a triangle over four pixels, cut off at the edge.
        let found = values(interpolation(4, 2, &device));
        let sevenths = [3.0, 3.0, 1.0, 0.0, 0.0, 1.0, 3.0, 3.0].map(|share| share / 7.0);
        for (found, expected) in found.iter().zip(sevenths) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn crops_lie_in_the_middle_or_where_they_are_told_to() {
        let device = Device::flex();
        let config = DiffusionConfig {
            crop: Some([1, 2]),
            ..DiffusionConfig::nano()
        };
        let images = (0..15).map(|pixel| pixel as f32).collect::<Vec<_>>();
        let images = TensorData::new(images, [1, 3, 5, 1]);
        let crop = |corner| {
            let images = Tensor::<4>::from_data(images.clone(), &device);
            values(config.frame(images, corner))
        };
        // Three columns are left over: half of them is rounded to two.
        assert_eq!(crop(None), [7.0, 8.0]);
        assert_eq!(crop(Some([2, 0])), [10.0, 11.0]);
    }
}

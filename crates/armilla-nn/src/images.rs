//! RGB8 pictures to tensors and back.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::device::is_cpu;

/// Channels of a picture: red, green, blue.
pub const CHANNELS: usize = 3;

/// Pictures as a model sees them, `value / 255 - 0.5`.
///
/// # Shapes
///
/// - shape: `[batch, height, width]`
/// - output: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
#[must_use]
pub fn images_to_tensor(pixels: &[u8], shape: [usize; 3], device: &Device) -> Tensor<4> {
    let [batch, height, width] = shape;
    assert_eq!(
        pixels.len(),
        batch * height * width * CHANNELS,
        "pictures of shape {shape:?} and 3 channels do not have this many bytes"
    );
    let shape = [batch, height, width, CHANNELS];
    if !is_cpu(device) {
        // A byte a value goes to the GPU, which makes numbers of them.
        let bytes = TensorData::new(pixels.to_vec(), shape);
        let levels = Tensor::<4, Int>::from_data(bytes, (device, DType::U8)).float();
        return levels / 255.0 - 0.5;
    }
    let values: Vec<f32> = pixels
        .iter()
        .map(|&pixel| f32::from(pixel) / 255.0 - 0.5)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Mean and standard deviation of ImageNet's channels, of values in `[0, 1]`: what networks trained on it expect.
const IMAGENET: [[f32; CHANNELS]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// Pictures of [`images_to_tensor`] in the units of networks trained on ImageNet.
///
/// # Shapes
///
/// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`, and the same out
#[must_use]
pub fn as_imagenet(images: Tensor<4>) -> Tensor<4> {
    let device = images.device();
    let row = |values: [f32; CHANNELS]| {
        Tensor::<1>::from_floats(values, &device).reshape([1, 1, 1, CHANNELS])
    };
    let [mean, std] = IMAGENET.map(row);
    (images + 0.5 - mean) / std
}

/// The inverse of [`images_to_tensor`], clamped and rounded to the nearest level.
///
/// # Shapes
///
/// - images: `[batch, height, width, 3]`, in `[-0.5, 0.5]`
#[must_use]
pub fn tensor_to_images(images: Tensor<4>) -> Vec<u8> {
    images
        .into_data()
        .iter::<f32>()
        .map(|value| ((value + 0.5) * 255.0).round().clamp(0.0, 255.0) as u8)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imagenets_units_by_hand() {
        let images = images_to_tensor(&[124, 116, 104], [1, 1, 1], &Device::flex());
        let values = as_imagenet(images).into_data();
        let values: Vec<f32> = values.iter().collect();
        assert!(
            values.iter().all(|value: &f32| value.abs() < 0.01),
            "{values:?}"
        );
    }

    #[test]
    fn every_level_survives_the_round_trip() {
        let pixels: Vec<u8> = (0..=255).cycle().take(768).collect();
        let tensor = images_to_tensor(&pixels, [1, 16, 16], &Device::flex());
        assert_eq!(tensor.dims(), [1, 16, 16, 3]);
        assert_eq!(
            tensor
                .clone()
                .slice([0..1, 0..1, 0..1, 0..1])
                .into_scalar::<f32>(),
            -0.5
        );
        assert_eq!(tensor_to_images(tensor.clone()), pixels);
        assert_eq!(tensor_to_images(tensor * 9.0)[..3], [0, 0, 0]);
    }
}

//! RGB8 pictures to tensors and back.

use burn::tensor::{Device, Tensor, TensorData};

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
    let values: Vec<f32> = pixels
        .iter()
        .map(|&pixel| f32::from(pixel) / 255.0 - 0.5)
        .collect();
    Tensor::from_data(
        TensorData::new(values, [batch, height, width, CHANNELS]),
        device,
    )
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

//! Pictures as files in memory: small enough to keep thousands in one recording.

use armilla_core::Image;
use base64::Engine as _;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder as _, ImageError};

use crate::error::{Error, Result};

/// Quality of a JPEG; 90 leaves no visible trace on a camera picture.
const JPEG_QUALITY: u8 = 90;

/// An encoded picture and its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// `image/png` or `image/jpeg`.
    pub media_type: &'static str,
}

/// Encodes as PNG, losslessly.
///
/// # Errors
///
/// [`Error::Picture`] when the encoder fails.
pub fn png(image: &Image) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive);
    let (width, height) = (image.width() as u32, image.height() as u32);
    encoder
        .write_image(image.data(), width, height, ExtendedColorType::Rgb8)
        .map_err(|source| failure(image, source))?;
    Ok(bytes)
}

/// Encodes as PNG or JPEG, whichever is smaller: flat drawings stay lossless, camera pictures become small.
///
/// # Errors
///
/// [`Error::Picture`] when an encoder fails.
pub fn smallest(image: &Image) -> Result<Encoded> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
        .encode(
            image.data(),
            image.width() as u32,
            image.height() as u32,
            ExtendedColorType::Rgb8,
        )
        .map_err(|source| failure(image, source))?;
    let png = png(image)?;
    Ok(if png.len() <= jpeg.len() {
        Encoded {
            bytes: png,
            media_type: "image/png",
        }
    } else {
        Encoded {
            bytes: jpeg,
            media_type: "image/jpeg",
        }
    })
}

/// The picture as a `data:` URI, for a page that needs no other file.
///
/// # Errors
///
/// [`Error::Picture`] when the encoder fails.
pub fn data_uri(image: &Image) -> Result<String> {
    let encoded = smallest(image)?;
    let body = base64::engine::general_purpose::STANDARD.encode(encoded.bytes);
    Ok(format!("data:{};base64,{body}", encoded.media_type))
}

fn failure(image: &Image, source: ImageError) -> Error {
    Error::Picture {
        height: image.height(),
        width: image.width(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::{normals, stream};

    fn noise(count: usize) -> Vec<u8> {
        let values = normals(&mut stream(0, "picture", 0), count);
        values
            .iter()
            .map(|value| (128.0 + 40.0 * value) as u8)
            .collect()
    }

    #[test]
    fn a_drawing_stays_lossless_and_small() {
        let drawing = Image::filled(64, 64, [200, 30, 40]);
        let encoded = smallest(&drawing).unwrap();
        assert_eq!(encoded.media_type, "image/png");
        assert!(encoded.bytes.len() < 500, "{} bytes", encoded.bytes.len());
        let read = image::load_from_memory(&encoded.bytes).unwrap().to_rgb8();
        assert_eq!(read.as_raw(), drawing.data());
    }

    #[test]
    fn a_noisy_picture_becomes_a_jpeg() {
        let picture = Image::new(64, 64, noise(64 * 64 * 3)).unwrap();
        let encoded = smallest(&picture).unwrap();
        assert_eq!(encoded.media_type, "image/jpeg");
        assert!(encoded.bytes.starts_with(&[0xff, 0xd8]));
        assert!(encoded.bytes.len() < 64 * 64 * 3);
    }

    #[test]
    fn a_uri_names_its_type() {
        let uri = data_uri(&Image::filled(2, 2, [0; 3])).unwrap();
        assert!(uri.starts_with("data:image/png;base64,iVBOR"), "{uri}");
    }
}

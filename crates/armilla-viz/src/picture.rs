//! Pictures as files in memory: small enough to keep thousands in one recording.

use armilla_core::Image;
use base64::Engine as _;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::error::{EncodingError, ImageFormatHint};
use image::imageops::thumbnail;
use image::{ExtendedColorType, ImageEncoder as _, ImageError, ImageFormat, RgbImage};

use crate::error::{Error, Result};

/// Quality of a JPEG; 90 leaves no visible trace on a camera picture.
const JPEG_QUALITY: u8 = 90;
/// How often an animated PNG plays, as its format says it.
const FOREVER: u32 = 0;

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

/// Encodes pictures of one size as one that moves, over and over: an animated PNG (PNG, third edition, W3C 2025), which every browser shows.
///
/// # Errors
///
/// [`Error::EmptyFilmstrip`] without any, [`Error::Picture`] when the encoder fails, as for pictures of several sizes.
pub fn moving(images: &[Image], delay_milliseconds: u16) -> Result<Encoded> {
    let first = images.first().ok_or(Error::EmptyFilmstrip { rows: 0 })?;
    let failed = |source| {
        let format = ImageFormatHint::Exact(ImageFormat::Png);
        failure(
            first,
            ImageError::Encoding(EncodingError::new(format, source)),
        )
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, first.width() as u32, first.height() as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_filter(png::Filter::Adaptive);
    encoder
        .set_animated(images.len() as u32, FOREVER)
        .map_err(failed)?;
    encoder
        .set_frame_delay(delay_milliseconds, 1000)
        .map_err(failed)?;
    let mut writer = encoder.write_header().map_err(failed)?;
    for image in images {
        writer.write_image_data(image.data()).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    Ok(Encoded {
        bytes,
        media_type: "image/png",
    })
}

/// The picture with no side above a number of pixels, its proportions kept.
#[must_use]
pub fn within(image: &Image, side: usize) -> Image {
    let (height, width) = (image.height(), image.width());
    let largest = height.max(width);
    if largest <= side {
        return image.clone();
    }
    let scaled = |pixels: usize| (pixels * side / largest).max(1) as u32;
    let whole = RgbImage::from_raw(width as u32, height as u32, image.data().to_vec());
    let small = whole.map(|whole| thumbnail(&whole, scaled(width), scaled(height)));
    let small = small.and_then(|small| {
        let [height, width] = [small.height(), small.width()].map(|pixels| pixels as usize);
        Image::new(height, width, small.into_raw()).ok()
    });
    // An image has as many bytes as it says, so that both steps succeed.
    small.unwrap_or_else(|| image.clone())
}

impl Encoded {
    /// The picture as a `data:` URI, for a page that needs no other file.
    #[must_use]
    pub fn data_uri(&self) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(&self.bytes);
        format!("data:{};base64,{body}", self.media_type)
    }
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
    use image::codecs::png::PngDecoder;
    use image::{AnimationDecoder as _, DynamicImage};
    use std::io::Cursor;

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
        let uri = smallest(&Image::filled(2, 2, [0; 3])).unwrap().data_uri();
        assert!(uri.starts_with("data:image/png;base64,iVBOR"), "{uri}");
    }

    #[test]
    fn a_large_picture_shrinks_and_a_small_one_stays() {
        let picture = Image::filled(480, 640, [200, 30, 40]);
        let small = within(&picture, 160);
        assert_eq!((small.height(), small.width()), (120, 160));
        assert_eq!(small.pixel(60, 80), [200, 30, 40]);
        assert_eq!(within(&small, 160), small);
    }

    #[test]
    fn a_moving_picture_has_every_frame() {
        let frames =
            [[200, 30, 40], [0, 0, 0], [9, 99, 199]].map(|color| Image::filled(4, 6, color));
        let encoded = moving(&frames, 200).unwrap();
        let decoder = PngDecoder::new(Cursor::new(&encoded.bytes)).unwrap();
        let found = decoder.apng().unwrap().into_frames();
        let found: Vec<_> = found.map(|frame| frame.unwrap()).collect();
        assert_eq!(found.len(), frames.len());
        for (found, frame) in found.iter().zip(&frames) {
            assert_eq!(found.delay().numer_denom_ms(), (200, 1));
            let pixels = DynamicImage::from(found.buffer().clone()).to_rgb8();
            assert_eq!(pixels.as_raw(), frame.data());
        }
        let sizes = [Image::filled(4, 6, [0; 3]), Image::filled(4, 5, [0; 3])];
        let error = moving(&sizes, 200).unwrap_err();
        assert!(error.to_string().contains("4 x 6"), "{error}");
    }
}

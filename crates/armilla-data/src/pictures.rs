//! Pictures kept in the frame tables: PNG files with a name, as the Python package `datasets` has them.

use std::io::Cursor;
use std::sync::Arc;

use armilla_core::Image;
use arrow::array::{Array as _, ArrayRef, AsArray as _, BinaryArray, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::{ColorType, ExtendedColorType, ImageDecoder as _, ImageEncoder as _, Limits};

use crate::error::{Error, Result};
use crate::types::picture_fields;

/// Bytes that one decoded picture may have: 8192 by 8192 pixels.
const LARGEST: usize = 3 << 26;

/// A picture as a PNG file.
pub(crate) fn encode(image: &Image) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    let (width, height) = (image.width() as u32, image.height() as u32);
    encoder
        .write_image(image.data(), width, height, ExtendedColorType::Rgb8)
        .map_err(|error| Error::invalid("picture", "one that PNG can keep", error))?;
    Ok(bytes)
}

/// The picture in a PNG file.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image> {
    let failed = |found: String| {
        Error::invalid(
            "picture in a table",
            "a PNG file of eight bits a channel, RGB",
            found,
        )
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(2 * LARGEST as u64);
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits)
        .map_err(|error| failed(format!("{error} ({} bytes)", bytes.len())))?;
    let ((width, height), color) = (decoder.dimensions(), decoder.color_type());
    let size = decoder.total_bytes();
    if color != ColorType::Rgb8 || size > LARGEST as u64 {
        return Err(failed(format!("{color:?} of {width} by {height} pixels")));
    }
    let mut data = vec![0; size as usize];
    decoder
        .read_image(&mut data)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Image::new(height as usize, width as usize, data)?)
}

/// A column of PNG files, one a frame.
pub(crate) fn array<B: AsRef<[u8]>>(files: &[B]) -> Result<ArrayRef> {
    let bytes: usize = files.iter().map(|file| file.as_ref().len()).sum();
    if i32::try_from(bytes).is_err() {
        let found = format!("{bytes} bytes");
        return Err(Error::invalid(
            "pictures of an episode",
            "less than 2 GiB",
            found,
        ));
    }
    let names = (0..files.len()).map(|frame| format!("frame-{frame:06}.png"));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_iter_values(files)),
        Arc::new(StringArray::from_iter_values(names)),
    ];
    Ok(Arc::new(StructArray::new(picture_fields(), columns, None)))
}

/// A column of pictures as it is found, brought to the form of [`array`]; what was wrong with it otherwise.
pub(crate) fn normalized(column: &ArrayRef) -> std::result::Result<ArrayRef, String> {
    let bytes = column
        .as_struct_opt()
        .and_then(|column| column.column_by_name("bytes"));
    let bytes = bytes.ok_or_else(|| {
        format!(
            "expected pictures as `bytes` and `path`, found {}",
            column.data_type()
        )
    })?;
    if bytes.null_count() > 0 || column.null_count() > 0 {
        return Err("a picture is not in the table itself (embed the files in it)".to_owned());
    }
    let bytes = cast(bytes, &DataType::Binary).map_err(|error| error.to_string())?;
    let files: Vec<_> = bytes.as_binary::<i32>().iter().flatten().collect();
    array(&files).map_err(|error| error.to_string())
}

/// The picture of one frame of a column.
pub(crate) fn decode_at(column: &ArrayRef, frame: usize) -> Result<Image> {
    let bytes = column
        .as_struct_opt()
        .and_then(|column| column.column_by_name("bytes"))
        .and_then(|bytes| bytes.as_binary_opt::<i32>())
        .filter(|bytes| frame < bytes.len() && bytes.is_valid(frame));
    match bytes {
        Some(bytes) => decode(bytes.value(frame)),
        None => Err(Error::invalid("column", "pictures", column.data_type())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_is_named() {
        let error = decode(b"\x89PNG").unwrap_err().to_string();
        assert!(
            error.contains("PNG") && error.contains("4 bytes"),
            "{error}"
        );
        let mut grey = Vec::new();
        let encoder = PngEncoder::new(&mut grey);
        encoder
            .write_image(&[1, 2], 2, 1, ExtendedColorType::L8)
            .unwrap();
        let error = decode(&grey).unwrap_err().to_string();
        assert!(error.contains("L8") && error.contains("2 by 1"), "{error}");
        let numbers: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        assert!(normalized(&numbers).unwrap_err().contains("Utf8"));
    }
}

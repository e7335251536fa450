//! The RGB picture a camera gives.

use crate::error::{Error, Result};

/// An RGB picture, eight bits a channel, rows from the top, `[height, width, 3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    data: Vec<u8>,
}

impl Image {
    /// Takes `height * width * 3` bytes in row-major `[height, width, channel]` order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when a side is zero or the length does not fit.
    pub fn new(height: usize, width: usize, data: Vec<u8>) -> Result<Self> {
        let expected = height
            .checked_mul(width)
            .and_then(|pixels| pixels.checked_mul(3));
        if height == 0 || width == 0 || expected != Some(data.len()) {
            return Err(Error::invalid(
                format!("image of {height} x {width} pixels"),
                "height * width * 3 bytes, both sides above zero",
                format!("{} bytes", data.len()),
            ));
        }
        Ok(Self {
            height,
            width,
            data,
        })
    }

    /// A picture of one colour.
    ///
    /// # Panics
    ///
    /// When a side is zero.
    #[must_use]
    pub fn filled(height: usize, width: usize, color: [u8; 3]) -> Self {
        assert!(height > 0 && width > 0, "an image has pixels");
        Self {
            height,
            width,
            data: color.repeat(height * width),
        }
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The bytes, `[height, width, 3]`.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, to draw on.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Gives the bytes back.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The colour at a row and a column.
    ///
    /// # Panics
    ///
    /// When the pixel lies outside.
    #[must_use]
    pub fn pixel(&self, row: usize, column: usize) -> [u8; 3] {
        assert!(
            row < self.height && column < self.width,
            "pixel outside the image"
        );
        let at = (row * self.width + column) * 3;
        [self.data[at], self.data[at + 1], self.data[at + 2]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_must_fit() {
        assert!(Image::new(2, 2, vec![0; 12]).is_ok());
        let error = Image::new(2, 2, vec![0; 11]).unwrap_err().to_string();
        assert!(
            error.contains("2 x 2") && error.contains("11 bytes"),
            "{error}"
        );
        assert!(Image::new(0, 2, vec![]).is_err());
    }

    #[test]
    fn pixels_are_row_major() {
        let image = Image::new(1, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(image.pixel(0, 1), [4, 5, 6]);
    }
}

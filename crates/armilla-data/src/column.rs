//! The values of one feature over an episode, of any type.

use std::collections::BTreeMap;
use std::sync::Arc;

use armilla_core::Image;
use armilla_core::features::{DataType as FeatureType, Feature};
use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, PrimitiveArray, StringArray, new_empty_array,
};
use arrow::compute;
use arrow::datatypes as arrow_types;

use crate::error::{Error, Result};
use crate::pictures;
use crate::types::element_type;

/// The values of one feature, frame after frame; a frame's values follow each other in row-major order.
///
/// ```
/// use armilla_data::Column;
///
/// let rewards = Column::from(vec![0.0_f32, 1.0]);
/// assert_eq!(rewards.values::<f32>(), Some(vec![0.0, 1.0]));
/// assert_eq!(rewards.values::<i64>(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Column(pub(crate) ArrayRef);

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

/// Columns by feature key.
pub type Columns = BTreeMap<String, Column>;

/// A type that a column's values can have.
pub trait Element: sealed::Sealed + Sized {
    #[doc(hidden)]
    fn array(values: Vec<Self>) -> ArrayRef;
    #[doc(hidden)]
    fn values(array: &ArrayRef) -> Option<Vec<Self>>;
}

mod sealed {
    /// Keeps the set of elements to what LeRobot knows.
    pub trait Sealed {}
}

macro_rules! number_elements {
    ($($rust:ty => $arrow:ident),+) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            fn array(values: Vec<Self>) -> ArrayRef {
                Arc::new(PrimitiveArray::<arrow_types::$arrow>::from(values))
            }
            fn values(array: &ArrayRef) -> Option<Vec<Self>> {
                let array = array.as_primitive_opt::<arrow_types::$arrow>()?;
                Some(array.values().to_vec())
            }
        }
    )+};
}

number_elements!(
    f32 => Float32Type, f64 => Float64Type,
    i8 => Int8Type, i16 => Int16Type, i32 => Int32Type, i64 => Int64Type,
    u8 => UInt8Type, u16 => UInt16Type, u32 => UInt32Type, u64 => UInt64Type
);

impl sealed::Sealed for bool {}
impl Element for bool {
    fn array(values: Vec<Self>) -> ArrayRef {
        Arc::new(BooleanArray::from(values))
    }
    fn values(array: &ArrayRef) -> Option<Vec<Self>> {
        Some(array.as_boolean_opt()?.values().iter().collect())
    }
}

impl sealed::Sealed for String {}
impl Element for String {
    fn array(values: Vec<Self>) -> ArrayRef {
        Arc::new(StringArray::from(values))
    }
    fn values(array: &ArrayRef) -> Option<Vec<Self>> {
        let array = array.as_string_opt::<i32>()?;
        Some(array.iter().flatten().map(str::to_owned).collect())
    }
}

impl<T: Element> From<Vec<T>> for Column {
    fn from(values: Vec<T>) -> Self {
        Self(T::array(values))
    }
}

impl Column {
    /// Pictures, one a frame, kept as PNG.
    ///
    /// # Errors
    ///
    /// When a picture cannot be encoded, or they need more than 2 GiB.
    pub fn pictures(images: &[Image]) -> Result<Self> {
        let encoded: Result<Vec<_>> = images.iter().map(pictures::encode).collect();
        Ok(Self(pictures::array(&encoded?)?))
    }

    /// No values of a feature's type.
    pub(crate) fn empty(data_type: FeatureType) -> Self {
        Self(new_empty_array(&element_type(data_type)))
    }

    /// Number of values (of pictures, for pictures).
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The type of the values.
    #[must_use]
    pub fn data_type(&self) -> FeatureType {
        let of = |known: FeatureType| element_type(known) == *self.0.data_type();
        // `Video` looks like `Image` here, and is never kept in a column.
        let mut known = FeatureType::ALL.into_iter().skip(1);
        known.find(|known| of(*known)).unwrap_or(FeatureType::Image)
    }

    /// The values, if they are of this very type.
    #[must_use]
    pub fn values<T: Element>(&self) -> Option<Vec<T>> {
        T::values(&self.0)
    }

    /// The values as numbers (`true` is 1), if they are numbers or truth values.
    #[must_use]
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let numeric = self.0.data_type().is_numeric() || self.values::<bool>().is_some();
        let cast = compute::cast(&self.0, &arrow_types::DataType::Float64).ok()?;
        numeric.then(|| f64::values(&cast)).flatten()
    }

    /// The values, if they are integers that 64 bits with a sign hold.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i64>> {
        let cast = compute::cast(&self.0, &arrow_types::DataType::Int64).ok()?;
        let exact = self.0.data_type().is_integer() && cast.null_count() == self.0.null_count();
        exact.then(|| i64::values(&cast)).flatten()
    }

    /// The pictures, if they are pictures.
    ///
    /// # Errors
    ///
    /// When the values are no pictures, or one is not a PNG of eight bits a channel.
    pub fn images(&self) -> Result<Vec<Image>> {
        (0..self.len()).map(|frame| self.image(frame)).collect()
    }

    /// One of the pictures.
    pub(crate) fn image(&self, frame: usize) -> Result<Image> {
        pictures::decode_at(&self.0, frame)
    }

    /// The values from one number up to another.
    pub(crate) fn slice(&self, from: usize, length: usize) -> Self {
        Self(self.0.slice(from, length))
    }

    /// Columns of the same type, one after the other.
    pub(crate) fn concat(parts: &[Self], data_type: FeatureType) -> Result<Self> {
        let arrays: Vec<_> = parts.iter().map(|part| part.0.as_ref()).collect();
        if arrays.is_empty() {
            return Ok(Self::empty(data_type));
        }
        let joined = compute::concat(&arrays)
            .map_err(|error| Error::invalid("columns to join", "one type, at most 2 GiB", error))?;
        Ok(Self(joined))
    }

    /// Checks that this is `frames` frames of a feature.
    pub(crate) fn check(&self, key: &str, feature: &Feature, frames: usize) -> Result<()> {
        let per_frame = match feature.data_type {
            FeatureType::Image => 1,
            _ => feature.len(),
        };
        let expected_type = element_type(feature.data_type);
        if *self.0.data_type() == expected_type
            && per_frame.checked_mul(frames) == Some(self.len())
            && self.0.null_count() == 0
        {
            return Ok(());
        }
        Err(Error::invalid(
            format!("feature `{key}`"),
            format!(
                "{per_frame} values of {} in each of {frames} frames",
                feature.data_type.name()
            ),
            format!("{} of {}", self.len(), self.data_type().name()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_type() {
        let large = Column::from(vec![u64::MAX, 1]);
        assert_eq!(large.values::<u64>(), Some(vec![u64::MAX, 1]));
        assert_eq!(
            (large.values::<i64>(), large.data_type()),
            (None, FeatureType::UInt64)
        );
        let truths = Column::from(vec![true, false]);
        assert_eq!(truths.numbers(), Some(vec![1.0, 0.0]));
        let words = Column::from(vec!["größer".to_owned()]);
        assert_eq!(
            (words.numbers(), words.data_type()),
            (None, FeatureType::String)
        );
        assert!(words.images().is_err());
        for data_type in FeatureType::ALL.into_iter().skip(1) {
            assert_eq!(Column::empty(data_type).data_type(), data_type);
        }
    }

    #[test]
    fn what_does_not_fit_a_feature_is_named() {
        let feature = Feature::vector(&["x", "y"]);
        Column::from(vec![0.0_f32; 6])
            .check("wind", &feature, 3)
            .unwrap();
        for column in [
            Column::from(vec![0.0_f32; 5]),
            Column::from(vec![0.0_f64; 6]),
        ] {
            let error = column.check("wind", &feature, 3).unwrap_err().to_string();
            assert!(
                error.contains("`wind`") && error.contains("float32"),
                "{error}"
            );
        }
    }

    #[test]
    fn pictures_come_back() {
        let image = Image::new(1, 2, vec![1, 2, 3, 250, 251, 252]).unwrap();
        let column = Column::pictures(&[image.clone(), image.clone()]).unwrap();
        assert_eq!(column.images().unwrap(), [image.clone(), image]);
        assert_eq!((column.len(), column.data_type()), (2, FeatureType::Image));
    }
}

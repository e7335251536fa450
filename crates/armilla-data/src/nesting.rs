//! Columns of rows with a shape: lists in Arrow, plain values in here.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, FixedSizeListArray, Float64Array, GenericListArray, ListArray,
    OffsetSizeTrait, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};

use crate::error::{Error, Result};

/// The name and nullability that parquet gives the elements of lists.
pub(crate) fn element(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, true))
}

/// The type of a column whose rows have a shape, as LeRobot keeps them: one value is a plain column, a vector a list of
/// a fixed size, more axes lists in lists.
pub(crate) fn nested_type(data_type: DataType, shape: &[usize]) -> DataType {
    match *shape {
        [] | [1] => data_type,
        [width] => DataType::FixedSizeList(element(data_type), width as i32),
        _ => shape
            .iter()
            .fold(data_type, |inner, _| DataType::List(element(inner))),
    }
}

/// A column of the type that [`nested_type`] gives, from its values.
pub(crate) fn nested(values: ArrayRef, shape: &[usize]) -> Result<ArrayRef> {
    let field = element(values.data_type().clone());
    match *shape {
        [] | [1] => Ok(values),
        [width] => FixedSizeListArray::try_new(field, width as i32, values, None)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|error| Error::invalid("rows", format!("{width} values each"), error)),
        _ => {
            if i32::try_from(values.len()).is_err() {
                let found = format!("{} values", values.len());
                return Err(Error::invalid(
                    "an episode's column",
                    "less than 2^31 values",
                    found,
                ));
            }
            Ok(shape.iter().rev().fold(values, |inner, &size| {
                let rows = inner.len() / size;
                lists(inner, std::iter::repeat_n(size, rows))
            }))
        }
    }
}

/// A column of lists, one a row, of the lengths given.
pub(crate) fn lists(values: ArrayRef, lengths: impl IntoIterator<Item = usize>) -> ArrayRef {
    let field = element(values.data_type().clone());
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(field, offsets, values, None))
}

/// A column of numbers.
pub(crate) fn doubles(values: Vec<f64>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

/// The values of a column without its lists, row after row.
pub(crate) fn elements(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[list.len()] as usize);
            elements(&list.values().slice(from, to - from))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[list.len()] as usize);
            elements(&list.values().slice(from, to - from))
        }
        DataType::FixedSizeList(_, _) => elements(array.as_fixed_size_list().values()),
        _ => Arc::clone(array),
    }
}

/// Whether all lists of a column, at each level, are as long as each other.
pub(crate) fn is_even(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::List(_) => is_even_list(array.as_list::<i32>()),
        DataType::LargeList(_) => is_even_list(array.as_list::<i64>()),
        DataType::FixedSizeList(_, _) => is_even(array.as_fixed_size_list().values()),
        _ => true,
    }
}

fn is_even_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> bool {
    let offsets = list.value_offsets();
    let mut lengths = offsets.windows(2).map(|pair| pair[1] - pair[0]);
    let first = lengths.next();
    lengths.all(|length| Some(length) == first) && list.null_count() == 0 && is_even(list.values())
}

/// The numbers of a column, row after row, whatever their type and nesting.
pub(crate) fn flatten(path: &Path, name: &str, array: &ArrayRef) -> Result<Vec<f64>> {
    let wrong = |what: String| Error::file(path, format!("column `{name}`: {what}"));
    let array = elements(array);
    let kind = array.data_type();
    if !kind.is_numeric() && *kind != DataType::Boolean {
        return Err(wrong(format!("expected numbers, found {kind}")));
    }
    if array.null_count() > 0 {
        return Err(wrong(format!("{} values are missing", array.null_count())));
    }
    let cast = arrow::compute::cast(&array, &DataType::Float64)
        .map_err(|error| wrong(error.to_string()))?;
    Ok(cast.as_primitive::<Float64Type>().values().to_vec())
}

/// The text of a column, row after row.
pub(crate) fn texts(path: &Path, name: &str, array: &ArrayRef) -> Result<Vec<String>> {
    let wrong = |problem: String| Error::file(path, format!("column `{name}`: {problem}"));
    let cast = arrow::compute::cast(array, &DataType::Utf8)
        .map_err(|error| wrong(format!("expected text: {error}")))?;
    let array: &StringArray = cast.as_string();
    if array.null_count() > 0 {
        return Err(wrong(format!("{} values are missing", array.null_count())));
    }
    Ok(array.iter().flatten().map(str::to_owned).collect())
}

//! How rows and pictures are looked at, by checking and by repairing.

use std::ops::Range;
use std::path::Path;

use armilla_core::features::Feature;
use arrow::array::RecordBatch;

use crate::column::Column;
use crate::convert::FRAMES_AT_ONCE;
use crate::error::{Error, Result};
use crate::frames_table::read_column;
use crate::nesting::flatten;
use crate::statistics::PictureCounter;
use crate::survey::{CutVideo, Run, Table};
use crate::table::{Selection, column, read_rows};
use crate::video::decode::decode;

/// Some rows of a table, all columns.
pub(crate) struct Rows<'a> {
    path: &'a Path,
    batches: Vec<RecordBatch>,
}

impl<'a> Rows<'a> {
    pub(crate) fn read(path: &'a Path, table: &Table, run: Run) -> Result<Self> {
        let selection = Selection {
            offset: run.from,
            limit: run.length,
            columns: &[],
        };
        let batches = read_rows(path, &table.footer, &selection)?;
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if found != run.length {
            let problem = format!(
                "expected {} rows from row {}, found {found}",
                run.length, run.from
            );
            return Err(Error::file(path, problem));
        }
        Ok(Self { path, batches })
    }

    /// A feature's values.
    pub(crate) fn column(&self, key: &str, feature: &Feature) -> Result<Column> {
        let parts: Result<Vec<_>> = self
            .batches
            .iter()
            .map(|batch| read_column(self.path, key, feature, column(self.path, batch, key)?))
            .collect();
        Column::concat(&parts?, feature.data_type)
    }

    /// A column of numbers, if there is such a column.
    pub(crate) fn numbers(&self, key: &str) -> Option<Result<Vec<f64>>> {
        let parts: Option<Vec<_>> = self
            .batches
            .iter()
            .map(|batch| batch.column_by_name(key))
            .collect();
        let parts = parts?
            .into_iter()
            .map(|array| flatten(self.path, key, array));
        Some(
            parts
                .collect::<Result<Vec<_>>>()
                .map(|parts| parts.concat()),
        )
    }
}

/// How many values of a feature are not finite, and the first of them.
pub(crate) fn not_finite(values: &[f64], per_frame: usize) -> Option<String> {
    let mut found = values
        .iter()
        .enumerate()
        .filter(|(_, value)| !value.is_finite());
    let (position, value) = found.next()?;
    let (count, frame) = (1 + found.count(), position / per_frame.max(1));
    Some(format!(
        "{count} values are not finite, the first ({value}) at frame {frame}"
    ))
}

/// Decodes a table's pictures; what is wrong with the first broken one otherwise.
pub(crate) fn pictures(
    column: &Column,
    shape: &[usize],
) -> std::result::Result<PictureCounter, String> {
    let mut counter = PictureCounter::new();
    for frame in 0..column.len() {
        let images = column.slice(frame, 1).images();
        let image = images.map_err(|error| format!("the picture of frame {frame}: {error}"))?;
        for image in image {
            let found = [image.height(), image.width(), 3];
            if found != shape {
                return Err(format!(
                    "expected pictures of shape {shape:?}, found {found:?} at frame {frame}"
                ));
            }
            counter.add(&image);
        }
    }
    Ok(counter)
}

/// Decodes all frames at some positions, a few at a time, and counts about `samples` of the pictures.
pub(crate) fn look(
    video: &CutVideo,
    range: Range<usize>,
    shape: &[usize],
    samples: usize,
) -> Result<PictureCounter> {
    let (index, every) = (&video.index, range.len().div_ceil(samples.max(1)).max(1));
    let mut counter = PictureCounter::new();
    for from in range.clone().step_by(FRAMES_AT_ONCE) {
        let images = decode(
            index,
            from..range.end.min(from + FRAMES_AT_ONCE),
            Some(shape),
        )?;
        for (position, image) in (from..).zip(&images) {
            if (position - range.start).is_multiple_of(every) {
                counter.add(image);
            }
        }
    }
    Ok(counter)
}

//! Ways in which datasets break, for the tests of checking and repairing.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;

use super::*;
use crate::nesting::nested;
use crate::table::{read_table, write_table};

pub(super) const DATA: &str = "data/chunk-000/file-000.parquet";
pub(super) const VIDEO: &str = "videos/observation.images.top/chunk-000/file-000.mp4";
pub(super) const METADATA: &str = "meta/episodes/chunk-000/file-000.parquet";

/// A dataset as [`recorded`], each episode in files of its own.
pub(super) fn in_many_files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), config()).unwrap();
    let episodes: Vec<_> = (0..4).map(|i| episode(i, LENGTHS[i])).collect();
    recorder.add_episodes(&episodes).unwrap();
    drop(recorder);
    Dataset::open(folder.path()).unwrap();
    folder
}

/// Writes a table anew with changed contents.
pub(super) fn change(path: &Path, change: impl Fn(RecordBatch) -> RecordBatch) {
    let batches = read_table(path).unwrap();
    let whole = concat_batches(&batches[0].schema(), &batches).unwrap();
    write_table(path, &change(whole), None).unwrap();
}

/// The table with another column in place of one.
fn with_column(batch: &RecordBatch, name: &str, array: ArrayRef) -> RecordBatch {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(batch.columns());
    let columns = fields.map(|(field, old)| {
        let array = if field.name() == name { &array } else { old };
        (field.name().clone(), Arc::clone(array))
    });
    RecordBatch::try_from_iter(columns.collect::<Vec<_>>()).unwrap()
}

/// Changes one value of a column of whole numbers.
pub(super) fn set_integer(path: &Path, name: &str, row: usize, value: i64) {
    change(path, |batch| {
        let old = batch.column_by_name(name).unwrap();
        let mut values = Column(Arc::clone(old)).integers().unwrap();
        values[row] = value;
        with_column(&batch, name, Column::from(values).0)
    });
}

/// Changes one value of a column of floating point.
pub(super) fn set_float(path: &Path, name: &str, row: usize, value: f64) {
    change(path, |batch| {
        let old = batch.column_by_name(name).unwrap();
        let (width, flat) = (
            nesting::elements(old).len() / old.len(),
            nesting::elements(old),
        );
        if let Some(mut values) = Column(Arc::clone(&flat)).values::<f32>() {
            values[row * width] = value as f32;
            return with_column(
                &batch,
                name,
                nested(Column::from(values).0, &[width]).unwrap(),
            );
        }
        let mut values = Column(flat).values::<f64>().unwrap();
        values[row * width] = value;
        with_column(
            &batch,
            name,
            nested(Column::from(values).0, &[width]).unwrap(),
        )
    });
}

/// Leaves rows out.
pub(super) fn keep_rows(path: &Path, from: usize, length: usize) {
    change(path, |batch| batch.slice(from, length));
}

/// Replaces words in a text file.
pub(super) fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// Spoils the bytes of one frame of a video.
pub(super) fn spoil_frame(path: &Path, frame: usize) {
    let index = crate::video::demux::VideoIndex::read(path).unwrap();
    let packet = index.packets[index.shown[frame]];
    let mut bytes = std::fs::read(path).unwrap();
    bytes[packet.offset as usize..][..packet.size as usize].fill(0xff);
    std::fs::write(path, bytes).unwrap();
}

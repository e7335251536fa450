//! Parquet files as LeRobot keeps them: Snappy, one row group a batch, a key-value entry beside the schema.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::error::{Error, Result};
use crate::pages;

/// Bytes of the rows that are read at once, at most.
const LARGEST: usize = 1 << 31;

/// A parquet file being written; unreadable until [`TableWriter::close`].
pub(crate) struct TableWriter<'a> {
    path: &'a Path,
    writer: ArrowWriter<File>,
}

impl<'a> TableWriter<'a> {
    /// Creates the file, with a key-value entry.
    pub(crate) fn create(path: &'a Path, schema: &Schema, entry: Option<Entry>) -> Result<Self> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("armilla".to_owned())
            .build();
        // pyarrow takes the entries of the Arrow schema and overlooks those beside it; others look beside it.
        let inside = entry
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()));
        let schema = schema.clone().with_metadata(inside.collect());
        let mut writer = ArrowWriter::try_new(file, Arc::new(schema), Some(properties))
            .map_err(Error::parquet(path))?;
        if let Some((key, value)) = entry {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        Ok(Self { path, writer })
    }

    /// Writes a batch as a row group of its own.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .and_then(|()| self.writer.flush())
            .map_err(Error::parquet(self.path))
    }

    /// Bytes on disk so far.
    pub(crate) fn bytes_written(&self) -> usize {
        self.writer.bytes_written()
    }

    /// Writes the footer and brings the file to the disk.
    pub(crate) fn close(mut self) -> Result<()> {
        self.write_footer()?;
        let file = self.writer.inner();
        file.sync_all().map_err(Error::io("sync", self.path))
    }

    /// Parquet's `into_inner` would keep what the system said to itself.
    fn write_footer(&mut self) -> Result<()> {
        let written = self.writer.finish();
        written.map(drop).map_err(Error::parquet(self.path))
    }
}

/// A key and a value kept beside the schema.
pub(crate) type Entry = (&'static str, String);

/// Writes one batch as a whole file; bringing it to the disk is left to the caller, who may have others to bring.
pub(crate) fn write_table(path: &Path, batch: &RecordBatch, entry: Option<Entry>) -> Result<()> {
    let mut writer = TableWriter::create(path, &batch.schema(), entry)?;
    writer.write(batch)?;
    writer.write_footer()
}

/// Reads a file's footer; a cut file is told apart from a missing one.
pub(crate) fn read_footer(path: &Path) -> Result<ArrowReaderMetadata> {
    read_footer_of(path, |_| true)
}

/// Reads a file's footer, and the headers of all pages of the columns that will be read: whose names a rule allows.
fn read_footer_of(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<ArrowReaderMetadata> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    // The schema is parquet's own: hints of the writer may name extension types.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let broken = |error: &dyn std::fmt::Display| {
        let problem =
            format!("not a whole parquet file (cut short while it was written?): {error}");
        Error::file(path, problem)
    };
    pages::check_footer(&file).map_err(|problem| broken(&problem))?;
    let footer = Error::caught(path, || {
        ArrowReaderMetadata::load(&file, options).map_err(|error| broken(&error))
    })?;
    let groups = footer.metadata().row_groups().iter();
    for column in groups.flat_map(|group| group.columns()) {
        let root = column.column_path().parts().first();
        if !root.is_some_and(|root| wanted(root)) {
            continue;
        }
        pages::check(&file, column).map_err(|problem| broken(&problem))?;
    }
    Ok(footer)
}

/// Which rows and columns to read.
pub(crate) struct Selection<'a> {
    /// First row.
    pub(crate) offset: usize,
    /// Number of rows, at most.
    pub(crate) limit: usize,
    /// Columns, by their whole names; all if there is none.
    pub(crate) columns: &'a [&'a str],
}

impl Selection<'_> {
    /// The whole file.
    pub(crate) const ALL: Self = Selection {
        offset: 0,
        limit: usize::MAX,
        columns: &[],
    };
}

/// Reads rows of a file whose footer is known.
pub(crate) fn read_rows(
    path: &Path,
    footer: &ArrowReaderMetadata,
    selection: &Selection<'_>,
) -> Result<Vec<RecordBatch>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    // Its checks are not all that a hostile file needs.
    Error::caught(path, || read_checked(path, file, footer, selection))
}

fn read_checked(
    path: &Path,
    file: File,
    footer: &ArrowReaderMetadata,
    selection: &Selection<'_>,
) -> Result<Vec<RecordBatch>> {
    let broken =
        |error: &dyn std::fmt::Display| Error::file(path, format!("cannot be read: {error}"));
    let mut projection = ProjectionMask::all();
    if !selection.columns.is_empty() {
        let mut roots = Vec::new();
        for column in selection.columns {
            let found = footer.schema().column_with_name(column);
            let (index, _) = found.ok_or_else(|| missing(path, column))?;
            roots.push(index);
        }
        projection = ProjectionMask::roots(footer.parquet_schema(), roots);
    }
    // Whole row groups before the first row are skipped without reading them.
    let (mut offset, mut groups) = (selection.offset, Vec::new());
    let mut ahead = selection.limit.saturating_add(offset);
    for (index, group) in footer.metadata().row_groups().iter().enumerate() {
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        if groups.is_empty() && offset >= rows {
            offset -= rows;
        } else if ahead > 0 {
            groups.push(index);
        }
        ahead = ahead.saturating_sub(rows);
    }
    // The library's way of passing over rows of lists never ends in a page that has fewer levels than it says.
    let leaves = footer.parquet_schema().columns().iter().enumerate();
    let has_lists = leaves
        .filter(|(leaf, _)| projection.leaf_included(*leaf))
        .any(|(_, column)| column.max_rep_level() > 0);
    let mut unwanted = if has_lists { offset } else { 0 };
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer.clone())
        .with_projection(projection)
        .with_row_groups(groups)
        .with_offset(offset - unwanted);
    if selection.limit != usize::MAX {
        builder = builder.with_limit(selection.limit.saturating_add(unwanted));
    }
    let reader = builder.build().map_err(|error| broken(&error))?;
    let (mut batches, mut bytes) = (Vec::new(), 0_usize);
    for batch in reader {
        let batch = batch.map_err(|error| broken(&error))?;
        let passed = unwanted.min(batch.num_rows());
        unwanted -= passed;
        let batch = batch.slice(passed, batch.num_rows() - passed);
        if batch.num_rows() == 0 {
            continue;
        }
        bytes = bytes.saturating_add(batch.get_array_memory_size());
        if bytes > LARGEST {
            let problem = format!("its rows need more than {LARGEST} bytes at once");
            return Err(Error::file(path, problem));
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// Reads a whole file.
pub(crate) fn read_table(path: &Path) -> Result<Vec<RecordBatch>> {
    read_rows(path, &read_footer(path)?, &Selection::ALL)
}

/// Reads the columns of a whole file whose names a rule allows.
pub(crate) fn read_columns(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<RecordBatch>> {
    let footer = read_footer_of(path, &wanted)?;
    let fields = footer.schema().fields().iter();
    let columns: Vec<_> = fields
        .map(|field| field.name().as_str())
        .filter(|name| wanted(name))
        .collect();
    let selection = Selection {
        columns: &columns,
        ..Selection::ALL
    };
    read_rows(path, &footer, &selection)
}

/// A schema of nullable columns.
pub(crate) fn schema(fields: Vec<(String, DataType)>) -> SchemaRef {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, data_type)| Field::new(name, data_type, true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// A column of a batch, by its whole name.
pub(crate) fn column<'a>(path: &Path, batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let found = batch.column_by_name(name);
    found.ok_or_else(|| missing(path, name))
}

fn missing(path: &Path, name: &str) -> Error {
    Error::file(path, format!("the column `{name}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nesting::{doubles, flatten, nested};
    use arrow::array::Int64Array;

    fn batch(from: i64) -> RecordBatch {
        let values = doubles((0..6).map(|i| (from * 2 + i) as f64).collect());
        let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 3));
        RecordBatch::try_from_iter([("a.b", nested(values, &[2]).unwrap()), ("n", counts)]).unwrap()
    }

    #[test]
    fn rows_are_found_across_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut writer = TableWriter::create(&path, &batch(0).schema(), None).unwrap();
        for from in [0, 3, 6] {
            writer.write(&batch(from)).unwrap();
        }
        writer.close().unwrap();
        let footer = read_footer(&path).unwrap();
        for (offset, limit, expected) in [
            (0, 2, vec![0.0, 1.0]),
            (3, 3, vec![3.0, 4.0, 5.0]),
            (2, 5, vec![2.0, 3.0, 4.0, 5.0, 6.0]),
            (7, 9, vec![7.0, 8.0]),
        ] {
            let columns = ["n"];
            let selection = Selection {
                offset,
                limit,
                columns: &columns,
            };
            let batches = read_rows(&path, &footer, &selection).unwrap();
            let found: Vec<_> = batches
                .iter()
                .flat_map(|batch| flatten(&path, "n", batch.column(0)).unwrap())
                .collect();
            assert_eq!(found, expected, "{offset} {limit}");
        }
        for (offset, expected) in [(1, [2.0, 3.0]), (4, [8.0, 9.0]), (8, [16.0, 17.0])] {
            let selection = Selection {
                offset,
                limit: 1,
                columns: &["a.b"],
            };
            let batches = read_rows(&path, &footer, &selection).unwrap();
            let found = flatten(&path, "a.b", batches[0].column(0)).unwrap();
            assert_eq!(
                (batches.len(), found.as_slice()),
                (1, &expected[..]),
                "{offset}"
            );
        }
        let all = read_table(&path).unwrap();
        let first = flatten(&path, "a.b", column(&path, &all[0], "a.b").unwrap()).unwrap();
        assert_eq!(first[..6], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn a_cut_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        write_table(&path, &batch(0), None).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read_table(&path).unwrap_err().to_string();
        assert!(
            error.contains("t.parquet") && error.contains("cut"),
            "{error}"
        );
        let error = read_table(&folder.path().join("no.parquet")).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

//! `meta/tasks.parquet`: the instructions, a pandas frame whose index is the text.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::json;

use crate::error::{Error, Result};
use crate::layout::TASKS;
use crate::nesting::{flatten, texts};
use crate::table::{column, read_table, write_table};

/// Writes the instructions, each at its index, to a file; bringing it to the disk is left to the caller.
pub(crate) fn write(path: &Path, tasks: &[String]) -> Result<()> {
    let indices: ArrayRef = Arc::new(Int64Array::from_iter_values(0..tasks.len() as i64));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(tasks));
    let batch = RecordBatch::try_from_iter([("task_index", indices), ("task", names)])
        .map_err(|error| Error::write(path, error))?;
    let describe = |name: &str, pandas: &str, numpy: &str| json!({"name": name, "field_name": name, "pandas_type": pandas, "numpy_type": numpy, "metadata": null});
    let pandas = json!({
        "index_columns": ["task"],
        "column_indexes": [{
            "name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
            "metadata": {"encoding": "UTF-8"},
        }],
        "columns": [describe("task_index", "int64", "int64"), describe("task", "unicode", "object")],
        "attributes": {},
        "creator": {"library": "pyarrow", "version": "26.0.1"},
        "pandas_version": "2.3.3",
    });
    write_table(path, &batch, Some(("pandas", pandas.to_string())))
}

/// Reads the instructions in the order of their indices.
pub(crate) fn read(root: &Path) -> Result<Vec<String>> {
    let path: PathBuf = root.join(TASKS);
    let mut found = Vec::new();
    for batch in read_table(&path)? {
        // Older writers leave the index without a name.
        let names = column(&path, &batch, "task")
            .or_else(|_| column(&path, &batch, "__index_level_0__"))?;
        let indices = flatten(&path, "task_index", column(&path, &batch, "task_index")?)?;
        found.extend(indices.into_iter().zip(texts(&path, "task", names)?));
    }
    found.sort_by(|left, right| left.0.total_cmp(&right.0));
    let in_order = found
        .iter()
        .enumerate()
        .all(|(i, (index, _))| *index == i as f64);
    if !in_order {
        return Err(Error::file(&path, "the task indices are not 0, 1, 2 ..."));
    }
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TASKS);
        crate::layout::make_parent(&path).unwrap();
        let tasks = ["push the red cube", "größer"].map(str::to_owned);
        write(&path, &tasks).unwrap();
        assert_eq!(read(folder.path()).unwrap(), tasks);
    }
}

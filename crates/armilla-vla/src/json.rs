//! JSON files of checkpoints, with errors that name file and key.

use std::path::Path;

use armilla_nn::checkpoint::write_atomically;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// One key of an object, as its type.
pub(crate) fn field<T: DeserializeOwned>(json: &Value, path: &Path, key: &str) -> Result<T> {
    let value = json
        .get(key)
        .ok_or_else(|| Error::checkpoint(path, key, "a value", "no such key"))?;
    serde_json::from_value(value.clone())
        .map_err(|error| Error::checkpoint(path, key, error, value))
}

/// Reads a file as text.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::file(path, error))
}

/// Reads a file as JSON.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| Error::checkpoint(path, "(whole file)", "JSON", error))
}

/// Writes JSON, indented.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    Ok(write_atomically(path, format!("{value:#}\n").as_bytes())?)
}

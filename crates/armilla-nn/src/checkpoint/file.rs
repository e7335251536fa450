//! Safetensors files: reading, and writing so that no reader ever sees half a file.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Metadata, Weights};
use crate::error::{Error, Result};

/// Bytes of the number that tells the header's length.
const LENGTH: usize = 8;

/// Writes a safetensors file of 32-bit floats. Equal input gives equal bytes.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write(path: &Path, weights: &Weights, metadata: &Metadata) -> Result<()> {
    let malformed = |reason: String| Error::Malformed {
        path: path.to_path_buf(),
        reason,
    };
    let arrays: Vec<(&String, TensorData, Vec<usize>)> = weights
        .iter()
        .map(|(name, data)| (name, data.clone().convert::<f32>(), data.shape().to_vec()))
        .collect();
    let mut views = Vec::with_capacity(arrays.len());
    for (name, data, shape) in &arrays {
        let view = TensorView::new(Dtype::F32, shape.clone(), data.as_bytes());
        views.push((*name, view.map_err(|error| malformed(error.to_string()))?));
    }
    let bytes =
        safetensors::serialize(views, None).map_err(|error| malformed(error.to_string()))?;
    let bytes = insert_metadata(bytes, metadata).map_err(malformed)?;
    write_atomically(path, &bytes)
}

/// Puts the metadata into a file's header in order of its keys: the library takes a `HashMap`, whose order varies.
fn insert_metadata(bytes: Vec<u8>, metadata: &Metadata) -> std::result::Result<Vec<u8>, String> {
    if metadata.is_empty() {
        return Ok(bytes);
    }
    let (header, body) = split(&bytes).ok_or("its header is cut off")?;
    let words = serde_json::to_string(metadata).map_err(|error| error.to_string())?;
    let entries = header.trim_ascii().strip_prefix(b"{").unwrap_or_default();
    let comma = if entries == b"}" { "" } else { "," };
    let mut header = format!("{{\"__metadata__\":{words}{comma}").into_bytes();
    header.extend_from_slice(entries);
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    let mut whole = (header.len() as u64).to_le_bytes().to_vec();
    whole.extend(header);
    whole.extend_from_slice(body);
    Ok(whole)
}

/// A file's header and its data.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// Reads a safetensors file; numbers of any kind become 32-bit floats.
///
/// # Errors
///
/// If the file cannot be read, is truncated, or holds something else than numbers.
pub fn read(path: &Path) -> Result<(Weights, Metadata)> {
    let malformed = |reason: String| Error::Malformed {
        path: path.to_path_buf(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|source| Error::File {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| malformed(error.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| malformed(error.to_string()))?;
    let mut weights = Weights::new();
    for (name, view) in tensors.tensors() {
        let dtype = number_type(view.dtype()).ok_or_else(|| {
            malformed(format!(
                "`{name}` holds {:?}, expected numbers",
                view.dtype()
            ))
        })?;
        let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
        weights.insert(name, data.convert::<f32>());
    }
    Ok((weights, metadata.into_iter().collect()))
}

fn number_type(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        // Counters, as those of PyTorch's batch normalisation.
        Dtype::I64 => Some(DType::I64),
        Dtype::I32 => Some(DType::I32),
        // Masks.
        Dtype::U8 | Dtype::BOOL => Some(DType::U8),
        _ => None,
    }
}

/// Writes a file under a temporary name, syncs it to the disk and renames it into place.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::File {
        action: "write",
        path: path.to_path_buf(),
        source,
    };
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    let part = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        // The rename itself is safe only once the folder is.
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(failed)
}

//! PyTorch's own files, `torch.save(model.state_dict())`. What they hold beside arrays is never run, only read past.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, TensorData};
use pytorch_reader::{DType as Theirs, PytorchReader};

use super::Weights;
use crate::error::{Error, Result};

/// Reads all arrays of numbers; each becomes 32-bit floats.
///
/// # Errors
///
/// If the file cannot be read, is truncated, or holds an array of something else.
pub fn read_pytorch(path: &Path) -> Result<Weights> {
    let malformed = |reason: String| Error::Malformed {
        path: path.to_path_buf(),
        reason,
    };
    let failed = |source| Error::File {
        action: "read",
        path: path.to_path_buf(),
        source,
    };
    drop(std::fs::File::open(path).map_err(failed)?);
    let reader = PytorchReader::new(path).map_err(|error| malformed(error.to_string()))?;
    let mut weights = Weights::new();
    let tensors: BTreeMap<_, _> = reader.into_tensors().into_iter().collect();
    for (name, tensor) in tensors {
        let dtype = match tensor.dtype() {
            Theirs::F64 => DType::F64,
            Theirs::F32 => DType::F32,
            Theirs::F16 => DType::F16,
            Theirs::BF16 => DType::BF16,
            Theirs::I64 => DType::I64,
            Theirs::I32 => DType::I32,
            Theirs::U8 => DType::U8,
            other => {
                let reason = format!("`{name}` holds {other:?}, expected numbers");
                return Err(malformed(reason));
            }
        };
        let (bytes, shape) = (tensor.read().map_err(failed)?, tensor.shape().to_vec());
        let data = TensorData::from_bytes_vec(bytes, shape, dtype);
        weights.insert(name, data.convert::<f32>());
    }
    Ok(weights)
}

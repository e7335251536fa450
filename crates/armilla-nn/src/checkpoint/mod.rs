//! Weights as safetensors, keyed by parameter path.
//!
//! A key is the path of fields to a tensor, joined by dots: `encoder.convs.0.kernel.weight`. Running statistics of batch
//! normalisation are among them. Loading checks every key and lists all that is missing, extra or misshapen at once.

mod file;
pub mod foreign;
mod pytorch;
mod traverse;

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Gradients, TensorData};

use crate::error::Result;

pub use file::{read, write, write_atomically};
pub use foreign::with_foreign_weights;
pub use pytorch::read_pytorch;

/// Named arrays, as they lie in a file.
pub type Weights = BTreeMap<String, TensorData>;

/// What a file says about itself in words.
pub type Metadata = BTreeMap<String, String>;

/// Writes all of a module's parameters and running statistics. The file is either the old one or the whole new one.
///
/// # Errors
///
/// If the file cannot be written.
pub fn save_weights<M: Module>(module: &M, path: &Path, metadata: &Metadata) -> Result<()> {
    write(path, &weights(module), metadata)
}

/// Replaces all of a module's parameters and running statistics by those in the file.
///
/// # Errors
///
/// If the file cannot be read, is truncated or foreign, or its tensors are not exactly the module's.
pub fn load_weights<M: Module>(module: M, path: &Path) -> Result<M> {
    let (weights, _) = read(path)?;
    with_weights(module, weights, path)
}

/// A copy of all of a module's parameters and running statistics, by path.
#[must_use]
pub fn weights<M: Module>(module: &M) -> Weights {
    traverse::collect(module)
}

/// What flowed back to a module's parameters, by path; those that the loss does not depend on are left out.
#[must_use]
pub fn gradients<M: Module>(module: &M, gradients: &Gradients) -> Weights {
    traverse::gradients(module, gradients)
}

/// Replaces all of a module's parameters and running statistics; `origin` is where errors say they came from.
///
/// # Errors
///
/// If the weights are not exactly the module's, or no finite numbers: the error lists each missing, extra, misshapen and broken one.
pub fn with_weights<M: Module>(module: M, weights: Weights, origin: &Path) -> Result<M> {
    traverse::apply(module, weights, origin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::layers::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
    use crate::random;
    use burn::tensor::{Device, Tensor};

    #[derive(Module, Debug)]
    struct Model {
        layers: Vec<Linear>,
        norm: Option<BatchNorm>,
    }

    fn model(device: &Device, seed: u64, features: usize) -> Model {
        random::seeded(device, seed, || Model {
            layers: vec![LinearConfig::new(features, 2).init(device)],
            norm: Some(BatchNormConfig::new(2).init(device)),
        })
    }

    /// Moves the running statistics.
    fn used(model: Model, device: &Device) -> Model {
        let input = Tensor::<2>::from_floats([[1.0, 5.0], [2.0, 3.0]], device);
        if let Some(norm) = &model.norm {
            for _ in 0..3 {
                drop(norm.forward(input.clone()));
            }
        }
        model
    }

    fn temporary(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("armilla-nn-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder.join("model.safetensors")
    }

    #[test]
    fn everything_survives_the_round_trip() {
        let device = Device::flex().autodiff();
        let path = temporary("round-trip");
        let saved = used(model(&device, 1, 3), &device);
        let metadata: Metadata = [("b", "2"), ("a", "1\n")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        save_weights(&saved, &path, &metadata).unwrap();
        let (tensors, found) = read(&path).unwrap();
        assert_eq!(found, metadata);
        let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        let expected = [
            "layers.0.bias",
            "layers.0.weight",
            "norm.beta",
            "norm.gamma",
            "norm.running_mean",
            "norm.running_var",
        ];
        assert_eq!(names, expected);
        assert_ne!(
            tensors["norm.running_mean"],
            TensorData::from([0.0f32, 0.0])
        );
        // A model that has run already must not keep its own pending statistics.
        let loaded = load_weights(used(model(&device, 2, 3), &device), &path).unwrap();
        assert_eq!(weights(&loaded), weights(&saved));
        assert!(
            loaded.layers[0].weight.is_require_grad(),
            "trainable after loading"
        );
        let again = (used(loaded, &device), used(saved, &device));
        assert_eq!(weights(&again.0), weights(&again.1), "and trains on alike");
    }

    #[test]
    fn a_file_is_reproducible_and_any_reader_opens_it() {
        let path = temporary("bytes");
        let metadata: Metadata = (0..20)
            .map(|i| (format!("key{i}"), format!("{i}")))
            .collect();
        let module = model(&Device::flex(), 1, 3);
        save_weights(&module, &path, &metadata).unwrap();
        let first = std::fs::read(&path).unwrap();
        save_weights(&module, &path, &metadata).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        assert_eq!(
            safetensors::SafeTensors::deserialize(&first).unwrap().len(),
            6
        );
    }

    #[test]
    fn all_problems_are_listed() {
        let device = Device::flex();
        let path = temporary("problems");
        let mut tensors = weights(&model(&device, 1, 4));
        let bias = tensors.remove("layers.0.bias").unwrap();
        tensors.insert("layers.1.bias".to_owned(), bias);
        write(&path, &tensors, &Metadata::new()).unwrap();
        let error = load_weights(model(&device, 1, 3), &path).unwrap_err();
        let Error::Mismatch { problems, .. } = &error else {
            panic!("{error}")
        };
        let expected = [
            "`layers.0.bias` is missing (expected shape [2])",
            "`layers.0.weight` has shape [4, 2], expected [3, 2]",
            "`layers.1.bias` of shape [2] is not in the model",
        ];
        assert_eq!(problems, &expected);
        let mut tensors = weights(&model(&device, 1, 3));
        let broken = TensorData::from([f32::NAN, 1.0]);
        tensors.insert("norm.running_mean".to_owned(), broken);
        let error = with_weights(model(&device, 1, 3), tensors, &path).unwrap_err();
        let expected = "`norm.running_mean` expected finite numbers, found 1 that are none";
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("model.safetensors"));
    }

    /// What fuzzing found worth keeping: after a byte that is even, the bytes of a safetensors file (`fuzz/`).
    #[test]
    fn the_corpus_is_read_without_a_panic() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/checkpoint");
        let path = temporary("corpus");
        let mut found = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            if let Some((0, bytes)) = bytes.split_first().map(|(kind, rest)| (kind % 2, rest)) {
                std::fs::write(&path, bytes).unwrap();
                found += u32::from(read(&path).is_ok());
            }
        }
        assert!(found > 0, "some of it are whole files");
    }

    #[test]
    fn a_broken_file_is_named() {
        let device = Device::flex();
        let path = temporary("broken");
        save_weights(&model(&device, 1, 3), &path, &Metadata::new()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for broken in [
            &bytes[..bytes.len() - 1],
            &bytes[..20],
            &bytes[..0],
            b"PK\x03\x04 not ours",
        ] {
            std::fs::write(&path, broken).unwrap();
            let error = load_weights(model(&device, 1, 3), &path).unwrap_err();
            assert!(matches!(error, Error::Malformed { .. }), "{error}");
            assert!(error.to_string().contains("model.safetensors"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = load_weights(model(&device, 1, 3), &path).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read the checkpoint file"),
            "{error}"
        );
    }
}

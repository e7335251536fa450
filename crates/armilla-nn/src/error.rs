//! What can go wrong: only devices and checkpoints.

use std::path::PathBuf;

/// A device or checkpoint error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A device of no known name.
    #[error("no such device: expected `cpu`, `cuda:N` or `vulkan`, found `{0}`")]
    UnknownDevice(String),
    /// A device that this binary cannot drive.
    #[error("device `{device}` is not built in: use `cpu`, or build with `--features {feature}`")]
    DeviceNotBuilt {
        /// The device asked for.
        device: String,
        /// The cargo feature it needs.
        feature: &'static str,
    },
    /// A GPU that is not there or cannot compute.
    #[error("device `{device}` cannot be used: {reason}; {advice}")]
    DeviceUnusable {
        /// The device asked for.
        device: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A file could not be read or written.
    #[error("cannot {action} the checkpoint file {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that holds no weights in a format that is known, or only the first part of one.
    #[error(
        "{} is not a whole file of weights ({reason}): copy it again, or use an earlier checkpoint",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file whose tensors are not the model's.
    #[error(
        "the weights in {} do not fit the model:{}; use the configuration that the checkpoint was saved with",
        path.display(),
        listed(problems)
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One line for each tensor that is missing, extra, misshapen or holds no finite numbers, with what was expected and found.
        problems: Vec<String>,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// One after the other; where there are several, each on a line of its own.
fn listed(problems: &[String]) -> String {
    match problems {
        [one] => format!(" {one}"),
        many => many
            .iter()
            .map(|problem| format!("\n  {problem}"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tensor_that_does_not_fit_is_named() {
        let said = |count| {
            let problems = (0..count).map(|number| format!("`{number}` is missing"));
            let error = Error::Mismatch {
                path: PathBuf::from("model.safetensors"),
                problems: problems.collect(),
            };
            error.to_string()
        };
        assert!(said(1).contains("the model: `0` is missing; use"));
        let lines = said(300);
        assert_eq!(lines.lines().count(), 301);
        assert!(lines.contains("\n  `299` is missing; use"), "{lines}");
    }
}

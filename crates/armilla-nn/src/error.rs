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
        "the weights in {} do not fit the model: {}; use the configuration that the checkpoint was saved with",
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

/// Problems that are listed before the others are counted: a wholly different model has hundreds.
const LISTED: usize = 20;

fn listed(problems: &[String]) -> String {
    let shown = problems.iter().take(LISTED).cloned();
    let left = problems.len().saturating_sub(LISTED);
    let rest = (left > 0).then(|| format!("and {left} more"));
    shown.chain(rest).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_counted() {
        let problems = (0..25)
            .map(|number| format!("`{number}` is missing"))
            .collect();
        let path = PathBuf::from("model.safetensors");
        let error = Error::Mismatch { path, problems }.to_string();
        assert!(
            error.contains("`19` is missing; and 5 more; use"),
            "{error}"
        );
    }
}

//! What can go wrong with a policy or its files.

use std::path::{Path, PathBuf};

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that no policy can be built from.
    #[error("policy config, key `{key}`: expected {expected}, found {found}")]
    Config {
        /// The key, dotted.
        key: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {source}; is this a policy checkpoint, written to its end?", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file of a checkpoint whose content does not fit.
    #[error("{}, key `{key}`: expected {expected}, found {found}; write the checkpoint again, or choose another", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The key in it.
        key: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A tokenizer that cannot be trained, read or used.
    #[error("tokenizer: {context}: {message}")]
    Tokenizer {
        /// What was being done.
        context: String,
        /// The tokenizer library's words.
        message: String,
    },
    /// Weights that cannot be read or written.
    #[error(transparent)]
    Weights(#[from] armilla_nn::Error),
    /// Observations, actions or statistics that do not fit.
    #[error(transparent)]
    Core(#[from] armilla_core::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Config`] from anything printable.
    pub(crate) fn config(key: &str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Config {
            key: key.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// An [`Error::File`].
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    /// An [`Error::Checkpoint`] from anything printable.
    pub(crate) fn checkpoint(
        path: &Path,
        key: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Checkpoint {
            path: path.to_owned(),
            key: key.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

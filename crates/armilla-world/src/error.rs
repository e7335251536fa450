//! What can go wrong with a world model.

use std::path::PathBuf;

/// The error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting or an input of the wrong size, kind or range.
    #[error("{what}: expected {expected}, found {found}")]
    Invalid {
        /// What was looked at, with its key or field.
        what: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A file of a checkpoint that cannot be read or written.
    #[error("{context}: {source}: {path}")]
    File {
        /// What was being done, and what to do about it.
        context: &'static str,
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The weights of a checkpoint do not fit.
    #[error(transparent)]
    Weights(#[from] armilla_nn::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Invalid`] from anything printable.
    pub fn invalid(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Invalid {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

/// Fails with [`Error::Invalid`] unless `holds`.
pub(crate) fn ensure(
    holds: bool,
    what: &str,
    expected: impl ToString,
    found: impl ToString,
) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::invalid(what, expected, found))
}

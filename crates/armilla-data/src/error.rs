//! The error that everything in this crate returns.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

/// What can go wrong with a dataset.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// What was being done, such as `read`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is missing, cut short or not what it should be.
    #[error("{path}: {problem}; {remedy}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A kind of data that is not read or written yet, refused by name rather than misread.
    #[error("{what}: {found} is not supported; supported: {supported}")]
    Unsupported {
        /// Feature or file.
        what: String,
        /// What was there.
        found: String,
        /// What would have been read.
        supported: String,
    },
    /// A value of the wrong size, kind or range.
    #[error(transparent)]
    Invalid(#[from] armilla_core::Error),
    /// A call out of order, such as saving an episode that has no frame.
    #[error("{0}")]
    OutOfOrder(String),
    /// A part that this crate stands on (encoder, muxer, parquet) failed while writing.
    #[error("{path}: cannot write: {problem}")]
    Write {
        /// The file being written.
        path: PathBuf,
        /// What the part said.
        problem: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What to do about a dataset file that cannot be used.
pub(crate) const RESTORE: &str = "copy the file again from its source, or record the dataset anew";

impl Error {
    /// An [`Error::File`] with the usual remedy.
    pub(crate) fn file(path: &Path, problem: impl ToString) -> Self {
        Self::File {
            path: path.to_owned(),
            problem: problem.to_string(),
            remedy: RESTORE.to_owned(),
        }
    }

    /// An [`Error::Write`] from anything printable.
    pub(crate) fn write(path: &Path, problem: impl ToString) -> Self {
        Self::Write {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }

    /// An [`Error::Invalid`]: expected and found.
    pub(crate) fn invalid(
        what: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Invalid(armilla_core::Error::invalid(what, expected, found))
    }

    /// Turns a panic of a library that believes what a file says into an [`Error::File`].
    pub(crate) fn caught<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let read = std::panic::AssertUnwindSafe(read);
        std::panic::catch_unwind(read).unwrap_or_else(|_| {
            let problem = "its parts do not fit together (cut short, or changed on the way?)";
            Err(Self::file(path, problem))
        })
    }

    /// Turns a system error at a path into an [`Error::Io`]; what can be helped says what to do.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::NotFound if action == "read" => Self::file(path, "the file is missing"),
            kind => match remedy(kind) {
                Some(remedy) => Self::File {
                    path: path.to_owned(),
                    problem: format!("cannot {action}: {source}"),
                    remedy: remedy.to_owned(),
                },
                None => Self::Io {
                    action,
                    path: path.to_owned(),
                    source,
                },
            },
        }
    }

    /// What parquet said while it wrote; an error of the system is treated as one.
    pub(crate) fn parquet(path: &Path) -> impl FnOnce(ParquetError) -> Self {
        move |error| match error {
            ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
                Ok(source) => Self::io("write", path)(*source),
                Err(cause) => Self::write(path, cause),
            },
            error => Self::write(path, error),
        }
    }
}

/// What to do when the system refuses to write.
fn remedy(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("make room on that disk; what was finished before is whole and stays")
        }
        ErrorKind::FileTooLarge => Some(
            "raise the limit on the size of files (`ulimit -f`) or take another disk; what was finished before is whole",
        ),
        _ => None,
    }
}

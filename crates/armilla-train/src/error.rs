//! What can stop a training run.

use std::path::PathBuf;

/// Any error of a batch source or of an export.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A training error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting out of its range.
    #[error("training configuration: `{key}` must be {expected}, found {found}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A resumed run whose settings differ from those it started with.
    #[error(
        "the run in {} cannot be resumed with other settings: `{key}` was {expected}, found {found}; start a new run instead",
        path.display()
    )]
    ConfigChanged {
        /// The checkpoint.
        path: PathBuf,
        /// The setting.
        key: String,
        /// What the run started with.
        expected: String,
        /// What it was to resume with.
        found: String,
    },
    /// A loss or gradient that is not finite.
    #[error(
        "step {step}: {figure} is not finite; {checkpoint}: lower the learning rate or look at the data"
    )]
    NotFinite {
        /// The optimiser step, counted from 1.
        step: u64,
        /// The first figure, or gradient, that is not finite.
        figure: String,
        /// Whether there is one, and where.
        checkpoint: String,
    },
    /// A device without bf16.
    #[error(
        "training configuration: `precision` must be \"f32\" on {device}, which does not compute in bf16, found \"bf16\""
    )]
    PrecisionMissing {
        /// The device.
        device: String,
    },
    /// The threads that compute could not be started.
    #[error("cannot start the threads that compute: {source}")]
    Threads {
        /// Why not.
        source: rayon::ThreadPoolBuildError,
    },
    /// The batch source failed, or its batch does not fit the model.
    #[error("step {step}: cannot use the batch: {source}")]
    Batch {
        /// The optimiser step, counted from 1.
        step: u64,
        /// Why not.
        source: BoxError,
    },
    /// A checkpoint was written, but what was to be done with it failed.
    #[error("the checkpoint {} is written, but: {source}", path.display())]
    Heed {
        /// The checkpoint.
        path: PathBuf,
        /// What failed.
        source: BoxError,
    },
    /// The model could not be exported.
    #[error("cannot export the model to {}: {source}", path.display())]
    Export {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: BoxError,
    },
    /// A file of a run could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file of a run that does not hold what it should.
    #[error("{}: {reason}; {remedy}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Training state that does not fit the model.
    #[error(
        "the training state in {} does not fit the model: {}",
        path.display(),
        problems.join("; ")
    )]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// One line for each missing, extra or misshapen entry.
        problems: Vec<String>,
    },
    /// A folder that is in use.
    #[error(
        "{} is not empty: choose another folder, or continue the run in it with `--resume {}`",
        path.display(),
        path.display()
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that holds no run.
    #[error("{} holds no run: expected a config.toml in it", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Weights could not be read or written.
    #[error(transparent)]
    Weights(#[from] armilla_nn::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An [`Error::File`] about a path.
pub(crate) fn file_error(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

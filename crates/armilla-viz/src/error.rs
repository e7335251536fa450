//! What can go wrong while showing something.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be made, written or moved into place.
    #[error("{}: cannot {action}: {source}; check the folder's permissions and free space", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Rerun refused the data or could not write them.
    #[error("{}: Rerun cannot {action}: {source}", path.display())]
    Rerun {
        /// The recording.
        path: PathBuf,
        /// What was being done.
        action: String,
        /// What Rerun said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A picture could not be encoded.
    #[error("picture of {height} x {width} pixels: cannot encode it: {source}")]
    Picture {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// A filmstrip without a single picture.
    #[error("filmstrip: expected at least one picture, found {rows} rows without any")]
    EmptyFilmstrip {
        /// Rows given.
        rows: usize,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

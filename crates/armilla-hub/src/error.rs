//! The error that everything in this crate returns.

use std::path::{Path, PathBuf};

use crate::repository::Repository;

/// What can go wrong between here and the hub.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is none, or one that would lead out of its folder.
    #[error("{what}: expected {expected}, found `{found}`")]
    Name {
        /// What was named, such as `repository`.
        what: &'static str,
        /// The form that it has.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// The hub cannot be reached, or the connection broke more often than it is tried again.
    #[error(
        "{url}: {problem}; check the network and HF_ENDPOINT, then run the same command again: it goes on from where it was"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the network said.
        problem: String,
    },
    /// The hub refused.
    #[error("{url}: the hub answered {status}{problem}; {advice}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the hub said, with a colon before it; may be empty.
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// An answer that is not what the interface promises.
    #[error("{url}: expected {expected}, found {found}; is HF_ENDPOINT a Hugging Face hub?")]
    Answer {
        /// What was asked for.
        url: String,
        /// What should have come.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// Bytes that are not those that the hub lists.
    #[error(
        "{path} of {repository} came with the hash {found}, expected {expected}; it was removed: run the command again, and if it stays \
         so, something between here and the hub changes it"
    )]
    Hash {
        /// The repository.
        repository: String,
        /// The file's path in it.
        path: String,
        /// The hash that the hub lists.
        expected: String,
        /// That of what came.
        found: String,
    },
    /// Something that is not in the cache, when only that may be asked.
    #[error(
        "{what} is not in the cache ({}): pull it once without --offline",
        folder.display()
    )]
    NotCached {
        /// The repository, or files of it.
        what: String,
        /// Where the cache is.
        folder: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was being done, such as `read`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The caller asked to stop; running the same again goes on from here.
    #[error("stopped; run the same command again: it goes on from here")]
    Stopped,
    /// A folder that cannot be pushed, or written, as it is.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The folder, or a file in it.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A refusal that names the repository before the address.
    pub(crate) fn about(mut self, repository: &Repository) -> Self {
        if let Self::Refused { url, .. } = &mut self {
            *url = format!("{repository}: {url}");
        }
        self
    }

    /// Turns a system error at a path into an [`Error::Io`].
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

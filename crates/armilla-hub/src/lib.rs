//! Datasets and checkpoints to and from the Hugging Face hub.
//!
//! [`Hub::pull`] brings a repository into the cache that the Python packages use too, [`Hub::export`] copies it into a folder,
//! [`Hub::push`] uploads a folder in one commit.
//!
//! - A download that was cut off goes on from where it was, and no file gets its name before its hash is right: SHA-256
//!   of what is kept in large-file storage, git's own hash of all else.
//! - An upload leaves out what the repository has already.
//! - [`Hub::offline`] takes the cache alone, and says what is not there.
//!
//! The layout of the cache, the names in it and the form of revisions are `hf-hub`'s (0.5). Its transfers are not used: they
//! check no hash, take the server's word for the name of a file, know no time limit, and push nothing. Its version 1.0 pushes,
//! but only through a storage protocol (Xet) that takes 47 crates and CMake.
//!
//! Protocol: the Hub's HTTP interface as the Python package `huggingface_hub` 0.34 speaks it (`hf_api.py`, `lfs.py`,
//! `_commit_api.py`).

mod cache;
mod client;
mod download;
mod error;
mod hash;
mod hub;
mod lfs;
mod listing;
mod push;
mod repository;

pub use cache::Snapshot;
pub use error::{Error, Result};
pub use hub::{Hub, Settings};
pub use listing::{Entry, Hash, Listing};
pub use push::{Push, Pushed};
pub use repository::{Kind, Repository, is_repository_name};

/// Told of work as it goes: what is being done (a file's path, mostly), and how many bytes of how many of everything are done.
/// Gives back whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64) -> bool;

//! Joins a recorded dataset's many files into few.
//!
//! The new files are written beside the old ones, under `.compact`; a marker there says that they are whole. Only then
//! do they take the old ones' places, folder by folder, which can be gone on with after a crash.

use std::fs;
use std::path::Path;

use super::episode::clean_up;
use crate::assemble::{Recorded, assemble, keep_other_files};
use crate::error::{Error, Result};
use crate::info::Info;
use crate::layout::{COMPACT, remove_folder, replace_file};
use crate::reader::Reader;
use crate::video::demux::Codec;
use crate::video::join::packets;

/// The folders that are replaced.
const FOLDERS: [&str; 3] = ["videos", "data", "meta"];
const MARKER: &str = "whole";

/// Joins all episodes, in place.
pub(crate) fn compact(root: &Path, info: &Info, tasks: &[String]) -> Result<()> {
    let target = root.join(COMPACT);
    remove_folder(&target)?;
    let reader = Reader::open(root, info.clone(), true)?;
    let source = Recorded {
        reader: &reader,
        tasks,
    };
    let joined = assemble(&source, &target, &|_| ());
    let joined = joined.and_then(|()| keep_other_files(root, &target, "meta"));
    if let Err(error) = joined.and_then(|()| replace_file(&target.join(MARKER), b"")) {
        // Half of them are of no use, and the disk may be full of them.
        clean_up(&target);
        return Err(error);
    }
    complete(root)
}

/// Goes on with a compaction that was whole when it was interrupted; drops one that was not.
pub(crate) fn complete(root: &Path) -> Result<()> {
    let (new, old) = (root.join(COMPACT), root.join(COMPACT).join("old"));
    if new.join(MARKER).exists() {
        for folder in FOLDERS {
            let (from, to) = (new.join(folder), root.join(folder));
            if !from.exists() {
                continue;
            }
            if to.exists() {
                fs::create_dir_all(&old).map_err(Error::io("create the folder", &old))?;
                fs::rename(&to, old.join(folder)).map_err(Error::io("move", &to))?;
            }
            fs::rename(&from, &to).map_err(Error::io("move", &from))?;
        }
    }
    remove_folder(&new)
}

/// Checks that a dataset's videos can be laid out beside new ones without encoding anew.
pub(crate) fn check_joinable(reader: &Reader) -> Result<()> {
    for record in &reader.records {
        for key in record.episode.videos.keys() {
            let (index, shown) = reader.episode_video(&record.episode, key)?;
            packets(&index, &shown)?;
            if !matches!(index.codec, Codec::H264 { .. }) {
                return Err(Error::Unsupported {
                    what: index.path.display().to_string(),
                    found: "recording beside a video of another codec".to_owned(),
                    supported: "H.264; record into a new folder instead".to_owned(),
                });
            }
        }
    }
    Ok(())
}

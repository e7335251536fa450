//! Puts a dataset right whose recording was cut off.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::assemble::whole_statistics;
use crate::episodes::{self, EpisodeRecord};
use crate::error::{Error, Result};
use crate::info::Info;
use crate::layout::{COMPACT, INFO, LOCK, RECORDING, files_below, remove_folder};
use crate::reader::Reader;
use crate::recorder::compact::complete;
use crate::statistics::{self, is_picture};
use crate::tasks;
use crate::types::videos;

/// What an interrupted recording left, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Finished episodes that are kept; none of them was lost.
    pub episodes: usize,
    /// Files of episodes that were not finished, removed.
    pub removed: Vec<PathBuf>,
    /// Whether another process is recording at this moment: nothing was touched, its finished episodes are shown.
    pub being_recorded: bool,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.being_recorded {
            return write!(
                f,
                "being recorded: {} episodes are finished so far",
                self.episodes
            );
        }
        write!(
            f,
            "the recording was interrupted: {} finished episodes kept, {} files of unfinished ones removed",
            self.episodes,
            self.removed.len()
        )
    }
}

/// Recovers a dataset, if there is something to recover.
pub(crate) fn recover(root: &Path) -> Result<Option<Recovered>> {
    let folder = root.join(RECORDING);
    if !folder.exists() && !root.join(COMPACT).exists() {
        return Ok(None);
    }
    fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
    let path = folder.join(LOCK);
    let lock = File::create(&path).map_err(Error::io("create", &path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            return Ok(Some(Recovered {
                episodes: Info::read(root)?.total_episodes,
                being_recorded: true,
                ..Recovered::default()
            }));
        }
        Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
    }
    complete(root)?;
    if !root.join(INFO).exists() {
        return Err(Error::File {
            path: root.to_owned(),
            problem: "no dataset here: a recording was cut off before it began".to_owned(),
            remedy: "nothing was recorded; remove the folder and record anew".to_owned(),
        });
    }
    let recovered = put_right(root)?;
    remove_folder(&folder)?;
    tracing::warn!("{}: {recovered}", root.display());
    Ok(Some(recovered))
}

/// Counts what is finished and removes what is not.
fn put_right(root: &Path) -> Result<Recovered> {
    let mut info = Info::read(root)?;
    let keys: Vec<_> = videos(&info.features)
        .map(|(key, _)| key.to_owned())
        .collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    // Metadata is renamed into place after all else of its episode, so an episode that has it is whole.
    let records = episodes::read_all(root, &keys, false)?;
    // Episodes are counted after all else. Fewer are known than were counted only where metadata was lost since, as in a partial copy: what it does not name
    // is then no left-over.
    if records.len() < info.total_episodes {
        let (expected, found) = (info.total_episodes, records.len());
        return Err(Error::File {
            path: root.join("meta/episodes"),
            problem: format!("expected metadata of {expected} episodes, as {INFO} counts, found {found}"),
            remedy: "nothing was touched; copy what is missing, or rebuild it by `armilla dataset repair`".to_owned(),
        });
    }
    info.total_episodes = records.len();
    info.total_frames = records.iter().map(|record| record.episode.length).sum();
    // Before anything is written, for the disk may be full.
    let mut removed = remove_unknown(root, &info, &records)?;
    removed.extend(remove_unfinished(&root.join(RECORDING))?);
    if records.is_empty() {
        info.total_tasks = 0;
        info.write(root)?;
    } else {
        info.total_tasks = tasks::read(root)?.len();
        info.write(root)?;
        let reader = Reader::open(root, info.clone(), true)?;
        let picture = |key: &str| is_picture(info.features.0.get(key));
        statistics::write(root, &whole_statistics(&reader)?, picture)?;
    }
    Ok(Recovered {
        episodes: records.len(),
        removed,
        being_recorded: false,
    })
}

/// Removes the files of the episode that was in progress.
fn remove_unfinished(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut unfinished = files_below(folder)?;
    unfinished.retain(|path| !path.ends_with(LOCK));
    for path in &unfinished {
        fs::remove_file(path).map_err(Error::io("remove", path))?;
    }
    Ok(unfinished)
}

/// Removes frame tables and videos that no episode's metadata names, and half-written files.
fn remove_unknown(root: &Path, info: &Info, records: &[EpisodeRecord]) -> Result<Vec<PathBuf>> {
    let mut known = BTreeSet::new();
    for EpisodeRecord { episode, .. } in records {
        known.insert(root.join(episode.data.path(&info.data_path, "")?));
        for (key, video) in &episode.videos {
            known.insert(root.join(video.file.path(&info.video_path, key)?));
        }
    }
    let mut removed = Vec::new();
    for folder in ["data", "videos", "meta"] {
        for path in files_below(&root.join(folder))? {
            let extension = path.extension().and_then(|extension| extension.to_str());
            let unknown = match extension {
                Some("partial") => true,
                Some("parquet" | "mp4") => folder != "meta" && !known.contains(&path),
                _ => false,
            };
            if unknown {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                removed.push(path);
            }
        }
    }
    Ok(removed)
}

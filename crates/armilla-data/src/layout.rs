//! Where a dataset's files lie, and how they get there whole.

use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::error::{Error, Result};

/// The dataset's description.
pub(crate) const INFO: &str = "meta/info.json";
/// Statistics over all episodes.
pub(crate) const STATS: &str = "meta/stats.json";
/// Instructions by index.
pub(crate) const TASKS: &str = "meta/tasks.parquet";
/// Episode metadata, one or more files.
pub(crate) const EPISODES: &str =
    "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
/// Frame tables.
pub(crate) const DATA: &str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
/// Videos.
pub(crate) const VIDEO: &str =
    "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";
/// Where unfinished files lie while recording; its presence says that `finish` has not run.
pub(crate) const RECORDING: &str = ".recording";
/// The file in it that a recorder holds a lock on.
pub(crate) const LOCK: &str = "lock";
/// Files that are brought to the disk side by side: the disk takes about as long for all of them as for one.
const SYNCS_AT_ONCE: usize = 16;
/// Where compacted files lie until they replace the ones they were made of.
pub(crate) const COMPACT: &str = ".compact";

/// A file's place: LeRobot counts files within chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FilePlace {
    /// Folder number.
    pub(crate) chunk: u64,
    /// File number within the folder.
    pub(crate) file: u64,
}

impl FilePlace {
    /// The place that follows.
    pub(crate) fn next(self, chunks_size: u64) -> Self {
        if self.file + 1 < chunks_size {
            Self {
                file: self.file + 1,
                ..self
            }
        } else {
            Self {
                chunk: self.chunk + 1,
                file: 0,
            }
        }
    }

    /// The path below the dataset's root that a template of `info.json` gives.
    pub(crate) fn path(self, template: &str, video_key: &str) -> Result<PathBuf> {
        let values = [
            ("{chunk_index:03d}", format!("{:03}", self.chunk)),
            ("{file_index:03d}", format!("{:03}", self.file)),
            ("{video_key}", video_key.to_owned()),
        ];
        fill(template, &values)
    }
}

/// The path below the dataset's root that a template gives, with values for its fields.
pub(crate) fn fill(template: &str, values: &[(&str, String)]) -> Result<PathBuf> {
    let filled = values
        .iter()
        .fold(template.to_owned(), |text, (field, value)| {
            text.replace(field, value)
        });
    let path = PathBuf::from(&filled);
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if filled.contains('{') || !inside {
        return Err(Error::Unsupported {
            what: format!("path template in {INFO}"),
            found: format!("`{template}`"),
            supported: format!("templates below the dataset's folder, such as `{DATA}`"),
        });
    }
    Ok(path)
}

/// Makes the folders above a path.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(Error::io("create the folder", parent)),
        None => Ok(()),
    }
}

/// Brings a written file's bytes to the disk.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", path))
}

/// Brings written files' bytes to the disk, many at a time. Threads of their own wait for it, so that rayon's compute.
pub(crate) fn sync_files<P: AsRef<Path> + Sync>(paths: &[P]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let sync_next = || -> Result<()> {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            sync_file(path.as_ref())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let names = (1..SYNCS_AT_ONCE.min(paths.len())).map(|number| format!("sync-{number}"));
        // A thread that the system refuses leaves its share to the others; this one always takes part.
        let helpers: Vec<_> = names
            .map_while(|name| {
                let builder = thread::Builder::new().name(name);
                builder.spawn_scoped(scope, sync_next).ok()
            })
            .collect();
        let mut synced = sync_next();
        for helper in helpers {
            let result = helper.join();
            synced = synced.and(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        synced
    })
}

/// Moves a finished file to its name, replacing what bore it.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    fs::rename(from, to).map_err(Error::io("rename a finished file to", to))
}

/// Writes small contents so that a reader sees the old file or the new one, never a part.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> Result<()> {
    make_parent(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    fs::write(&partial, contents).map_err(Error::io("write", &partial))?;
    sync_file(&partial)?;
    rename(&partial, path)
}

/// All regular files below a folder, in the order of their paths; none if the folder is missing.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("list", &folder)(error)),
        };
        for entry in entries {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Removes a folder and what is in it; a missing one is fine.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_across_chunks() {
        let place = FilePlace {
            chunk: 0,
            file: 998,
        };
        let path = |place: FilePlace| place.path(VIDEO, "observation.images.top").unwrap();
        let next = place.next(1000);
        assert_eq!(
            path(next),
            Path::new("videos/observation.images.top/chunk-000/file-999.mp4")
        );
        assert_eq!(next.next(1000), FilePlace { chunk: 1, file: 0 });
    }

    #[test]
    fn many_files_are_synced_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths: Vec<_> = (0..40)
            .map(|number| folder.path().join(number.to_string()))
            .collect();
        for path in &paths {
            fs::write(path, b"whole").unwrap();
        }
        sync_files(&paths).unwrap();
        sync_files::<&Path>(&[]).unwrap();
        paths[17] = folder.path().join("gone");
        let error = sync_files(&paths).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }

    #[test]
    fn a_template_that_leaves_the_folder_is_refused() {
        for template in ["/etc/{file_index:03d}", "../a", "data/{episode_index}"] {
            let error = FilePlace::default().path(template, "").unwrap_err();
            assert!(error.to_string().contains(template), "{error}");
        }
    }
}

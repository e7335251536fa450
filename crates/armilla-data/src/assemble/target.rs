//! Where a dataset that is made of others goes: into a folder of its own, or in place of the one it was made of.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::layout::{
    COMPACT, INFO, RECORDING, STATS, TASKS, files_below, make_parent, remove_folder, sync_file,
};

/// Where a new dataset goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A folder that does not exist yet. The dataset gets its name once it is whole.
    New(PathBuf),
    /// In place of the dataset in this folder: written beside it, then the two folders change places in one step, so
    /// that a crash at any moment leaves the old dataset or the new one, whole. Other files in the folder are kept.
    Replace(PathBuf),
}

/// What the new dataset has its own of, or that nobody needs any more: folders, files, and the metadata of older versions.
const NOT_KEPT: [&str; 12] = [
    "data",
    "videos",
    "meta/episodes",
    INFO,
    STATS,
    TASKS,
    "meta/tasks.jsonl",
    "meta/episodes.jsonl",
    "meta/episodes_stats.jsonl",
    RECORDING,
    COMPACT,
    ".cache",
];

/// What hidden folders beside a dataset are for: the new dataset until it is whole, and trying whether folders can change
/// places.
const PURPOSES: [&str; 3] = ["partial", "trial-a", "trial-b"];

impl Target {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self {
            Self::New(folder) | Self::Replace(folder) => folder,
        }
    }

    /// Checks, before any long work, that something can be written there.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::New(folder) if folder.symlink_metadata().is_ok() => Err(Error::File {
                path: folder.clone(),
                problem: "something is there already".to_owned(),
                remedy: "give a new folder".to_owned(),
            }),
            Self::New(_) => Ok(()),
            Self::Replace(folder) => can_exchange(&real(folder)?),
        }
    }

    /// Lets `write` fill a folder beside the place, and moves it there once it is whole.
    pub(crate) fn build<T>(&self, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let (folder, replaces) = match self {
            Self::New(folder) => (folder.clone(), false),
            Self::Replace(folder) => (real(folder)?, true),
        };
        let partial = beside(&folder, PURPOSES[0])?;
        remove_folder(&partial)?;
        make_parent(&partial)?;
        fs::create_dir(&partial).map_err(Error::io("create the folder", &partial))?;
        let written = write(&partial).and_then(|result| {
            if replaces {
                keep_other_files(&folder, &partial, "")?;
                exchange(&partial, &folder)?;
                sync_parent(&folder);
            } else {
                let action = "rename the finished dataset to";
                fs::rename(&partial, &folder).map_err(Error::io(action, &folder))?;
                sync_parent(&folder);
            }
            Ok(result)
        });
        // What was begun, or, once the places are changed, the old dataset.
        let removed = remove_folder(&partial);
        let result = written?;
        removed.map(|()| result)
    }
}

/// The folder itself, where a link leads to it.
fn real(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).map_err(Error::io("read", folder))
}

/// A hidden name beside a folder's.
fn beside(folder: &Path, purpose: &str) -> Result<PathBuf> {
    let name = folder.file_name();
    let name = name.ok_or_else(|| Error::invalid("target", "a folder's name", folder.display()))?;
    Ok(folder.with_file_name(format!(".{}.{purpose}", name.to_string_lossy())))
}

/// What work on a dataset that was stopped has left beside its folder.
pub(crate) fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let Ok(folder) = real(folder) else {
        return Vec::new();
    };
    let hidden = PURPOSES
        .iter()
        .filter_map(|purpose| beside(&folder, purpose).ok());
    hidden.filter(|path| path.is_dir()).collect()
}

/// Files of the old folder, below one of its own, that are no part of a dataset, such as a README, go along.
pub(crate) fn keep_other_files(old: &Path, new: &Path, below: &str) -> Result<()> {
    for path in files_below(&old.join(below))? {
        let inside = path.strip_prefix(old).unwrap_or(&path);
        if NOT_KEPT.iter().any(|replaced| inside.starts_with(replaced)) {
            continue;
        }
        let copy = new.join(inside);
        make_parent(&copy)?;
        fs::copy(&path, &copy).map_err(Error::io("copy", &path))?;
        sync_file(&copy)?;
    }
    Ok(())
}

/// Brings a rename to the disk, where folders can be synced.
fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        sync_file(parent).ok();
    }
}

/// Tries on two empty folders beside a dataset whether folders can change places there.
fn can_exchange(folder: &Path) -> Result<()> {
    let pair = [beside(folder, PURPOSES[1])?, beside(folder, PURPOSES[2])?];
    let tried = pair
        .iter()
        .try_for_each(|path| fs::create_dir_all(path).map_err(Error::io("create the folder", path)))
        .and_then(|()| exchange(&pair[0], &pair[1]));
    let removed = pair.iter().try_for_each(|path| remove_folder(path));
    tried.and(removed)
}

/// Two folders change their names in one step of the file system.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn exchange(one: &Path, other: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(|error| Error::File {
        path: other.to_owned(),
        problem: format!("two folders cannot change places here: {error}"),
        remedy: "write to a new folder with `--out` instead".to_owned(),
    })
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn exchange(_: &Path, other: &Path) -> Result<()> {
    Err(Error::File {
        path: other.to_owned(),
        problem: "two folders cannot change places on this system".to_owned(),
        remedy: "write to a new folder with `--out` instead".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(folder: &Path, text: &str) -> Result<()> {
        fs::create_dir_all(folder.join("meta")).unwrap();
        fs::write(folder.join("meta/info.json"), text).map_err(Error::io("write", folder))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dataset_is_replaced_in_one_step_and_keeps_what_others_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("d");
        fill(&root, "old").unwrap();
        fs::write(root.join("README.md"), "read me").unwrap();
        fs::write(root.join("meta/modality.json"), "{}").unwrap();
        fs::write(root.join("meta/stats.json"), "old").unwrap();
        let target = Target::Replace(root.clone());
        target.check().unwrap();
        let failed: Result<()> = target.build(|partial| {
            fill(partial, "half")?;
            Err(Error::OutOfOrder("stopped".to_owned()))
        });
        failed.unwrap_err();
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        assert_eq!(
            (read("meta/info.json"), names(folder.path())),
            ("old".to_owned(), vec!["d".to_owned()])
        );
        let during = target.build(|partial| {
            fill(partial, "new")?;
            Ok(read("meta/info.json"))
        });
        assert_eq!(during.unwrap(), "old");
        assert_eq!(
            (read("meta/info.json"), read("README.md")),
            ("new".to_owned(), "read me".to_owned())
        );
        assert_eq!(names(&root.join("meta")), ["info.json", "modality.json"]);
        assert_eq!(names(folder.path()), ["d"]);
    }

    #[test]
    fn what_was_left_is_found_and_goes_with_the_next_try() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("d");
        fill(&root, "old").unwrap();
        assert!(leftovers(&root).is_empty());
        for name in [".d.partial", ".d.trial-b", ".e.partial"] {
            fill(&folder.path().join(name), "half").unwrap();
        }
        let found = leftovers(&root);
        let found: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(found, [".d.partial", ".d.trial-b"]);
        let target = Target::Replace(root.clone());
        target.check().unwrap();
        target.build(|partial| fill(partial, "new")).unwrap();
        assert!(leftovers(&root).is_empty());
        assert_eq!(names(folder.path()), [".e.partial", "d"]);
    }

    #[test]
    fn a_new_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("below/d");
        let target = Target::New(root.clone());
        let failed: Result<()> = target.build(|partial| {
            fill(partial, "half")?;
            Err(Error::OutOfOrder("stopped".to_owned()))
        });
        failed.unwrap_err();
        assert!(names(&folder.path().join("below")).is_empty());
        target.build(|partial| fill(partial, "new")).unwrap();
        assert_eq!(names(&root), ["meta"]);
        let error = target.check().unwrap_err().to_string();
        assert!(
            error.contains("already") && error.contains("new folder"),
            "{error}"
        );
        let error = Target::Replace(folder.path().join("gone"))
            .check()
            .unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

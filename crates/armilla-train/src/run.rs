//! A run's folder: `config.toml`, `metrics.jsonl`, and `checkpoints/` with `last` pointing to the newest.

use std::path::{Path, PathBuf};

use armilla_nn::checkpoint::write_atomically;

use crate::error::{Error, Result, file_error};

const CONFIG: &str = "config.toml";
const CHECKPOINTS: &str = "checkpoints";
const LAST: &str = "last";
const BEST: &str = "best";
const PART: &str = ".part";

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Makes a new run's folder, keeping the text of its configuration in it.
    ///
    /// # Errors
    ///
    /// If the folder holds anything, or cannot be written.
    pub fn create(path: &Path, config_text: &str) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(file_error("create", path))?;
        let mut entries = std::fs::read_dir(path).map_err(file_error("read", path))?;
        if entries.next().is_some() {
            let path = path.to_path_buf();
            return Err(Error::Occupied { path });
        }
        let run = Self {
            path: path.to_path_buf(),
        };
        let checkpoints = run.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(file_error("create", &checkpoints))?;
        write_atomically(&path.join(CONFIG), config_text.as_bytes())?;
        Ok(run)
    }

    /// Opens a run to resume it or to look at it.
    ///
    /// # Errors
    ///
    /// If the folder holds no run.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path.to_path_buf();
        if !path.join(CONFIG).is_file() {
            return Err(Error::NotARun { path });
        }
        let run = Self { path };
        let checkpoints = run.checkpoints();
        std::fs::create_dir_all(&checkpoints).map_err(file_error("create", &checkpoints))?;
        Ok(run)
    }

    /// Takes the folder away again if no step and no checkpoint came of the run, so that one whose settings were wrong can be begun anew under
    /// its name.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove_unused(&self) -> Result<()> {
        let checkpoints = self.checkpoints();
        let mut entries =
            std::fs::read_dir(&checkpoints).map_err(file_error("read", &checkpoints))?;
        let metrics = self.metrics();
        // One that failed at its first step has begun the file.
        let steps = metrics.metadata().is_ok_and(|file| file.len() > 0);
        if steps || entries.next().is_some() {
            return Ok(());
        }
        if metrics.exists() {
            remove(&metrics)?;
        }
        remove(&checkpoints)?;
        remove(&self.path.join(CONFIG))?;
        // What else lies there is somebody's, and keeps its folder.
        let _kept = std::fs::remove_dir(&self.path);
        Ok(())
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of the configuration that the run was created with.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn config_text(&self) -> Result<String> {
        let path = self.path.join(CONFIG);
        std::fs::read_to_string(&path).map_err(file_error("read", &path))
    }

    /// Where the metrics lie.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The newest checkpoint, if there is one: its exported model lies in the folder `model` in it.
    ///
    /// It is the one that `last` points to. Where a copy of the run has lost that link, or has a folder in its place, it is the one of most steps.
    #[must_use]
    pub fn last_checkpoint(&self) -> Option<PathBuf> {
        let last = self.checkpoints().join(LAST);
        let target = std::fs::read_link(&last)
            .or_else(|_| std::fs::read_to_string(&last).map(PathBuf::from));
        let pointed = target.ok().map(|target| self.checkpoints().join(target));
        pointed
            .filter(|checkpoint| checkpoint.is_dir())
            .or_else(|| self.most_steps())
            .or_else(|| last.is_dir().then_some(last))
    }

    /// The checkpoint of most steps; a name that is a number alone belongs to a whole one.
    fn most_steps(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.checkpoints()).ok()?;
        let paths = entries.flatten().map(|entry| entry.path());
        let numbered = paths.filter(|path| path.is_dir()).filter_map(|path| {
            let step: u64 = path.file_name()?.to_str()?.parse().ok()?;
            Some((step, path))
        });
        numbered.max().map(|(_, path)| path)
    }

    /// The folder of the checkpoint after so many steps.
    #[must_use]
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.checkpoints().join(format!("{step:06}"))
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// Fills a checkpoint's folder under a temporary name, syncs it to the disk, renames it into place and points `last` to it.
    pub(crate) fn write_checkpoint(
        &self,
        step: u64,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let whole = self.checkpoint(step);
        let part = self.checkpoints().join(format!(".{step:06}{PART}"));
        remove(&part)?;
        std::fs::create_dir_all(&part).map_err(file_error("create", &part))?;
        fill(&part)?;
        sync(&part)?;
        // One of this name is left only by a crash before `last` pointed to it, or by a run that is done already.
        remove(&whole)?;
        std::fs::rename(&part, &whole).map_err(file_error("rename", &part))?;
        self.point(LAST, &whole)?;
        Ok(whole)
    }

    /// Points `best` to a checkpoint.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn mark_best(&self, checkpoint: &Path) -> Result<()> {
        self.point(BEST, checkpoint)
    }

    fn point(&self, name: &str, checkpoint: &Path) -> Result<()> {
        let (whole, part) = (
            self.checkpoints().join(name),
            self.checkpoints().join(format!(".{name}{PART}")),
        );
        let target = Path::new(checkpoint.file_name().unwrap_or_default());
        remove(&part)?;
        link(target, &part).map_err(file_error("create", &part))?;
        // A copy of a run may have a folder here, which nothing can be renamed over.
        if whole.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            remove(&whole)?;
        }
        std::fs::rename(&part, &whole).map_err(file_error("replace", &whole))?;
        sync_entry(&self.checkpoints())
    }
}

#[cfg(unix)]
fn link(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Where links need rights that users lack, a file holds the name.
#[cfg(not(unix))]
fn link(target: &Path, link: &Path) -> std::io::Result<()> {
    std::fs::write(link, target.to_string_lossy().as_bytes())
}

fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(file_error("remove", path))
}

/// Syncs a folder and all in it.
fn sync(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(file_error("read", folder))? {
        let path = entry.map_err(file_error("read", folder))?.path();
        if path.is_dir() {
            sync(&path)?;
        } else {
            sync_entry(&path)?;
        }
    }
    sync_entry(folder)
}

fn sync_entry(path: &Path) -> Result<()> {
    let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
    synced.map_err(file_error("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_created_once_and_opened_after() {
        let path = std::env::temp_dir().join(format!("armilla-run-{}", std::process::id()));
        let message = RunDirectory::open(&path).unwrap_err().to_string();
        assert!(message.contains("holds no run"), "{message}");
        let run = RunDirectory::create(&path, "steps = 1\n").unwrap();
        assert_eq!(run.config_text().unwrap(), "steps = 1\n");
        let message = RunDirectory::create(&path, "").unwrap_err().to_string();
        assert!(message.contains("--resume"), "{message}");
        let run = RunDirectory::open(run.path()).unwrap();
        assert_eq!(run.last_checkpoint(), None);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_run_that_did_nothing_leaves_nothing() {
        let path = std::env::temp_dir().join(format!("armilla-run-unused-{}", std::process::id()));
        RunDirectory::create(&path, "")
            .unwrap()
            .remove_unused()
            .unwrap();
        assert!(!path.exists());
        let run = RunDirectory::create(&path, "steps = 1\n").unwrap();
        std::fs::write(path.join("notes"), "mine").unwrap();
        run.remove_unused().unwrap();
        assert!(path.join("notes").exists() && !path.join(CONFIG).exists());
        std::fs::remove_dir_all(&path).unwrap();
        let run = RunDirectory::create(&path, "steps = 1\n").unwrap();
        std::fs::write(run.metrics(), "{}\n").unwrap();
        run.remove_unused().unwrap();
        assert_eq!(run.config_text().unwrap(), "steps = 1\n");
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_run_that_failed_at_its_first_step_leaves_nothing() {
        let path = std::env::temp_dir().join(format!("armilla-run-first-{}", std::process::id()));
        for (metrics, is_kept) in [("", false), ("{}\n", true)] {
            let run = RunDirectory::create(&path, "").unwrap();
            std::fs::write(run.metrics(), metrics).unwrap();
            run.remove_unused().unwrap();
            let left = [&path, &run.metrics()].map(|path| path.exists());
            assert_eq!(left, [is_kept; 2], "{metrics:?}");
        }
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn last_points_to_whole_checkpoints_only() {
        let path = std::env::temp_dir().join(format!("armilla-run-last-{}", std::process::id()));
        let run = RunDirectory::create(&path, "").unwrap();
        let write = |step, text: &str| {
            run.write_checkpoint(step, |folder| {
                std::fs::write(folder.join("file"), text).map_err(file_error("write", folder))
            })
        };
        let first = write(5, "a").unwrap();
        assert_eq!(run.last_checkpoint(), Some(first.clone()));
        let failed = run.write_checkpoint(7, |folder| {
            Err(Error::NotARun {
                path: folder.into(),
            })
        });
        assert!(failed.is_err() && !run.checkpoint(7).exists());
        assert_eq!(run.last_checkpoint(), Some(first));
        let again = write(7, "b").unwrap();
        assert_eq!(run.last_checkpoint(), Some(again));
        write(5, "c").unwrap();
        let text = std::fs::read_to_string(path.join("checkpoints/last/file")).unwrap();
        assert_eq!(text, "c");
        run.mark_best(&run.checkpoint(7)).unwrap();
        let text = std::fs::read_to_string(path.join("checkpoints/best/file")).unwrap();
        assert_eq!(text, "b");
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_copy_without_its_links_goes_on() {
        let path = std::env::temp_dir().join(format!("armilla-run-copy-{}", std::process::id()));
        let run = RunDirectory::create(&path, "").unwrap();
        let write = |step| run.write_checkpoint(step, |_| Ok(())).unwrap();
        write(5);
        let newest = write(10);
        let last = path.join("checkpoints/last");
        remove(&last).unwrap();
        assert_eq!(run.last_checkpoint(), Some(newest.clone()));
        std::fs::create_dir(&last).unwrap();
        assert_eq!(run.last_checkpoint(), Some(newest.clone()));
        remove(&newest).unwrap();
        remove(&run.checkpoint(5)).unwrap();
        assert_eq!(run.last_checkpoint(), Some(last.clone()));
        let after = write(15);
        assert!(last.is_symlink());
        assert_eq!(run.last_checkpoint(), Some(after));
        std::fs::remove_dir_all(&path).unwrap();
    }
}

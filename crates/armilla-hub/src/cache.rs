//! The cache: contents by hash, and folders of links to them by commit, as the Python packages lay them out.
//!
//! Beside their folders `blobs`, `refs` and `snapshots` stands `armilla`, with the listing of each commit that a pull began with.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hf_hub::{Cache, CacheRepo};

use crate::error::{Error, Result};
use crate::listing::{Entry, Hash, Listing, is_hash};
use crate::repository::Repository;

/// A repository at one commit, whole, in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its folder; the files in it are links.
    pub folder: PathBuf,
    /// The commit, in hexadecimal.
    pub commit: String,
    /// Its files' paths below the folder.
    pub files: Vec<String>,
}

/// One repository's part of the cache.
pub(crate) struct RepositoryCache<'a> {
    root: PathBuf,
    repository: &'a Repository,
    paths: CacheRepo,
}

impl<'a> RepositoryCache<'a> {
    pub(crate) fn new(cache: &Cache, repository: &'a Repository) -> Self {
        Self {
            root: cache.path().join(repository.repo().folder_name()),
            repository,
            paths: cache.repo(repository.repo()),
        }
    }

    /// Where contents lie.
    pub(crate) fn blob(&self, hash: &Hash) -> PathBuf {
        self.paths.blob_path(hash.as_str())
    }

    /// Makes a file of a commit point to its contents.
    pub(crate) fn point(&self, commit: &str, entry: &Entry) -> Result<()> {
        let pointer = self.paths.pointer_path(commit).join(&entry.path);
        let blob = self.blob(&entry.hash);
        if has(&pointer, entry.size) && same_file(&pointer, &blob) {
            return Ok(());
        }
        make_parent(&pointer)?;
        let partial = partial(&pointer);
        // From the file's folder up to `snapshots/COMMIT`, and two more to the repository's.
        let up = "../".repeat(entry.path.split('/').count() + 1);
        link(&format!("{up}blobs/{}", entry.hash), &blob, &partial)
            .and_then(|()| fs::rename(&partial, &pointer))
            .map_err(Error::io("link", &pointer))
    }

    /// Notes what a commit is made of, before anything of it is here: what a pull has not brought yet is missed by [`Self::snapshot`].
    pub(crate) fn begin(&self, listing: &Listing) -> Result<()> {
        let path = self.listing_path(&listing.commit);
        let text =
            serde_json::to_vec(listing).map_err(|error| Error::io("write", &path)(error.into()))?;
        make_parent(&path)?;
        write(&path, &text)
    }

    /// Notes that the revision is this commit, which is here whole.
    pub(crate) fn finish(&self, listing: &Listing) -> Result<Snapshot> {
        if self.repository.revision() != listing.commit {
            let path = self.ref_path();
            make_parent(&path)?;
            write(&path, listing.commit.as_bytes())?;
        }
        let files = listing.entries.iter().map(|entry| entry.path.clone());
        Ok(Snapshot {
            folder: self.paths.pointer_path(&listing.commit),
            commit: listing.commit.clone(),
            files: files.collect(),
        })
    }

    /// What is here of the repository's revision.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let missing = |what: String| Error::NotCached {
            what,
            folder: self.root.clone(),
        };
        let revision = self.repository.revision();
        let commit = if is_hash(revision, 40) {
            Some(revision.to_owned())
        } else {
            let found = fs::read_to_string(self.ref_path()).ok();
            found
                .map(|commit| commit.trim().to_owned())
                .filter(|commit| is_hash(commit, 40))
        };
        let commit = commit.ok_or_else(|| missing(self.repository.to_string()))?;
        let folder = self.paths.pointer_path(&commit);
        let Some(listing) = self.listing(&commit)? else {
            // Pulled by another program, which leaves no list: all that it took is here.
            let files = files_below(&folder)?;
            if files.is_empty() {
                return Err(missing(self.repository.to_string()));
            }
            return Ok(Snapshot {
                folder,
                commit,
                files,
            });
        };
        let gone: Vec<_> = listing
            .entries
            .iter()
            .filter(|entry| !has(&folder.join(&entry.path), entry.size))
            .collect();
        if let Some(first) = gone.first() {
            let what = format!(
                "`{}` ({} of {} files) of {}",
                first.path,
                gone.len(),
                listing.entries.len(),
                self.repository
            );
            return Err(missing(what));
        }
        let files = listing.entries.into_iter().map(|entry| entry.path);
        Ok(Snapshot {
            folder,
            commit,
            files: files.collect(),
        })
    }

    fn listing(&self, commit: &str) -> Result<Option<Listing>> {
        let path = self.listing_path(commit);
        match fs::read(&path) {
            Ok(text) => {
                let listing = serde_json::from_slice(&text);
                let listing = listing.map_err(|error| Error::io("read", &path)(error.into()));
                Ok(Some(listing?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.root.join("armilla").join(format!("{commit}.json"))
    }

    fn ref_path(&self) -> PathBuf {
        self.root.join("refs").join(self.repository.revision())
    }
}

/// Whether a file is there with its size.
pub(crate) fn has(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

/// All files below a folder as paths with `/`, in order; none if the folder is missing. Hidden ones are left out, but
/// for `.gitattributes`.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<String>> {
    let (mut found, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(prefix) = folders.pop() {
        let here = folder.join(&prefix);
        let entries = match fs::read_dir(&here) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("list", &here)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &here))?;
            let name = text_of(&here, &entry.file_name())?;
            let path = entry.path();
            // A link to a file counts as the file, one to a folder may lead anywhere.
            let kind = entry.file_type().map_err(Error::io("read", &path))?;
            if name.starts_with('.') && name != ".gitattributes" {
                continue;
            } else if kind.is_dir() {
                folders.push(format!("{prefix}{name}/"));
            } else if path.is_file() {
                found.push(format!("{prefix}{name}"));
            } else {
                return Err(Error::Folder {
                    path,
                    problem: "expected a file or a folder, found a link to a folder or to nothing"
                        .to_owned(),
                });
            }
        }
    }
    found.sort();
    Ok(found)
}

fn text_of(folder: &Path, name: &OsStr) -> Result<String> {
    let text = name.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Folder {
        path: folder.join(name),
        problem: "the name is no UTF-8; rename the file".to_owned(),
    })
}

/// Copies a snapshot's files into a new folder.
pub(crate) fn export(snapshot: &Snapshot, folder: &Path) -> Result<()> {
    if fs::symlink_metadata(folder).is_ok() {
        return Err(Error::Folder {
            path: folder.to_owned(),
            problem: "something is there already; give a new folder".to_owned(),
        });
    }
    let partial = beside(folder, ".pulling");
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &partial)(error));
        }
        _ => {}
    }
    for path in &snapshot.files {
        let (from, to) = (snapshot.folder.join(path), partial.join(path));
        make_parent(&to)?;
        fs::copy(&from, &to)
            .and_then(|_| File::open(&to)?.sync_all())
            .map_err(Error::io("copy to", &to))?;
    }
    fs::create_dir_all(&partial).map_err(Error::io("create the folder", &partial))?;
    make_parent(folder)?;
    fs::rename(&partial, folder).map_err(Error::io("rename the finished folder to", folder))
}

/// A hidden name beside a path.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsStr::new(".").to_owned();
    name.push(path.file_name().unwrap_or_default());
    name.push(ending);
    path.with_file_name(name)
}

/// A hidden name beside a path that no other process and no other thread has.
fn partial(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    beside(path, &format!(".{process}-{count}.partial"))
}

/// Makes the folders above a path.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(Error::io("create the folder", parent)),
        None => Ok(()),
    }
}

/// Writes a small file whole or not at all, if it is not there already.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let partial = partial(path);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    written.map_err(Error::io("write", path))
}

fn same_file(left: &Path, right: &Path) -> bool {
    let whole = |path: &Path| fs::canonicalize(path).ok();
    whole(left).is_some_and(|left| whole(right) == Some(left))
}

#[cfg(unix)]
fn link(target: &str, _: &Path, path: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// Links need a privilege elsewhere.
#[cfg(not(unix))]
fn link(_: &str, blob: &Path, path: &Path) -> std::io::Result<()> {
    fs::copy(blob, path).map(drop)
}

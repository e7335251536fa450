//! A folder into one commit.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Progress;
use crate::cache::files_below;
use crate::client::{Client, JSON, NDJSON};
use crate::error::{Error, Result};
use crate::hash;
use crate::lfs;
use crate::listing::{Hash, Listing};
use crate::repository::{Kind, Repository, encoded, is_inside};

/// Files in one question about how to upload them.
const FILES_AT_ONCE: usize = 256;
/// Bytes of a file's beginning by which the hub tells text from other files.
const SAMPLE: u64 = 512;

/// How to push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// Whether a repository that has to be made is private.
    pub private: bool,
    /// The commit's message.
    pub message: String,
    /// A tag to put on the commit, moved if it exists: LeRobot finds a dataset by the tag of its format's version.
    pub tag: Option<String>,
}

/// What was pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// The new commit; none if the repository had everything already.
    pub commit: Option<String>,
    /// Paths of the files that are new in it.
    pub uploaded: Vec<String>,
    /// Files that the repository had already.
    pub unchanged: usize,
    /// Paths that the repository's own rules leave out.
    pub ignored: Vec<String>,
}

/// A file to be pushed.
pub(crate) struct Local {
    pub(crate) path: String,
    pub(crate) file: PathBuf,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    blob: String,
}

impl Local {
    fn is(&self, hash: &Hash) -> bool {
        match hash {
            Hash::Sha256(digits) => *digits == self.sha256,
            Hash::GitBlob(digits) => *digits == self.blob,
        }
    }
}

pub(crate) fn push(
    client: &Client,
    (folder, repository): (&Path, &Repository),
    options: &Push,
    progress: Progress<'_>,
) -> Result<Pushed> {
    // Made or refused before hours of hashing.
    let listing = open_or_make(client, repository, options.private)?;
    let mut files = hash_files(folder, progress)?;
    let all = files.len();
    files.retain(|file| {
        let known = listing.entries.iter().find(|entry| entry.path == file.path);
        !known.is_some_and(|known| file.is(&known.hash))
    });
    let mut pushed = Pushed {
        unchanged: all - files.len(),
        ..Pushed::default()
    };
    let modes = upload_modes(client, repository, &files)?;
    let mut operations = Vec::new();
    let mut large = Vec::new();
    for (file, mode) in files.iter().zip(modes) {
        if mode.should_ignore {
            pushed.ignored.push(file.path.clone());
            continue;
        }
        if mode.upload_mode == "lfs" {
            large.push(file);
            operations.push(json!({"key": "lfsFile", "value": {
                "path": file.path, "algo": "sha256", "oid": file.sha256, "size": file.size,
            }}));
        } else {
            let bytes = fs::read(&file.file).map_err(Error::io("read", &file.file))?;
            operations.push(json!({"key": "file", "value": {
                "path": file.path, "encoding": "base64", "content": STANDARD.encode(bytes),
            }}));
        }
        pushed.uploaded.push(file.path.clone());
    }
    lfs::upload(client, repository, &large, progress)?;
    if !operations.is_empty() {
        pushed.commit = Some(commit(client, repository, &options.message, &operations)?);
    }
    if let Some(tag) = &options.tag {
        move_tag(client, repository, tag)?;
    }
    Ok(pushed)
}

/// What the repository holds; it is made if there is none.
fn open_or_make(client: &Client, repository: &Repository, private: bool) -> Result<Listing> {
    let missing = match Listing::read(client, repository) {
        Err(error @ Error::Refused { status: 404, .. }) => error,
        found => return found,
    };
    let (owner, name) = repository.name().split_once('/').unwrap_or_default();
    let body = json!({
        "name": name, "organization": owner, "type": repository.kind().name(), "private": private,
    });
    let url = client.url("api/repos/create");
    match client.post_json::<Value>(&url, &body, JSON) {
        // It is there, but not this revision of it.
        Err(Error::Refused { status: 409, .. }) => return Err(missing),
        made => made?,
    };
    Listing::read(client, repository)
}

fn hash_files(folder: &Path, progress: Progress<'_>) -> Result<Vec<Local>> {
    let paths = files_below(folder)?;
    if paths.is_empty() {
        return Err(Error::Folder {
            path: folder.to_owned(),
            problem: "expected a folder with files to push, found none".to_owned(),
        });
    }
    let mut total = 0;
    for path in &paths {
        let file = folder.join(path);
        total += fs::metadata(&file).map_err(Error::io("read", &file))?.len();
    }
    let (mut files, mut before) = (Vec::with_capacity(paths.len()), 0);
    for path in paths {
        if !is_inside(&path) {
            return Err(Error::Name {
                what: "a file to push",
                expected: "a name that every system can have",
                found: path,
            });
        }
        let file = folder.join(&path);
        let (sha256, blob, size) = hash::of_file(&file, &mut |read| {
            before += read;
            progress(&format!("comparing {path}"), before, total);
        })?;
        if !progress(&format!("comparing {path}"), before, total) {
            return Err(Error::Stopped);
        }
        files.push(Local {
            path,
            file,
            size,
            sha256,
            blob,
        });
    }
    Ok(files)
}

/// How the hub wants a file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

#[derive(Deserialize)]
struct Modes {
    files: Vec<Mode>,
}

/// Asks for each file, in the order given, how it is to be uploaded.
fn upload_modes(client: &Client, repository: &Repository, files: &[Local]) -> Result<Vec<Mode>> {
    let url = api_url(client, repository, "preupload");
    let mut modes = Vec::with_capacity(files.len());
    for files in files.chunks(FILES_AT_ONCE) {
        let described: Result<Vec<Value>> = files.iter().map(describe).collect();
        let mut answer: Modes = client.post_json(&url, &json!({"files": described?}), JSON)?;
        for file in files {
            let found = answer.files.iter().position(|mode| mode.path == file.path);
            let found = found.ok_or_else(|| Error::Answer {
                url: url.clone(),
                expected: "how to upload each file",
                found: format!("nothing on `{}`", file.path),
            })?;
            modes.push(answer.files.swap_remove(found));
        }
    }
    Ok(modes)
}

fn describe(file: &Local) -> Result<Value> {
    let mut sample = Vec::new();
    fs::File::open(&file.file)
        .and_then(|opened| opened.take(SAMPLE).read_to_end(&mut sample))
        .map_err(Error::io("read", &file.file))?;
    Ok(json!({"path": file.path, "size": file.size, "sample": STANDARD.encode(sample)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Commit {
    commit_oid: String,
}

/// Makes the commit: a line for its message, and one for each file.
fn commit(
    client: &Client,
    repository: &Repository,
    message: &str,
    operations: &[Value],
) -> Result<String> {
    let header = json!({"key": "header", "value": {"summary": message, "description": ""}});
    let mut lines = format!("{header}\n");
    for operation in operations {
        lines += &format!("{operation}\n");
    }
    let url = api_url(client, repository, "commit");
    let made: Commit = client.post(&url, lines.as_bytes(), NDJSON)?;
    Ok(made.commit_oid)
}

/// Puts a tag on the revision's newest commit.
fn move_tag(client: &Client, repository: &Repository, tag: &str) -> Result<()> {
    let checked = Repository::new(repository.kind(), repository.name(), Some(tag))?;
    let old = api_url(client, &checked, "tag");
    match client.delete(&old) {
        Ok(()) | Err(Error::Refused { status: 404, .. }) => {}
        Err(error) => return Err(error),
    }
    let url = api_url(client, repository, "tag");
    client.post_accepted(&url, json!({"tag": tag}).to_string().as_bytes(), JSON)
}

/// An address of the interface that ends in the revision.
fn api_url(client: &Client, repository: &Repository, what: &str) -> String {
    let kind = match repository.kind() {
        Kind::Dataset => "datasets",
        Kind::Model => "models",
    };
    let revision = encoded(repository.revision()).replace('/', "%2F");
    client.url(&format!(
        "api/{kind}/{}/{what}/{revision}",
        repository.name()
    ))
}

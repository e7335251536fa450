//! What a repository holds at a revision.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::repository::{Repository, is_inside};

/// The hash that the hub lists of a file, in hexadecimal; also the name of its contents in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hash {
    /// Of what is kept in large-file storage.
    Sha256(String),
    /// git's hash of all else.
    GitBlob(String),
}

impl Hash {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let (Self::Sha256(digits) | Self::GitBlob(digits)) = self;
        digits
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its contents' hash.
    pub hash: Hash,
}

/// All files of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The commit, in hexadecimal.
    pub commit: String,
    /// The files.
    pub entries: Vec<Entry>,
}

impl Listing {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    /// Asks the hub.
    pub(crate) fn read(client: &Client, repository: &Repository) -> Result<Self> {
        let url = client.url(&format!("api/{}?blobs=true", repository.repo().api_url()));
        let answer = client.get_json(&url);
        let answer: Answer = answer.map_err(|error| error.about(repository))?;
        let wrong = |expected, found: String| Error::Answer {
            url: url.clone(),
            expected,
            found,
        };
        if !is_hash(&answer.sha, 40) {
            return Err(wrong("a commit", answer.sha));
        }
        let mut entries = Vec::with_capacity(answer.siblings.len());
        for file in answer.siblings {
            if !is_inside(&file.rfilename) {
                return Err(Error::Name {
                    what: "a file of the repository",
                    expected: "a path below its folder",
                    found: file.rfilename,
                });
            }
            let entry = file.entry();
            entries.push(entry.map_err(|found| wrong("a size and a hash of each file", found))?);
        }
        Ok(Self {
            commit: answer.sha,
            entries,
        })
    }
}

/// Whether a text is a hash of some digits; it becomes a file's name.
pub(crate) fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Sibling {
    fn entry(self) -> std::result::Result<Entry, String> {
        let (size, hash) = match (self.lfs, self.size, self.blob_id) {
            (Some(Large { sha256, size }), ..) if is_hash(&sha256, 64) => {
                (size, Hash::Sha256(sha256))
            }
            (None, Some(size), Some(blob)) if is_hash(&blob, 40) => (size, Hash::GitBlob(blob)),
            _ => return Err(format!("`{}` without them", self.rfilename)),
        };
        Ok(Entry {
            path: self.rfilename,
            size,
            hash,
        })
    }
}

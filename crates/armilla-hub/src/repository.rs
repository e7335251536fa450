//! What a repository is called, and what its files may be called.

use std::fmt;
use std::path::{Component, Path};

use hf_hub::{Repo, RepoType};

use crate::error::{Error, Result};

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A dataset.
    Dataset,
    /// A checkpoint: a policy or a world model.
    Model,
}

impl Kind {
    /// The hub's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::Model => "model",
        }
    }
}

/// A repository at one of its revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    kind: Kind,
    name: String,
    revision: String,
}

impl Repository {
    /// A repository by `OWNER/NAME`, at a branch, tag or commit (`main` unless given).
    ///
    /// # Errors
    ///
    /// [`Error::Name`] when either is none.
    pub fn new(kind: Kind, name: &str, revision: Option<&str>) -> Result<Self> {
        let refused = |what, expected, found: &str| Error::Name {
            what,
            expected,
            found: found.to_owned(),
        };
        if !is_repository_name(name) {
            return Err(refused("repository", "OWNER/NAME", name));
        }
        let revision = revision.unwrap_or("main");
        if !is_revision(revision) {
            let expected = "a branch, tag or commit, such as main, v3.0 or refs/pr/1";
            return Err(refused("revision", expected, revision));
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The same at another revision, which was checked.
    pub(crate) fn at(&self, commit: &str) -> Self {
        Self {
            revision: commit.to_owned(),
            ..self.clone()
        }
    }

    /// What it holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its `OWNER/NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its revision.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// As `hf-hub` knows it.
    pub(crate) fn repo(&self) -> Repo {
        let kind = match self.kind {
            Kind::Dataset => RepoType::Dataset,
            Kind::Model => RepoType::Model,
        };
        Repo::with_revision(self.name.clone(), kind, self.revision.clone())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            revision,
        } = self;
        write!(f, "{} {name}@{revision}", kind.name())
    }
}

/// Whether a text has the form `OWNER/NAME` that the hub allows.
#[must_use]
pub fn is_repository_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let plain = part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let ends = part.starts_with(['-', '.']) || part.ends_with(['-', '.']);
        plain && !ends && !part.is_empty() && part.len() <= 96
    };
    let parts: Vec<_> = text.split('/').collect();
    // `--` stands for `/` in the cache's folders.
    let is_reserved = text.contains("--") || text.contains("..") || text.ends_with(".git");
    parts.len() == 2 && !is_reserved && parts.into_iter().all(is_part)
}

/// Whether a text can be a revision, and names a place below the cache's `refs`.
fn is_revision(text: &str) -> bool {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./+@=".contains(c));
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
    plain && text.len() <= 255 && !text.contains("..") && text.split('/').all(is_part)
}

/// Whether a file's path in a repository stays below the folder that it is written to.
pub(crate) fn is_inside(path: &str) -> bool {
    let odd = |c: char| c == '\\' || c == ':' || c.is_control();
    let mut parts = Path::new(path).components();
    !path.is_empty()
        && !path.contains(odd)
        && !path.split('/').any(|part| part.is_empty() || part == ".")
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A path or revision as part of a URL.
pub(crate) fn encoded(text: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["lerobot/pusht", "a_b/c-d.e", "a/b1"] {
            assert!(is_repository_name(name), "{name}");
        }
        for name in [
            "pusht", "a/b/c", "../b", "a/..", "a/", "/b", "a/b c", "a--b/c", "a/.b", "a/b.git",
            "a/b\\c",
        ] {
            assert!(!is_repository_name(name), "{name}");
            assert!(Repository::new(Kind::Model, name, None).is_err(), "{name}");
        }
        for revision in ["../x", "a//b", "/a", "a b", "", "a/../b", ".hidden", "a?b"] {
            let error = Repository::new(Kind::Dataset, "a/b", Some(revision)).unwrap_err();
            assert!(error.to_string().contains("revision"), "{error}");
        }
        let found = Repository::new(Kind::Dataset, "a/b", Some("refs/pr/1")).unwrap();
        assert_eq!(found.to_string(), "dataset a/b@refs/pr/1");
    }

    #[test]
    fn paths_stay_below_their_folder() {
        for path in ["meta/info.json", "a b/größe.txt", ".gitattributes"] {
            assert!(is_inside(path), "{path}");
        }
        for path in [
            "",
            "../a",
            "a/../../b",
            "/etc/passwd",
            "a//b",
            "./a",
            "a\\..\\b",
            "C:/a",
            "a/\0",
        ] {
            assert!(!is_inside(path), "{path}");
        }
        assert_eq!(encoded("a b/ü#?"), "a%20b/%C3%BC%23%3F");
    }
}

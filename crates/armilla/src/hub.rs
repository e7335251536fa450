//! Names of repositories of the Hugging Face hub where folders are expected.

use std::path::{Path, PathBuf};

use anyhow::Result;
#[cfg(not(feature = "hub"))]
use anyhow::bail;
use clap::ValueEnum;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HubType {
    /// Recordings.
    Dataset,
    /// A policy's or a world model's checkpoint.
    Model,
}

/// The folder that is meant: a folder of this name, or else the repository `OWNER/NAME` in the hub's cache, brought there first.
pub(crate) fn folder(kind: HubType, path: &Path) -> Result<PathBuf> {
    match repository_name(path) {
        Some(name) if !path.exists() => repository(kind, name),
        _ => Ok(path.to_owned()),
    }
}

/// What may be `OWNER/NAME`: two plain names.
fn repository_name(path: &Path) -> Option<&str> {
    let name = path.to_str()?;
    let plain = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(known)
    };
    let (owner, rest) = name.split_once('/')?;
    (plain(owner) && plain(rest)).then_some(name)
}

#[cfg(not(feature = "hub"))]
fn repository(_: HubType, name: &str) -> Result<PathBuf> {
    bail!(
        "{name}: there is no such folder; to take a repository of this name from the Hugging Face hub, build with \
         `cargo build --release --features hub`"
    )
}

#[cfg(feature = "hub")]
fn repository(kind: HubType, name: &str) -> Result<PathBuf> {
    use anyhow::Context as _;
    let found = crate::commands::hub::repository_folder(kind, name);
    found.with_context(|| format!("{name}: there is no such folder, and from the hub"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_plain_names_may_be_a_repository() {
        for name in ["lab/cubes", "a.b/c-d_e"] {
            assert_eq!(repository_name(Path::new(name)), Some(name));
        }
        for name in [
            "cubes",
            "/lab/cubes",
            "./cubes",
            "../cubes",
            "a/b/c",
            "a/",
            "a b/c",
        ] {
            assert_eq!(repository_name(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn a_folder_goes_before_a_repository() {
        let folder_here = tempfile::tempdir().unwrap();
        let found = folder(HubType::Dataset, folder_here.path()).unwrap();
        assert_eq!(found, folder_here.path());
        let elsewhere = Path::new("some/where/else");
        assert_eq!(folder(HubType::Model, elsewhere).unwrap(), elsewhere);
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_feature_the_error_says_how_to_build() {
        let error = folder(HubType::Dataset, Path::new("lab/no-such-cubes")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("lab/no-such-cubes") && text.contains("--features hub"),
            "{text}"
        );
    }
}

//! The hub as others see it: pull, push, and the cache alone.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::Cache;

use crate::cache::{RepositoryCache, Snapshot};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::listing::Listing;
use crate::push::{self, Push, Pushed};
use crate::repository::Repository;
use crate::{Progress, cache, download};

/// The hub, unless `HF_ENDPOINT` names another.
const ENDPOINT: &str = "https://huggingface.co";

/// Where the hub and the cache are, and who asks.
#[derive(Clone)]
pub struct Settings {
    /// The hub's address.
    pub endpoint: String,
    /// The user's token; public repositories can be pulled without one.
    pub token: Option<String>,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Pause before a failed request is tried again; doubled each time.
    pub retry_pause: Duration,
}

impl fmt::Debug for Settings {
    /// Leaves out the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// What the Hugging Face packages' own variables say: `HF_ENDPOINT`, `HF_TOKEN` (else the file that `hf auth login`
    /// writes) and `HF_HOME`.
    ///
    /// # Errors
    ///
    /// When there is neither `HF_HOME` nor a home folder, or `HF_ENDPOINT` is no address.
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |value: OsString| value.to_string_lossy().trim().to_owned();
        let cache = match (variable("HF_HOME"), std::env::home_dir()) {
            (Some(home), _) => Cache::new(PathBuf::from(home).join("hub")),
            (None, Some(home)) => Cache::new(home.join(".cache/huggingface/hub")),
            (None, None) => {
                return Err(Error::Name {
                    what: "HF_HOME",
                    expected: "a folder for the cache, since there is no home folder",
                    found: String::new(),
                });
            }
        };
        let endpoint = variable("HF_ENDPOINT").map_or_else(|| ENDPOINT.to_owned(), text);
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(Error::Name {
                what: "HF_ENDPOINT",
                expected: "an address such as https://huggingface.co",
                found: endpoint,
            });
        }
        Ok(Self {
            endpoint,
            token: variable("HF_TOKEN").map(text).or_else(|| cache.token()),
            cache: cache.path().clone(),
            retry_pause: Duration::from_secs(1),
        })
    }
}

/// A hub and the cache before it.
pub struct Hub {
    client: Client,
    cache: Cache,
}

impl Hub {
    /// Speaks to nobody yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            client: Client::new(settings),
            cache: Cache::new(settings.cache.clone()),
        }
    }

    /// Brings a repository into the cache, and gives its folder there. What is there already is not asked for again.
    ///
    /// # Errors
    ///
    /// When the hub cannot be reached or refuses, a file's hash is wrong, the disk refuses, or `progress` says to stop.
    pub fn pull(&self, repository: &Repository, progress: Progress<'_>) -> Result<Snapshot> {
        let listing = Listing::read(&self.client, repository)?;
        let cache = RepositoryCache::new(&self.cache, repository);
        cache.begin(&listing)?;
        let total = listing.bytes();
        let mut before = 0;
        let pinned = repository.at(&listing.commit);
        for entry in &listing.entries {
            let blob = cache.blob(&entry.hash);
            if !cache::has(&blob, entry.size) {
                download::fetch(&self.client, &pinned, entry, &blob, &mut |done| {
                    progress(&entry.path, before + done, total)
                })?;
            }
            cache.point(&listing.commit, entry)?;
            before += entry.size;
            if !progress(&entry.path, before, total) {
                return Err(Error::Stopped);
            }
        }
        cache.finish(&listing)
    }

    /// A repository as the cache has it, without asking the hub.
    ///
    /// # Errors
    ///
    /// [`Error::NotCached`] when it, or one of its files, is not there.
    pub fn offline(&self, repository: &Repository) -> Result<Snapshot> {
        RepositoryCache::new(&self.cache, repository).snapshot()
    }

    /// Copies a snapshot into a folder that does not exist yet; the folder gets its name once it is whole.
    ///
    /// # Errors
    ///
    /// When something is there, or the disk refuses.
    pub fn export(&self, snapshot: &Snapshot, folder: &Path) -> Result<()> {
        cache::export(snapshot, folder)
    }

    /// Uploads a folder's files in one commit to a repository, which is made if there is none. Files that it has already are
    /// left out; files that only it has stay.
    ///
    /// # Errors
    ///
    /// When the hub cannot be reached or refuses, a file cannot be read, or `progress` says to stop.
    pub fn push(
        &self,
        folder: &Path,
        repository: &Repository,
        options: &Push,
        progress: Progress<'_>,
    ) -> Result<Pushed> {
        push::push(&self.client, (folder, repository), options, progress)
    }
}

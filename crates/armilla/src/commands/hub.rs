//! `armilla hub`: datasets and checkpoints to and from the Hugging Face hub.

use std::path::PathBuf;

use clap::Subcommand;

use crate::hub::HubType;

/// What can be done with the hub.
#[derive(Debug, Subcommand)]
pub(crate) enum HubCommand {
    /// Bring a repository into the cache, or into a folder; a download that was cut off goes on.
    ///
    /// The cache is the one of the Python packages (HF_HOME); HF_ENDPOINT and HF_TOKEN say where the hub is and who asks.
    Pull {
        /// OWNER/NAME.
        name: String,
        /// What the repository holds.
        #[arg(long = "type", value_enum, default_value = "dataset")]
        kind: HubType,
        /// A branch, tag or commit.
        #[arg(long)]
        revision: Option<String>,
        /// Copy it into this folder, which must not exist.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Take it from the cache without asking the hub.
        #[arg(long)]
        offline: bool,
    },
    /// Upload a dataset or a checkpoint in one commit; files that the repository has already are left out.
    Push {
        /// The dataset's or checkpoint's folder.
        folder: PathBuf,
        /// OWNER/NAME; it is made if there is none.
        name: String,
        /// What the repository holds; what the folder looks like unless given.
        #[arg(long = "type", value_enum)]
        kind: Option<HubType>,
        /// A branch, which must exist.
        #[arg(long)]
        revision: Option<String>,
        /// Make a new repository private.
        #[arg(long)]
        private: bool,
        /// The commit's message.
        #[arg(long, default_value = "Upload with Armilla")]
        message: String,
    },
}

#[cfg(not(feature = "hub"))]
pub(crate) fn run(_: &HubCommand) -> anyhow::Result<()> {
    anyhow::bail!(
        "this program is built without the Hugging Face hub: build it with `cargo build --release --features hub`"
    )
}

#[cfg(feature = "hub")]
pub(crate) use with_hub::{repository_folder, run};

#[cfg(feature = "hub")]
mod with_hub {
    use std::path::{Path, PathBuf};

    use anyhow::{Result, bail};
    use armilla_data::Dataset;
    use armilla_hub::{Error, Hub, Kind, Push, Repository, Settings};

    use super::HubCommand;
    use crate::commands::stop_asked;
    use crate::hub::HubType;
    use crate::progress::{Progress, print, say};

    impl From<HubType> for Kind {
        fn from(kind: HubType) -> Self {
            match kind {
                HubType::Dataset => Self::Dataset,
                HubType::Model => Self::Model,
            }
        }
    }

    /// Runs `armilla hub`.
    pub(crate) fn run(command: &HubCommand) -> Result<()> {
        match command {
            HubCommand::Pull {
                name,
                kind,
                revision,
                out,
                offline,
            } => {
                let repository = Repository::new((*kind).into(), name, revision.as_deref())?;
                pull(&repository, out.as_deref(), *offline)
            }
            HubCommand::Push {
                folder,
                name,
                kind,
                revision,
                private,
                message,
            } => {
                let kind = kind.map_or_else(|| kind_of(folder), |kind| Ok(kind.into()))?;
                let options = Push {
                    private: *private,
                    message: message.clone(),
                    tag: checked_tag(kind, folder)?,
                };
                push(
                    folder,
                    &Repository::new(kind, name, revision.as_deref())?,
                    &options,
                )
            }
        }
    }

    /// The folder of a repository in the cache; what the hub has is brought there, what it cannot be asked is taken from there.
    pub(crate) fn repository_folder(kind: HubType, name: &str) -> Result<PathBuf> {
        let hub = Hub::new(&Settings::from_environment()?);
        let repository = Repository::new(kind.into(), name, None)?;
        let snapshot = match with_bar("pull", |progress| hub.pull(&repository, progress)) {
            Err(error @ Error::Unreachable { .. }) => {
                // What is wrong is that the hub cannot be reached, not that the cache is empty.
                let Ok(cached) = hub.offline(&repository) else {
                    return Err(error.into());
                };
                say(&format!(
                    "the hub cannot be reached: {repository} as it was when it was pulled last"
                ));
                cached
            }
            found => found?,
        };
        Ok(snapshot.folder)
    }

    fn pull(repository: &Repository, out: Option<&Path>, offline: bool) -> Result<()> {
        if let Some(out) = out.filter(|out| out.exists()) {
            bail!(
                "{}: something is there already; give a new folder",
                out.display()
            );
        }
        let hub = Hub::new(&Settings::from_environment()?);
        let snapshot = if offline {
            hub.offline(repository)?
        } else {
            with_bar("pull", |progress| hub.pull(repository, progress))?
        };
        if let Some(out) = out {
            hub.export(&snapshot, out)?;
        }
        let files = snapshot.files.len();
        say(&format!(
            "{repository}: {files} files, commit {}",
            snapshot.commit
        ));
        // The folder alone, for a script to take up.
        Ok(print(
            &out.unwrap_or(&snapshot.folder).display().to_string(),
        )?)
    }

    fn push(folder: &Path, repository: &Repository, options: &Push) -> Result<()> {
        let hub = Hub::new(&Settings::from_environment()?);
        let pushed = with_bar("upload", |progress| {
            hub.push(folder, repository, options, progress)
        })?;
        for path in &pushed.ignored {
            say(&format!("{path}: left out by the repository's own rules"));
        }
        let unchanged = pushed.unchanged;
        match pushed.commit {
            Some(commit) => say(&format!(
                "{repository}: {} files uploaded, {unchanged} there already, commit {commit}",
                pushed.uploaded.len()
            )),
            None => say(&format!(
                "{repository}: all {unchanged} files are there already"
            )),
        }
        Ok(())
    }

    /// What a folder holds.
    fn kind_of(folder: &Path) -> Result<Kind> {
        if !folder.is_dir() {
            bail!("{}: there is no such folder", folder.display())
        } else if folder.join("meta/info.json").exists() {
            Ok(Kind::Dataset)
        } else if folder.join("config.json").exists() {
            Ok(Kind::Model)
        } else if folder.join("checkpoints").is_dir() {
            bail!(
                "{}: this is a training run; push one of its checkpoints, such as {}",
                folder.display(),
                folder.join("checkpoints/STEP/model").display()
            )
        } else {
            bail!(
                "{}: expected a dataset (with meta/info.json) or a checkpoint (with config.json), found neither; give --type to push it all \
                 the same",
                folder.display()
            )
        }
    }

    /// Opens a dataset, so that none is pushed that cannot be read; and the tag by which LeRobot finds it.
    fn checked_tag(kind: Kind, folder: &Path) -> Result<Option<String>> {
        if kind == Kind::Model {
            return Ok(None);
        }
        let dataset = Dataset::open(folder)?;
        if let Some(recovered) = dataset.recovered().filter(|found| found.being_recorded) {
            bail!(
                "{}: {recovered}; push it when the recording is finished",
                folder.display()
            );
        }
        Ok(Some(armilla_data::VERSION.to_owned()))
    }

    /// Shows a bar while something goes on between here and the hub.
    fn with_bar<T>(
        name: &'static str,
        work: impl FnOnce(armilla_hub::Progress<'_>) -> armilla_hub::Result<T>,
    ) -> armilla_hub::Result<T> {
        let mut bar: Option<(&str, Progress)> = None;
        let done = work(&mut |what, done, total| {
            // Before files are uploaded, all are compared.
            let (now, what) = match what.strip_prefix("comparing ") {
                Some(what) => ("compare", what),
                None => (name, what),
            };
            if bar.as_ref().is_none_or(|(before, _)| *before != now) {
                if let Some((_, before)) = bar.take() {
                    before.finish();
                }
                bar = Some((now, Progress::new(now, "kB", total.div_ceil(1000))));
            }
            if let Some((_, bar)) = &mut bar {
                bar.set(done.div_ceil(1000), what);
            }
            !stop_asked()
        });
        if let Some((_, bar)) = bar.filter(|_| done.is_ok()) {
            bar.finish();
        }
        done
    }
}

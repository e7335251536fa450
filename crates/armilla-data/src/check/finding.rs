//! What a check finds.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::edit::write_episodes;
use crate::error::{Error, RESTORE};

/// What to do about most findings.
pub(crate) const REPAIR: &str =
    "`armilla dataset repair` makes a sound dataset of what can be saved";
/// What to do about statistics that are wrong or missing.
pub(crate) const RECOUNT: &str =
    "`armilla dataset stats DATASET --recount --in-place` counts them anew";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Readers fail, or get wrong data.
    Error,
    /// Readers get the right data, but the dataset is not as it should be.
    Warning,
}

impl Severity {
    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong with a dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, below the dataset's folder.
    pub file: PathBuf,
    /// The episodes it concerns, sorted; none if it concerns the file alone.
    pub episodes: Vec<usize>,
    /// What is wrong: expected and found.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// One that makes readers fail or err.
    pub(crate) fn error(file: impl Into<PathBuf>, problem: impl fmt::Display) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            episodes: Vec::new(),
            problem: problem.to_string(),
            remedy: REPAIR.to_owned(),
        }
    }

    /// One that makes no reader err.
    pub(crate) fn warning(file: impl Into<PathBuf>, problem: impl fmt::Display) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, problem)
        }
    }

    /// A file that cannot be used.
    pub(crate) fn broken(file: impl Into<PathBuf>, error: &Error) -> Self {
        let remedy = match error {
            Error::Unsupported { supported, .. } => format!("supported: {supported}"),
            _ => format!("{RESTORE}; {REPAIR}"),
        };
        Self::error(file, problem_of(error)).remedied_by(remedy)
    }

    pub(crate) fn of(mut self, episodes: impl IntoIterator<Item = usize>) -> Self {
        self.episodes = episodes.into_iter().collect();
        self
    }

    pub(crate) fn remedied_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The episodes as people write them, such as `3,5-7`; empty if there is none.
    #[must_use]
    pub fn episode_list(&self) -> String {
        write_episodes(&self.episodes)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.severity.name(), self.file.display())?;
        match self.episodes.len() {
            0 => {}
            1 => write!(f, "episode {}: ", self.episode_list())?,
            _ => write!(f, "episodes {}: ", self.episode_list())?,
        }
        write!(f, "{}\n    {}", self.problem, self.remedy)
    }
}

/// What is wrong, without the file's name, which a finding has by itself.
pub(crate) fn problem_of(error: &Error) -> String {
    match error {
        Error::File { problem, .. } => problem.clone(),
        Error::Unsupported { found, .. } => format!("{found} is not supported"),
        Error::Io { action, source, .. } => format!("cannot {action}: {source}"),
        other => other.to_string(),
    }
}

/// A path below a dataset's folder.
pub(crate) fn inside(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        let finding = Finding::warning("data/a.parquet", "nobody needs it").of([3, 4, 5, 9]);
        let text = finding.to_string();
        for words in [
            "warning: data/a.parquet",
            "episodes 3-5,9: nobody",
            "dataset repair",
        ] {
            assert!(text.contains(words), "{text}");
        }
        let root = Path::new("/d");
        let error = Error::file(&root.join("b.mp4"), "cut short");
        let finding = Finding::broken(inside(root, Path::new("/d/b.mp4")), &error);
        assert_eq!(
            (finding.problem.as_str(), finding.file.as_path()),
            ("cut short", Path::new("b.mp4"))
        );
        assert!(finding.remedy.contains("copy the file again"), "{finding}");
    }
}

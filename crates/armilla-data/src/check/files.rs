//! Files that nobody refers to.

use std::collections::BTreeSet;
use std::path::Path;

use super::finding::{Finding, inside};
use crate::assemble::leftovers;
use crate::error::Result;
use crate::layout::files_below;
use crate::survey::Survey;
use crate::types::videos;

const UNUSED: &str =
    "remove it if you know that nobody needs it; `armilla dataset repair` leaves it out";

/// What stopped work has left beside the dataset.
pub(super) fn beside(root: &Path) -> impl Iterator<Item = Finding> {
    leftovers(root).into_iter().map(|path| {
        let name = path.file_name().unwrap_or_default();
        let problem = "a folder beside the dataset that stopped work on it has left";
        Finding::warning(Path::new("..").join(name), problem).remedied_by(
            "remove it, unless something is at work on the dataset now; the next change with `--in-place` does so by itself",
        )
    })
}

pub(crate) fn check(survey: &Survey) -> Result<Vec<Finding>> {
    let mut known = BTreeSet::new();
    for surveyed in survey.episodes.values() {
        known.insert(survey.table_path(&surveyed.record)?);
        for (key, _) in videos(&survey.info.features) {
            if let Some(place) = surveyed.record.episode.videos.get(key) {
                known.insert(survey.video_path(place.file, key)?);
            }
        }
    }
    let mut findings = Vec::new();
    for folder in ["data", "videos", "meta"] {
        for path in files_below(&survey.root.join(folder))? {
            let file = inside(&survey.root, &path);
            let extension = path.extension().and_then(|extension| extension.to_str());
            let problem = match extension {
                Some("partial") => "a file that was not written to its end",
                _ if folder == "meta" || known.contains(&path) => continue,
                _ => "no episode's metadata refers to this file",
            };
            findings.push(Finding::warning(file, problem).remedied_by(UNUSED));
        }
    }
    Ok(findings)
}

//! Several datasets into one.

use armilla_core::features::Feature;

use super::EpisodesDone;
use super::picked::{Origin, Picked};
use crate::assemble::{Source as _, Target, assemble};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::info::Info;

/// What was merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Episodes.
    pub episodes: usize,
    /// Distinct instructions.
    pub tasks: usize,
    /// In what the datasets differed without harm, in words.
    pub notes: Vec<String>,
}

/// Makes one dataset of several: their episodes one dataset after another, their instructions joined by text.
///
/// # Errors
///
/// When rates or features differ (the first difference is named), a file is missing or broken, or the target exists.
pub fn merge(datasets: &[&Dataset], target: &Target, progress: EpisodesDone<'_>) -> Result<Merged> {
    let Some((first, others)) = datasets.split_first() else {
        return Err(Error::invalid("datasets to merge", "at least one", "none"));
    };
    let (mut info, mut notes) = (first.info().clone(), Vec::new());
    for other in others {
        if let Some(difference) = difference(first.info(), other.info()) {
            return Err(Error::File {
                path: other.root().to_owned(),
                problem: format!(
                    "it cannot be merged with {}: {difference}",
                    first.root().display()
                ),
                remedy: "merge datasets of one rate and one set of features".to_owned(),
            });
        }
        notes.extend(join_notes(&mut info, other));
    }
    target.check()?;
    let origins: Result<Vec<_>> = datasets
        .iter()
        .map(|dataset| Origin::open(dataset))
        .collect();
    let picked = Picked::all(info, origins?);
    let episodes = picked.info().total_episodes;
    target.build(|folder| assemble(&picked, folder, &|done| progress(done, episodes)))?;
    Ok(Merged {
        episodes,
        tasks: picked.tasks().len(),
        notes,
    })
}

/// The first difference that does not allow merging, in words.
fn difference(first: &Info, other: &Info) -> Option<String> {
    let differs = |what: String, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        Some(format!("{what}: expected {expected:?}, found {found:?}"))
    };
    if first.fps != other.fps {
        return differs("fps".to_owned(), &first.fps, &other.fps);
    }
    let keys = first.features.0.keys().chain(other.features.0.keys());
    for key in keys {
        let (Some(one), Some(two)) = (first.features.0.get(key), other.features.0.get(key)) else {
            let has = first.features.0.contains_key(key);
            let (with, without) = if has {
                ("first", "second")
            } else {
                ("second", "first")
            };
            return Some(format!(
                "feature `{key}` is in the {with} dataset, not in the {without}"
            ));
        };
        let Feature {
            data_type,
            shape,
            names,
        } = one;
        if *data_type != two.data_type {
            let types = [data_type.name(), two.data_type.name()];
            return differs(format!("dtype of `{key}`"), &types[0], &types[1]);
        }
        if *shape != two.shape {
            return differs(format!("shape of `{key}`"), shape, &two.shape);
        }
        if *names != two.names {
            return differs(format!("names of `{key}`"), names, &two.names);
        }
    }
    None
}

/// Keeps of a description what another shares; says what it does not.
fn join_notes(info: &mut Info, other: &Dataset) -> Vec<String> {
    let mut said = Vec::new();
    let root = other.root().display();
    if info.robot_type != other.info().robot_type {
        said.push(format!(
            "{root}: the robot is {:?} there and {:?} before; the merged dataset names none",
            other.info().robot_type.as_deref().unwrap_or("not named"),
            info.robot_type.as_deref().unwrap_or("not named"),
        ));
        info.robot_type = None;
    }
    for (key, notes) in &mut info.notes {
        let theirs = other.info().notes.get(key);
        let shared = |name: &String, value: &serde_json::Value| {
            theirs.and_then(|theirs| theirs.info.get(name)) == Some(value)
        };
        let before: Vec<_> = notes.info.keys().cloned().collect();
        notes.info.retain(|name, value| shared(name, value));
        let lost = before.iter().filter(|name| !notes.info.contains_key(*name));
        let lost: Vec<_> = lost.map(String::as_str).collect();
        if !lost.is_empty() {
            said.push(format!(
                "{root}: `{key}` is coded differently there ({}); its files stay as they are",
                lost.join(", ")
            ));
        }
    }
    said
}

//! `armilla dataset split`: one dataset into named parts.

use std::path::PathBuf;

use anyhow::Result;
use armilla_data::{Dataset, Part, PartEpisodes, split};
use clap::Args;

use super::with_progress;
use crate::progress::print;

/// Arguments of `dataset split`.
#[derive(Args, Debug)]
pub(crate) struct SplitArguments {
    /// The dataset's folder.
    pub dataset: PathBuf,
    /// The parts, by shares (`train=0.8,val=0.2`), by episodes (`train=0-79,85,val=80-84`) or both: those with episodes
    /// get theirs, the others shares of all, out of the rest.
    #[arg(long, required = true, value_name = "NAME=SHARE|EPISODES,...")]
    pub parts: String,
    /// Draw the episodes of the shares at random, not in order.
    #[arg(long)]
    pub random: bool,
    /// Seed of --random; the same seed draws the same episodes.
    #[arg(long, default_value_t = 0, requires = "random")]
    pub seed: u64,
    /// Folder of the new datasets, one folder a part; must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// Runs `armilla dataset split`.
pub(super) fn run(arguments: &SplitArguments) -> Result<()> {
    let dataset = Dataset::open(&arguments.dataset)?;
    let parts: armilla_data::Result<Vec<_>> = texts(&arguments.parts)
        .iter()
        .map(|text| Part::parse(text, dataset.episodes().len()))
        .collect();
    let seed = arguments.random.then_some(arguments.seed);
    let made = with_progress("split", "episodes", |progress| {
        split(&dataset, &parts?, seed, &arguments.out, progress)
    })?;
    for (name, episodes) in made {
        let folder = arguments.out.join(name);
        let (count, list) = (episodes.len(), PartEpisodes::Numbers(episodes));
        print(&format!("{}: {count} episodes ({list})", folder.display()))?;
    }
    Ok(())
}

/// The parts' texts; a comma also separates episodes within a part.
fn texts(parts: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for piece in parts.split(',') {
        match texts.last_mut().filter(|_| !piece.contains('=')) {
            Some(last) => *last += &format!(",{piece}"),
            None => texts.push(piece.to_owned()),
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_parts_and_episodes() {
        assert_eq!(texts("a=0-3,7,b=4,5"), ["a=0-3,7", "b=4,5"]);
        assert_eq!(texts("a=0.8,b=0.2"), ["a=0.8", "b=0.2"]);
    }
}

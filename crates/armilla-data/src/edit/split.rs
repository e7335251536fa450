//! One dataset into named parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use armilla_core::random::stream;
use rand::seq::SliceRandom as _;

use super::picked::{Origin, Picked};
use super::{EpisodesDone, write_episodes};
use crate::assemble::{Target, assemble};
use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// A part of a dataset to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name: the folder that it lies in.
    pub name: String,
    /// Its episodes.
    pub episodes: PartEpisodes,
}

/// Which episodes a part has.
#[derive(Clone, Debug, PartialEq)]
pub enum PartEpisodes {
    /// A share of all episodes, above 0 and at most 1. Shares that make 1 leave no episode out.
    Share(f64),
    /// These.
    Numbers(Vec<usize>),
}

impl Part {
    /// Reads `train=0.8` or `train=0-79` of a dataset of `count` episodes; a whole number is an episode.
    ///
    /// # Errors
    ///
    /// When the text is neither, or names an episode that the dataset has not.
    pub fn parse(text: &str, count: usize) -> Result<Self> {
        let expected = "a name and a share or episodes, such as `train=0.8` or `train=0-79`";
        let wrong = || Error::invalid("part", expected, format!("`{text}`"));
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), value.trim());
        let is_plain = Path::new(name).components().count() == 1
            && !name.starts_with('.')
            && !name.contains(['/', '\\']);
        if !is_plain {
            return Err(wrong());
        }
        let episodes = if value.contains('.') {
            let share = value.parse::<f64>().ok();
            let share = share.filter(|share| *share > 0.0 && *share <= 1.0);
            PartEpisodes::Share(share.ok_or_else(wrong)?)
        } else {
            PartEpisodes::Numbers(super::parse_episodes(value, count)?)
        };
        Ok(Self {
            name: name.to_owned(),
            episodes,
        })
    }
}

/// Makes a dataset of each part, in folders of `folder`, which must not exist. Parts with numbers get those; the others
/// get their shares of the rest, in order, or drawn at random with a seed. Within a part the order is kept.
///
/// # Errors
///
/// When a part gets no episode, two get the same, two have one name, the shares make more than 1, a file is missing or
/// broken, or the folder exists.
pub fn split(
    dataset: &Dataset,
    parts: &[Part],
    seed: Option<u64>,
    folder: &Path,
    progress: EpisodesDone<'_>,
) -> Result<BTreeMap<String, Vec<usize>>> {
    let shares = shared_out(dataset.episodes().len(), parts, seed)?;
    let target = Target::New(folder.to_owned());
    target.check()?;
    let total = shares.values().map(Vec::len).sum();
    target.build(|folder| {
        let mut before = 0;
        for (name, episodes) in &shares {
            let picked = Picked::some(Origin::open(dataset)?, episodes)?;
            let part = folder.join(name);
            fs::create_dir_all(&part).map_err(Error::io("create the folder", &part))?;
            assemble(&picked, &part, &|done| progress(before + done, total))?;
            before += episodes.len();
        }
        Ok(())
    })?;
    Ok(shares)
}

/// The episodes of each part, by name.
fn shared_out(
    count: usize,
    parts: &[Part],
    seed: Option<u64>,
) -> Result<BTreeMap<String, Vec<usize>>> {
    let mut owner: Vec<Option<&str>> = vec![None; count];
    for part in parts {
        let PartEpisodes::Numbers(numbers) = &part.episodes else {
            continue;
        };
        for &number in numbers {
            match owner.get_mut(number) {
                Some(owner @ None) => *owner = Some(&part.name),
                Some(Some(other)) => {
                    let what = format!("episode {number}");
                    let found = format!("`{other}` and `{}`", part.name);
                    return Err(Error::invalid(what, "in one part at most", found));
                }
                None => {
                    let what = format!("part `{}`", part.name);
                    return Err(Error::invalid(
                        what,
                        format!("episodes below {count}"),
                        number,
                    ));
                }
            }
        }
    }
    let mut free: Vec<_> = (0..count)
        .filter(|&number| owner[number].is_none())
        .collect();
    if let Some(seed) = seed {
        free.shuffle(&mut stream(seed, "split", 0));
    }
    let mut result = BTreeMap::new();
    for (name, mut episodes) in take_shares(count, parts, &free)? {
        episodes.sort_unstable();
        if episodes.is_empty() {
            let found = format!("none of {count}");
            return Err(Error::invalid(
                format!("part `{name}`"),
                "at least one episode",
                found,
            ));
        }
        if result.insert(name.clone(), episodes).is_some() {
            return Err(Error::invalid(
                "parts",
                "names that differ",
                format!("`{name}` twice"),
            ));
        }
    }
    Ok(result)
}

/// Each part's episodes; shares are cut from the free ones, from the first on.
fn take_shares(
    count: usize,
    parts: &[Part],
    mut free: &[usize],
) -> Result<Vec<(String, Vec<usize>)>> {
    let share = |part: &Part| match part.episodes {
        PartEpisodes::Share(share) => Some(share),
        PartEpisodes::Numbers(_) => None,
    };
    let sum: f64 = parts.iter().filter_map(share).sum();
    if sum > 1.0 + 1e-9 {
        return Err(Error::invalid(
            "shares of the parts",
            "at most 1 together",
            sum,
        ));
    }
    let last = parts.iter().rposition(|part| share(part).is_some());
    let mut taken = Vec::with_capacity(parts.len());
    for (position, part) in parts.iter().enumerate() {
        let episodes = match &part.episodes {
            PartEpisodes::Numbers(numbers) => numbers.clone(),
            PartEpisodes::Share(share) => {
                let mut wanted = (count as f64 * share + 1e-9).floor() as usize;
                if Some(position) == last && sum > 1.0 - 1e-9 {
                    wanted = free.len();
                }
                let Some((own, rest)) = free.split_at_checked(wanted) else {
                    let what = format!("part `{}`", part.name);
                    let expected = format!("at most the {} episodes that are left", free.len());
                    return Err(Error::invalid(what, expected, wanted));
                };
                free = rest;
                own.to_vec()
            }
        };
        taken.push((part.name.clone(), episodes));
    }
    Ok(taken)
}

/// A part's episodes as people write them, for messages.
impl std::fmt::Display for PartEpisodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share}"),
            Self::Numbers(numbers) => write!(f, "{}", write_episodes(numbers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(count: usize, parts: &[&str], seed: Option<u64>) -> Result<Vec<Vec<usize>>> {
        let parts: Result<Vec<_>> = parts.iter().map(|part| Part::parse(part, count)).collect();
        Ok(shared_out(count, &parts?, seed)?.into_values().collect())
    }

    #[test]
    fn shares_leave_no_episode_out_and_numbers_come_first() {
        let found = shared(10, &["a=0.55", "b=0.45"], None).unwrap();
        assert_eq!(found, [(0..5).collect::<Vec<_>>(), (5..10).collect()]);
        let found = shared(10, &["a=0.29", "b=0.3"], None).unwrap();
        assert_eq!(found, [vec![0, 1], vec![2, 3, 4]]);
        let found = shared(10, &["a=0.5", "b=0-1,9"], None).unwrap();
        assert_eq!(found, [vec![2, 3, 4, 5, 6], vec![0, 1, 9]]);
    }

    #[test]
    fn a_seed_draws_the_same_episodes_again() {
        let draw = |seed| shared(20, &["a=0.5", "b=0.5"], Some(seed)).unwrap();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let mut all = draw(3).concat();
        assert!(draw(3)[0].is_sorted() && !all.is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_shared_out_is_named() {
        for (parts, word) in [
            (&["a=0-3", "b=3-4"][..], "episode 3"),
            (&["a=0.9", "b=0.2"], "at most 1"),
            (&["a=0.01", "b=0.5"], "at least one"),
            (&["a=0.9", "b=0-7"], "2 episodes that are left"),
            (&["a=1", "a=2"], "`a` twice"),
            (&["../a=0.5"], "`../a=0.5`"),
            (&["a=1.5"], "`a=1.5`"),
            (&["a=12"], "below 10"),
            (&["a"], "`a`"),
        ] {
            let error = shared(10, parts, None).unwrap_err().to_string();
            assert!(error.contains(word), "{parts:?}: {error}");
        }
    }
}

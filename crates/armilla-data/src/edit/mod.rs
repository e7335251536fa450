//! New datasets out of old ones: merged, split, without some episodes, with statistics counted anew.
//!
//! The episodes' order is kept, and so are the files' limits; videos are copied, not encoded anew. Episodes, frames and
//! instructions get new numbers. What LeRobot's `dataset_tools` do differently: they encode videos anew where a file
//! holds an episode that goes and one that stays, they number the instructions of a part in no certain order, and a
//! part by a share gets what is left if it is the last.

mod merge;
mod picked;
mod recount;
mod selection;
mod split;

pub use merge::{Merged, merge};
pub use recount::recount;
pub use selection::parse_episodes;
pub(crate) use selection::write_episodes;
pub use split::{Part, PartEpisodes, split};

use crate::assemble::{Target, assemble};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use picked::{Origin, Picked};

/// Told how many episodes of how many are done.
pub type EpisodesDone<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Makes a dataset of all episodes but some. Those that stay are numbered anew, in their order.
///
/// # Errors
///
/// When none would be left, an episode does not exist, a file is missing or broken, or the target is taken.
pub fn delete(
    dataset: &Dataset,
    episodes: &[usize],
    target: &Target,
    progress: EpisodesDone<'_>,
) -> Result<()> {
    let count = dataset.episodes().len();
    if let Some(unknown) = episodes.iter().find(|&&episode| episode >= count) {
        let what = format!("{}: episode to delete", dataset.root().display());
        return Err(Error::invalid(what, format!("below {count}"), unknown));
    }
    let kept: Vec<_> = (0..count)
        .filter(|episode| !episodes.contains(episode))
        .collect();
    if kept.is_empty() {
        let what = format!("{}: episodes to delete", dataset.root().display());
        let expected = "that at least one episode stays";
        return Err(Error::invalid(what, expected, format!("all {count}")));
    }
    target.check()?;
    let picked = Picked::some(Origin::open(dataset)?, &kept)?;
    target.build(|folder| assemble(&picked, folder, &|done| progress(done, kept.len())))
}

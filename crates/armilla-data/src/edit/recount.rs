//! The statistics of all episodes counted anew, from the values and pictures themselves.

use std::sync::atomic::{AtomicUsize, Ordering};

use armilla_core::Statistics;
use rayon::prelude::*;

use super::EpisodesDone;
use super::picked::{Origin, Picked};
use crate::assemble::{Target, assemble};
use crate::convert::count_pictures;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::reader::Reader;
use crate::types::videos;

/// Makes the same dataset with statistics counted anew, every frame of every camera. `progress` counts episodes whose
/// pictures were looked at, then episodes that were written: twice as many as there are.
///
/// # Errors
///
/// When a file is missing or broken, a camera's codec cannot be decoded, or the target is taken.
pub fn recount(dataset: &Dataset, target: &Target, progress: EpisodesDone<'_>) -> Result<()> {
    target.check()?;
    let origin = Origin::open(dataset)?;
    let (episodes, done) = (dataset.episodes().len(), AtomicUsize::new(0));
    let counted: Result<Vec<_>> = (0..episodes)
        .into_par_iter()
        .map(|episode| {
            let counted = camera_statistics(origin.reader(), episode)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, 2 * episodes);
            Ok(counted)
        })
        .collect();
    let picked = Picked::all(origin.info().clone(), vec![origin]).with_statistics(counted?);
    target.build(|folder| {
        assemble(&picked, folder, &|done| {
            progress(episodes + done, 2 * episodes);
        })
    })
}

/// The statistics of an episode's videos; those of its table are counted as it is laid out.
fn camera_statistics(reader: &Reader, episode: usize) -> Result<Statistics> {
    let mut counted = Statistics::new();
    for (key, feature) in videos(&reader.info.features) {
        let (index, shown) = reader.episode_video(reader.episode(episode)?, key)?;
        let found = count_pictures(&index, shown, &feature.shape)?;
        counted.extend(found.map(|found| (key.to_owned(), found)));
    }
    Ok(counted)
}

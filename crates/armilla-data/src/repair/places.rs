//! Where episodes lie in the videos when their metadata is lost: behind the episode before, if all frames are accounted
//! for up to the next episode that is known, or to the end of the last file.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::FilePlace;
use crate::survey::Survey;

/// Where an episode begins in a camera's videos.
pub(super) type Begins = (FilePlace, usize);

/// An episode on the way through a camera's videos: its frames, and where it begins if its metadata says so.
pub(super) struct Step {
    pub(super) episode: usize,
    pub(super) frames: usize,
    pub(super) begins: Option<Begins>,
}

/// Finds where the episodes begin whose metadata is lost. `frames_in` gives the frames of a file, none if there is no
/// such file or it cannot be read.
pub(super) fn infer(
    steps: &[Step],
    chunks_size: u64,
    frames_in: impl Fn(FilePlace) -> Option<usize>,
) -> BTreeMap<usize, Begins> {
    let mut found = BTreeMap::new();
    let mut at: Option<Begins> = Some((FilePlace::default(), 0));
    let mut pending: Vec<(usize, Begins)> = Vec::new();
    let mut expected_number = 0;
    // Goes on to the next file where one is used up.
    let forward = |at: Begins| match frames_in(at.0) {
        Some(frames) if at.1 >= frames && frames_in(at.0.next(chunks_size)).is_some() => {
            (at.0.next(chunks_size), 0)
        }
        _ => at,
    };
    for step in steps {
        if step.episode != expected_number {
            // Nothing is known of an episode between; what follows it may lie anywhere.
            at = None;
        }
        expected_number = step.episode + 1;
        if let Some(begins) = step.begins {
            if at.map(forward) == Some(begins) {
                found.extend(pending.drain(..));
            }
            pending.clear();
            at = Some((begins.0, begins.1.saturating_add(step.frames)));
            continue;
        }
        at = at.map(forward).and_then(|begins| {
            let end = begins.1.checked_add(step.frames)?;
            let fits = frames_in(begins.0).is_some_and(|frames| end <= frames);
            fits.then(|| {
                pending.push((step.episode, begins));
                (begins.0, end)
            })
        });
        if at.is_none() {
            pending.clear();
        }
    }
    let at_end = at.is_some_and(|(place, frame)| {
        frames_in(place) == Some(frame) && frames_in(place.next(chunks_size)).is_none()
    });
    if at_end {
        found.extend(pending);
    }
    found
}

/// The episodes that share frames of a file with another: where each begins, its frames, its number.
pub(super) fn overlapping(mut places: Vec<(Begins, usize, usize)>) -> BTreeSet<usize> {
    places.sort_unstable();
    let mut found = BTreeSet::new();
    let mut last: Option<(FilePlace, usize, usize)> = None;
    for ((file, begin), length, episode) in places {
        let end = begin.saturating_add(length);
        let (reach, holder) = match last {
            Some((open, reach, holder)) if open == file => (reach, holder),
            _ => (0, episode),
        };
        if begin < reach {
            found.extend([holder, episode]);
        }
        last = Some(match end > reach {
            true => (file, end, episode),
            false => (file, reach, holder),
        });
    }
    found
}

/// Frames of a camera's video file.
pub(super) fn frames_in(survey: &Survey, key: &str, place: FilePlace) -> Option<usize> {
    let path = survey.video_path(place, key).ok()?;
    let video = survey.video(&path);
    let video = video.as_ref().as_ref().ok()?;
    Some(video.index.shown.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: u64) -> FilePlace {
        FilePlace { chunk: 0, file }
    }

    fn step(episode: usize, frames: usize, begins: Option<(u64, usize)>) -> Step {
        let begins = begins.map(|(file, frame)| (place(file), frame));
        Step {
            episode,
            frames,
            begins,
        }
    }

    /// Two files, of 10 and of 5 frames.
    fn found(steps: &[Step]) -> Vec<(usize, u64, usize)> {
        let frames = |at: FilePlace| [10, 5].get(at.file as usize).copied();
        let found = infer(steps, 1000, frames);
        found
            .into_iter()
            .map(|(episode, (place, frame))| (episode, place.file, frame))
            .collect()
    }

    #[test]
    fn lost_places_are_found_between_known_ones_and_at_the_end() {
        let steps = [step(0, 4, None), step(1, 6, None), step(2, 5, None)];
        assert_eq!(found(&steps), [(0, 0, 0), (1, 0, 4), (2, 1, 0)]);
        let steps = [step(0, 4, None), step(1, 6, Some((0, 4))), step(2, 5, None)];
        assert_eq!(found(&steps), [(0, 0, 0), (2, 1, 0)]);
    }

    #[test]
    fn what_does_not_add_up_is_not_guessed() {
        // A frame is missing before episode 1; the rest does not reach the end.
        let steps = [step(0, 3, None), step(1, 6, Some((0, 4))), step(2, 4, None)];
        assert_eq!(found(&steps), []);
        // Nothing is known of episode 1.
        let steps = [step(0, 4, None), step(2, 5, None)];
        assert_eq!(found(&steps), []);
        // An episode does not end where a file does.
        let steps = [step(0, 11, None), step(1, 4, None)];
        assert_eq!(found(&steps), []);
    }

    #[test]
    fn episodes_that_share_frames_are_found() {
        let at = |file, begin| (place(file), begin);
        let apart = vec![(at(0, 0), 4, 0), (at(0, 4), 6, 1), (at(1, 2), 3, 2)];
        assert_eq!(overlapping(apart), BTreeSet::new());
        // The first reaches over both that follow it; episode 3 lies in another file.
        let shared = vec![
            (at(0, 5), 2, 1),
            (at(0, 0), 8, 0),
            (at(0, 7), 3, 2),
            (at(1, 0), 9, 3),
        ];
        assert_eq!(overlapping(shared), BTreeSet::from([0, 1, 2]));
    }
}

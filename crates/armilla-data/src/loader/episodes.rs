//! Which windows there are.

use super::source::Opened;
use super::spec::WindowSpec;
use super::{LoaderEpisode, Window};
use crate::error::{Error, Result};

/// The episodes of all sources, one source after the other, and the windows in them.
pub(super) struct Episodes {
    all: Vec<LoaderEpisode>,
    /// Windows up to and with each episode.
    ends: Vec<usize>,
    /// Position of each source's first episode.
    firsts: Vec<usize>,
}

impl Episodes {
    pub(super) fn new(sources: &[Opened], spec: &WindowSpec) -> Self {
        let (mut all, mut ends, mut end) = (Vec::new(), Vec::new(), 0);
        let mut firsts = Vec::new();
        for (number, source) in sources.iter().enumerate() {
            firsts.push(all.len());
            for &index in &source.episodes {
                let length = source.dataset.episodes()[index].length;
                end += spec.anchors(length, source.pace);
                ends.push(end);
                all.push(LoaderEpisode {
                    source: number,
                    index,
                    length,
                });
            }
        }
        Self { all, ends, firsts }
    }

    /// Whether there is a window at all, and one of each source that is drawn by a weight.
    pub(super) fn check(&self, sources: &[Opened], spec: &WindowSpec) -> Result<()> {
        let counts = self.windows_by_source(sources.len());
        let of_none = |&number: &usize| counts[number] == 0 && sources[number].weight.is_some();
        let empty: Vec<_> = match (self.windows(), (0..sources.len()).find(of_none)) {
            (0, _) => (0..sources.len()).collect(),
            (_, Some(number)) => vec![number],
            (_, None) => return Ok(()),
        };
        let reaches = empty.iter().map(|&number| spec.reach(sources[number].pace));
        let needed = reaches.min().unwrap_or(0) + 1;
        let of_empty = self.all.iter().filter(|one| empty.contains(&one.source));
        let lengths: Vec<_> = of_empty.map(|episode| episode.length).collect();
        let found = match lengths.iter().max() {
            Some(longest) => format!("{} episodes of at most {longest}", lengths.len()),
            None => "no episodes".to_owned(),
        };
        let what = match empty[..] {
            [number] if sources.len() > 1 => {
                format!("windows of {}", sources[number].dataset.root().display())
            }
            _ => "windows".to_owned(),
        };
        let expected = format!("an episode of at least {needed} frames, as long as a window");
        Err(Error::invalid(what, expected, found))
    }

    /// Episodes that are shorter than a window.
    pub(super) fn too_short(&self) -> usize {
        let is_empty = |&episode: &usize| self.ends[episode] == self.start(episode);
        (0..self.all.len()).filter(is_empty).count()
    }

    pub(super) fn all(&self) -> &[LoaderEpisode] {
        &self.all
    }

    /// Position of an episode among those of its source.
    pub(super) fn place_in_source(&self, episode: usize) -> usize {
        episode - self.firsts[self.all[episode].source]
    }

    /// Windows in all.
    pub(super) fn windows(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// A window by its number.
    pub(super) fn window(&self, number: usize) -> Window {
        let episode = self.ends.partition_point(|&end| end <= number);
        Window {
            episode,
            frame: number - self.start(episode),
        }
    }

    /// Windows of each source.
    pub(super) fn windows_by_source(&self, sources: usize) -> Vec<usize> {
        let mut counts = vec![0; sources];
        for (place, episode) in self.all.iter().enumerate() {
            counts[episode.source] += self.ends[place] - self.start(place);
        }
        counts
    }

    fn start(&self, episode: usize) -> usize {
        episode.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

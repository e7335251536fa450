//! One episode of a broken dataset: is all of it there?

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use armilla_core::Statistics;
use armilla_core::features::DataType;

use super::candidates::Candidate;
use crate::check::look::{Rows, look, not_finite, pictures};
use crate::error::{Error, Result};
use crate::frames_table::EpisodeColumns;
use crate::survey::{Run, Survey, Table, reason};
use crate::types::{table_features, videos};
use crate::video::demux::Codec;

/// An episode of which everything is there.
pub(super) struct SavedEpisode {
    number: usize,
    path: PathBuf,
    run: Run,
    /// Its instructions by the index that its rows have.
    pub(super) tasks: BTreeMap<i64, String>,
    /// The video and the positions of its frames, by camera.
    pub(super) videos: BTreeMap<String, (PathBuf, Range<usize>)>,
    /// Statistics of its videos, counted anew.
    pub(super) statistics: Statistics,
}

/// Why an episode cannot be saved.
type Reason = String;

impl SavedEpisode {
    /// Looks at all of an episode; gives the reason if it cannot be saved.
    pub(super) fn save(survey: &Survey, candidate: Candidate) -> std::result::Result<Self, Reason> {
        let Candidate {
            episode,
            path,
            run,
            begins,
        } = candidate;
        let mut saved = Self {
            number: episode,
            path,
            run,
            tasks: BTreeMap::new(),
            videos: BTreeMap::new(),
            statistics: Statistics::new(),
        };
        let because = |error: Error| reason(&survey.root, &error);
        saved.check_length(survey)?;
        let (columns, indices) = saved.rows(survey).map_err(because)?;
        check_columns(survey, &columns)?;
        saved.find_tasks(survey, &indices)?;
        for (key, feature) in videos(&survey.info.features) {
            let Some(&(place, frame)) = begins.get(key) else {
                return Err(format!(
                    "where it lies in the videos of `{key}` is not known, or over another's frames"
                ));
            };
            let path = survey.video_path(place, key).map_err(because)?;
            let from_secs = frame as f64 / f64::from(survey.info.fps);
            let found = saved.look_at(survey, &path, from_secs, &feature.shape);
            let (shown, counted) = found.map_err(because)?;
            let known = survey.episodes.get(&episode);
            let known = known.and_then(|known| known.record.statistics.get(key));
            let counted = counted.or_else(|| known.cloned());
            saved
                .statistics
                .extend(counted.map(|counted| (key.to_owned(), counted)));
            saved.videos.insert(key.to_owned(), (path, shown));
        }
        Ok(saved)
    }

    /// Its number in the broken dataset.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Its frames.
    pub(super) fn length(&self) -> usize {
        self.run.length
    }

    /// The files that it lies in.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let videos = self.videos.values().map(|(path, _)| path.as_path());
        videos.chain([self.path.as_path()])
    }

    /// Rows and pictures belong together only if there are as many of them.
    fn check_length(&self, survey: &Survey) -> std::result::Result<(), Reason> {
        let Some(surveyed) = survey.episodes.get(&self.number) else {
            return Ok(());
        };
        let (rows, episode) = (self.run.length, &surveyed.record.episode);
        if episode.length == rows {
            return Ok(());
        }
        if episode.videos.is_empty() {
            // Nothing else says who is right.
            return Err(format!(
                "its metadata counts {} frames, the table {rows} rows",
                episode.length
            ));
        }
        for (key, place) in &episode.videos {
            let frames = (place.to_secs - place.from_secs) * f64::from(survey.info.fps);
            if (frames - rows as f64).abs() > 0.5 {
                return Err(format!(
                    "its metadata counts {} frames, the video of `{key}` {frames:.0}, the table {rows} rows",
                    episode.length
                ));
            }
        }
        Ok(())
    }

    /// Its columns, and the index of each frame's instruction (none if there is no such column).
    pub(super) fn rows(&self, survey: &Survey) -> Result<(EpisodeColumns, Option<Vec<i64>>)> {
        let path = &self.path;
        let table: Option<&Table> = survey.tables.get(path);
        let table = table.ok_or_else(|| Error::file(path, "the table cannot be read"))?;
        let rows = Rows::read(path, table, self.run)?;
        let mut columns = EpisodeColumns {
            length: self.run.length,
            ..EpisodeColumns::default()
        };
        for (key, feature) in table_features(&survey.info.features) {
            let joined = rows.column(key, feature)?;
            columns.columns.insert(key.to_owned(), joined);
        }
        let indices = rows.numbers("task_index").transpose()?;
        let indices =
            indices.map(|indices| indices.into_iter().map(|index| index as i64).collect());
        Ok((columns, indices))
    }

    /// Finds the text of each of its instructions.
    fn find_tasks(
        &mut self,
        survey: &Survey,
        indices: &Option<Vec<i64>>,
    ) -> std::result::Result<(), Reason> {
        let named = survey.episodes.get(&self.number);
        let named = named.map_or(&[][..], |surveyed| &surveyed.record.episode.tasks);
        let mut wanted = indices.clone().unwrap_or_else(|| vec![NO_INDEX]);
        wanted.sort_unstable();
        wanted.dedup();
        for index in wanted {
            let known = usize::try_from(index).ok();
            let known = known.and_then(|index| survey.tasks.as_ref()?.get(index));
            // An episode with one instruction has it in all of its frames.
            let only = match named {
                [only] => Some(only),
                _ => None,
            };
            let Some(text) = known.or(only) else {
                return Err(format!("its instruction is not known (task_index {index})"));
            };
            self.tasks.insert(index, text.clone());
        }
        Ok(())
    }

    /// Its frames in a camera's video, all of them decoded.
    fn look_at(
        &self,
        survey: &Survey,
        path: &Path,
        from_secs: f64,
        shape: &[usize],
    ) -> Result<Looked> {
        let video = survey.video(path);
        let video = match &*video {
            Ok(video) => video,
            Err(error) => return Err(Error::file(path, crate::check::finding::problem_of(error))),
        };
        let what = format!("episode {}", self.number);
        let shown = video
            .index
            .frames(from_secs, self.run.length, survey.info.fps, &what)?;
        video.check_copying(&shown)?;
        if matches!(video.index.codec, Codec::Other { .. }) {
            return Ok((shown, None));
        }
        let counter = look(video, shown.clone(), shape, self.run.length)?;
        Ok((shown, counter.finish()))
    }
}

/// Positions of frames in a video, and what was counted of the pictures, if they can be decoded.
type Looked = (Range<usize>, Option<armilla_core::FeatureStatistics>);

/// Stands for the index of an instruction where rows have none.
pub(super) const NO_INDEX: i64 = -1;

/// Numbers must be finite, and pictures decode.
fn check_columns(survey: &Survey, columns: &EpisodeColumns) -> std::result::Result<(), Reason> {
    for (key, feature) in table_features(&survey.info.features) {
        let Some(column) = columns.columns.get(key) else {
            continue;
        };
        let problem = match feature.data_type {
            DataType::Image => pictures(column, &feature.shape).err(),
            _ => column
                .numbers()
                .and_then(|values| not_finite(&values, feature.len())),
        };
        if let Some(problem) = problem {
            return Err(format!("`{key}`: {problem}"));
        }
    }
    Ok(())
}

//! Lays episodes out in new files: what the recorder does with the many files it wrote, and what every command does that
//! makes a dataset out of others.
//!
//! Pictures are not encoded anew. A [`Source`] says what the episodes are; the target is a folder that nobody reads yet,
//! and what becomes of it (renamed into place, moved over the old one) is the caller's part.

mod files;
mod target;

pub use target::Target;
pub(crate) use target::{keep_other_files, leftovers};

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use armilla_core::Statistics;
use rayon::prelude::*;

use crate::episodes::{self, EpisodeRecord};
use crate::error::{Error, Result};
use crate::frames_table::{EpisodeColumns, EpisodePlace};
use crate::info::Info;
use crate::layout::{DATA, EPISODES, FilePlace, TASKS, VIDEO, make_parent, sync_file};
use crate::reader::Reader;
use crate::statistics::{self, is_picture, of_numbers, of_pictures};
use crate::table::TableWriter;
use crate::types::{AUTOMATIC, is_counted, statistics_width, table_features, videos};
use crate::video::demux::VideoIndex;
use crate::{column::Column, tasks};

/// Exact statistics are kept of a feature up to this many values; beyond, the episodes' are joined.
const EXACT_VALUES: usize = 1 << 23;
/// Episodes whose metadata is written together.
const EPISODES_AT_ONCE: usize = 1000;
const MEBIBYTE: u64 = 1 << 20;

/// Episodes to be laid out.
pub(crate) trait Source: Sync {
    /// The description of the dataset to be; its path templates do not matter.
    fn info(&self) -> &Info;
    /// The instructions by their index.
    fn tasks(&self) -> &[String];
    /// An episode without its videos.
    fn rows(&self, episode: usize) -> Result<SourceRows>;
    /// The video that holds an episode, and the positions of its frames.
    fn video(&self, episode: usize, key: &str) -> Result<(Arc<VideoIndex>, Range<usize>)>;
}

/// An episode of a source.
pub(crate) struct SourceRows {
    pub(crate) columns: EpisodeColumns,
    /// Index of the instruction of each frame.
    pub(crate) task_indices: Vec<i64>,
    /// Its instructions.
    pub(crate) tasks: Vec<String>,
    /// What is known of its statistics; those of columns that are missing are counted.
    pub(crate) statistics: Statistics,
}

/// Told after each episode how many are laid out.
pub(crate) type Progress<'a> = &'a (dyn Fn(usize) + Sync);

/// Lays a source's episodes out below a folder.
pub(crate) fn assemble(source: &dyn Source, target: &Path, progress: Progress<'_>) -> Result<()> {
    let mut info = source.info().clone();
    (info.data_path, info.video_path) = (DATA.to_owned(), VIDEO.to_owned());
    let mut records = files::write_tables(source, target, progress)?;
    for (key, _) in videos(&info.features) {
        files::join_videos(source, target, key, &mut records)?;
    }
    info.total_episodes = records.len();
    info.total_frames = records.iter().map(|record| record.episode.length).sum();
    info.total_tasks = source.tasks().len();
    write_tasks(target, source.tasks())?;
    write_episodes(target, &info, &records)?;
    let picture = |key: &str| is_picture(info.features.0.get(key));
    let reader = Reader::open(target, info.clone(), true)?;
    statistics::write(target, &whole_statistics(&reader)?, picture)?;
    info.write(target)
}

fn write_tasks(target: &Path, tasks: &[String]) -> Result<()> {
    let path = target.join(TASKS);
    make_parent(&path)?;
    tasks::write(&path, tasks)?;
    sync_file(&path)
}

/// Writes the episodes' metadata, into a new file when one would grow beyond the limit.
fn write_episodes(target: &Path, info: &Info, records: &[EpisodeRecord]) -> Result<()> {
    let limit = info.limits.data_files_size_in_mb.saturating_mul(MEBIBYTE);
    let picture = |key: &str| is_picture(info.features.0.get(key));
    let columns = episodes::statistics_columns(records);
    let mut place = FilePlace::default();
    let mut chunks = records.chunks(EPISODES_AT_ONCE).peekable();
    while let Some(chunk) = chunks.next() {
        let path = target.join(place.path(EPISODES, "")?);
        make_parent(&path)?;
        let batch = episodes::batch(&path, chunk, place, &columns, picture)?;
        let mut writer = TableWriter::create(&path, &batch.schema(), None)?;
        writer.write(&batch)?;
        let mut largest = batch.get_array_memory_size();
        while let Some(chunk) = chunks.peek() {
            if (writer.bytes_written() + largest) as u64 > limit {
                break;
            }
            let batch = episodes::batch(&path, chunk, place, &columns, picture)?;
            writer.write(&batch)?;
            largest = largest.max(batch.get_array_memory_size());
            chunks.next();
        }
        writer.close()?;
        place = place.next(info.limits.chunks_size);
    }
    Ok(())
}

/// The statistics of an episode's columns, automatic ones included, beside those that are known already.
pub(crate) fn count(
    info: &Info,
    columns: &EpisodeColumns,
    place: &EpisodePlace<'_>,
    known: &mut Statistics,
) -> Result<()> {
    for (key, feature) in table_features(&info.features) {
        if !is_counted(feature) || known.contains_key(key) {
            continue;
        }
        let Some(column) = columns.columns.get(key) else {
            continue;
        };
        let counted = match column.numbers() {
            Some(values) => Some(of_numbers(
                &values,
                statistics_width(feature),
                columns.length,
            )?),
            None => of_pictures(column)?,
        };
        known.extend(counted.map(|counted| (key.to_owned(), counted)));
    }
    for key in AUTOMATIC {
        let value = |frame: usize| match key {
            "timestamp" => f64::from(place.timestamp(frame)),
            _ => place.automatic(key, frame) as f64,
        };
        let values: Vec<_> = (0..columns.length).map(value).collect();
        known.insert(key.to_owned(), of_numbers(&values, 1, columns.length)?);
    }
    Ok(())
}

/// The statistics of a whole dataset: exact for numbers up to [`EXACT_VALUES`], joined from the episodes' for the rest and for pictures.
pub(crate) fn whole_statistics(reader: &Reader) -> Result<Statistics> {
    let mut whole = Statistics::new();
    if reader.records.is_empty() {
        return Ok(whole);
    }
    for (key, per_frame, width) in counted_exactly(reader) {
        let frames: usize = reader
            .records
            .iter()
            .map(|record| record.episode.length)
            .sum();
        if frames.saturating_mul(per_frame) <= EXACT_VALUES {
            let episodes = (0..reader.records.len()).into_par_iter();
            let columns: Result<Vec<_>> = episodes
                .map(|index| Ok(reader.numbers(index, &[key])?.pop().unwrap_or_default()))
                .collect();
            let counted = of_numbers(&columns?.concat(), width, frames)?;
            whole.insert(key.to_owned(), counted);
        }
    }
    let known = reader
        .records
        .iter()
        .flat_map(|record| record.statistics.keys());
    for key in known.cloned().collect::<BTreeSet<_>>() {
        if whole.contains_key(&key) {
            continue;
        }
        let parts = reader
            .records
            .iter()
            .filter_map(|record| record.statistics.get(&key));
        whole.extend(statistics::merge(parts).map(|joined| (key, joined)));
    }
    Ok(whole)
}

/// The features of numbers: key, values in a frame, values that have statistics of their own.
fn counted_exactly(reader: &Reader) -> Vec<(&str, usize, usize)> {
    let features = table_features(&reader.info.features);
    let own = features
        .filter(|(_, feature)| is_counted(feature) && !feature.data_type.is_picture())
        .map(|(key, feature)| (key, feature.len(), statistics_width(feature)));
    own.chain(AUTOMATIC.map(|key| (key, 1, 1))).collect()
}

/// Episodes of a dataset of ours, laid out anew.
pub(crate) struct Recorded<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) tasks: &'a [String],
}

impl Source for Recorded<'_> {
    fn info(&self) -> &Info {
        &self.reader.info
    }

    fn tasks(&self) -> &[String] {
        self.tasks
    }

    fn rows(&self, episode: usize) -> Result<SourceRows> {
        let record = self.reader.records.get(episode);
        let record =
            record.ok_or_else(|| Error::invalid("episode", "one of the dataset", episode))?;
        let keys: Vec<_> = table_features(&self.reader.info.features)
            .map(|(key, _)| key)
            .collect();
        let columns: Vec<Column> = self.reader.columns(episode, &keys)?;
        let tasks = self.reader.numbers(episode, &["task_index"])?.concat();
        let named = keys.iter().map(|key| (*key).to_owned()).zip(columns);
        Ok(SourceRows {
            columns: EpisodeColumns {
                length: record.episode.length,
                columns: named.collect(),
            },
            task_indices: tasks.into_iter().map(|index| index as i64).collect(),
            tasks: record.episode.tasks.clone(),
            statistics: record.statistics.clone(),
        })
    }

    fn video(&self, episode: usize, key: &str) -> Result<(Arc<VideoIndex>, Range<usize>)> {
        self.reader
            .episode_video(self.reader.episode(episode)?, key)
    }
}

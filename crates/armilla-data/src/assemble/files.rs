//! The frame tables and the videos, several episodes in each.

use std::path::Path;

use super::{MEBIBYTE, Progress, Source, count};
use crate::episodes::{Episode, EpisodeRecord, VideoPlace};
use crate::error::{Error, Result};
use crate::frames_table::{EpisodePlace, episode_batch, huggingface_entry, table_schema};
use crate::layout::{DATA, FilePlace, VIDEO, make_parent};
use crate::table::TableWriter;
use crate::video::join::VideoJoiner;

/// Writes all frame tables; a file is ended before an episode would make it pass the limit.
pub(super) fn write_tables(
    source: &dyn Source,
    target: &Path,
    progress: Progress<'_>,
) -> Result<Vec<EpisodeRecord>> {
    let info = source.info();
    let limit = info.limits.data_files_size_in_mb.saturating_mul(MEBIBYTE);
    let schema = table_schema(&info.features);
    let mut records: Vec<EpisodeRecord> = Vec::with_capacity(info.total_episodes);
    let (mut place, mut next) = (FilePlace::default(), next_episode(source, &records)?);
    while next.is_some() {
        let path = target.join(place.path(DATA, "")?);
        make_parent(&path)?;
        let entry = huggingface_entry(&info.features);
        let mut writer = TableWriter::create(&path, &schema, Some(entry))?;
        while let Some((mut record, rows)) = next {
            let values = EpisodePlace {
                episode_index: record.episode.index,
                first_index: record.episode.first_index,
                fps: info.fps,
                task_indices: &rows.task_indices,
            };
            let batch = episode_batch(&path, &info.features, &rows.columns, &values)?;
            let written = writer.bytes_written();
            // What a batch takes in memory is about the most that it takes in the file.
            if written > HEADER && (written + batch.get_array_memory_size()) as u64 > limit {
                next = Some((record, rows));
                break;
            }
            writer.write(&batch)?;
            count(info, &rows.columns, &values, &mut record.statistics)?;
            record.episode.data = place;
            records.push(record);
            progress(records.len());
            next = next_episode(source, &records)?;
        }
        writer.close()?;
        place = place.next(info.limits.chunks_size);
    }
    Ok(records)
}

/// Bytes of a table that has no row yet, at most.
const HEADER: usize = 4;

type Next = Option<(EpisodeRecord, super::SourceRows)>;

/// The episode that follows those that are written.
fn next_episode(source: &dyn Source, written: &[EpisodeRecord]) -> Result<Next> {
    let index = written.len();
    if index >= source.info().total_episodes {
        return Ok(None);
    }
    let mut rows = source.rows(index)?;
    let (length, tasks) = (rows.columns.length, rows.task_indices.len());
    if length == 0 || tasks != length {
        let what = format!("episode {index}");
        let found = format!("{length} frames, {tasks} instructions");
        return Err(Error::invalid(
            what,
            "frames, and an instruction for each",
            found,
        ));
    }
    let last = written.last().map(|record| &record.episode);
    let record = EpisodeRecord {
        episode: Episode {
            index,
            length,
            tasks: std::mem::take(&mut rows.tasks),
            first_index: last.map_or(0, |episode| episode.first_index + episode.length),
            data: FilePlace::default(),
            videos: std::collections::BTreeMap::new(),
        },
        statistics: std::mem::take(&mut rows.statistics),
    };
    Ok(Some((record, rows)))
}

/// Joins one camera's videos; a file is ended before an episode would make it pass the limit.
pub(super) fn join_videos(
    source: &dyn Source,
    target: &Path,
    key: &str,
    records: &mut [EpisodeRecord],
) -> Result<()> {
    let info = source.info();
    let shape = &info.features.0[key].shape;
    let limit = info.limits.video_files_size_in_mb.saturating_mul(MEBIBYTE);
    let (mut place, mut at) = (FilePlace::default(), 0);
    while at < records.len() {
        let path = target.join(place.path(VIDEO, key)?);
        make_parent(&path)?;
        let (first, _) = source.video(at, key)?;
        let mut joiner = VideoJoiner::create(&path, &first, (shape[0], shape[1]), info.fps)?;
        while at < records.len() {
            let (index, shown) = source.video(at, key)?;
            let length = records[at].episode.length;
            if shown.len() != length {
                let found = format!("{} in {}", shown.len(), index.path.display());
                let expected = format!("{length} frames of `{key}`");
                return Err(Error::invalid(format!("episode {at}"), expected, found));
            }
            let fits = joiner.fits(&index) && joiner.bytes() + index.bytes_of(&shown) <= limit;
            if joiner.bytes() > 0 && !fits {
                break;
            }
            let from_secs = joiner.end_secs();
            joiner.append(&index, &shown)?;
            let to_secs = joiner.end_secs();
            let video = VideoPlace {
                file: place,
                from_secs,
                to_secs,
            };
            records[at].episode.videos.insert(key.to_owned(), video);
            at += 1;
        }
        joiner.finish()?;
        place = place.next(info.limits.chunks_size);
    }
    Ok(())
}

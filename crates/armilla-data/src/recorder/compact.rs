//! Joins a recorded dataset's many files into few.
//!
//! The new files are written beside the old ones, under `.compact`; a marker there says that they are whole. Only then
//! do they take the old ones' places, folder by folder, which can be gone on with after a crash.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use armilla_core::{FeatureStatistics, Statistics};
use rayon::prelude::*;

use crate::episodes::{self, EpisodeRecord, VideoPlace};
use crate::error::{Error, Result};
use crate::frames_table::{
    EpisodeColumns, EpisodePlace, episode_batch, huggingface_entry, table_schema, vector_features,
};
use crate::info::{AUTOMATIC, Info};
use crate::layout::{
    COMPACT, EPISODES, FilePlace, TASKS, make_parent, remove_folder, replace_file, sync_files,
};
use crate::reader::Reader;
use crate::statistics::{self, is_picture};
use crate::table::{TableWriter, write_table};
use crate::tasks;
use crate::video::demux::{Codec, VideoIndex};
use crate::video::join::VideoJoiner;

/// The folders that are replaced.
const FOLDERS: [&str; 3] = ["videos", "data", "meta"];
const MARKER: &str = "whole";
const MEBIBYTE: u64 = 1 << 20;

/// Exact statistics are kept of a feature up to this many values; beyond, the episodes' are joined.
const EXACT_VALUES: usize = 1 << 23;

/// Joins all episodes, in place.
pub(crate) fn compact(root: &Path, info: &Info, tasks: &[String]) -> Result<()> {
    let target = root.join(COMPACT);
    remove_folder(&target)?;
    let reader = Reader::open(root, info.clone(), true)?;
    let mut records = reader.records.clone();
    for (key, _) in crate::info::videos(&info.features) {
        join_videos(&reader, &target, key, &mut records)?;
    }
    join_tables(&reader, &target, &mut records)?;
    let tasks_path = target.join(TASKS);
    make_parent(&tasks_path)?;
    tasks::write(&tasks_path, tasks)?;
    let place = FilePlace::default();
    let path = target.join(place.path(EPISODES, "")?);
    make_parent(&path)?;
    let picture = |key: &str| is_picture(info.features.0.get(key));
    let batch = episodes::batch(&path, &records, place, picture)?;
    write_table(&path, &batch, None)?;
    sync_files(&[&tasks_path, &path])?;
    statistics::write(&target, &whole_statistics(&reader)?, picture)?;
    info.write(&target)?;
    replace_file(&target.join(MARKER), b"")?;
    complete(root)
}

/// Goes on with a compaction that was whole when it was interrupted; drops one that was not.
pub(crate) fn complete(root: &Path) -> Result<()> {
    let (new, old) = (root.join(COMPACT), root.join(COMPACT).join("old"));
    if new.join(MARKER).exists() {
        for folder in FOLDERS {
            let (from, to) = (new.join(folder), root.join(folder));
            if !from.exists() {
                continue;
            }
            if to.exists() {
                fs::create_dir_all(&old).map_err(Error::io("create the folder", &old))?;
                fs::rename(&to, old.join(folder)).map_err(Error::io("move", &to))?;
            }
            fs::rename(&from, &to).map_err(Error::io("move", &from))?;
        }
    }
    remove_folder(&new)
}

/// Joins one camera's videos.
fn join_videos(
    reader: &Reader,
    target: &Path,
    key: &str,
    records: &mut [EpisodeRecord],
) -> Result<()> {
    let shape = &reader.info.features.0[key].shape;
    let (size, limit) = (
        (shape[0], shape[1]),
        reader.info.video_files_size_in_mb * MEBIBYTE,
    );
    let mut place = FilePlace::default();
    let mut at = 0;
    while at < records.len() {
        let path = target.join(place.path(&reader.info.video_path, key)?);
        make_parent(&path)?;
        let (first, _) = reader.episode_video(&records[at].episode, key)?;
        let mut joiner = VideoJoiner::create(&path, &first, size, reader.info.fps)?;
        while at < records.len() && joiner.bytes() < limit {
            let (index, shown) = reader.episode_video(&records[at].episode, key)?;
            if !joiner.fits(&index) {
                break;
            }
            let from_secs = joiner.end_secs();
            joiner.append(&index, packets(&index, &shown)?)?;
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
        place = place.next(reader.info.chunks_size);
    }
    Ok(())
}

/// The packets of frames that are shown in the order in which they are decoded, as recorded ones are.
fn packets(index: &VideoIndex, shown: &std::ops::Range<usize>) -> Result<std::ops::Range<usize>> {
    let wanted = &index.shown[shown.clone()];
    let first = wanted.first().copied().unwrap_or(0);
    let in_order = wanted
        .iter()
        .enumerate()
        .all(|(i, &packet)| packet == first + i);
    let begins = index.packets.get(first).is_some_and(|packet| packet.is_key);
    if in_order && begins {
        Ok(first..first + wanted.len())
    } else {
        Err(cannot_join(index))
    }
}

/// Joins the frame tables.
fn join_tables(reader: &Reader, target: &Path, records: &mut [EpisodeRecord]) -> Result<()> {
    let features = &reader.info.features;
    let limit = reader.info.data_files_size_in_mb * MEBIBYTE;
    let mut place = FilePlace::default();
    let mut at = 0;
    while at < records.len() {
        let path: PathBuf = target.join(place.path(&reader.info.data_path, "")?);
        make_parent(&path)?;
        let mut writer = TableWriter::create(
            &path,
            &table_schema(features),
            Some(huggingface_entry(features)),
        )?;
        while at < records.len() && (writer.bytes_written() as u64) < limit {
            let episode = &reader.records[at].episode;
            let batch = {
                let (columns, task_indices) = read_episode(reader, at)?;
                let place = EpisodePlace {
                    episode_index: episode.index,
                    first_index: episode.first_index,
                    fps: reader.info.fps,
                    task_indices: &task_indices,
                };
                episode_batch(&path, features, &columns, &place)?
            };
            writer.write(&batch)?;
            records[at].episode.data = place;
            at += 1;
        }
        writer.close()?;
        place = place.next(reader.info.chunks_size);
    }
    Ok(())
}

fn read_episode(reader: &Reader, episode: usize) -> Result<(EpisodeColumns, Vec<i64>)> {
    let mut keys: Vec<_> = vector_features(&reader.info.features)
        .map(|(key, _)| key)
        .collect();
    keys.push("task_index");
    let mut values = reader.columns(episode, &keys)?;
    let tasks = values.pop().unwrap_or_default();
    let vectors = keys.iter().zip(values).map(|(key, values)| {
        (
            (*key).to_owned(),
            values.into_iter().map(|value| value as f32).collect(),
        )
    });
    let columns = EpisodeColumns {
        length: reader.records[episode].episode.length,
        vectors: vectors.collect(),
    };
    Ok((
        columns,
        tasks.into_iter().map(|index| index as i64).collect(),
    ))
}

/// The statistics of a whole dataset: exact for vectors, joined from the episodes' for pictures.
pub(crate) fn whole_statistics(reader: &Reader) -> Result<Statistics> {
    let mut whole = Statistics::new();
    let lengths = reader.records.iter().map(|record| record.episode.length);
    let frames: usize = lengths.sum();
    let (keys, widths): (Vec<_>, Vec<_>) = vector_features(&reader.info.features)
        .chain(AUTOMATIC.map(|key| (key, 1)))
        .filter(|(_, width)| frames.saturating_mul(*width) <= EXACT_VALUES)
        .unzip();
    let episodes = (0..reader.records.len()).into_par_iter();
    let columns: Result<Vec<_>> = episodes.map(|index| reader.columns(index, &keys)).collect();
    let columns = columns?;
    for (number, (key, width)) in keys.iter().zip(widths).enumerate() {
        let values = columns
            .iter()
            .flat_map(|episode| episode[number].chunks_exact(width));
        let rows: Vec<_> = values.map(<[f64]>::to_vec).collect();
        whole.insert((*key).to_owned(), FeatureStatistics::of_rows(&rows, width)?);
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

/// Checks that a dataset's videos can be joined with new ones without encoding anew.
pub(crate) fn check_joinable(reader: &Reader) -> Result<()> {
    for record in &reader.records {
        for key in record.episode.videos.keys() {
            let (index, shown) = reader.episode_video(&record.episode, key)?;
            if !matches!(index.codec, Codec::H264 { .. }) {
                return Err(cannot_join(&index));
            }
            packets(&index, &shown)?;
        }
    }
    Ok(())
}

fn cannot_join(index: &VideoIndex) -> Error {
    Error::Unsupported {
        what: index.path.display().to_string(),
        found: "joining this video with recorded ones".to_owned(),
        supported:
            "H.264 without B-pictures, as Armilla records it; record into a new folder instead"
                .to_owned(),
    }
}

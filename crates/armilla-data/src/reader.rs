//! Finds an episode's rows and frames, wherever they lie.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use armilla_core::Image;
use armilla_core::features::{DataType, Feature};
use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::column::Column;
use crate::episodes::{self, Episode, EpisodeRecord};
use crate::error::{Error, Result};
use crate::frames_table::read_column;
use crate::info::Info;
use crate::layout::{FilePlace, INFO};
use crate::nesting::{flatten, is_even};
use crate::table::{Selection, column, read_footer, read_rows};
use crate::types::videos;
use crate::video::decode::{Decoders, decode};
use crate::video::demux::VideoIndex;

/// A dataset's episodes and what was looked up of their files so far.
pub(crate) struct Reader {
    pub(crate) root: PathBuf,
    pub(crate) info: Info,
    pub(crate) records: Vec<EpisodeRecord>,
    /// Episodes that have metadata but are not counted.
    pub(crate) uncounted: usize,
    /// Number of the first frame in each frame table.
    first_rows: BTreeMap<FilePlace, usize>,
    footers: Mutex<BTreeMap<PathBuf, ArrowReaderMetadata>>,
    indices: Mutex<BTreeMap<PathBuf, Arc<VideoIndex>>>,
    pub(crate) decoders: Decoders,
}

impl Reader {
    /// Reads the metadata of the episodes that `info` counts.
    pub(crate) fn open(root: &Path, info: Info, with_statistics: bool) -> Result<Self> {
        let keys: Vec<_> = videos(&info.features).map(|(key, _)| key).collect();
        let mut records = episodes::read_all(root, &keys, with_statistics)?;
        if records.len() < info.total_episodes {
            return Err(Error::file(
                &root.join("meta/episodes"),
                format!(
                    "{INFO} counts {} episodes, but there is metadata of {}",
                    info.total_episodes,
                    records.len()
                ),
            ));
        }
        let uncounted = records.len() - info.total_episodes;
        records.truncate(info.total_episodes);
        let mut first_rows = BTreeMap::new();
        for EpisodeRecord { episode, .. } in &records {
            let first = first_rows
                .entry(episode.data)
                .or_insert(episode.first_index);
            *first = episode.first_index.min(*first);
        }
        Ok(Self {
            root: root.to_owned(),
            info,
            records,
            uncounted,
            first_rows,
            footers: Mutex::default(),
            indices: Mutex::default(),
            decoders: Decoders::default(),
        })
    }

    /// An episode by its number.
    pub(crate) fn episode(&self, index: usize) -> Result<&Episode> {
        let record = self.records.get(index).map(|record| &record.episode);
        record.ok_or_else(|| {
            let expected = format!("below {}", self.records.len());
            Error::invalid(format!("{}: episode", self.root.display()), expected, index)
        })
    }

    /// Columns of numbers of an episode, each row after row.
    pub(crate) fn numbers(&self, episode: usize, keys: &[&str]) -> Result<Vec<Vec<f64>>> {
        let frames = 0..self.episode(episode)?.length;
        let (path, batches) = self.batches(episode, keys, frames)?;
        keys.iter()
            .map(|key| flat(&path, &batches, self.width(key)))
            .collect()
    }

    /// Columns of an episode of any type that the schema declares.
    pub(crate) fn columns(&self, episode: usize, keys: &[&str]) -> Result<Vec<Column>> {
        self.columns_at(episode, keys, 0..self.episode(episode)?.length)
    }

    fn columns_at(
        &self,
        episode: usize,
        keys: &[&str],
        frames: Range<usize>,
    ) -> Result<Vec<Column>> {
        let (path, batches) = self.batches(episode, keys, frames)?;
        let read = |key: &&str| {
            let feature = self.feature(key)?;
            let parts: Result<Vec<_>> = batches
                .iter()
                .map(|batch| read_column(&path, key, feature, column(&path, batch, key)?))
                .collect();
            Column::concat(&parts?, feature.data_type)
        };
        keys.iter().map(read).collect()
    }

    /// A column, and how many values it has in a row: what the recorder adds by itself has one.
    fn width<'a>(&self, key: &'a str) -> (&'a str, usize) {
        let feature = self.info.features.0.get(key);
        (key, feature.map_or(1, Feature::len))
    }

    /// A feature of the schema.
    pub(crate) fn feature(&self, key: &str) -> Result<&Feature> {
        let features = &self.info.features.0;
        features.get(key).ok_or_else(|| {
            let known: Vec<_> = features.keys().collect();
            Error::invalid("feature", format!("one of {known:?}"), key)
        })
    }

    /// Some rows of an episode, checked to be its own.
    fn batches(
        &self,
        episode: usize,
        keys: &[&str],
        frames: Range<usize>,
    ) -> Result<(PathBuf, Vec<RecordBatch>)> {
        let episode = self.episode(episode)?;
        let path = self.data_path(episode.data)?;
        let footer = self.footer(&path)?;
        let columns = with_owner(keys);
        let first = self.rows_of(episode).start;
        let selection = Selection {
            offset: first + frames.start,
            limit: frames.len(),
            columns: &columns,
        };
        let batches = read_rows(&path, &footer, &selection)?;
        let owners = flat(&path, &batches, (OWNER, 1))?;
        check_owners(&path, episode, &owners, frames.len(), selection.offset)?;
        Ok((path, batches))
    }

    /// Columns of numbers of episodes that lie in the same file, which is read once: for each episode each column, row after
    /// row.
    pub(crate) fn numbers_of_file(
        &self,
        file: FilePlace,
        episodes: &[usize],
        keys: &[&str],
    ) -> Result<Vec<Vec<Vec<f64>>>> {
        let path = self.data_path(file)?;
        let columns = with_owner(keys);
        let selection = Selection {
            columns: &columns,
            ..Selection::ALL
        };
        let batches = read_rows(&path, &self.footer(&path)?, &selection)?;
        let owners = flat(&path, &batches, (OWNER, 1))?;
        let columns: Result<Vec<_>> = keys
            .iter()
            .map(|key| flat(&path, &batches, self.width(key)))
            .collect();
        let columns = columns?;
        drop(batches);
        let of_episode = |&number: &usize| {
            let episode = self.episode(number)?;
            let rows = self.rows_of(episode);
            let own = owners.get(rows.start..rows.end.min(owners.len()));
            let own = own.unwrap_or_default();
            check_owners(&path, episode, own, episode.length, rows.start)?;
            let values = |column: &Vec<f64>| {
                let width = column.len() / owners.len().max(1);
                column[rows.start * width..rows.end * width].to_vec()
            };
            Ok(columns.iter().map(values).collect())
        };
        episodes.iter().map(of_episode).collect()
    }

    fn data_path(&self, file: FilePlace) -> Result<PathBuf> {
        Ok(self.root.join(file.path(&self.info.data_path, "")?))
    }

    /// The rows of an episode in its file.
    fn rows_of(&self, episode: &Episode) -> Range<usize> {
        let first = self.first_rows.get(&episode.data).copied().unwrap_or(0);
        let start = episode.first_index - first;
        start..start + episode.length
    }

    fn footer(&self, path: &Path) -> Result<ArrowReaderMetadata> {
        let known = self
            .footers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned();
        if let Some(footer) = known {
            return Ok(footer);
        }
        let footer = read_footer(path)?;
        let mut footers = self.footers.lock().unwrap_or_else(PoisonError::into_inner);
        footers.insert(path.to_owned(), footer.clone());
        Ok(footer)
    }

    /// The video that holds an episode, and the positions of its frames.
    pub(crate) fn episode_video(
        &self,
        episode: &Episode,
        key: &str,
    ) -> Result<(Arc<VideoIndex>, Range<usize>)> {
        let place = episode.videos.get(key).ok_or_else(|| {
            let known: Vec<_> = episode.videos.keys().collect();
            Error::invalid("camera", format!("one of {known:?}"), key)
        })?;
        let path = self.root.join(place.file.path(&self.info.video_path, key)?);
        let index = self.video_index(&path)?;
        let what = format!("episode {}", episode.index);
        let range = index.frames(place.from_secs, episode.length, self.info.fps, &what)?;
        Ok((index, range))
    }

    fn video_index(&self, path: &Path) -> Result<Arc<VideoIndex>> {
        let known = self
            .indices
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(path)
            .cloned();
        if let Some(index) = known {
            return Ok(index);
        }
        let index = Arc::new(VideoIndex::read(path)?);
        let mut indices = self.indices.lock().unwrap_or_else(PoisonError::into_inner);
        indices.insert(path.to_owned(), Arc::clone(&index));
        Ok(index)
    }

    /// An episode's pictures of the camera with a feature key, `frames` of them.
    pub(crate) fn images(
        &self,
        episode: usize,
        key: &str,
        frames: Range<usize>,
    ) -> Result<Vec<Image>> {
        let feature = self.feature(key)?;
        let length = self.episode(episode)?.length;
        if frames.end > length {
            let expected = format!("frames below {length}");
            let what = format!("episode {episode} of `{key}`");
            return Err(Error::invalid(what, expected, format!("{frames:?}")));
        }
        let column = match feature.data_type {
            DataType::Video => {
                let (index, shown) = self.episode_video(self.episode(episode)?, key)?;
                let shown = shown.start + frames.start..shown.start + frames.end;
                return decode(&index, shown, Some(&feature.shape));
            }
            _ => {
                let mut columns = self.columns_at(episode, &[key], frames)?;
                columns.pop().unwrap_or(Column::empty(DataType::Image))
            }
        };
        // One after the other, so that no more than one that is too large is held.
        let images = (0..column.len()).map(|frame| {
            let image = column.image(frame)?;
            let found = [image.height(), image.width(), 3];
            if feature.shape == found {
                return Ok(image);
            }
            let expected = &feature.shape;
            let problem =
                format!("`{key}`: expected pictures of shape {expected:?}, found {found:?}");
            Err(Error::file(&self.root, problem))
        });
        images.collect()
    }
}

/// The column that says whose a row is.
const OWNER: &str = "episode_index";

/// Columns with the one that says whose a row is.
fn with_owner<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    let mut columns = keys.to_vec();
    if !columns.contains(&OWNER) {
        columns.push(OWNER);
    }
    columns
}

/// Checks that rows are an episode's, and as many as there should be.
fn check_owners(
    path: &Path,
    episode: &Episode,
    owners: &[f64],
    expected: usize,
    from: usize,
) -> Result<()> {
    if owners.len() == expected && owners.iter().all(|&owner| owner == episode.index as f64) {
        return Ok(());
    }
    let (index, found) = (episode.index, owners.len());
    Err(Error::file(
        path,
        format!(
            "expected {expected} rows of episode {index} from row {from}, found {found} rows, not all of it"
        ),
    ))
}

/// A column of numbers in all of some batches.
/// Where rows are not all of the width that the schema says, values of one would be taken for another's.
fn flat(path: &Path, batches: &[RecordBatch], (key, width): (&str, usize)) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for batch in batches {
        let array = column(path, batch, key)?;
        let found = flatten(path, key, array)?;
        let rows = batch.num_rows();
        if found.len() != rows * width || !is_even(array) {
            let problem = format!(
                "column `{key}`: expected {width} values in each row, as its shape in {INFO} says, found {} in {rows} rows",
                found.len()
            );
            return Err(Error::file(path, problem));
        }
        values.extend(found);
    }
    Ok(values)
}

//! Episode metadata: where an episode's frames lie, and its statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use armilla_core::Statistics;
use arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray};

use crate::error::{Error, Result};
use crate::layout::{FilePlace, files_below};
use crate::nesting::{doubles, flatten, lists, texts};
use crate::statistics::{NAMES, get, get_mut};
use crate::table::{column, read_columns};

/// One episode: its length, what it shows and where it lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Its number, from 0.
    pub index: usize,
    /// Frames.
    pub length: usize,
    /// Its instructions; most episodes have one.
    pub tasks: Vec<String>,
    /// Number of its first frame in the whole dataset.
    pub first_index: usize,
    /// File of its rows.
    pub(crate) data: FilePlace,
    /// Its videos by feature key.
    pub(crate) videos: BTreeMap<String, VideoPlace>,
}

/// Where an episode lies in a video file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct VideoPlace {
    pub(crate) file: FilePlace,
    /// Time of its first frame in the file, in seconds.
    pub(crate) from_secs: f64,
    /// Time after its last frame in the file, in seconds.
    pub(crate) to_secs: f64,
}

impl Episode {
    /// Its (first) instruction; empty if it has none.
    #[must_use]
    pub fn instruction(&self) -> &str {
        self.tasks.first().map_or("", String::as_str)
    }
}

/// An episode with its statistics: a row of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EpisodeRecord {
    pub(crate) episode: Episode,
    pub(crate) statistics: Statistics,
}

/// Collects columns by name.
struct Columns(Vec<(String, ArrayRef)>);

impl Columns {
    fn integers(&mut self, name: impl Into<String>, values: impl Iterator<Item = u64>) {
        let array = Int64Array::from_iter_values(values.map(|value| value as i64));
        self.0.push((name.into(), Arc::new(array)));
    }
}

/// The statistics that there are of each feature: columns of the metadata.
pub(crate) type StatisticsColumns = BTreeMap<String, Vec<&'static str>>;

/// Those that any of these episodes has; datasets of older versions have no quantiles.
pub(crate) fn statistics_columns(records: &[EpisodeRecord]) -> StatisticsColumns {
    let all = records.iter().flat_map(|record| record.statistics.keys());
    let of = |key: &String| {
        let known = records
            .iter()
            .filter_map(|record| record.statistics.get(key));
        let any = |name: &str| known.clone().any(|feature| !get(feature, name).is_empty());
        NAMES.into_iter().filter(|name| any(name)).collect()
    };
    let keys: BTreeSet<_> = all.collect();
    keys.into_iter().map(|key| (key.clone(), of(key))).collect()
}

/// The rows of a metadata file that lies at `place`; all rows of a file have the same columns of `statistics`.
pub(crate) fn batch(
    path: &Path,
    records: &[EpisodeRecord],
    place: FilePlace,
    statistics: &StatisticsColumns,
    is_picture: impl Fn(&str) -> bool,
) -> Result<RecordBatch> {
    let episodes = || records.iter().map(|record| &record.episode);
    let mut columns = Columns(Vec::new());
    columns.integers("episode_index", episodes().map(|e| e.index as u64));
    let names = StringArray::from(episodes().flat_map(|e| e.tasks.clone()).collect::<Vec<_>>());
    let tasks = lists(Arc::new(names), episodes().map(|e| e.tasks.len()));
    columns.0.push(("tasks".to_owned(), tasks));
    columns.integers("length", episodes().map(|e| e.length as u64));
    columns.integers("data/chunk_index", episodes().map(|e| e.data.chunk));
    columns.integers("data/file_index", episodes().map(|e| e.data.file));
    columns.integers(
        "dataset_from_index",
        episodes().map(|e| e.first_index as u64),
    );
    let ends = episodes().map(|e| (e.first_index + e.length) as u64);
    columns.integers("dataset_to_index", ends);
    let first = records.first();
    for key in first.iter().flat_map(|record| record.episode.videos.keys()) {
        let video = || episodes().map(|e| e.videos.get(key).copied().unwrap_or_default());
        let name = |part: &str| format!("videos/{key}/{part}");
        columns.integers(name("chunk_index"), video().map(|v| v.file.chunk));
        columns.integers(name("file_index"), video().map(|v| v.file.file));
        let from = doubles(video().map(|v| v.from_secs).collect());
        let to = doubles(video().map(|v| v.to_secs).collect());
        columns.0.push((name("from_timestamp"), from));
        columns.0.push((name("to_timestamp"), to));
    }
    for feature in statistics {
        add_statistics(&mut columns, records, feature, is_picture(feature.0));
    }
    columns.integers(
        "meta/episodes/chunk_index",
        records.iter().map(|_| place.chunk),
    );
    columns.integers(
        "meta/episodes/file_index",
        records.iter().map(|_| place.file),
    );
    RecordBatch::try_from_iter(columns.0).map_err(|error| Error::write(path, error))
}

/// One feature's statistics: lists of numbers, `[3][1][1]` for pictures.
fn add_statistics(
    columns: &mut Columns,
    records: &[EpisodeRecord],
    (key, names): (&String, &Vec<&'static str>),
    is_picture: bool,
) {
    let of = |record: &EpisodeRecord, name: &str| {
        record
            .statistics
            .get(key)
            .map_or_else(Vec::new, |feature| get(feature, name).clone())
    };
    for name in names {
        let rows: Vec<_> = records.iter().map(|record| of(record, name)).collect();
        let total = rows.iter().map(Vec::len).sum();
        let mut values = doubles(rows.concat());
        if is_picture {
            for _ in 0..2 {
                values = lists(values, std::iter::repeat_n(1, total));
            }
        }
        let array = lists(values, rows.iter().map(Vec::len));
        columns.0.push((format!("stats/{key}/{name}"), array));
    }
    let counts = records.iter().map(|record| {
        record
            .statistics
            .get(key)
            .map_or(0, |feature| feature.count as i64)
    });
    let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(counts));
    let counts = lists(counts, records.iter().map(|_| 1));
    columns.0.push((format!("stats/{key}/count"), counts));
}

/// Reads the rows of one metadata file; `with_statistics` also its statistics.
pub(crate) fn read_file(
    path: &Path,
    videos: &[&str],
    with_statistics: bool,
) -> Result<Vec<EpisodeRecord>> {
    let mut records = Vec::new();
    // The statistics are most of the columns.
    let wanted = |name: &str| with_statistics || !name.starts_with("stats/");
    for batch in read_columns(path, wanted)? {
        let from = records.len();
        read_places(path, &batch, videos, &mut records)?;
        if with_statistics {
            read_statistics(path, &batch, &mut records[from..])?;
        }
    }
    Ok(records)
}

/// Reads all metadata below a root, in the order of the episodes.
pub(crate) fn read_all(
    root: &Path,
    videos: &[&str],
    with_statistics: bool,
) -> Result<Vec<EpisodeRecord>> {
    let mut records = Vec::new();
    for path in files_below(&root.join("meta/episodes"))? {
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            records.extend(read_file(&path, videos, with_statistics)?);
        }
    }
    records.sort_by_key(|record| record.episode.index);
    let mut first_index = 0_usize;
    for (index, EpisodeRecord { episode, .. }) in records.iter().enumerate() {
        let wrong = |expected: String, found: String| {
            Error::file(
                &root.join("meta/episodes"),
                format!("expected {expected}, found {found}"),
            )
        };
        if episode.index != index {
            return Err(wrong(format!("episode {index}"), episode.index.to_string()));
        }
        if episode.first_index != first_index {
            let expected = format!("dataset_from_index {first_index} of episode {index}");
            return Err(wrong(expected, episode.first_index.to_string()));
        }
        if episode.length == 0 {
            return Err(wrong(
                format!("frames in episode {index}"),
                "none".to_owned(),
            ));
        }
        let end = first_index.checked_add(episode.length);
        first_index =
            end.ok_or_else(|| wrong("a length".to_owned(), episode.length.to_string()))?;
    }
    Ok(records)
}

fn read_places(
    path: &Path,
    batch: &RecordBatch,
    videos: &[&str],
    records: &mut Vec<EpisodeRecord>,
) -> Result<()> {
    let numbers = |name: &str| {
        let values = flatten(path, name, column(path, batch, name)?)?;
        if values.len() == batch.num_rows() {
            return Ok(values);
        }
        let (expected, found) = (batch.num_rows(), values.len());
        let problem =
            format!("column `{name}`: expected {expected} values, one a row, found {found}");
        Err(Error::file(path, problem))
    };
    let places = |prefix: &str| -> Result<Vec<FilePlace>> {
        let chunks = numbers(&format!("{prefix}/chunk_index"))?;
        let files = numbers(&format!("{prefix}/file_index"))?;
        let place = |(chunk, file): (f64, f64)| FilePlace {
            chunk: chunk as u64,
            file: file as u64,
        };
        Ok(chunks.into_iter().zip(files).map(place).collect())
    };
    let (indices, lengths) = (numbers("episode_index")?, numbers("length")?);
    let (firsts, data) = (numbers("dataset_from_index")?, places("data")?);
    let mut in_video = Vec::new();
    for key in videos {
        let times = |part: &str| numbers(&format!("videos/{key}/{part}"));
        let (from, to) = (times("from_timestamp")?, times("to_timestamp")?);
        in_video.push((*key, places(&format!("videos/{key}"))?, from, to));
    }
    let tasks = column(path, batch, "tasks")?;
    for row in 0..batch.num_rows() {
        let tasks = tasks.as_list_opt::<i32>();
        let tasks = tasks.ok_or_else(|| Error::file(path, "column `tasks`: expected lists"))?;
        let video = |(key, file, from, to): &(&str, Vec<FilePlace>, Vec<f64>, Vec<f64>)| {
            let place = VideoPlace {
                file: file[row],
                from_secs: from[row],
                to_secs: to[row],
            };
            ((*key).to_owned(), place)
        };
        records.push(EpisodeRecord {
            episode: Episode {
                index: indices[row] as usize,
                length: lengths[row] as usize,
                tasks: texts(path, "tasks", &tasks.value(row))?,
                first_index: firsts[row] as usize,
                data: data[row],
                videos: in_video.iter().map(video).collect(),
            },
            statistics: Statistics::new(),
        });
    }
    Ok(())
}

fn read_statistics(path: &Path, batch: &RecordBatch, records: &mut [EpisodeRecord]) -> Result<()> {
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let Some((key, name)) = field
            .name()
            .strip_prefix("stats/")
            .and_then(|rest| rest.rsplit_once('/'))
        else {
            continue;
        };
        for (row, record) in records.iter_mut().enumerate() {
            if array.is_null(row) {
                continue;
            }
            let values = flatten(path, field.name(), &array.slice(row, 1))?;
            let feature = record.statistics.entry(key.to_owned()).or_default();
            if name == "count" {
                feature.count = values.first().copied().unwrap_or(0.0) as u64;
            } else if let Some(place) = get_mut(feature, name) {
                *place = values;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{TableWriter, write_table};
    use armilla_core::FeatureStatistics;

    const CAMERA: &str = "observation.images.top";

    fn record(index: usize) -> EpisodeRecord {
        EpisodeRecord {
            episode: Episode {
                index,
                length: 7,
                tasks: (0..=index).map(|task| format!("task {task}")).collect(),
                first_index: 7 * index,
                data: FilePlace { chunk: 1, file: 3 },
                videos: BTreeMap::from([(
                    CAMERA.to_owned(),
                    VideoPlace {
                        file: FilePlace::default(),
                        from_secs: 0.7 * index as f64,
                        to_secs: 0.7,
                    },
                )]),
            },
            statistics: Statistics::from([
                (
                    CAMERA.to_owned(),
                    FeatureStatistics::of_rows(&[vec![0.1, 0.2, 0.3]], 3).unwrap(),
                ),
                (
                    "action".to_owned(),
                    FeatureStatistics::of_rows(&[vec![4.0]], 1).unwrap(),
                ),
            ]),
        }
    }

    #[test]
    fn episodes_with_and_without_quantiles_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta/episodes/file.parquet");
        crate::layout::make_parent(&path).unwrap();
        let mut records = [record(0), record(1)];
        for feature in records[1].statistics.values_mut() {
            for name in ["q01", "q10", "q50", "q90", "q99"] {
                get_mut(feature, name).unwrap().clear();
            }
        }
        let columns = statistics_columns(&records);
        let rows = |records: &[EpisodeRecord]| {
            batch(&path, records, FilePlace::default(), &columns, |key| {
                key == CAMERA
            })
            .unwrap()
        };
        let mut writer = TableWriter::create(&path, &rows(&records[..1]).schema(), None).unwrap();
        writer.write(&rows(&records[..1])).unwrap();
        writer.write(&rows(&records[1..])).unwrap();
        writer.close().unwrap();
        assert_eq!(read_all(folder.path(), &[CAMERA], true).unwrap(), records);
    }

    /// The metadata of some episodes, in one file.
    fn written(records: &[EpisodeRecord]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder
            .path()
            .join("meta/episodes/chunk-000/file-000.parquet");
        crate::layout::make_parent(&path).unwrap();
        let columns = statistics_columns(records);
        let place = FilePlace::default();
        let batch = batch(&path, records, place, &columns, |key| key == CAMERA).unwrap();
        write_table(&path, &batch, None).unwrap();
        folder
    }

    #[test]
    fn an_episode_without_frames_is_refused() {
        let mut records = [record(0), record(1)];
        records[1].episode.length = 0;
        let folder = written(&records);
        let error = read_all(folder.path(), &[CAMERA], false).unwrap_err();
        let problem = "expected frames in episode 1, found none";
        assert!(error.to_string().contains(problem), "{error}");
    }

    #[test]
    fn there_and_back() {
        let records = [record(0), record(1)];
        let folder = written(&records);
        assert_eq!(read_all(folder.path(), &[CAMERA], true).unwrap(), records);
        let error = read_all(folder.path(), &["observation.images.wrist"], false).unwrap_err();
        assert!(error.to_string().contains("wrist"), "{error}");
    }
}

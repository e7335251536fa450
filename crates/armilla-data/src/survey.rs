//! What there is of a dataset: read file by file, without stopping at what is broken and without writing anything.
//!
//! A [`crate::Dataset`] trusts its metadata and refuses what does not fit; checking and repairing start from here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use crate::check::finding::{Finding, inside, problem_of};
use crate::episodes::{self, EpisodeRecord};
use crate::error::{Error, Result};
use crate::info::Info;
use crate::layout::{COMPACT, FilePlace, RECORDING, TASKS, files_below};
use crate::nesting::flatten;
use crate::table::{Selection, column, read_footer, read_rows, read_table};
use crate::tasks;
use crate::types::videos;
use crate::video::demux::VideoIndex;
use crate::video::join::packets;

/// A dataset as it is found.
pub(crate) struct Survey {
    pub(crate) root: PathBuf,
    pub(crate) info: Info,
    /// Its instructions, if they can be read.
    pub(crate) tasks: Option<Vec<String>>,
    /// What metadata there is, by the episode's number.
    pub(crate) episodes: BTreeMap<usize, Surveyed>,
    /// Number of the first frame in each frame table, as the metadata has it.
    pub(crate) first_indices: BTreeMap<FilePlace, usize>,
    /// The frame tables that can be read, by their paths.
    pub(crate) tables: BTreeMap<PathBuf, Table>,
    /// Files that are not there or cannot be read.
    pub(crate) broken: BTreeSet<PathBuf>,
    /// Whether another process is recording at this moment.
    pub(crate) being_recorded: bool,
    /// What was wrong on the way.
    pub(crate) findings: Vec<Finding>,
    videos: Mutex<BTreeMap<PathBuf, Arc<SurveyedVideo>>>,
}

/// An episode's metadata.
pub(crate) struct Surveyed {
    pub(crate) record: EpisodeRecord,
    /// Number of the frame after its last one, as the metadata has it.
    pub(crate) end_index: Option<f64>,
    /// The metadata file.
    pub(crate) file: PathBuf,
}

/// A frame table.
pub(crate) struct Table {
    pub(crate) footer: ArrowReaderMetadata,
    /// The rows of each episode: one run, unless something is wrong.
    pub(crate) runs: BTreeMap<usize, Vec<Run>>,
}

/// Rows that follow each other in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First row in the file.
    pub(crate) from: usize,
    /// Number of rows.
    pub(crate) length: usize,
}

/// A video's index, or why there is none.
pub(crate) type SurveyedVideo = std::result::Result<CutVideo, Error>;

/// A video that may have been cut.
pub(crate) struct CutVideo {
    pub(crate) index: Arc<VideoIndex>,
    size: u64,
}

impl CutVideo {
    /// Whether all of the bytes of some frames are there.
    pub(crate) fn holds(&self, shown: &Range<usize>) -> bool {
        let wanted = self.index.shown[shown.clone()].iter();
        wanted.clone().all(|&packet| {
            let packet = &self.index.packets[packet];
            packet.offset.saturating_add(packet.size) <= self.size
        })
    }

    /// Whether all of its frames are there.
    pub(crate) fn is_whole(&self) -> bool {
        self.holds(&(0..self.index.shown.len()))
    }

    /// Checks that an episode's frames are there and can be copied out.
    pub(crate) fn check_copying(&self, shown: &Range<usize>) -> Result<()> {
        if !self.holds(shown) {
            return Err(Error::file(&self.index.path, "the file is cut within it"));
        }
        packets(&self.index, shown).map(drop)
    }
}

impl Survey {
    /// Looks at a dataset.
    ///
    /// # Errors
    ///
    /// When its description cannot be read: without a schema nothing can be told of the rest.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut survey = Self {
            root: root.to_owned(),
            info: Info::read(root)?,
            tasks: None,
            episodes: BTreeMap::new(),
            first_indices: BTreeMap::new(),
            tables: BTreeMap::new(),
            broken: BTreeSet::new(),
            being_recorded: is_being_recorded(root),
            findings: Vec::new(),
            videos: Mutex::default(),
        };
        survey.read_recording();
        survey.read_tasks();
        survey.read_episodes()?;
        survey.read_tables()?;
        Ok(survey)
    }

    fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn read_recording(&mut self) {
        for name in [RECORDING, COMPACT] {
            if self.root.join(name).exists() && !self.being_recorded {
                let remedy = "opening the dataset puts it right: `armilla dataset info`";
                let finding = Finding::error(name, "a recording was interrupted");
                self.find(finding.remedied_by(remedy));
            }
        }
    }

    fn read_tasks(&mut self) {
        match tasks::read(&self.root) {
            Ok(tasks) => self.tasks = Some(tasks),
            // A recorder writes the first instruction with the first episode.
            Err(_) if self.info.total_episodes == 0 && !self.root.join(TASKS).exists() => {
                self.tasks = Some(Vec::new());
            }
            Err(error) => self.find(Finding::broken(TASKS, &error)),
        }
    }

    fn read_episodes(&mut self) -> Result<()> {
        let root = self.root.clone();
        let keys: Vec<_> = videos(&self.info.features)
            .map(|(key, _)| key.to_owned())
            .collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        for path in parquet_below(&root.join("meta/episodes"))? {
            let file = inside(&root, &path);
            let (records, ends) = match read_metadata(&path, &keys) {
                Ok((records, ends, None)) => (records, ends),
                Ok((records, ends, Some(error))) => {
                    self.find(Finding::broken(&file, &error));
                    (records, ends)
                }
                Err(error) => {
                    self.find(Finding::broken(&file, &error));
                    continue;
                }
            };
            for (record, end_index) in records.into_iter().zip(ends) {
                let index = record.episode.index;
                let surveyed = Surveyed {
                    record,
                    end_index,
                    file: file.clone(),
                };
                if let Some(known) = self.episodes.get(&index) {
                    let problem = format!("it is described in {} already", known.file.display());
                    self.find(Finding::error(&file, problem).of([index]));
                } else {
                    let episode = &surveyed.record.episode;
                    let first = self.first_indices.entry(episode.data);
                    let first = first.or_insert(episode.first_index);
                    *first = episode.first_index.min(*first);
                    self.episodes.insert(index, surveyed);
                }
            }
        }
        Ok(())
    }

    /// Reads the tables that the metadata names and those that lie beside them.
    fn read_tables(&mut self) -> Result<()> {
        let mut paths: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        let first = FilePlace::default().path(&self.info.data_path, "")?;
        if let Some(folder) = first.iter().next() {
            for path in parquet_below(&self.root.join(folder))? {
                paths.insert(path, Vec::new());
            }
        }
        for (&index, surveyed) in &self.episodes {
            let path = self.table_path(&surveyed.record)?;
            paths.entry(path).or_default().push(index);
        }
        for (path, episodes) in paths {
            match Table::read(&path) {
                Ok(table) => {
                    self.tables.insert(path, table);
                }
                Err(error) => {
                    let finding = Finding::broken(inside(&self.root, &path), &error);
                    self.find(finding.of(episodes));
                    self.broken.insert(path);
                }
            }
        }
        Ok(())
    }

    /// The frame table that an episode's metadata names.
    pub(crate) fn table_path(&self, record: &EpisodeRecord) -> Result<PathBuf> {
        let path = record.episode.data.path(&self.info.data_path, "")?;
        Ok(self.root.join(path))
    }

    /// A camera's video file.
    pub(crate) fn video_path(&self, place: FilePlace, key: &str) -> Result<PathBuf> {
        Ok(self.root.join(place.path(&self.info.video_path, key)?))
    }

    /// A video file, looked up once.
    pub(crate) fn video(&self, path: &Path) -> Arc<SurveyedVideo> {
        let videos = || self.videos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = videos().get(path) {
            return Arc::clone(known);
        }
        let read = VideoIndex::read_cut(path).map(|(index, size)| CutVideo {
            index: Arc::new(index),
            size,
        });
        let read = Arc::new(read);
        videos().insert(path.to_owned(), Arc::clone(&read));
        read
    }
}

/// Records, the ends of their frames, and what was wrong with their statistics.
type Metadata = (Vec<EpisodeRecord>, Vec<Option<f64>>, Option<Error>);

fn read_metadata(path: &Path, videos: &[&str]) -> Result<Metadata> {
    let (records, wrong) = match episodes::read_file(path, videos, true) {
        Ok(records) => (records, None),
        Err(error) => (episodes::read_file(path, videos, false)?, Some(error)),
    };
    let mut ends = Vec::with_capacity(records.len());
    for batch in read_table(path)? {
        let found = column(path, &batch, "dataset_to_index");
        let found = found.and_then(|array| flatten(path, "dataset_to_index", array));
        match found {
            Ok(found) => ends.extend(found.into_iter().map(Some)),
            Err(_) => ends.extend(vec![None; batch.num_rows()]),
        }
    }
    Ok((records, ends, wrong))
}

impl Table {
    fn read(path: &Path) -> Result<Self> {
        let footer = read_footer(path)?;
        let selection = Selection {
            columns: &["episode_index"],
            ..Selection::ALL
        };
        let (mut runs, mut row, mut last) = (BTreeMap::<usize, Vec<Run>>::new(), 0, None);
        for batch in read_rows(path, &footer, &selection)? {
            for owner in flatten(
                path,
                "episode_index",
                column(path, &batch, "episode_index")?,
            )? {
                let episode = owner as usize;
                let parts = runs.entry(episode).or_default();
                match parts.last_mut().filter(|_| last == Some(episode)) {
                    Some(run) => run.length += 1,
                    None => parts.push(Run {
                        from: row,
                        length: 1,
                    }),
                }
                last = Some(episode);
                row += 1;
            }
        }
        Ok(Self { footer, runs })
    }

    /// Whether the table has a column.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.footer.schema().column_with_name(key).is_some()
    }
}

fn parquet_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files_below(folder)?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "parquet")
    });
    Ok(files)
}

/// Whether a recorder holds the dataset's lock; looking takes nothing from it.
fn is_being_recorded(root: &Path) -> bool {
    let lock = File::open(root.join(RECORDING).join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// The words of an error for a report of what was lost.
pub(crate) fn reason(root: &Path, error: &Error) -> String {
    let path = match error {
        Error::File { path, .. } | Error::Io { path, .. } => Some(inside(root, path)),
        _ => None,
    };
    match path.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => format!("{}: {}", path.display(), problem_of(error)),
        None => problem_of(error),
    }
}

//! A Rerun recording on disk: written under a temporary name, moved into place when it is finished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use re_sdk::log::TimeColumn;
use re_sdk::{AsComponents, RecordingStream, RecordingStreamBuilder};
use re_sdk_types::archetypes::{Scalars, SeriesLines, TextDocument};
use re_sdk_types::components::MediaType;

use crate::error::{Error, Result};
use crate::layout::{Run, Screen, screen};
use crate::reel::Reel;

/// Rerun keeps screens by application, so all of Armilla's recordings share them.
const APPLICATION: &str = "armilla";
/// Points of a training curve that are kept, at most; more than a screen has columns.
const CURVE_POINTS: usize = 2000;

/// A recording that is being written. [`Recording::finish`] puts it in place; dropped before, it leaves nothing.
pub struct Recording {
    log: Log,
    path: PathBuf,
    reels: BTreeMap<String, Reel>,
    runs: Vec<Run>,
    has_results: bool,
}

impl Recording {
    /// Begins a recording that will be found at `path` (by custom `*.rrd`) once it is finished.
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let partial = partial_name(&path);
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let stream = RecordingStreamBuilder::new(APPLICATION)
            .recording_name(name)
            .enabled(true)
            .save(&partial)
            .map_err(|source| rerun_error(&path, "create the recording", source))?;
        // Wall-clock timelines would differ from run to run and say nothing about the robot.
        stream.set_log_tick_enabled(false);
        stream.set_log_time_enabled(false);
        Ok(Self {
            log: Log { stream, partial },
            path,
            reels: BTreeMap::new(),
            runs: Vec::new(),
            has_results: false,
        })
    }

    /// The reel of this name, begun empty where there is none.
    pub fn reel(&mut self, name: &str) -> &mut Reel {
        self.reels
            .entry(name.to_owned())
            .or_insert_with(|| Reel::new(name, self.log.clone()))
    }

    /// Logs the curves of a training run from `(step, figure, value)`, in any order.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn training(&mut self, run: &str, points: &[(u64, String, f64)]) -> Result<()> {
        let mut figures: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
        for (step, figure, value) in points.iter().filter(|(_, _, value)| value.is_finite()) {
            figures.entry(figure).or_default().insert(*step, *value);
        }
        for (figure, curve) in &figures {
            self.curve(&format!("training/{run}/{figure}"), figure, curve)?;
        }
        self.runs.push(Run {
            name: run.to_owned(),
            figures: figures.keys().map(|&figure| figure.to_owned()).collect(),
        });
        Ok(())
    }

    fn curve(&self, entity: &str, name: &str, curve: &BTreeMap<u64, f64>) -> Result<()> {
        self.log
            .constant(entity, &SeriesLines::new().with_names([name]))?;
        let every = curve.len().div_ceil(CURVE_POINTS).max(1);
        let (steps, values): (Vec<i64>, Vec<f64>) = curve
            .iter()
            .step_by(every)
            .map(|(&step, &value)| (step as i64, value))
            .unzip();
        let columns = Scalars::new(values)
            .columns_of_unit_batches()
            .map_err(|source| rerun_error(&self.log.partial, entity, source))?;
        self.log
            .stream
            .send_columns(entity, [TimeColumn::new_sequence("step", steps)], columns)
            .map_err(|source| rerun_error(&self.log.partial, entity, source))
    }

    /// Sets the text with the results, in Markdown.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn results(&mut self, markdown: &str) -> Result<()> {
        self.has_results = true;
        self.log.constant("results", &document(markdown))
    }

    /// Adds the screen, writes everything out and moves the file into place. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// When the disk is full or the file cannot be moved.
    pub fn finish(self) -> Result<u64> {
        let Log { stream, partial } = &self.log;
        let blueprint = screen(&Screen {
            reels: self.reels.values().map(Reel::shown).collect(),
            runs: &self.runs,
            has_results: self.has_results,
        });
        blueprint
            .send(stream, Default::default())
            .map_err(|source| rerun_error(&self.path, "add the screen", source))?;
        stream
            .flush_blocking()
            .map_err(|source| rerun_error(&self.path, "write the recording", source))?;
        stream.finalize_deferred_sinks();
        let file_error = |action| {
            move |source| Error::File {
                path: partial.clone(),
                action,
                source,
            }
        };
        let file = std::fs::File::open(partial).map_err(file_error("open the recording"))?;
        file.sync_all().map_err(file_error("sync the recording"))?;
        let size = file.metadata().map_err(file_error("measure the recording"));
        std::fs::rename(partial, &self.path).map_err(file_error("move into place"))?;
        size.map(|metadata| metadata.len())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // After `finish` there is nothing under the temporary name any more.
        if self.log.partial.exists() {
            self.log.stream.finalize_deferred_sinks();
            std::fs::remove_file(&self.log.partial).ok();
        }
    }
}

/// The stream, and the file to name in errors.
#[derive(Clone)]
pub(crate) struct Log {
    stream: RecordingStream,
    partial: PathBuf,
}

impl Log {
    /// Logs what holds at all times.
    pub(crate) fn constant(&self, entity: &str, data: &dyn AsComponents) -> Result<()> {
        self.stream
            .log_static(entity, data)
            .map_err(|source| rerun_error(&self.partial, &format!("log {entity}"), source))
    }

    /// Logs at one moment.
    pub(crate) fn at(&self, moment: Moment, entity: &str, data: &dyn AsComponents) -> Result<()> {
        self.stream.set_time_sequence("step", moment.step);
        self.stream.set_time_sequence("episode", moment.episode);
        self.stream.set_duration_secs("time", moment.secs);
        self.stream
            .log(entity, data)
            .map_err(|source| rerun_error(&self.partial, &format!("log {entity}"), source))
    }
}

/// A point on the three timelines of a reel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moment {
    /// Steps since the reel's begin.
    pub(crate) step: i64,
    /// Episodes since the reel's begin.
    pub(crate) episode: i64,
    /// Seconds since the reel's begin.
    pub(crate) secs: f64,
}

/// Markdown as Rerun takes it.
pub(crate) fn document(markdown: &str) -> TextDocument {
    TextDocument::new(markdown).with_media_type(MediaType::MARKDOWN)
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    path.with_file_name(name)
}

fn rerun_error(
    path: &Path,
    action: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Rerun {
        path: path.to_path_buf(),
        action: action.to_owned(),
        source: source.into(),
    }
}

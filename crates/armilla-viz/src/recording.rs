//! A Rerun recording on disk: written under a temporary name, moved into place when it is finished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use re_sdk::log::TimeColumn;
use re_sdk::{AsComponents, RecordingStream, RecordingStreamBuilder};
use re_sdk_types::archetypes::{Scalars, SeriesLines, TextDocument};
use re_sdk_types::components::MediaType;

use crate::chart::LineChart;
use crate::error::{Error, Result};
use crate::layout::{Run, Screen, chart_origin, rates_origin, screen};
use crate::rates;
use crate::reel::Reel;
use crate::report::ResultRow;

/// Rerun keeps screens by application, so all of Armilla's recordings share them.
const APPLICATION: &str = "armilla";
/// Stretches of a training curve of which the ends and extremes are kept, at most; about as many as a screen has columns.
const CURVE_STRETCHES: usize = 1000;

/// A recording that is being written. [`Recording::finish`] puts it in place; dropped before, it leaves nothing.
pub struct Recording {
    log: Log,
    path: PathBuf,
    /// In the order in which they were begun, which is that of the tabs.
    reels: Vec<Reel>,
    runs: Vec<Run>,
    /// Titles, in the order of the tabs.
    charts: Vec<String>,
    /// Titles of evaluations, in the same order.
    rates: Vec<String>,
    has_results: bool,
}

impl Recording {
    /// Begins a recording that will be found at `path` (a name ending in `.rrd`) once it is finished.
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
            reels: Vec::new(),
            runs: Vec::new(),
            charts: Vec::new(),
            rates: Vec::new(),
            has_results: false,
        })
    }

    /// The reel of this name, begun empty where there is none.
    pub fn reel(&mut self, name: &str) -> &mut Reel {
        let index = self.reels.iter().position(|reel| reel.name() == name);
        let index = index.unwrap_or_else(|| {
            self.reels.push(Reel::new(name, self.log.clone()));
            self.reels.len() - 1
        });
        &mut self.reels[index]
    }

    /// Logs the curves of a training run from `(step, figure, value)`, in any order.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn training(&mut self, run: &str, points: &[(u64, String, f64)]) -> Result<()> {
        let mut figures: BTreeMap<&str, BTreeMap<i64, f64>> = BTreeMap::new();
        for (step, figure, value) in points.iter().filter(|(_, _, value)| value.is_finite()) {
            let curve = figures.entry(figure).or_default();
            curve.insert(*step as i64, *value);
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

    /// Logs the curves of a chart, over its horizontal axis in whole numbers.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn chart(&mut self, chart: &LineChart) -> Result<()> {
        for (index, series) in chart.series.iter().enumerate() {
            let points = series.points.iter().filter(|(_, y)| y.is_finite());
            let curve = points.map(|&(x, y)| (x.round() as i64, y)).collect();
            let entity = format!("{}/{index}", chart_origin(&chart.title));
            self.curve(&entity, &series.name, &curve)?;
        }
        self.charts.push(chart.title.clone());
        Ok(())
    }

    fn curve(&self, entity: &str, name: &str, curve: &BTreeMap<i64, f64>) -> Result<()> {
        self.log
            .constant(entity, &SeriesLines::new().with_names([name]))?;
        let every = curve.len().div_ceil(CURVE_STRETCHES).max(1);
        let points: Vec<_> = curve.iter().map(|(&step, &value)| (step, value)).collect();
        let (steps, values): (Vec<i64>, Vec<f64>) = points.chunks(every).flat_map(extremes).unzip();
        let columns = Scalars::new(values)
            .columns_of_unit_batches()
            .map_err(|source| rerun_error(&self.log.partial, entity, source))?;
        self.log
            .stream
            .send_columns(entity, [TimeColumn::new_sequence("step", steps)], columns)
            .map_err(|source| rerun_error(&self.log.partial, entity, source))
    }

    /// Draws the success of an evaluation and of its floors, with their intervals.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn rates(&mut self, row: &ResultRow) -> Result<()> {
        rates::log(&self.log, &rates_origin(self.rates.len()), row)?;
        self.rates.push(format!("{} · {}", row.env, row.protocol));
        Ok(())
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
            reels: self.reels.iter().map(Reel::shown).collect(),
            runs: &self.runs,
            charts: &self.charts,
            rates: &self.rates,
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

/// The ends of a stretch of a curve, the least and the greatest, so that spikes are seen.
fn extremes(stretch: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let by_value = |one: &&(i64, f64), other: &&(i64, f64)| one.1.total_cmp(&other.1);
    let found = [
        stretch.first(),
        stretch.iter().min_by(by_value),
        stretch.iter().max_by(by_value),
        stretch.last(),
    ];
    let mut found: Vec<_> = found.into_iter().flatten().copied().collect();
    found.sort_by_key(|(step, _)| *step);
    found.dedup_by_key(|(step, _)| *step);
    found
}

/// A text of somebody else's in Markdown: one line without any of its signs.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '\n' | '\r' => plain.push(' '),
            _ => {
                plain.extend("\\`*_[]<>#|!~&".contains(sign).then_some('\\'));
                plain.push(sign);
            }
        }
    }
    plain
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reel::{EpisodeTitle, Prediction};
    use armilla_core::{Action, Feature, Features, Goal, Image, Observation};

    fn observation(step: u32) -> Observation {
        let picture = Image::filled(16, 16, [step as u8 * 20, 90, 160]);
        Observation {
            images: [("top".to_owned(), picture)].into(),
            state: vec![step as f32, 1.0],
            goal: (step == 0).then(|| Goal::picture("top", Image::filled(16, 16, [9; 3]))),
            captured_at_secs: f64::from(step) * 0.1,
            ..Observation::default()
        }
    }

    fn log_episode(reel: &mut Reel, success: bool) {
        reel.begin_episode(&EpisodeTitle {
            instruction: Some("push the red cube to the blue disc"),
            number: None,
            note: "policy",
            success: None,
        })
        .unwrap();
        for step in 0..5 {
            let observation = observation(step);
            let picture = &observation.images["top"];
            reel.observe(&observation).unwrap();
            reel.act(&Action(vec![0.5, -0.5])).unwrap();
            reel.plan(&[vec![[1.0, 1.0], [4.0, 4.0]], vec![[1.0, 1.0]]], 3.0)
                .unwrap();
            reel.chunk(&[[1.0, 1.0], [2.0, 3.0]]).unwrap();
            reel.prediction(&Prediction {
                real: picture,
                imagined: picture,
                error: 0.1,
                copy_error: 0.4,
            })
            .unwrap();
        }
        reel.end_episode(success).unwrap();
    }

    #[test]
    fn a_finished_recording_is_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.rrd");
        let mut recording = Recording::create(&path).unwrap();
        let reel = recording.reel("two-room");
        reel.describe(&Features::robot(
            ("top", Feature::camera(16, 16)),
            Feature::vector(&["x_px", "y_px"]),
            Feature::vector(&["dx", "dy"]),
        ))
        .unwrap();
        log_episode(reel, true);
        log_episode(reel, false);
        let curve: Vec<_> = (0..5000)
            .map(|step| (step, "loss".to_owned(), 1.0 / (step as f64 + 1.0)))
            .chain([(7, "broken".to_owned(), f64::NAN)])
            .collect();
        recording.training("world", &curve).unwrap();
        let chart = LineChart {
            title: "Surprise, one step".to_owned(),
            series: vec![crate::chart::Series {
                points: vec![(-1.0, 0.5), (0.0, 2.0), (1.0, f64::NAN)],
                ..Default::default()
            }],
            ..LineChart::default()
        };
        recording.chart(&chart).unwrap();
        let row = ResultRow {
            target: Some(0.8),
            floors: vec![("straight line".to_owned(), Default::default())],
            ..ResultRow::default()
        };
        recording.rates(&row).unwrap();
        recording.results("| a | b |").unwrap();
        assert!(!path.exists());
        let size = recording.finish().unwrap();

        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert!(bytes.starts_with(b"RRF2"), "{:?}", &bytes[..4]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let holds = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        for entity in [
            "two-room/camera/top/plan",
            "training/world/loss",
            "charts/surprise_one_step/0",
            "rates/0/intervals",
            "rates/0/target",
            "straight line",
            "viewport",
        ] {
            assert!(holds(entity), "{entity} is missing");
        }
    }

    #[test]
    fn others_texts_are_no_markdown() {
        assert_eq!(
            plain("put it\n**Success** ![](x)|_"),
            r"put it \*\*Success\*\* \!\[\](x)\|\_"
        );
    }

    #[test]
    fn thinned_curves_keep_spikes_and_their_ends() {
        let stretch = [(0, 2.0), (1, 9.0), (2, 1.0), (3, 3.0)];
        assert_eq!(extremes(&stretch), stretch);
        let stretch = [(0, 2.0), (1, 2.5), (2, 9.0), (3, 3.0)];
        assert_eq!(extremes(&stretch), [(0, 2.0), (2, 9.0), (3, 3.0)]);
        assert_eq!(extremes(&stretch[..1]), [(0, 2.0)]);
    }

    #[test]
    fn an_empty_recording_can_be_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.rrd");
        Recording::create(&path).unwrap().finish().unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"RRF2"));
    }

    #[test]
    fn a_dropped_recording_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut recording = Recording::create(folder.path().join("lost.rrd")).unwrap();
        log_episode(recording.reel("tabletop"), true);
        drop(recording);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Recording::create("/nowhere/at/all.rrd").err().unwrap();
        assert!(error.to_string().contains("/nowhere/at/all.rrd"), "{error}");
    }

    #[test]
    fn episodes_follow_one_another_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut recording = Recording::create(folder.path().join("time.rrd")).unwrap();
        let reel = recording.reel("two-room");
        log_episode(reel, true);
        log_episode(reel, true);
        let now = reel.now();
        assert_eq!((now.step, now.episode), (9, 1));
        assert!((now.secs - 0.9).abs() < 1e-9, "{now:?}");
    }
}

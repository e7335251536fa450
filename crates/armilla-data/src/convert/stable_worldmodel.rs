//! stable-worldmodel's `video` folders, as version 0.1.1 writes them.
//!
//! ```text
//! ep_len.npz, ep_offset.npz     length of each episode, and its first row in the columns
//! action.npz, proprio.npz, …    one column each, the rows of all episodes
//! pixels/ep_0.mp4, …            one video an episode for each camera
//! ```
//!
//! `action` keeps its name, `proprio` becomes `observation.state`, a camera `pixels` becomes `observation.images.pixels`;
//! every other column, the simulator's `state` among them, keeps its name, so that no policy takes it for what the robot
//! senses.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use armilla_core::Statistics;
use armilla_core::features::{ACTION, DataType, Feature, Features, IMAGE_PREFIX, STATE};
use serde_json::{Value, json};

use super::npz::{Refused, read};
use super::{ConvertOptions, Opened, count_pictures};
use crate::assemble::{Source, SourceRows};
use crate::column::Column;
use crate::error::{Error, Result};
use crate::frames_table::EpisodeColumns;
use crate::info::{Info, whole_fps};
use crate::layout::files_below;
use crate::schema::FeatureNotes;
use crate::types::AUTOMATIC;
use crate::video::decode::decode;
use crate::video::demux::VideoIndex;

/// Lengths of the episodes; tells such a folder apart.
pub(super) const LENGTHS: &str = "ep_len.npz";
const OFFSETS: &str = "ep_offset.npz";

/// A folder of stable-worldmodel.
struct VideoFolder {
    root: PathBuf,
    info: Info,
    tasks: Vec<String>,
    /// First row and length of each episode.
    episodes: Vec<(usize, usize)>,
    columns: BTreeMap<String, Column>,
    /// The folder of each camera, by feature key.
    cameras: BTreeMap<String, PathBuf>,
}

pub(super) fn open(root: &Path, options: &ConvertOptions) -> Result<Opened> {
    let episodes = read_episodes(root)?;
    let rows = episodes
        .iter()
        .map(|(first, length)| first + length)
        .max()
        .unwrap_or(0);
    let mut notes = Vec::new();
    let cameras = find_cameras(root)?;
    let mut columns = read_columns(root, rows, &mut notes)?;
    let mut features = Features::default();
    for (key, (feature, _)) in &columns {
        features.0.insert(key.clone(), feature.clone());
    }
    let filled = columns.get_mut(ACTION).map_or(0, |(feature, column)| {
        fill_last_actions(feature.len(), column, &episodes)
    });
    if filled > 0 {
        notes.push(format!(
            "`{ACTION}`: the last step of {filled} episodes has none (NaN); it repeats the one before"
        ));
    }
    let (fps, pictures) = read_pictures(&cameras, &episodes)?;
    let mut coding = BTreeMap::new();
    for (key, (feature, note)) in pictures {
        features.0.insert(key.clone(), feature);
        coding.insert(key, note);
    }
    let mut info = Info::empty(features.clone(), fps, "").with_schema((features, coding));
    (info.robot_type, info.limits) = (None, options.limits);
    info.total_episodes = episodes.len();
    let name = root
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let task = if options.task.is_empty() {
        name
    } else {
        options.task.clone()
    };
    let source = VideoFolder {
        root: root.to_owned(),
        info,
        tasks: vec![task],
        episodes,
        columns: columns
            .into_iter()
            .map(|(key, (_, column))| (key, column))
            .collect(),
        cameras,
    };
    Ok(Opened {
        source: Box::new(source),
        layout: "stable-worldmodel video".to_owned(),
        notes,
    })
}

/// Reads the places of the episodes.
fn read_episodes(root: &Path) -> Result<Vec<(usize, usize)>> {
    let numbers = |name: &str| -> Result<Vec<usize>> {
        let path = root.join(name);
        let array = read(&path).map_err(|refused| match refused {
            Refused::Kind(found) => {
                Error::file(&path, format!("expected whole numbers, found {found}"))
            }
            Refused::Broken(error) => error,
        })?;
        let numbers = array.values.numbers().unwrap_or_default();
        let fits = |number: &f64| *number >= 0.0 && *number < 1e15 && number.fract() == 0.0;
        match array.shape.len() == 1 && numbers.len() == array.shape[0] && numbers.iter().all(fits)
        {
            true => Ok(numbers.into_iter().map(|number| number as usize).collect()),
            false => Err(Error::file(&path, "expected one whole number an episode")),
        }
    };
    let (lengths, offsets) = (numbers(LENGTHS)?, numbers(OFFSETS)?);
    if lengths.len() != offsets.len() {
        let problem = format!(
            "{} episodes, but {LENGTHS} has {}",
            offsets.len(),
            lengths.len()
        );
        return Err(Error::file(&root.join(OFFSETS), problem));
    }
    Ok(offsets.into_iter().zip(lengths).collect())
}

/// The folders that hold videos, by feature key.
fn find_cameras(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut cameras = BTreeMap::new();
    for entry in fs::read_dir(root).map_err(Error::io("list", root))? {
        let path = entry.map_err(Error::io("list", root))?.path();
        if path.join("ep_0.mp4").exists() {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            cameras.insert(format!("{IMAGE_PREFIX}{name}"), path);
        }
    }
    if cameras.is_empty() {
        return Err(Error::Unsupported {
            what: root.display().to_string(),
            found: "a stable-worldmodel folder without videos".to_owned(),
            supported: "its `video` format (write it anew with format=\"video\")".to_owned(),
        });
    }
    Ok(cameras)
}

type NamedColumns = BTreeMap<String, (Feature, Column)>;

/// Reads all columns; what is left out is noted.
fn read_columns(root: &Path, rows: usize, notes: &mut Vec<String>) -> Result<NamedColumns> {
    let mut columns = NamedColumns::new();
    for path in files_below(root)? {
        let below = path.strip_prefix(root).unwrap_or(&path).with_extension("");
        let name = below.to_string_lossy().replace(['/', '\\'], ".");
        let is_column = path.extension().is_some_and(|extension| extension == "npz");
        if !is_column || [LENGTHS, OFFSETS].iter().any(|known| path.ends_with(known)) {
            continue;
        }
        match read_column(&path, &name, rows) {
            Ok(column) => columns.extend([column]),
            Err(Refused::Kind(kind)) => notes.push(format!("`{name}` is left out: {kind}")),
            Err(Refused::Broken(error)) => return Err(error),
        }
    }
    Ok(columns)
}

fn read_column(
    path: &Path,
    name: &str,
    rows: usize,
) -> std::result::Result<(String, (Feature, Column)), Refused> {
    let array = read(path)?;
    if array.shape.first().is_none_or(|&found| found < rows) {
        let problem = format!("expected {rows} rows, found shape {:?}", array.shape);
        return Err(Refused::Broken(Error::file(path, problem)));
    }
    let (key, mut column) = match name {
        "proprio" => (STATE.to_owned(), array.values),
        _ => (name.to_owned(), array.values),
    };
    if [ACTION, STATE].contains(&key.as_str())
        && let Some(values) = column.values::<f64>()
    {
        // What every policy takes.
        column = Column::from(
            values
                .into_iter()
                .map(|value| value as f32)
                .collect::<Vec<_>>(),
        );
    }
    let shape = match &array.shape[1..] {
        [] => vec![1],
        shape => shape.to_vec(),
    };
    let feature = Feature {
        data_type: column.data_type(),
        names: Vec::new(),
        shape,
    };
    let is_text = feature.data_type == DataType::String;
    if AUTOMATIC.contains(&key.as_str()) {
        return Err(Refused::Kind(
            "the name is taken by LeRobot's own column".to_owned(),
        ));
    }
    if feature.shape.len() > 5 || feature.is_empty() || (is_text && feature.shape != [1]) {
        return Err(Refused::Kind(format!(
            "values of shape {:?}",
            feature.shape
        )));
    }
    Ok((key, (feature, column)))
}

/// The format ends an episode's actions with one that is not a number: the last observation has none.
fn fill_last_actions(width: usize, column: &mut Column, episodes: &[(usize, usize)]) -> usize {
    let Some(mut values) = column.values::<f32>() else {
        return 0;
    };
    let mut filled = 0;
    for &(first, length) in episodes.iter().filter(|(_, length)| *length > 1) {
        let last = (first + length - 1) * width;
        if values[last..last + width]
            .iter()
            .any(|value| value.is_nan())
        {
            values.copy_within(last - width..last, last);
            filled += 1;
        }
    }
    *column = Column::from(values);
    filled
}

type Pictures = BTreeMap<String, (Feature, FeatureNotes)>;

/// The rate of the videos, and the size and coding of each camera's pictures.
fn read_pictures(
    cameras: &BTreeMap<String, PathBuf>,
    episodes: &[(usize, usize)],
) -> Result<(u32, Pictures)> {
    let (mut pictures, mut fps) = (Pictures::new(), None);
    for (key, folder) in cameras {
        let longest = (0..episodes.len())
            .max_by_key(|&episode| episodes[episode].1)
            .unwrap_or(0);
        let index = VideoIndex::read(&folder.join(format!("ep_{longest}.mp4")))?;
        let rate = index.rate_hz().map(|rate| (rate * 1000.0).round() / 1000.0);
        let found = whole_fps(&index.path, rate.unwrap_or(25.0))?;
        if fps.is_some_and(|fps| fps != found) {
            let problem =
                format!("expected {fps:?} frames a second as in other cameras, found {found}");
            return Err(Error::file(&index.path, problem));
        }
        fps = Some(found);
        if index.shown.is_empty() {
            return Err(Error::file(
                &index.path,
                "expected frames, found none".to_owned(),
            ));
        }
        let first = decode(&index, 0..1, None)?;
        let (height, width) = first
            .first()
            .map_or((0, 0), |image| (image.height(), image.width()));
        let info = [
            ("video.height", json!(height)),
            ("video.width", json!(width)),
            ("video.channels", json!(3)),
            ("video.codec", json!(index.codec.name())),
            ("video.pix_fmt", json!("yuv420p")),
            ("video.fps", json!(found)),
            ("video.is_depth_map", json!(false)),
            ("has_audio", json!(false)),
        ];
        let notes = FeatureNotes {
            names: Value::Null,
            info: info
                .map(|(key, value)| (key.to_owned(), value))
                .into_iter()
                .collect(),
        };
        pictures.insert(key.clone(), (Feature::camera(height, width), notes));
    }
    Ok((fps.unwrap_or(25), pictures))
}

impl Source for VideoFolder {
    fn info(&self) -> &Info {
        &self.info
    }

    fn tasks(&self) -> &[String] {
        &self.tasks
    }

    fn rows(&self, episode: usize) -> Result<SourceRows> {
        let (first, length) = self.episodes[episode];
        let mut columns = EpisodeColumns {
            length,
            ..EpisodeColumns::default()
        };
        for (key, column) in &self.columns {
            let width = self.info.features.width(key);
            let rows = column.slice(first * width, length * width);
            columns.columns.insert(key.clone(), rows);
        }
        let mut statistics = Statistics::new();
        for key in self.cameras.keys() {
            let (index, shown) = self.video(episode, key)?;
            let shape = &self.info.features.0[key].shape;
            let counted = count_pictures(&index, shown, shape)?;
            statistics.extend(counted.map(|counted| (key.clone(), counted)));
        }
        Ok(SourceRows {
            columns,
            task_indices: vec![0; length],
            tasks: self.tasks.clone(),
            statistics,
        })
    }

    fn video(&self, episode: usize, key: &str) -> Result<(Arc<VideoIndex>, Range<usize>)> {
        let folder = self.cameras.get(key).unwrap_or(&self.root);
        let index = VideoIndex::read(&folder.join(format!("ep_{episode}.mp4")))?;
        let what = format!("episode {episode}");
        let shown = index.frames(0.0, self.episodes[episode].1, self.info.fps, &what)?;
        Ok((Arc::new(index), shown))
    }
}

//! LeRobot v2.1, and v2.0, which only lacks the episodes' statistics.
//!
//! ```text
//! meta/{info.json, tasks.jsonl, episodes.jsonl, episodes_stats.jsonl}
//! data/chunk-000/episode_000000.parquet
//! videos/chunk-000/observation.images.top/episode_000000.mp4
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use armilla_core::Statistics;
use armilla_core::features::Features;
use serde::Deserialize;
use serde_json::Value;

use super::{ConvertOptions, Opened, count_pictures};
use crate::assemble::{Source, SourceRows};
use crate::column::Column;
use crate::error::{Error, Result};
use crate::frames_table::{EpisodeColumns, read_column};
use crate::info::{Info, read_features, read_text, whole_fps};
use crate::layout::{INFO, fill};
use crate::nesting::flatten;
use crate::schema::FeatureFile;
use crate::table::{column, read_table};
use crate::types::{table_features, videos};
use crate::video::demux::VideoIndex;
use crate::{json, statistics};

const VERSIONS: [&str; 2] = ["v2.1", "v2.0"];

/// `meta/info.json` as it is.
#[derive(Deserialize)]
struct Description {
    codebase_version: String,
    #[serde(default)]
    robot_type: Option<String>,
    fps: f64,
    features: BTreeMap<String, FeatureFile>,
    chunks_size: u64,
    data_path: String,
    #[serde(default)]
    video_path: Option<String>,
}

/// A line of `meta/tasks.jsonl`.
#[derive(Deserialize)]
struct TaskLine {
    task_index: i64,
    task: String,
}

/// A line of `meta/episodes.jsonl`.
#[derive(Deserialize)]
struct EpisodeLine {
    episode_index: usize,
    tasks: Vec<String>,
    length: usize,
}

/// A line of `meta/episodes_stats.jsonl`.
#[derive(Deserialize)]
struct StatisticsLine {
    episode_index: usize,
    stats: Value,
}

/// A dataset in the old layout.
struct OldDataset {
    root: PathBuf,
    info: Info,
    data_path: String,
    video_path: String,
    chunks_size: usize,
    tasks: Vec<String>,
    /// The position in `tasks` of each old index.
    task_positions: BTreeMap<i64, i64>,
    episodes: Vec<EpisodeLine>,
    /// Statistics of the pictures, by episode.
    pictures: BTreeMap<usize, Statistics>,
}

pub(super) fn open(root: &Path, options: &ConvertOptions) -> Result<Opened> {
    let path = root.join(INFO);
    let description: Description = serde_json::from_str(&read_text(root)?).map_err(|error| {
        Error::file(&path, format!("not a dataset description of v2.1: {error}"))
    })?;
    let version = description.codebase_version.clone();
    if !VERSIONS.contains(&version.as_str()) {
        return Err(Error::Unsupported {
            what: format!("{}: codebase_version", path.display()),
            found: format!("converting `{version}`"),
            supported: format!("{VERSIONS:?} (v3.0 needs no conversion)"),
        });
    }
    let source = OldDataset::read(root, description, options)?;
    Ok(Opened {
        source: Box::new(source),
        layout: format!("LeRobot {version}"),
        notes: Vec::new(),
    })
}

impl OldDataset {
    fn read(root: &Path, description: Description, options: &ConvertOptions) -> Result<Self> {
        let path = root.join(INFO);
        let fps = whole_fps(&path, description.fps)?;
        let schema = read_features(&path, description.features)?;
        let mut info = Info::empty(Features::default(), fps, "").with_schema(schema);
        info.robot_type = description.robot_type;
        info.limits = options.limits;
        let mut episodes: Vec<EpisodeLine> = json::read_lines(&root.join("meta/episodes.jsonl"))?;
        episodes.sort_by_key(|episode| episode.episode_index);
        let wrong = episodes
            .iter()
            .enumerate()
            .find(|(index, line)| *index != line.episode_index);
        if let Some((index, line)) = wrong {
            let problem = format!("expected episode {index}, found {}", line.episode_index);
            return Err(Error::file(&root.join("meta/episodes.jsonl"), problem));
        }
        info.total_episodes = episodes.len();
        let mut lines: Vec<TaskLine> = json::read_lines(&root.join("meta/tasks.jsonl"))?;
        lines.sort_by_key(|line| line.task_index);
        let positions = lines
            .iter()
            .zip(0..)
            .map(|(line, position)| (line.task_index, position));
        Ok(Self {
            task_positions: positions.collect(),
            tasks: lines.into_iter().map(|line| line.task).collect(),
            pictures: picture_statistics(root, &info)?,
            root: root.to_owned(),
            data_path: description.data_path,
            video_path: description.video_path.unwrap_or_default(),
            chunks_size: description.chunks_size.max(1) as usize,
            info,
            episodes,
        })
    }

    /// A file of an episode.
    fn file(&self, template: &str, episode: usize, key: &str) -> Result<PathBuf> {
        let values = [
            (
                "{episode_chunk:03d}",
                format!("{:03}", episode / self.chunks_size),
            ),
            ("{episode_index:06d}", format!("{episode:06}")),
            ("{video_key}", key.to_owned()),
        ];
        Ok(self.root.join(fill(template, &values)?))
    }

    /// The new index of each frame's instruction.
    fn task_indices(&self, path: &Path, old: &[f64]) -> Result<Vec<i64>> {
        let position = |index: &f64| {
            let found = self.task_positions.get(&(*index as i64)).copied();
            found.ok_or_else(|| {
                let known: Vec<_> = self.task_positions.keys().collect();
                let problem = format!("task_index {index} is none of meta/tasks.jsonl ({known:?})");
                Error::file(path, problem)
            })
        };
        old.iter().map(position).collect()
    }

    /// What the lines of statistics say of the pictures, and what only the videos can say.
    fn picture_statistics(&self, episode: usize) -> Result<Statistics> {
        let mut known = self.pictures.get(&episode).cloned().unwrap_or_default();
        for (key, feature) in videos(&self.info.features) {
            if !known.contains_key(key) {
                let (index, shown) = self.video(episode, key)?;
                let counted = count_pictures(&index, shown, &feature.shape)?;
                known.extend(counted.map(|counted| (key.to_owned(), counted)));
            }
        }
        Ok(known)
    }
}

/// Statistics of pictures by episode; those of numbers are counted anew, with quantiles.
fn picture_statistics(root: &Path, info: &Info) -> Result<BTreeMap<usize, Statistics>> {
    let path = root.join("meta/episodes_stats.jsonl");
    let mut found = BTreeMap::new();
    if !path.exists() {
        return Ok(found);
    }
    for line in json::read_lines::<StatisticsLine>(&path)? {
        let mut statistics = statistics::parse(&path, line.stats)?;
        statistics.retain(|key, counted| {
            statistics::is_picture(info.features.0.get(key)) && counted.mean.len() == 3
        });
        found.insert(line.episode_index, statistics);
    }
    Ok(found)
}

impl Source for OldDataset {
    fn info(&self) -> &Info {
        &self.info
    }

    fn tasks(&self) -> &[String] {
        &self.tasks
    }

    fn rows(&self, episode: usize) -> Result<SourceRows> {
        let path = self.file(&self.data_path, episode, "")?;
        let batches = read_table(&path)?;
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let parts: Result<Vec<_>> = batches
                .iter()
                .map(|batch| flatten(&path, key, column(&path, batch, key)?))
                .collect();
            Ok(parts?.concat())
        };
        let (owners, line) = (numbers("episode_index")?, &self.episodes[episode]);
        if owners.len() != line.length || owners.iter().any(|&owner| owner != episode as f64) {
            let (expected, found) = (line.length, owners.len());
            let problem = format!(
                "expected {expected} rows of episode {episode}, found {found} rows, or another's"
            );
            return Err(Error::file(&path, problem));
        }
        let mut columns = EpisodeColumns {
            length: line.length,
            ..EpisodeColumns::default()
        };
        for (key, feature) in table_features(&self.info.features) {
            let parts: Result<Vec<_>> = batches
                .iter()
                .map(|batch| read_column(&path, key, feature, column(&path, batch, key)?))
                .collect();
            let joined = Column::concat(&parts?, feature.data_type)?;
            columns.columns.insert(key.to_owned(), joined);
        }
        Ok(SourceRows {
            columns,
            task_indices: self.task_indices(&path, &numbers("task_index")?)?,
            tasks: line.tasks.clone(),
            statistics: self.picture_statistics(episode)?,
        })
    }

    fn video(&self, episode: usize, key: &str) -> Result<(Arc<VideoIndex>, Range<usize>)> {
        let path = self.file(&self.video_path, episode, key)?;
        let index = VideoIndex::read(&path)?;
        let what = format!("episode {episode}");
        let shown = index.frames(0.0, self.episodes[episode].length, self.info.fps, &what)?;
        Ok((Arc::new(index), shown))
    }
}

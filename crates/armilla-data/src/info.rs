//! `meta/info.json`: what LeRobot writes there, and what this crate takes from it.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_core::features::Features;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Error, Result};
use crate::layout::{DATA, INFO, VIDEO, replace_file};
use crate::schema::{FeatureFile, FeatureNotes};
use crate::types::{AUTOMATIC, videos};

/// The version of the format that this crate reads and writes.
pub const VERSION: &str = "v3.0";

/// A dataset's description.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Frames a second.
    pub fps: u32,
    /// Name of the robot, if it was given.
    pub robot_type: Option<String>,
    /// Schema, without the automatic features ([`AUTOMATIC`]).
    pub features: Features,
    /// Episodes that are finished.
    pub total_episodes: usize,
    /// Frames in them.
    pub total_frames: usize,
    /// Distinct instructions.
    pub total_tasks: usize,
    /// When new files and folders are begun.
    pub limits: FileLimits,
    /// Template of the frame tables' paths.
    pub data_path: String,
    /// Template of the videos' paths.
    pub video_path: String,
    /// What else is known of the features, by key.
    pub(crate) notes: BTreeMap<String, FeatureNotes>,
}

/// When a dataset begins new files and folders, by LeRobot's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// Files in a folder, at most.
    pub chunks_size: u64,
    /// Size that a frame table does not pass, in MiB, unless a single episode does.
    pub data_files_size_in_mb: u64,
    /// Size that a video file does not pass, in MiB, unless a single episode does.
    pub video_files_size_in_mb: u64,
}

impl Default for FileLimits {
    /// LeRobot's: 1000 files, 100 and 200 MiB.
    fn default() -> Self {
        Self {
            chunks_size: 1000,
            data_files_size_in_mb: 100,
            video_files_size_in_mb: 200,
        }
    }
}

impl FileLimits {
    /// Refuses limits of nothing, as LeRobot does.
    pub(crate) fn check(&self) -> Result<()> {
        let Self {
            chunks_size,
            data_files_size_in_mb,
            video_files_size_in_mb,
        } = *self;
        if [chunks_size, data_files_size_in_mb, video_files_size_in_mb].contains(&0) {
            let found = format!("{self:?}");
            return Err(Error::invalid("file limits", "numbers above zero", found));
        }
        Ok(())
    }
}

/// The file as it is: unknown keys are ignored, as LeRobot does.
#[derive(Serialize, Deserialize)]
struct InfoFile {
    codebase_version: String,
    fps: f64,
    features: BTreeMap<String, FeatureFile>,
    total_episodes: usize,
    total_frames: usize,
    #[serde(default)]
    total_tasks: usize,
    #[serde(default = "default_chunks_size")]
    chunks_size: u64,
    #[serde(default = "default_data_size")]
    data_files_size_in_mb: u64,
    #[serde(default = "default_video_size")]
    video_files_size_in_mb: u64,
    #[serde(default = "default_data_path")]
    data_path: String,
    #[serde(default)]
    video_path: Option<String>,
    #[serde(default)]
    robot_type: Option<String>,
    #[serde(default)]
    splits: BTreeMap<String, String>,
}

fn default_chunks_size() -> u64 {
    FileLimits::default().chunks_size
}
fn default_data_size() -> u64 {
    FileLimits::default().data_files_size_in_mb
}
fn default_video_size() -> u64 {
    FileLimits::default().video_files_size_in_mb
}
fn default_data_path() -> String {
    DATA.to_owned()
}

impl Info {
    /// The description of an empty dataset.
    pub(crate) fn empty(features: Features, fps: u32, robot_type: &str) -> Self {
        Self {
            fps,
            robot_type: Some(robot_type.to_owned()),
            features,
            total_episodes: 0,
            total_frames: 0,
            total_tasks: 0,
            limits: FileLimits::default(),
            data_path: DATA.to_owned(),
            video_path: VIDEO.to_owned(),
            notes: BTreeMap::new(),
        }
    }

    /// How a camera's pictures are coded, such as `av1`; none if nobody said.
    #[must_use]
    pub fn codec(&self, key: &str) -> Option<&str> {
        self.notes.get(key)?.info.get("video.codec")?.as_str()
    }

    /// The same with another schema, to be filled anew.
    pub(crate) fn with_schema(mut self, (features, notes): Schema) -> Self {
        (self.features, self.notes) = (features, notes);
        self
    }

    /// Reads `meta/info.json` below a root.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join(INFO);
        let text = read_text(root)?;
        let file: InfoFile = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("not a dataset description: {error}")))?;
        if file.codebase_version != VERSION {
            return Err(Error::Unsupported {
                what: format!("{}: codebase_version", path.display()),
                found: format!("`{}`", file.codebase_version),
                supported: format!("`{VERSION}` (`armilla dataset convert` turns v2.1 into it)"),
            });
        }
        Self::from_file(&path, file)
    }

    fn from_file(path: &Path, file: InfoFile) -> Result<Self> {
        let (features, notes) = read_features(path, file.features)?;
        Ok(Self {
            fps: whole_fps(path, file.fps)?,
            robot_type: file.robot_type,
            features,
            total_episodes: file.total_episodes,
            total_frames: file.total_frames,
            total_tasks: file.total_tasks,
            limits: FileLimits {
                chunks_size: file.chunks_size.max(1),
                data_files_size_in_mb: file.data_files_size_in_mb,
                video_files_size_in_mb: file.video_files_size_in_mb,
            },
            data_path: file.data_path,
            video_path: file.video_path.unwrap_or_else(|| VIDEO.to_owned()),
            notes,
        })
    }

    /// Writes `meta/info.json` whole.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let mut features = BTreeMap::new();
        for (key, feature) in &self.features.0 {
            let entry = FeatureFile::of(feature, self.notes.get(key), self.fps);
            features.insert(key.clone(), entry);
        }
        for key in AUTOMATIC {
            features.insert(key.to_owned(), FeatureFile::automatic(key));
        }
        let has_video = videos(&self.features).next().is_some();
        let file = InfoFile {
            codebase_version: VERSION.to_owned(),
            fps: 0.0,
            features,
            total_episodes: self.total_episodes,
            total_frames: self.total_frames,
            total_tasks: self.total_tasks,
            chunks_size: self.limits.chunks_size,
            data_files_size_in_mb: self.limits.data_files_size_in_mb,
            video_files_size_in_mb: self.limits.video_files_size_in_mb,
            data_path: self.data_path.clone(),
            video_path: has_video.then(|| self.video_path.clone()),
            robot_type: self.robot_type.clone(),
            splits: BTreeMap::from([("train".to_owned(), format!("0:{}", self.total_episodes))]),
        };
        let path = root.join(INFO);
        let mut value = serde_json::to_value(file).map_err(|error| Error::write(&path, error))?;
        // An integer, as LeRobot writes and expects it.
        value["fps"] = json!(self.fps);
        let text =
            serde_json::to_string_pretty(&value).map_err(|error| Error::write(&path, error))?;
        replace_file(&path, text.as_bytes())
    }
}

/// Frames a second, if it is a whole number.
pub(crate) fn whole_fps(path: &Path, fps: f64) -> Result<u32> {
    if fps.fract() == 0.0 && (1.0..=10_000.0).contains(&fps) {
        return Ok(fps as u32);
    }
    let what = format!("{}: fps", path.display());
    Err(Error::invalid(
        what,
        "a whole number of frames a second",
        fps,
    ))
}

/// Features with what else is known of them.
pub(crate) type Schema = (Features, BTreeMap<String, FeatureNotes>);

/// Reads the schema, without the automatic features.
pub(crate) fn read_features(path: &Path, entries: BTreeMap<String, FeatureFile>) -> Result<Schema> {
    let (mut features, mut notes) = (Features::default(), BTreeMap::new());
    for (key, entry) in entries {
        if !AUTOMATIC.contains(&key.as_str()) {
            let (feature, note) = entry.read(path, &key)?;
            features.0.insert(key.clone(), feature);
            notes.insert(key, note);
        }
    }
    Ok((features, notes))
}

/// Reads a description's text; a missing one says what to do.
pub(crate) fn read_text(root: &Path) -> Result<String> {
    let path = root.join(INFO);
    if !path.exists() {
        return Err(Error::File {
            path,
            problem: "no dataset here: the file is missing".to_owned(),
            remedy: "give the folder that holds `meta`, `data` and `videos`".to_owned(),
        });
    }
    crate::json::text(&path)
}

#[cfg(test)]
mod tests {
    use armilla_core::features::Feature;
    use serde_json::Value;

    use super::*;

    fn example() -> Info {
        let features = Features::robot(
            ("top", Feature::camera(64, 48)),
            Feature::vector(&["x", "y"]),
            Feature::vector(&["dx"]),
        );
        Info::empty(features, 10, "pusher")
    }

    fn read_with(edit: impl Fn(&mut Value)) -> Result<Info> {
        let folder = tempfile::tempdir().unwrap();
        example().write(folder.path()).unwrap();
        let path = folder.path().join(INFO);
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        edit(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
        Info::read(folder.path())
    }

    #[test]
    fn there_and_back() {
        let found = read_with(|_| ()).unwrap();
        assert_eq!(
            (&found.features, found.limits),
            (&example().features, FileLimits::default())
        );
        let grouped = read_with(|value| {
            value["features"]["action"]["names"] = json!({"motors": ["dx"]});
            value["tools"] = json!(["unknown keys are fine"]);
        });
        let grouped = grouped.unwrap();
        assert_eq!(grouped.features, example().features);
        let folder = tempfile::tempdir().unwrap();
        grouped.write(folder.path()).unwrap();
        assert_eq!(Info::read(folder.path()).unwrap(), grouped);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        type Edit = fn(&mut Value);
        let cases: [(&[&str], Edit); 4] = [
            (&["`action`", "`complex64`", "float32"], |value| {
                value["features"]["action"]["dtype"] = json!("complex64");
            }),
            (&["codebase_version", "v2.1", "v3.0"], |value| {
                value["codebase_version"] = json!("v2.1");
            }),
            (&["observation.images.top", "depth"], |value| {
                value["features"]["observation.images.top"]["info"]["is_depth_map"] = json!(true);
            }),
            (&["fps", "29.97"], |value| value["fps"] = json!(29.97)),
        ];
        for (words, edit) in cases {
            let error = read_with(edit).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}

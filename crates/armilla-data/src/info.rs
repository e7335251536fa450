//! `meta/info.json`: what LeRobot writes there, and what this crate takes from it.

use std::collections::BTreeMap;
use std::path::Path;

use armilla_core::features::{DataType, Feature, Features};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::layout::{DATA, INFO, VIDEO, replace_file};

/// Features that every dataset has besides its own, in LeRobot's order.
pub const AUTOMATIC: [&str; 5] = [
    "timestamp",
    "frame_index",
    "episode_index",
    "index",
    "task_index",
];

/// The version of the format that this crate reads and writes.
const VERSION: &str = "v3.0";

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
    /// Files in a folder, at most.
    pub chunks_size: u64,
    /// Size at which a new frame table is begun, in MiB.
    pub data_files_size_in_mb: u64,
    /// Size at which a new video file is begun, in MiB.
    pub video_files_size_in_mb: u64,
    /// Template of the frame tables' paths.
    pub data_path: String,
    /// Template of the videos' paths.
    pub video_path: String,
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

#[derive(Serialize, Deserialize)]
struct FeatureFile {
    dtype: String,
    shape: Vec<usize>,
    #[serde(default)]
    names: Value,
    #[serde(default, skip_serializing_if = "Map::is_empty", alias = "video_info")]
    info: Map<String, Value>,
}

fn default_chunks_size() -> u64 {
    1000
}
fn default_data_size() -> u64 {
    100
}
fn default_video_size() -> u64 {
    200
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
            chunks_size: default_chunks_size(),
            data_files_size_in_mb: default_data_size(),
            video_files_size_in_mb: default_video_size(),
            data_path: DATA.to_owned(),
            video_path: VIDEO.to_owned(),
        }
    }

    /// Reads `meta/info.json` below a root.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join(INFO);
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::File {
                path: path.clone(),
                problem: "no dataset here: the file is missing".to_owned(),
                remedy: "give the folder that holds `meta`, `data` and `videos`".to_owned(),
            },
            _ => Error::io("read", &path)(error),
        })?;
        let file: InfoFile = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("not a dataset description: {error}")))?;
        if file.codebase_version != VERSION {
            return Err(Error::Unsupported {
                what: format!("{}: codebase_version", path.display()),
                found: format!("`{}`", file.codebase_version),
                supported: format!("`{VERSION}` (LeRobot's converter turns v2.1 into it)"),
            });
        }
        Self::from_file(&path, file)
    }

    fn from_file(path: &Path, file: InfoFile) -> Result<Self> {
        if !(file.fps.fract() == 0.0 && file.fps >= 1.0 && file.fps <= 10_000.0) {
            return Err(Error::invalid(
                format!("{}: fps", path.display()),
                "a whole number of frames a second",
                file.fps,
            ));
        }
        let mut features = Features::default();
        for (key, feature) in file.features {
            if !AUTOMATIC.contains(&key.as_str()) {
                let feature = read_feature(path, &key, feature)?;
                features.0.insert(key, feature);
            }
        }
        Ok(Self {
            fps: file.fps as u32,
            robot_type: file.robot_type,
            features,
            total_episodes: file.total_episodes,
            total_frames: file.total_frames,
            total_tasks: file.total_tasks,
            chunks_size: file.chunks_size.max(1),
            data_files_size_in_mb: file.data_files_size_in_mb,
            video_files_size_in_mb: file.video_files_size_in_mb,
            data_path: file.data_path,
            video_path: file.video_path.unwrap_or_else(|| VIDEO.to_owned()),
        })
    }

    /// Writes `meta/info.json` whole.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let mut features = BTreeMap::new();
        for (key, feature) in &self.features.0 {
            features.insert(key.clone(), self.write_feature(feature));
        }
        for key in AUTOMATIC {
            features.insert(
                key.to_owned(),
                FeatureFile {
                    dtype: automatic_type(key).to_owned(),
                    shape: vec![1],
                    names: Value::Null,
                    info: Map::new(),
                },
            );
        }
        let file = InfoFile {
            codebase_version: VERSION.to_owned(),
            fps: 0.0,
            features,
            total_episodes: self.total_episodes,
            total_frames: self.total_frames,
            total_tasks: self.total_tasks,
            chunks_size: self.chunks_size,
            data_files_size_in_mb: self.data_files_size_in_mb,
            video_files_size_in_mb: self.video_files_size_in_mb,
            data_path: self.data_path.clone(),
            video_path: Some(self.video_path.clone()),
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

    fn write_feature(&self, feature: &Feature) -> FeatureFile {
        let mut info = Map::new();
        if feature.data_type == DataType::Video {
            let entries = [
                ("video.height", json!(feature.shape[0])),
                ("video.width", json!(feature.shape[1])),
                ("video.channels", json!(3)),
                ("video.codec", json!("h264")),
                ("video.pix_fmt", json!("yuv420p")),
                ("video.fps", json!(self.fps)),
                ("video.g", json!(crate::video::GROUP_OF_PICTURES)),
                ("video.is_depth_map", json!(false)),
                ("is_depth_map", json!(false)),
                ("has_audio", json!(false)),
            ];
            info.extend(entries.map(|(key, value)| (key.to_owned(), value)));
        }
        FeatureFile {
            dtype: type_name(feature.data_type).to_owned(),
            shape: feature.shape.clone(),
            names: if feature.names.is_empty() {
                Value::Null
            } else {
                json!(feature.names)
            },
            info,
        }
    }
}

/// LeRobot's names of the types that are read.
const TYPES: [(&str, DataType); 8] = [
    ("video", DataType::Video),
    ("image", DataType::Image),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("int64", DataType::Int64),
    ("int32", DataType::Int32),
    ("bool", DataType::Bool),
    ("string", DataType::String),
];

/// The features that are kept as video, by key.
pub(crate) fn videos(features: &Features) -> impl Iterator<Item = (&str, &Feature)> {
    let features = features.0.iter();
    features
        .filter(|(_, feature)| feature.data_type == DataType::Video)
        .map(|(key, feature)| (key.as_str(), feature))
}

/// LeRobot's name of a type.
pub(crate) fn type_name(data_type: DataType) -> &'static str {
    TYPES
        .iter()
        .find(|(_, known)| *known == data_type)
        .map_or("float32", |(name, _)| name)
}

/// LeRobot's name of an automatic feature's type.
pub(crate) fn automatic_type(key: &str) -> &'static str {
    if key == "timestamp" {
        "float32"
    } else {
        "int64"
    }
}

fn read_feature(path: &Path, key: &str, file: FeatureFile) -> Result<Feature> {
    let what = || format!("{}: feature `{key}`", path.display());
    let known = TYPES.iter().find(|(name, _)| *name == file.dtype);
    let Some((_, data_type)) = known else {
        return Err(Error::Unsupported {
            what: what(),
            found: format!("dtype `{}`", file.dtype),
            supported: TYPES.map(|(name, _)| name).join(", "),
        });
    };
    let depth = ["video.is_depth_map", "is_depth_map"]
        .iter()
        .any(|key| file.info.get(*key) == Some(&Value::Bool(true)));
    if depth {
        return Err(Error::Unsupported {
            what: what(),
            found: "a depth map".to_owned(),
            supported: "colour video".to_owned(),
        });
    }
    let picture = matches!(data_type, DataType::Video | DataType::Image);
    if picture && (file.shape.len() != 3 || file.shape[2] != 3) {
        return Err(Error::Unsupported {
            what: what(),
            found: format!("a picture of shape {:?}", file.shape),
            supported: "[height, width, 3]".to_owned(),
        });
    }
    Ok(Feature {
        data_type: *data_type,
        shape: file.shape,
        names: read_names(&file.names),
    })
}

/// Names come as a list, or as lists under group names.
fn read_names(value: &Value) -> Vec<String> {
    match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(values) => values.iter().flat_map(read_names).collect(),
        Value::Object(groups) => groups.values().flat_map(read_names).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(read_with(|_| ()).unwrap(), example());
        let grouped = read_with(|value| {
            value["features"]["action"]["names"] = json!({"motors": ["dx"]});
            value["tools"] = json!(["unknown keys are fine"]);
        });
        assert_eq!(grouped.unwrap(), example());
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

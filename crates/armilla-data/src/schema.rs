//! The entries of `features` in `meta/info.json`.

use std::path::Path;

use armilla_core::features::{DataType, Feature};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::types::automatic_type;

/// Axes that the Python package `datasets` has a type for.
const MOST_AXES: usize = 5;
/// Values in one frame of a feature, at most: a bound on what a schema can make this crate allocate.
const MOST_VALUES: usize = 1 << 28;

/// What this crate keeps of a feature without using it, so that it is not lost when a dataset is written anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FeatureNotes {
    /// Names as they are: a list, lists in groups, or nothing.
    pub(crate) names: Value,
    /// How a video is coded.
    pub(crate) info: Map<String, Value>,
}

/// An entry as it is: unknown keys are ignored, as LeRobot does.
#[derive(Serialize, Deserialize)]
pub(crate) struct FeatureFile {
    dtype: String,
    shape: Vec<usize>,
    #[serde(default)]
    names: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    info: Option<Map<String, Value>>,
    /// Where older datasets say it; LeRobot's tools add an empty `info` beside it.
    #[serde(default, skip_serializing)]
    video_info: Option<Map<String, Value>>,
}

impl FeatureFile {
    /// The entry of a feature.
    pub(crate) fn of(feature: &Feature, notes: Option<&FeatureNotes>, fps: u32) -> Self {
        let names = match notes.filter(|notes| !notes.names.is_null()) {
            Some(notes) => notes.names.clone(),
            None if feature.names.is_empty() => Value::Null,
            None => json!(feature.names),
        };
        let info = match notes {
            // How others coded theirs is not known where they do not say.
            Some(notes) => notes.info.clone(),
            None if feature.data_type == DataType::Video => recorded_video(feature, fps),
            None => Map::new(),
        };
        Self {
            dtype: feature.data_type.name().to_owned(),
            shape: feature.shape.clone(),
            names,
            info: Some(info).filter(|info| !info.is_empty()),
            video_info: None,
        }
    }

    /// The entry of an automatic feature.
    pub(crate) fn automatic(key: &str) -> Self {
        Self {
            dtype: automatic_type(key).to_owned(),
            shape: vec![1],
            names: Value::Null,
            info: None,
            video_info: None,
        }
    }

    /// What an entry of the file at `path` says; what is not understood is refused by name.
    pub(crate) fn read(self, path: &Path, key: &str) -> Result<(Feature, FeatureNotes)> {
        let unsupported = |found: String, supported: &str| Error::Unsupported {
            what: format!("{}: feature `{key}`", path.display()),
            found,
            supported: supported.to_owned(),
        };
        let Some(data_type) = DataType::named(&self.dtype) else {
            let names = DataType::ALL.map(DataType::name).join(", ");
            let advice = format!("{names} (remove the feature, or convert its values)");
            return Err(unsupported(format!("dtype `{}`", self.dtype), &advice));
        };
        let mut told = [self.info, self.video_info].into_iter().flatten();
        let info = told.find(|info| !info.is_empty()).unwrap_or_default();
        let depth = ["video.is_depth_map", "is_depth_map"];
        if depth
            .iter()
            .any(|key| info.get(*key) == Some(&Value::Bool(true)))
        {
            let advice = "colour pictures (remove the feature from the dataset to use the rest)";
            return Err(unsupported("a depth map".to_owned(), advice));
        }
        let mut notes = FeatureNotes {
            names: self.names,
            info,
        };
        let mut shape = self.shape;
        if data_type.is_picture() {
            channels_last(&mut shape, &mut notes.names);
            if shape.len() != 3 || shape[2] != 3 {
                let found = format!("a picture of shape {shape:?}");
                return Err(unsupported(found, "[height, width, 3]"));
            }
        }
        let values = shape
            .iter()
            .try_fold(1_usize, |product, &size| product.checked_mul(size));
        let axes = (1..=MOST_AXES).contains(&shape.len());
        if !axes || !values.is_some_and(|values| (1..=MOST_VALUES).contains(&values)) {
            let advice = format!("one to {MOST_AXES} axes, 1 to {MOST_VALUES} values");
            return Err(unsupported(format!("shape {shape:?}"), &advice));
        }
        if data_type == DataType::String && shape != [1] {
            return Err(unsupported(format!("text of shape {shape:?}"), "[1]"));
        }
        let names = flat_names(&notes.names);
        Ok((
            Feature {
                data_type,
                shape,
                names,
            },
            notes,
        ))
    }
}

/// How the recorder codes videos.
fn recorded_video(feature: &Feature, fps: u32) -> Map<String, Value> {
    let entries = [
        ("video.height", json!(feature.shape[0])),
        ("video.width", json!(feature.shape[1])),
        ("video.channels", json!(3)),
        ("video.codec", json!("h264")),
        ("video.pix_fmt", json!("yuv420p")),
        ("video.fps", json!(fps)),
        ("video.g", json!(crate::video::GROUP_OF_PICTURES)),
        ("video.is_depth_map", json!(false)),
        ("is_depth_map", json!(false)),
        ("has_audio", json!(false)),
    ];
    entries
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

/// Older datasets name a picture's channels first; the pictures themselves are stored alike.
fn channels_last(shape: &mut [usize], names: &mut Value) {
    let first = names.get(0).and_then(Value::as_str).unwrap_or_default();
    if shape.len() == 3 && shape[0] == 3 && first.starts_with("channel") {
        shape.rotate_left(1);
        if let Some(names) = names.as_array_mut().filter(|names| names.len() == 3) {
            names.rotate_left(1);
        }
    }
}

/// Names come as a list, or as lists under group names.
fn flat_names(value: &Value) -> Vec<String> {
    match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(values) => values.iter().flat_map(flat_names).collect(),
        Value::Object(groups) => groups.values().flat_map(flat_names).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entry: Value) -> Result<(Feature, FeatureNotes)> {
        let file: FeatureFile = serde_json::from_value(entry).unwrap();
        file.read(Path::new("info.json"), "thing")
    }

    /// The entry of a feature as it is written.
    fn written(feature: &Feature, notes: Option<&FeatureNotes>) -> Value {
        serde_json::to_value(FeatureFile::of(feature, notes, 10)).unwrap()
    }

    #[test]
    fn every_type_is_known_and_written_as_it_was() {
        for (name, data_type) in DataType::ALL.map(|known| (known.name(), known)) {
            let shape = if data_type.is_picture() {
                json!([4, 6, 3])
            } else {
                json!([1])
            };
            let entry = json!({"dtype": name, "shape": shape, "names": null});
            let (feature, notes) = read(entry.clone()).unwrap();
            assert_eq!(feature.data_type, data_type);
            let written = FeatureFile::of(&feature, Some(&notes), 10);
            let mut written = serde_json::to_value(written).unwrap();
            written.as_object_mut().unwrap().remove("info");
            assert_eq!(written, entry);
        }
    }

    #[test]
    fn grouped_names_are_kept() {
        let names = json!({"arm": ["a", "b"], "hand": ["c"]});
        let entry = json!({"dtype": "float32", "shape": [3], "names": names});
        let (feature, notes) = read(entry).unwrap();
        assert_eq!(
            (feature.names.join(" "), &notes.names),
            ("a b c".to_owned(), &names)
        );
    }

    #[test]
    fn an_empty_info_does_not_hide_an_older_video_info() {
        let entry = json!({
            "dtype": "video",
            "shape": [4, 6, 3],
            "video_info": {"video.codec": "av1"},
            "info": {},
        });
        let (feature, notes) = read(entry).unwrap();
        assert_eq!(notes.info["video.codec"], "av1");
        let entry = written(&feature, Some(&notes));
        assert_eq!(entry["info"], json!({"video.codec": "av1"}));
        assert_eq!(entry.get("video_info"), None);
    }

    #[test]
    fn a_foreign_video_without_notes_is_not_called_h264() {
        let entry = json!({"dtype": "video", "shape": [4, 6, 3]});
        let (feature, notes) = read(entry).unwrap();
        assert_eq!(written(&feature, Some(&notes)).get("info"), None);
        // What is recorded here has no notes yet.
        let recorded = written(&feature, None);
        assert_eq!(recorded["info"]["video.codec"], "h264");
    }

    #[test]
    fn channels_come_last() {
        let names = json!(["channels", "height", "width"]);
        let entry = json!({"dtype": "video", "shape": [3, 48, 64], "names": names});
        let (feature, _) = read(entry).unwrap();
        assert_eq!(feature.shape, [48, 64, 3]);
        assert_eq!(feature.names, ["height", "width", "channels"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (entry, words) in [
            (
                json!({"dtype": "language", "shape": [1]}),
                ["`language`", "float32"],
            ),
            (
                json!({"dtype": "float32", "shape": [0]}),
                ["shape [0]", "1 to"],
            ),
            (
                json!({"dtype": "float32", "shape": [usize::MAX, 2]}),
                ["shape", "1 to"],
            ),
            (json!({"dtype": "string", "shape": [2]}), ["text", "[1]"]),
            (
                json!({"dtype": "image", "shape": [4, 4, 1]}),
                ["[4, 4, 1]", "[height"],
            ),
            (
                json!({"dtype": "image", "shape": [4, 4, 3], "info": {"is_depth_map": true}}),
                ["depth map", "remove the feature"],
            ),
        ] {
            let error = read(entry).unwrap_err().to_string();
            let has = |word: &&str| error.contains(word);
            assert!(
                words.iter().all(has) && error.contains("`thing`"),
                "{error}"
            );
        }
    }
}

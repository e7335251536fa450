//! The schema of observations and actions, the same as LeRobot's `features` in `meta/info.json`.

use std::collections::BTreeMap;

/// Key of the proprioception.
pub const STATE: &str = "observation.state";
/// Prefix of the cameras' keys; the rest is the camera's name.
pub const IMAGE_PREFIX: &str = "observation.images.";
/// Key of the command.
pub const ACTION: &str = "action";

/// What a feature's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// RGB pictures kept in a video file, `[height, width, 3]`.
    Video,
    /// RGB pictures kept one by one, `[height, width, 3]`.
    Image,
    /// 32-bit floating point.
    Float32,
    /// 64-bit floating point.
    Float64,
    /// 64-bit integer.
    Int64,
    /// 32-bit integer.
    Int32,
    /// 16-bit integer.
    Int16,
    /// 8-bit integer.
    Int8,
    /// 64-bit integer without a sign.
    UInt64,
    /// 32-bit integer without a sign.
    UInt32,
    /// 16-bit integer without a sign.
    UInt16,
    /// 8-bit integer without a sign.
    UInt8,
    /// True or false.
    Bool,
    /// Text.
    String,
}

impl DataType {
    /// Every type.
    pub const ALL: [Self; 14] = [
        Self::Video,
        Self::Image,
        Self::Float32,
        Self::Float64,
        Self::Int64,
        Self::Int32,
        Self::Int16,
        Self::Int8,
        Self::UInt64,
        Self::UInt32,
        Self::UInt16,
        Self::UInt8,
        Self::Bool,
        Self::String,
    ];

    /// LeRobot's name of the type, such as `float32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Image => "image",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int64 => "int64",
            Self::Int32 => "int32",
            Self::Int16 => "int16",
            Self::Int8 => "int8",
            Self::UInt64 => "uint64",
            Self::UInt32 => "uint32",
            Self::UInt16 => "uint16",
            Self::UInt8 => "uint8",
            Self::Bool => "bool",
            Self::String => "string",
        }
    }

    /// The type that LeRobot calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether the values are pictures.
    #[must_use]
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Video | Self::Image)
    }
}

/// One feature: its type, its shape and the names along its last axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What the values are.
    pub data_type: DataType,
    /// Sizes; a picture's are height, width, channels.
    pub shape: Vec<usize>,
    /// A name per element of the last axis, with its unit (`x_px`); may be empty.
    pub names: Vec<String>,
}

impl Feature {
    /// A vector of 32-bit floats with a name per element.
    #[must_use]
    pub fn vector(names: &[&str]) -> Self {
        Self {
            data_type: DataType::Float32,
            shape: vec![names.len()],
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// A camera kept as video.
    #[must_use]
    pub fn camera(height: usize, width: usize) -> Self {
        let names = ["height", "width", "channels"];
        Self {
            data_type: DataType::Video,
            shape: vec![height, width, 3],
            names: names.map(str::to_owned).to_vec(),
        }
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The key of the camera of a name, which [`Features::cameras`] has.
#[must_use]
pub fn camera_key(name: &str) -> String {
    match name.starts_with("observation.") {
        true => name.to_owned(),
        false => format!("{IMAGE_PREFIX}{name}"),
    }
}

/// Features by key, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(pub BTreeMap<String, Feature>);

impl Features {
    /// The schema of a robot with one camera, a state and an action.
    #[must_use]
    pub fn robot(camera: (&str, Feature), state: Feature, action: Feature) -> Self {
        let entries = [
            (format!("{IMAGE_PREFIX}{}", camera.0), camera.1),
            (STATE.to_owned(), state),
            (ACTION.to_owned(), action),
        ];
        Self(entries.into_iter().collect())
    }

    /// Number of values of a feature, zero where there is none.
    #[must_use]
    pub fn width(&self, key: &str) -> usize {
        self.0.get(key).map_or(0, Feature::len)
    }

    /// Cameras of a robot by name, whose pictures its observations carry: those with [`IMAGE_PREFIX`], without it.
    pub fn robot_cameras(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.0
            .iter()
            .filter_map(|(key, feature)| Some((key.strip_prefix(IMAGE_PREFIX)?, feature)))
    }

    /// Cameras of recordings, which may have other keys, by name, in the order of their keys: without [`IMAGE_PREFIX`], or the whole key where it has none, as `observation.image`.
    pub fn cameras(&self) -> impl Iterator<Item = (&str, &Feature)> {
        let pictures = self.0.iter();
        let pictures = pictures.filter(|(_, feature)| feature.data_type.is_picture());
        pictures.map(|(key, feature)| (key.strip_prefix(IMAGE_PREFIX).unwrap_or(key), feature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_robot_has_camera_state_and_action() {
        let features = Features::robot(
            ("top", Feature::camera(64, 48)),
            Feature::vector(&["x", "y"]),
            Feature::vector(&["dx", "dy", "grip"]),
        );
        assert_eq!(features.width(STATE), 2);
        assert_eq!(features.width(ACTION), 3);
        assert_eq!(features.width("observation.wind"), 0);
        let cameras: Vec<_> = features
            .cameras()
            .map(|(name, f)| (name, f.shape.clone()))
            .collect();
        assert_eq!(cameras, [("top", vec![64, 48, 3])]);
    }

    #[test]
    fn cameras_without_the_prefix_keep_their_keys() {
        let mut features = Features::default();
        for key in ["observation.image", "observation.images.wrist"] {
            let camera = Feature::camera(64, 64);
            features.0.insert(key.to_owned(), camera);
        }
        let action = Feature::vector(&["dx"]);
        features.0.insert(ACTION.to_owned(), action);
        let names: Vec<_> = features.cameras().map(|(name, _)| name).collect();
        assert_eq!(names, ["observation.image", "wrist"]);
        let keys: Vec<_> = names.into_iter().map(camera_key).collect();
        assert_eq!(keys, ["observation.image", "observation.images.wrist"]);
    }
}

//! What a policy takes and gives, by name, in the order of its `config.json`: cameras are taken in that order.

use std::path::Path;

use armilla_core::features::{ACTION, STATE};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// LeRobot's key of what a simulator says of its scene.
pub(crate) const ENVIRONMENT_STATE: &str = "observation.environment_state";

/// LeRobot's types of features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FeatureKind {
    /// Pictures.
    Visual,
    /// Proprioception.
    State,
    /// What a simulator says of its scene.
    Env,
    /// Actions.
    Action,
    /// Rewards, which no policy here takes.
    Reward,
    /// Words, which no policy here takes as a feature.
    Language,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FeatureKind,
    /// Its sizes without batch and time; of pictures channel, height, width.
    pub shape: Vec<usize>,
}

/// Features by name, in the order of their file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(pub Vec<(String, Feature)>);

impl Features {
    /// The kind of a feature.
    #[must_use]
    pub fn kind(&self, key: &str) -> Option<FeatureKind> {
        let mut all = self.0.iter();
        all.find(|(name, _)| name == key)
            .map(|(_, feature)| feature.kind)
    }
}

impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, feature) in &self.0 {
            map.serialize_entry(name, feature)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Features {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Features;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("features by name")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Features, A::Error> {
                let mut features = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    features.push(entry);
                }
                Ok(Features(features))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// A camera of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Camera {
    /// LeRobot's key, as `observation.images.top`.
    pub key: String,
    /// Rows of its pictures, px.
    pub height: usize,
    /// Columns, px.
    pub width: usize,
}

/// What a policy senses and how wide an action is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInputs {
    /// Cameras, in the order in which a policy takes them.
    pub cameras: Vec<Camera>,
    /// Values of `observation.state`, if it is taken.
    pub state: Option<usize>,
    /// Values of `observation.environment_state`, if it is taken.
    pub environment_state: Option<usize>,
    /// Values of an action.
    pub action: usize,
    /// Token ids of instructions, of a policy that reads them; its tokenizer says so, and no feature.
    #[serde(default)]
    pub vocabulary: Option<usize>,
}

impl PolicyInputs {
    /// From a `config.json`, whose path errors name.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`] naming a feature that has no place, or a misshapen one.
    pub fn from_features(inputs: &Features, outputs: &Features, path: &Path) -> Result<Self> {
        let mut found = Self::default();
        for (key, Feature { kind, shape }) in &inputs.0 {
            let wrong = |expected: &str| {
                let has = format!("{kind:?} of shape {shape:?}");
                Error::checkpoint(path, format!("input_features.{key}"), expected, has)
            };
            match (kind, key.as_str(), shape.as_slice()) {
                (FeatureKind::Visual, _, &[3, height, width]) => found.cameras.push(Camera {
                    key: key.clone(),
                    height,
                    width,
                }),
                (FeatureKind::Visual, ..) => return Err(wrong("3, height, width")),
                (FeatureKind::State, STATE, &[width]) => found.state = Some(width),
                (FeatureKind::Env, ENVIRONMENT_STATE, &[width]) => {
                    found.environment_state = Some(width);
                }
                _ => return Err(wrong("pictures, or one axis of state")),
            }
        }
        let [(key, feature)] = outputs.0.as_slice() else {
            let found = outputs.0.len();
            return Err(Error::checkpoint(path, "output_features", ACTION, found));
        };
        match (key.as_str(), feature.shape.as_slice()) {
            (ACTION, &[width]) => found.action = width,
            (key, shape) => {
                let has = format!("{key} of shape {shape:?}");
                return Err(Error::checkpoint(path, "output_features", ACTION, has));
            }
        }
        Ok(found)
    }

    /// As `input_features` of a `config.json`.
    #[must_use]
    pub fn inputs(&self) -> Features {
        let cameras = self.cameras.iter().map(|camera| {
            let shape = vec![3, camera.height, camera.width];
            let kind = FeatureKind::Visual;
            (camera.key.clone(), Feature { kind, shape })
        });
        let states = [
            (STATE, FeatureKind::State, self.state),
            (ENVIRONMENT_STATE, FeatureKind::Env, self.environment_state),
        ];
        let states = states.into_iter().filter_map(|(key, kind, width)| {
            let shape = vec![width?];
            Some((key.to_owned(), Feature { kind, shape }))
        });
        Features(cameras.chain(states).collect())
    }

    /// As `output_features` of a `config.json`.
    #[must_use]
    pub fn outputs(&self) -> Features {
        let feature = Feature {
            kind: FeatureKind::Action,
            shape: vec![self.action],
        };
        Features(vec![(ACTION.to_owned(), feature)])
    }
}

//! What a robot senses at one step, and what is asked of it.

use std::collections::BTreeMap;

use crate::error::{Error, Result, check_finite};
use crate::features::{Features, IMAGE_PREFIX, STATE};
use crate::image::Image;

/// What a robot senses at one step, and what is asked of it, in words or as a goal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Pictures by camera name (`top`, not `observation.images.top`).
    pub images: BTreeMap<String, Image>,
    /// Proprioception: what the robot's own joints say, never the simulator's truth. Units are named by the feature.
    pub state: Vec<f32>,
    /// The task in words.
    pub instruction: Option<String>,
    /// The task as what is sensed when it is done.
    pub goal: Option<Goal>,
    /// Capture time in seconds since the episode's reset, on the sender's clock.
    pub captured_at_secs: f64,
}

/// What a robot senses when a task is done, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Goal {
    /// Pictures by camera name, as in [`Observation::images`].
    pub images: BTreeMap<String, Image>,
    /// Proprioception, as in [`Observation::state`]; empty where it is not known.
    pub state: Vec<f32>,
}

impl Goal {
    /// A picture from one camera.
    #[must_use]
    pub fn picture(camera: &str, image: Image) -> Self {
        Self {
            images: BTreeMap::from([(camera.to_owned(), image)]),
            state: Vec::new(),
        }
    }
}

impl Observation {
    /// The first camera's picture, in the order of the names.
    #[must_use]
    pub fn first_image(&self) -> Option<&Image> {
        self.images.values().next()
    }

    /// Checks sizes, cameras and finiteness against a schema.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] or [`Error::NotFinite`], naming the feature.
    pub fn check(&self, features: &Features) -> Result<()> {
        let width = features.width(STATE);
        if width != self.state.len() {
            return Err(Error::invalid(
                STATE,
                format!("{width} values"),
                self.state.len(),
            ));
        }
        check_finite(STATE, &self.state)?;
        for (name, feature) in features.robot_cameras() {
            let shape = match self.images.get(name) {
                Some(image) => vec![image.height(), image.width(), 3],
                None => {
                    let found: Vec<_> = self.images.keys().cloned().collect();
                    return Err(Error::invalid(
                        format!("{IMAGE_PREFIX}{name}"),
                        "a picture from this camera",
                        format!("pictures from {found:?}"),
                    ));
                }
            };
            if shape != feature.shape {
                return Err(Error::invalid(
                    format!("{IMAGE_PREFIX}{name}"),
                    format!("height, width, channels {:?}", feature.shape),
                    format!("{shape:?}"),
                ));
            }
        }
        Ok(())
    }
}

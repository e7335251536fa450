//! What a recorder is told, and what it is given.

use armilla_core::features::{ACTION, DataType, Feature, Features, IMAGE_PREFIX, STATE};
use armilla_core::{Action, Observation};

use crate::column::{Column, Columns};
use crate::error::{Error, Result};
use crate::info::FileLimits;
use crate::types::AUTOMATIC;
use crate::video::encode::{Quality, check_size};

/// When an observation was really taken, in seconds since the episode's reset on the clock of whoever took it
/// (`float64`, shape `[1]`), beside LeRobot's nominal `timestamp`, which is `frame_index / fps`.
///
/// Its name begins neither like an observation nor like an action, so that no policy takes it for an input.
pub const CAPTURE_TIMESTAMP: &str = "capture.timestamp";
/// Pictures that wait for a camera's encoder, at most, unless the configuration says otherwise: LeRobot's number.
const QUEUE_FRAMES: usize = 30;

/// What is recorded, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderConfig {
    /// Schema. `observation.images.NAME`, `observation.state` and `action` come with observations and actions, all else
    /// beside them.
    pub features: Features,
    /// Frames a second.
    pub fps: u32,
    /// Name of the robot or simulator.
    pub robot_type: String,
    /// The instruction of frames whose observation carries none.
    pub task: String,
    /// How finely pictures are kept.
    pub quality: Quality,
    /// When [`Recorder::finish`](crate::Recorder::finish) begins new files and folders.
    pub limits: FileLimits,
    /// Pictures of a camera that wait for its encoder, at most. While an episode is recorded step by step, its pictures
    /// take up at most (this number + 1) × height × width × 3 bytes for each camera: 28 MB at 640 × 480 with the usual 30.
    pub queue_frames: usize,
}

impl RecorderConfig {
    /// A configuration with the default quality.
    #[must_use]
    pub fn new(features: Features, fps: u32, robot_type: &str, task: &str) -> Self {
        Self {
            features,
            fps,
            robot_type: robot_type.to_owned(),
            task: task.to_owned(),
            quality: Quality::default(),
            limits: FileLimits::default(),
            queue_frames: QUEUE_FRAMES,
        }
    }

    /// Keeps each observation's [`captured_at_secs`](Observation::captured_at_secs) as [`CAPTURE_TIMESTAMP`].
    #[must_use]
    pub fn with_capture_timestamps(mut self) -> Self {
        let key = CAPTURE_TIMESTAMP.to_owned();
        self.features.0.insert(key, capture_feature());
        self
    }

    /// Checks that everything in it can be written.
    pub(super) fn check(&self) -> Result<()> {
        if !(1..=1000).contains(&self.fps) {
            return Err(Error::invalid("fps", "1 to 1000 frames a second", self.fps));
        }
        if !(1..=10_000).contains(&self.queue_frames) {
            let expected = "1 to 10000 pictures a camera";
            return Err(Error::invalid("queue_frames", expected, self.queue_frames));
        }
        if self.features.0.is_empty() {
            return Err(Error::invalid("features", "at least one", "none"));
        }
        self.limits.check()?;
        self.features
            .0
            .iter()
            .try_for_each(|(key, feature)| check_feature(key, feature))
    }
}

fn capture_feature() -> Feature {
    Feature {
        data_type: DataType::Float64,
        shape: vec![1],
        names: vec!["captured_at_secs".to_owned()],
    }
}

/// Checks that a feature can be recorded.
fn check_feature(key: &str, feature: &Feature) -> Result<()> {
    let is_camera = key.starts_with(IMAGE_PREFIX);
    let is_vector = [STATE, ACTION].contains(&key);
    let supported = match feature.data_type {
        _ if key == CAPTURE_TIMESTAMP => {
            let expected = capture_feature();
            (feature.data_type, &feature.shape) == (expected.data_type, &expected.shape)
        }
        DataType::Video => is_camera,
        DataType::Float32 => !is_camera,
        DataType::Image => !is_vector,
        DataType::String => !is_camera && !is_vector && feature.shape == [1],
        _ => !is_camera && !is_vector,
    };
    if !supported || AUTOMATIC.contains(&key) || key.contains(['/', '\\']) {
        return Err(Error::Unsupported {
            what: format!("recorder: feature `{key}`"),
            found: format!("{:?} of shape {:?}", feature.data_type, feature.shape),
            supported: format!(
                "video or image as `{IMAGE_PREFIX}NAME`, float32 as `{STATE}` and `{ACTION}`, any type but video as \
                 other keys (text of shape [1]; float64 of shape [1] as `{CAPTURE_TIMESTAMP}`)"
            ),
        });
    }
    match feature.data_type {
        DataType::Video => check_size(key, &feature.shape),
        DataType::Image if feature.shape.len() == 3 && feature.shape[2] == 3 => Ok(()),
        DataType::Image => {
            let found = format!("{:?}", feature.shape);
            Err(Error::invalid(key, "a shape [height, width, 3]", found))
        }
        _ if is_vector && feature.shape.len() != 1
            || feature.is_empty()
            || feature.shape.len() > 5 =>
        {
            let found = format!("{:?}", feature.shape);
            Err(Error::invalid(
                key,
                "a shape of one to five axes ([n] for state and action)",
                found,
            ))
        }
        _ => Ok(()),
    }
}

/// One step to be recorded: what was seen, and what was done about it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What the robot sensed.
    pub observation: &'a Observation,
    /// The command that followed.
    pub action: &'a Action,
    /// The values of all other features, one row of each.
    pub others: &'a Columns,
}

/// What became of a step that was recorded in real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Added {
    /// It is part of the episode.
    Kept,
    /// An encoder's queue was full, and the step was left out for all cameras.
    Dropped,
}

/// An episode that no crash loses any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedEpisode {
    /// Its number in the dataset.
    pub index: usize,
    /// Frames that it has.
    pub frames: usize,
    /// Steps that were left out because an encoder's queue was full ([`Recorder::try_add`](crate::Recorder::try_add)).
    pub dropped: usize,
}

/// A whole episode in memory, to be recorded beside others.
#[derive(Clone, Debug, Default)]
pub struct EpisodeFrames {
    /// What the robot sensed, step by step.
    pub observations: Vec<Observation>,
    /// The command that followed each.
    pub actions: Vec<Action>,
    /// The values of all other features, as many rows of each as there are steps.
    pub others: Columns,
}

impl EpisodeFrames {
    /// One row of each of the other columns.
    pub(super) fn others_at(&self, step: usize) -> Columns {
        let steps = self.actions.len().max(1);
        let row = |column: &Column| {
            let width = column.len() / steps;
            column.slice(step * width, width)
        };
        let columns = self.others.iter();
        columns
            .map(|(key, column)| (key.clone(), row(column)))
            .collect()
    }

    /// Adds a step.
    pub fn push(&mut self, observation: Observation, action: Action) {
        self.observations.push(observation);
        self.actions.push(action);
    }
}

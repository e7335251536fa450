//! Robot datasets on disk: LeRobotDataset v3.0 (parquet and mp4), written and read without Python or ffmpeg.
//!
//! - [`Recorder`] writes one: [`Recorder::add`] (or [`Recorder::try_add`] in real time) and [`Recorder::save_episode`]
//!   step by step, or [`Recorder::add_episodes`] for whole episodes encoded side by side; [`Recorder::finish`] joins them into few files.
//!   A crash loses at most the episode in progress.
//! - [`Dataset`] reads one, whoever wrote it: schema, episodes, instructions, statistics, columns, pictures.
//! - [`WindowLoader`] hands windows in time to a model, batch by batch, from one dataset or a mixture; a batch is a pure
//!   function of the step.
//!
//! Names beside LeRobot's: an instruction is a `task` there, a camera `top` is the feature `observation.images.top`.
//!
//! - [`check()`] says what is wrong with a dataset, [`repair()`] saves what can be saved of it.
//! - [`merge`], [`split`] and [`delete`] make new datasets of old ones, [`recount`] counts their statistics anew.
//! - [`convert()`] makes one out of a dataset of LeRobot v2.1 or a video folder of stable-worldmodel.
//!
//! Refused by name, never misread: depth maps, language columns, types that LeRobot does not know, codecs other than AV1
//! and H.264. H.264 is taken to be BT.601 in limited range, which is what LeRobot writes.

mod assemble;
mod check;
mod column;
mod convert;
mod dataset;
mod edit;
mod episodes;
mod error;
mod frame;
mod frames_table;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod info;
mod json;
mod layout;
pub mod loader;
mod nesting;
mod pages;
mod pictures;
mod reader;
pub mod recorder;
mod recover;
mod repair;
mod schema;
mod statistics;
mod survey;
mod table;
mod tasks;
mod types;
mod video;

pub use assemble::Target;
pub use check::{CheckOptions, CheckReport, Finding, Severity, check};
pub use column::{Column, Columns, Element};
pub use convert::{Conversion, ConvertOptions, convert};
pub use dataset::{Dataset, Rows};
pub use edit::{
    EpisodesDone, Merged, Part, PartEpisodes, delete, merge, parse_episodes, recount, split,
};
pub use episodes::Episode;
pub use error::{Error, Result};
pub use frame::FrameRecord;
pub use info::{FileLimits, Info, VERSION};
pub use loader::{
    Batches, ChannelMix, ColorJitter, DatasetState, ImageTransform, LaterSpec, LoaderCamera,
    LoaderConfig, LoaderCosts, LoaderEpisode, LoaderSource, LoaderState, Window, WindowLoader,
    WindowSpec, apply_transforms, deterministic, size_after_transforms,
};
pub use recorder::{
    Added, CAPTURE_TIMESTAMP, EpisodeFrames, Frame, Recorder, RecorderConfig, SavedEpisode,
};
pub use recover::Recovered;
pub use repair::{Lost, Repaired, repair};
pub use types::AUTOMATIC;
pub use video::costs::DecodingCosts;
pub use video::encode::Quality;

#[cfg(test)]
mod tests;

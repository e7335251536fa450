//! What can be looked at: Rerun recordings that open to a readable screen, and the report in HTML.
//!
//! # Layout
//!
//! - [`recording`] and [`reel`]: what is logged where, and the screen (Rerun's word is blueprint) that it opens to.
//! - [`motion`]: actions drawn as paths over a picture.
//! - [`report`]: `report.html`, one self-contained page; [`chart`] and [`filmstrip`] are its figures.
//! - [`picture`]: pictures as PNG, JPEG and `data:` URIs.
//!
//! # Entities
//!
//! A *reel* is a row of episodes, one after another, as `two-room` or `tabletop`.
//!
//! | entity | what it shows |
//! | --- | --- |
//! | `{reel}/camera/{name}` | the camera's picture |
//! | `{reel}/camera/{name}/plan` | planned paths, the best first, in the picture's pixels (on the first camera) |
//! | `{reel}/camera/{name}/chunk` | the policy's action chunk as a path, in the picture's pixels |
//! | `{reel}/goal/{name}` | the goal's picture from each camera |
//! | `{reel}/state`, `{reel}/action` | proprioception and command, one curve a value |
//! | `{reel}/plan_cost` | cost of the chosen plan |
//! | `{reel}/success` | 1 or 0 at the last step of each episode |
//! | `{reel}/text` | instruction and outcome of the episode |
//! | `{reel}/statistics` | statistics of the dataset as text (Markdown) |
//! | `{reel}/prediction/real`, `{reel}/prediction/imagined` | the frame that came next to the one that was predicted |
//! | `{reel}/prediction/error` | distance in latent space, of the model and of copying the last frame |
//! | `training/{run}/{figure}` | training curves |
//! | `charts/{title}/{index}` | other curves, over whatever their chart is over |
//! | `rates/{index}` | success of an evaluation and of its floors as bars with their 95 % intervals, a percent a unit |
//! | `results` | the results as text (Markdown) |
//!
//! # Timelines
//!
//! `step` counts the steps of a reel through all its episodes (of a training run: its optimiser steps), `episode` the
//! episodes of a reel, `time` the seconds of a reel through all its episodes. All reels begin at zero, so they play side
//! by side.

pub mod chart;
pub mod error;
pub mod filmstrip;
mod layout;
mod lettering;
pub mod motion;
pub mod picture;
mod rates;
pub mod recording;
pub mod reel;
pub mod report;

pub use chart::{LineChart, Series, line_chart};
pub use error::{Error, Result};
pub use filmstrip::FilmRow;
pub use motion::Motion;
pub use recording::Recording;
pub use reel::{EpisodeTitle, Prediction, Reel};
pub use report::{ReportData, render};

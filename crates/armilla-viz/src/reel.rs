//! Episodes one after another on one set of entities, as a film reel: scrub through to see them all.

use armilla_core::features::{ACTION, STATE};
use armilla_core::{Action, Features, Image, Observation};
use re_sdk_types::archetypes::{EncodedImage, LineStrips2D, Scalars, SeriesLines};
use re_sdk_types::components::{MediaType, Radius};

use crate::error::Result;
use crate::layout::Shown;
use crate::picture;
use crate::recording::{Log, Moment, document, plain};

const PLAN_COLOR: u32 = 0x3b_82_f6_ff;
const CANDIDATE_COLOR: u32 = 0x3b_82_f6_50;
const CHUNK_COLOR: u32 = 0xf9_73_16_ff;
const PATH_RADIUS_POINTS: f32 = 1.8;

/// What is known of an episode when it begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct EpisodeTitle<'a> {
    /// The task in words.
    pub instruction: Option<&'a str>,
    /// Its number where it comes from; the reel's own count unless given.
    pub number: Option<usize>,
    /// Who acts and under which rules, such as `planner, crossing, seed 7`.
    pub note: &'a str,
    /// How it ends, where that is known already.
    pub success: Option<bool>,
}

/// The world model's prediction for one step, next to what came.
#[derive(Clone, Copy, Debug)]
pub struct Prediction<'a> {
    /// The frame that came.
    pub real: &'a Image,
    /// The predicted latent, decoded.
    pub imagined: &'a Image,
    /// Distance in latent space between prediction and reality.
    pub error: f32,
    /// The same distance for the guess that nothing moves.
    pub copy_error: f32,
}

/// Episodes of one kind, one after another. Made by [`crate::Recording::reel`].
///
/// For each episode call [`Reel::begin_episode`], then for each step [`Reel::observe`] and whatever else is known of that
/// step, then [`Reel::end_episode`].
pub struct Reel {
    name: String,
    log: Log,
    next_step: i64,
    next_episode: i64,
    now: Moment,
    episode_began_secs: f64,
    /// Between the last two steps.
    period_secs: f64,
    title: String,
    shown: Shown,
}

impl Reel {
    pub(crate) fn new(name: &str, log: Log) -> Self {
        Self {
            name: name.to_owned(),
            log,
            next_step: 0,
            next_episode: 0,
            now: Moment::default(),
            episode_began_secs: 0.0,
            period_secs: 0.0,
            title: String::new(),
            shown: Shown {
                name: name.to_owned(),
                ..Shown::default()
            },
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What has been logged so far, for the screen.
    pub(crate) fn shown(&self) -> Shown {
        let mut shown = self.shown.clone();
        shown.steps = self.next_step;
        shown
    }

    #[cfg(test)]
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// Names the curves of state and action.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn describe(&mut self, features: &Features) -> Result<()> {
        for (key, entity) in [(STATE, "state"), (ACTION, "action")] {
            let names = features.0.get(key).map(|feature| feature.names.clone());
            if let Some(names) = names.filter(|names| !names.is_empty()) {
                let lines = SeriesLines::new().with_names(names);
                self.log.constant(&self.entity(entity), &lines)?;
            }
        }
        Ok(())
    }

    /// Sets the text with the statistics of the reel's dataset, in Markdown.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn statistics(&mut self, markdown: &str) -> Result<()> {
        self.shown.statistics = true;
        self.log
            .constant(&self.entity("statistics"), &document(markdown))
    }

    /// Begins the next episode.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn begin_episode(&mut self, title: &EpisodeTitle<'_>) -> Result<()> {
        // A period after the last frame, which would share its time with the first one otherwise.
        self.episode_began_secs = self.now.secs + self.period_secs;
        self.now.secs = self.episode_began_secs;
        self.now.step = self.next_step;
        self.now.episode = self.next_episode;
        self.next_episode += 1;
        self.title = match title.instruction {
            Some(instruction) => format!("## {}\n\n", plain(instruction)),
            None => String::new(),
        };
        let counted = || self.now.episode.to_string();
        let number = title
            .number
            .map_or_else(counted, |number| number.to_string());
        self.title += &format!("Episode {number}");
        if !title.note.is_empty() {
            self.title += &format!(": {}", plain(title.note));
        }
        self.shown.text = true;
        self.forget_paths()?;
        self.put("text", &document(&with_outcome(&self.title, title.success)))
    }

    /// Moves on by one step, to `secs` after the episode's reset. [`Reel::observe`] does it by itself.
    pub fn advance(&mut self, secs: f64) {
        self.now.step = self.next_step;
        self.next_step += 1;
        if secs.is_finite() {
            let secs = self.episode_began_secs + secs.max(0.0);
            if secs > self.now.secs {
                self.period_secs = secs - self.now.secs;
            }
            self.now.secs = secs;
        }
    }

    /// Moves on to the next step and logs what the robot senses there.
    ///
    /// # Errors
    ///
    /// When a picture cannot be encoded or Rerun refuses the data.
    pub fn observe(&mut self, observation: &Observation) -> Result<()> {
        self.advance(observation.captured_at_secs);
        for (camera, image) in &observation.images {
            self.picture(&format!("camera/{camera}"), image)?;
            if !self.shown.cameras.contains(camera) {
                self.shown.cameras.push(camera.clone());
            }
        }
        if let Some(goal) = &observation.goal {
            for (camera, image) in &goal.images {
                self.picture(&format!("goal/{camera}"), image)?;
                if !self.shown.goals.contains(camera) {
                    self.shown.goals.push(camera.clone());
                }
            }
        }
        if !observation.state.is_empty() {
            self.shown.state = true;
            self.scalars("state", &observation.state)?;
        }
        Ok(())
    }

    /// Logs the action taken at this step.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn act(&mut self, action: &Action) -> Result<()> {
        self.shown.action = true;
        self.scalars("action", &action.0)
    }

    /// Draws planned paths over the first camera's picture, the chosen one first, and logs the plan's cost.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn plan(&mut self, paths: &[Vec<[f32; 2]>], cost: f32) -> Result<()> {
        self.shown.plan_cost = true;
        let colors = (0..paths.len()).map(|index| match index {
            0 => PLAN_COLOR,
            _ => CANDIDATE_COLOR,
        });
        self.paths("plan", paths, colors)?;
        self.shown.plan = true;
        self.scalars("plan_cost", &[cost])
    }

    /// Draws the policy's action chunk as a path over the first camera's picture.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn chunk(&mut self, path: &[[f32; 2]]) -> Result<()> {
        self.shown.chunk = true;
        self.paths("chunk", &[path.to_vec()], [CHUNK_COLOR])
    }

    /// Logs a predicted frame next to the real one.
    ///
    /// # Errors
    ///
    /// When a picture cannot be encoded or Rerun refuses the data.
    pub fn prediction(&mut self, prediction: &Prediction<'_>) -> Result<()> {
        if !self.shown.prediction {
            let names = SeriesLines::new().with_names(["world model", "copy of the last frame"]);
            let entity = self.entity("prediction/error");
            self.log.constant(&entity, &names)?;
            self.shown.prediction = true;
        }
        self.picture("prediction/real", prediction.real)?;
        self.picture("prediction/imagined", prediction.imagined)?;
        let errors = [prediction.error, prediction.copy_error];
        self.scalars("prediction/error", &errors)
    }

    /// Ends the episode with its outcome.
    ///
    /// # Errors
    ///
    /// When Rerun refuses the data.
    pub fn end_episode(&mut self, success: bool) -> Result<()> {
        self.put("text", &document(&with_outcome(&self.title, Some(success))))?;
        self.scalars("success", &[f32::from(u8::from(success))])
    }

    /// A path of an earlier episode would otherwise stay on the picture.
    fn forget_paths(&self) -> Result<()> {
        for (name, was_drawn) in [("plan", self.shown.plan), ("chunk", self.shown.chunk)] {
            if was_drawn {
                self.paths(name, &[], [])?;
            }
        }
        Ok(())
    }

    fn paths(
        &self,
        name: &str,
        paths: &[Vec<[f32; 2]>],
        colors: impl IntoIterator<Item = u32>,
    ) -> Result<()> {
        let strips = LineStrips2D::new(paths.iter().cloned())
            .with_colors(colors)
            .with_radii([Radius::new_ui_points(PATH_RADIUS_POINTS)]);
        let camera = self.shown.cameras.first().map_or("none", String::as_str);
        self.put(&format!("camera/{camera}/{name}"), &strips)
    }

    fn picture(&self, name: &str, image: &Image) -> Result<()> {
        let encoded = picture::smallest(image)?;
        let data =
            EncodedImage::new(encoded.bytes).with_media_type(MediaType::from(encoded.media_type));
        self.put(name, &data)
    }

    fn scalars(&self, name: &str, values: &[f32]) -> Result<()> {
        let data = Scalars::new(values.iter().map(|&value| f64::from(value)));
        self.put(name, &data)
    }

    fn put(&self, name: &str, data: &dyn re_sdk::AsComponents) -> Result<()> {
        self.log.at(self.now, &self.entity(name), data)
    }

    fn entity(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }
}

fn with_outcome(title: &str, success: Option<bool>) -> String {
    match success {
        Some(true) => format!("{title}\n\n**Success**"),
        Some(false) => format!("{title}\n\n**Failure**"),
        None => title.to_owned(),
    }
}

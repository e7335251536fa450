//! What a window holds.

use crate::error::{Error, Result};

/// A later picture of the same episode, for goals in hindsight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaterSpec {
    /// Fewest steps after the window's first observation.
    pub min_steps: usize,
    /// Most steps after it.
    pub max_steps: usize,
    /// Share of the windows, from 0 to 1, whose later picture is the latest possible.
    pub last_share: f64,
}

/// What a window holds.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSpec {
    /// Steps from the anchor to each observation, such as `[0]`, `[-1, 0]` or `[0, 5, 10, 15]`.
    pub observation_offsets: Vec<i64>,
    /// Actions in a window; may be zero.
    pub action_horizon: usize,
    /// Steps from the anchor to the first action; the first observation's offset if none.
    pub actions_from: Option<i64>,
    /// Whether windows may reach past the episode's end with their actions.
    pub allow_short_tail: bool,
    /// A later picture, if wanted.
    pub later: Option<LaterSpec>,
    /// Steps a second, for recordings of other rates to be read alike (each step takes the nearest frame); the first dataset's
    /// if none.
    pub rate_hz: Option<f64>,
}

impl WindowSpec {
    /// Whole windows without a later picture, at the first dataset's rate.
    #[must_use]
    pub fn new(observation_offsets: &[i64], action_horizon: usize) -> Self {
        Self {
            observation_offsets: observation_offsets.to_vec(),
            action_horizon,
            actions_from: None,
            allow_short_tail: false,
            later: None,
            rate_hz: None,
        }
    }

    pub(super) fn first_offset(&self) -> i64 {
        self.observation_offsets.first().copied().unwrap_or(0)
    }

    /// Steps from the anchor to the first action.
    pub(super) fn first_action(&self) -> i64 {
        self.actions_from.unwrap_or(self.first_offset())
    }

    /// Number of anchors in an episode: they are its first frames.
    pub(super) fn anchors(&self, length: usize, pace: Pace) -> usize {
        length.saturating_sub(self.reach(pace))
    }

    /// Frames from an anchor to the last one of its window.
    pub(super) fn reach(&self, pace: Pace) -> usize {
        let mut reach = self.observation_offsets.iter().copied().max().unwrap_or(0);
        if !self.allow_short_tail && self.action_horizon > 0 {
            reach = reach.max(self.first_action() + self.action_horizon as i64 - 1);
        }
        usize::try_from(pace.frames(reach)).unwrap_or(0)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.observation_offsets.is_empty() {
            let what = "observation offsets";
            return Err(Error::invalid(what, "at least one", "none"));
        }
        if let Some(rate) = self
            .rate_hz
            .filter(|rate| !(*rate > 0.0 && rate.is_finite()))
        {
            return Err(Error::invalid("rate_hz", "steps a second, above 0", rate));
        }
        let Some(later) = self.later else {
            return Ok(());
        };
        if later.min_steps > later.max_steps {
            let found = format!("{} > {}", later.min_steps, later.max_steps);
            return Err(Error::invalid(
                "later picture",
                "min_steps <= max_steps",
                found,
            ));
        }
        if !(0.0..=1.0).contains(&later.last_share) {
            let expected = "a last_share from 0 to 1";
            return Err(Error::invalid("later picture", expected, later.last_share));
        }
        Ok(())
    }
}

/// Frames of a dataset a step of the windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace(f64);

impl Pace {
    pub(super) fn new(fps: u32, rate_hz: f64) -> Self {
        Self(f64::from(fps) / rate_hz)
    }

    /// The nearest whole number of frames.
    pub(super) fn frames(self, steps: i64) -> i64 {
        (steps as f64 * self.0).round() as i64
    }

    /// The nearest whole number of steps.
    pub(super) fn steps(self, frames: usize) -> u32 {
        (frames as f64 / self.0).round() as u32
    }
}

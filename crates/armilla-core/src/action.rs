//! Commands: one for a step, or a chunk of them.

use crate::error::{Error, Result, check_finite};

/// The command for one step. Units and range are those of the environment's `action` feature.
#[derive(Clone, Debug, PartialEq)]
pub struct Action(pub Vec<f32>);

impl Action {
    /// Checks width and finiteness.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] or [`Error::NotFinite`].
    pub fn check(&self, width: usize) -> Result<()> {
        if self.0.len() != width {
            return Err(Error::invalid(
                "action",
                format!("{width} values"),
                self.0.len(),
            ));
        }
        check_finite("action", &self.0)
    }
}

/// Commands for the steps to come, `[action_horizon, action]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionChunk {
    /// One command a step, first to last; never empty.
    pub actions: Vec<Action>,
    /// Time of the first command, in seconds since the episode's reset, on the observation's clock.
    pub starts_at_secs: f64,
    /// Time between two commands, in seconds.
    pub period_secs: f64,
}

impl ActionChunk {
    /// How many steps it covers.
    #[must_use]
    pub fn action_horizon(&self) -> usize {
        self.actions.len()
    }

    /// Checks that the chunk is not empty and every command fits.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] or [`Error::NotFinite`].
    pub fn check(&self, width: usize) -> Result<()> {
        if self.actions.is_empty() {
            return Err(Error::invalid(
                "action chunk",
                "at least one action",
                "none",
            ));
        }
        self.actions
            .iter()
            .try_for_each(|action| action.check(width))
    }
}

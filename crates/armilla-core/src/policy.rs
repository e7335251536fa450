//! The trait that networks, planners and scripts act through.

use crate::action::{Action, ActionChunk};
use crate::error::Result;
use crate::observation::Observation;

/// Names one episode at a policy that serves several at once.
pub type EpisodeId = u64;

/// One question to a policy: what to do now in this episode.
#[derive(Clone, Debug, Default)]
pub struct PolicyRequest {
    /// Whose goal and warm start to use.
    pub episode: EpisodeId,
    /// Steps done in the episode so far.
    pub step: u64,
    /// What the robot senses now.
    pub observation: Observation,
    /// What it sensed at the steps just before, without a goal, the oldest first: at most [`Policy::history`] less one, fewer at an episode's
    /// beginning.
    pub earlier: Vec<Observation>,
    /// What was carried out at the steps of `earlier`, one action each, for a policy that [asks for actions](Policy::wants_actions).
    pub done: Vec<Action>,
    /// What will be carried out until the answer arrives, for such a policy too: its first action is for the step after.
    pub coming: Vec<Action>,
    /// What is left of the chunk that is carried out while this is answered, for a policy that [continues](Policy::continues) it.
    pub leftover: Option<Leftover>,
}

/// The rest of a chunk that is being carried out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leftover {
    /// Its actions from this step on.
    pub actions: Vec<Action>,
    /// How many of them will have been carried out when the answer arrives.
    pub delay_steps: usize,
}

/// What maps observations to actions: a network, a planner or a script. The caller cannot tell which.
///
/// State that a policy keeps (a goal, a warm start, random streams) is per episode, so that requests of several
/// episodes may come in any mix and still give each episode the same actions.
pub trait Policy: Send {
    /// What it is, for tables and logs.
    fn name(&self) -> &str;

    /// Observations it wants to see at once, the present one included.
    fn history(&self) -> usize {
        1
    }

    /// Whether it wants to know what was [done](PolicyRequest::done), and what is still [coming](PolicyRequest::coming).
    fn wants_actions(&self) -> bool {
        false
    }

    /// Whether its chunks continue what is [left over](PolicyRequest::leftover) of the last: real-time chunking.
    fn continues(&self) -> bool {
        false
    }

    /// Forgets what it kept of an episode and begins it anew.
    ///
    /// # Errors
    ///
    /// When the policy cannot begin an episode.
    fn reset(&mut self, episode: EpisodeId) -> Result<()>;

    /// Acts for several episodes at once, one chunk a request, in the order of the requests.
    ///
    /// # Errors
    ///
    /// When an observation does not fit the policy, or the model fails.
    fn act(&mut self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>>;
}

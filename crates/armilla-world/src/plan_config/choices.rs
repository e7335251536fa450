//! The settings of a search that are one of several words.

use serde::{Deserialize, Serialize};

/// How candidates are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every iteration draws from the initial distribution; the best of all wins.
    RandomShooting,
    /// Cross-entropy method: each iteration draws around the mean of the last one's elites.
    Cem,
    /// CEM that keeps its elites from one iteration to the next and tries the mean at last (Pinneri et al., 2020). As many candidates are drawn in
    /// each iteration, and the next search begins with the shifted plan alone, where the paper draws ever fewer and shifts elites too.
    Icem,
    /// Model-predictive path integral (Williams et al., 2015): as CEM, but an elite weighs `exp(-(cost - smallest) / temperature)`.
    /// TD-MPC2 does so; PLDM takes all candidates for elites. stable-worldmodel leaves the deviation as it began: `std_min` equal
    /// to `initial_std`.
    Mppi,
    /// Gradient descent (Adam) through the model from `num_samples` starting points: the mean, and draws around it. A step leads from
    /// one iteration to the next.
    Gradient,
}

/// How the noise of one action resembles that of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// Not at all.
    White,
    /// By `noise_rho`: a first-order autoregressive process.
    Autoregressive,
    /// By a spectrum that falls with the frequency's power of `noise_beta`, as in iCEM (Timmer & König, 1995). Its period is the plan.
    Colored,
}

/// What a search counts an action's values in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// -1 at the lower bound and 1 at the upper; candidates keep within.
    Bounds,
    /// Standard deviations from the mean of the recordings, as LeWorldModel has it. Candidates may leave the bounds; what is returned
    /// is clamped to them, and its cost and latents are those of the clamped actions.
    Standard,
}

/// How the costs along a plan make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The cost at the end, as LeWorldModel has it.
    LastStep,
    /// The mean over all steps: be near early and stay.
    Sum,
    /// The smallest, plus `tie_break` of the last: a plan may go away from the goal first, and may pass it.
    Minimum,
}

/// What a latent costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Squared distance to the goal's latent, averaged over its values.
    Latent,
    /// Predicted model steps to the goal.
    Distance,
}

/// Which plan is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returned {
    /// The cheapest that was tried.
    Best,
    /// The mean of the last distribution: less prone to a model's loopholes. Random shooting and gradient descent have none and return
    /// the best, as does a search that a deadline cuts short.
    Mean,
}

impl Method {
    /// Whether it learns a distribution from the best candidates.
    pub(crate) fn has_elites(self) -> bool {
        matches!(self, Self::Cem | Self::Icem | Self::Mppi)
    }
}

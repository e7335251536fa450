//! The settings of a [`Planner`](crate::Planner).

use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};
use crate::views::MOST;

/// How candidates are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every iteration draws from the initial distribution; the best of all wins.
    RandomShooting,
    /// Cross-entropy method: each iteration draws around the mean of the last one's elites.
    Cem,
    /// CEM that keeps its elites from one iteration to the next and tries the mean at last (Pinneri et al., 2020).
    Icem,
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
    /// The mean of the last distribution: less prone to a model's loopholes. Random shooting has none and returns the best.
    Mean,
}

/// Settings of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanConfig {
    /// How candidates are drawn.
    pub method: Method,
    /// What a latent costs.
    pub objective: Objective,
    /// How the costs along a plan make one.
    pub aggregation: Aggregation,
    /// Which plan is returned.
    pub returned: Returned,
    /// Model steps of a plan; one action each, held for `action_repeat` environment steps.
    pub horizon: usize,
    /// Candidates an iteration.
    pub num_samples: usize,
    /// Candidates the next distribution is fitted to.
    pub num_elites: usize,
    /// Iterations.
    pub iterations: usize,
    /// Elites that iCEM keeps for the next iteration.
    pub keep_elites: usize,
    /// Correlation of the noise from one model step to the next, in [0, 1).
    pub noise_rho: f32,
    /// First standard deviation; 1 is half the way from the lower to the upper bound.
    pub initial_std: f32,
    /// Smallest standard deviation.
    pub std_min: f32,
    /// Share of the old mean and deviation that an update keeps, in [0, 1).
    pub momentum: f32,
    /// With `minimum`: weight of the last step's cost.
    pub tie_break: f32,
    /// With `minimum`: cost of a model step that passes before the smallest cost is reached.
    pub time_weight: f32,
    /// In how many ways, from 1 to 8, the model looks at a scene, turned and mirrored: the cost is the mean over them. For a model that
    /// was trained with `symmetries`.
    pub views: usize,
    /// Seed of the candidates.
    pub seed: u64,
    /// Candidates evaluated at once, which bounds memory; at least those of one problem.
    pub rows: usize,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            method: Method::Icem,
            objective: Objective::Distance,
            aggregation: Aggregation::Minimum,
            returned: Returned::Best,
            horizon: 16,
            num_samples: 256,
            num_elites: 24,
            iterations: 4,
            keep_elites: 6,
            noise_rho: 0.8,
            initial_std: 0.8,
            std_min: 0.1,
            momentum: 0.1,
            tie_break: 0.01,
            time_weight: 0.0,
            views: 1,
            seed: 0,
            rows: 2048,
        }
    }
}

impl PlanConfig {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for the first that is out of range, with its key.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in [
            ("horizon", self.horizon),
            ("num_samples", self.num_samples),
            ("iterations", self.iterations),
            ("rows", self.rows),
        ] {
            ensure(value > 0, key, "at least 1", value)?;
        }
        let views = (1..=MOST).contains(&self.views);
        ensure(views, "views", format!("1 to {MOST}"), self.views)?;
        let elites = 1..=self.num_samples;
        let expected = format!("1 to num_samples, {}", self.num_samples);
        ensure(
            elites.contains(&self.num_elites),
            "num_elites",
            expected,
            self.num_elites,
        )?;
        let expected = format!("at most num_elites, {}", self.num_elites);
        ensure(
            self.keep_elites <= self.num_elites,
            "keep_elites",
            expected,
            self.keep_elites,
        )?;
        let kept_fit =
            self.method != Method::Icem || self.keep_elites + 1 < self.num_samples.max(2);
        let expected = "fewer than num_samples, with room for new candidates";
        ensure(kept_fit, "keep_elites", expected, self.keep_elites)?;
        for (key, value) in [("noise_rho", self.noise_rho), ("momentum", self.momentum)] {
            ensure(
                (0.0..1.0).contains(&value),
                key,
                "at least 0 and below 1",
                value,
            )?;
        }
        let positive = self.initial_std.is_finite() && self.initial_std > 0.0;
        ensure(positive, "initial_std", "above 0", self.initial_std)?;
        let within = (0.0..=self.initial_std).contains(&self.std_min);
        ensure(within, "std_min", "0 to initial_std", self.std_min)?;
        for (key, value) in [
            ("tie_break", self.tie_break),
            ("time_weight", self.time_weight),
        ] {
            ensure(
                value.is_finite() && value >= 0.0,
                key,
                "a number of at least 0",
                value,
            )?;
        }
        Ok(())
    }

    /// The cost of a plan from those of its steps; never empty.
    #[must_use]
    pub fn aggregate(&self, steps: &[f32]) -> f32 {
        let last = steps[steps.len() - 1];
        match self.aggregation {
            Aggregation::LastStep => last,
            Aggregation::Sum => steps.iter().sum::<f32>() / steps.len() as f32,
            Aggregation::Minimum => {
                let timed = steps.iter().enumerate();
                let timed = timed.map(|(step, cost)| cost + self.time_weight * step as f32);
                timed.fold(f32::INFINITY, f32::min) + self.tie_break * last
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_by_hand() {
        let mut config = PlanConfig {
            tie_break: 0.1,
            ..PlanConfig::default()
        };
        let costs = [4.0, 1.0, 3.0, 2.0];
        let mut cost = |aggregation| {
            config.aggregation = aggregation;
            config.aggregate(&costs)
        };
        assert_eq!(cost(Aggregation::LastStep), 2.0);
        assert_eq!(cost(Aggregation::Sum), 2.5);
        assert_eq!(cost(Aggregation::Minimum), 1.2);
        config.time_weight = 10.0;
        assert_eq!(config.aggregate(&costs), 4.2);
    }

    #[test]
    fn every_wrong_setting_names_its_key() {
        assert!(PlanConfig::default().validate().is_ok());
        type Change = fn(&mut PlanConfig);
        let wrong: [(&str, Change); 6] = [
            ("horizon", |c| c.horizon = 0),
            ("num_elites", |c| c.num_elites = 1000),
            ("keep_elites", |c| c.keep_elites = 25),
            ("noise_rho", |c| c.noise_rho = 1.0),
            ("initial_std", |c| c.initial_std = f32::NAN),
            ("std_min", |c| c.std_min = 2.0),
        ];
        for (key, change) in wrong {
            let mut config = PlanConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(key), "{key}: {error}");
        }
        let config: PlanConfig = toml::from_str("method = \"cem\"\naggregation = \"sum\"").unwrap();
        assert_eq!(
            (config.method, config.aggregation),
            (Method::Cem, Aggregation::Sum)
        );
        assert!(toml::from_str::<PlanConfig>("topk = 3").is_err());
    }
}

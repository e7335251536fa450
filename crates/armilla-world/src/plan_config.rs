//! The settings of a [`Planner`](crate::Planner).

mod choices;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Result, ensure};
use crate::limits::{LONGEST_PLAN, MOST_COLORED, sizes};
use crate::views::MOST;

pub use choices::{Aggregation, Coordinates, Method, Noise, Objective, Returned};

/// Settings of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanConfig {
    /// How candidates are found.
    pub method: Method,
    /// What a latent costs.
    pub objective: Objective,
    /// Weight of the squared distance of sprites' poses and points beside the objective: where things are and how they are turned, whatever
    /// else the picture shows. They are few of a latent's values. Above 0 for a model that has some.
    pub plane_weight: f32,
    /// How the costs along a plan make one.
    pub aggregation: Aggregation,
    /// Which plan is returned.
    pub returned: Returned,
    /// Model steps of a plan.
    pub horizon: usize,
    /// Model steps of a plan that are carried out before the next is made, at most `horizon`.
    pub receding_horizon: usize,
    /// Whether a model step has one action, held for `action_repeat` environment steps. If not, each of these has its own, and a plan so
    /// many times the values.
    pub hold: bool,
    /// What an action's values are counted in.
    pub coordinates: Coordinates,
    /// Candidates an iteration; starting points of gradient descent.
    pub num_samples: usize,
    /// Candidates the next distribution is fitted to.
    pub num_elites: usize,
    /// Iterations: how often candidates are evaluated. Gradient descent takes a step between two.
    pub iterations: usize,
    /// Milliseconds from the start of a search, of all its problems together, after which no iteration but the first begins; 0 for no
    /// such limit. Plans then depend on the machine.
    pub deadline_ms: u64,
    /// Elites that iCEM keeps for the next iteration.
    pub keep_elites: usize,
    /// How the noise of one action resembles that of the next.
    pub noise: Noise,
    /// Autoregressive noise: correlation from one action of a plan to the next, in [0, 1).
    pub noise_rho: f32,
    /// Colored noise: the power of the frequency that the spectrum falls with; 0 is white, 1 pink, 2 Brownian.
    pub noise_beta: f32,
    /// First standard deviation, in the search's coordinates: with `bounds`, 1 is half the way from the lower to the upper.
    pub initial_std: f32,
    /// Smallest standard deviation.
    pub std_min: f32,
    /// Whether CEM divides the elites' squared deviations by one less than their number, as PyTorch and so LeWorldModel do.
    pub unbiased_std: bool,
    /// Share of the old mean and deviation that an update keeps, in [0, 1).
    pub momentum: f32,
    /// MPPI: by how much dearer an elite is whose weight is 1/e, in units of the cost: model steps with `distance`, with `latent` the mean over
    /// the latent's values. stable-worldmodel divides the sum over them by 0.5, which is 0.5 / `latent` here; TD-MPC2's 0.5 multiplies where
    /// this divides, so it is 2.
    pub temperature: f32,
    /// Gradient descent: about how far a step goes, in the search's coordinates.
    pub learning_rate: f32,
    /// Gradient descent: standard deviation of what is added after each step.
    pub step_noise: f32,
    /// With `minimum`: weight of the last step's cost.
    pub tie_break: f32,
    /// With `minimum`: cost of a model step that passes before the smallest cost is reached.
    pub time_weight: f32,
    /// In how many ways, from 1 to 8, the model looks at a scene, turned and mirrored: the cost is the mean over them. For a model that
    /// was trained with `symmetries`.
    pub views: usize,
    /// Latents that the search looks back on, at most: 0 for as many as the model does, 1 to begin from what is seen now alone.
    pub history: usize,
    /// Seed of the candidates; where it is 0, `armilla eval` takes that of the episodes.
    pub seed: u64,
    /// Candidates that a core evaluates at once, which bounds memory. Gradient descent keeps all layers' values of each.
    pub rows: usize,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            method: Method::Icem,
            objective: Objective::Distance,
            plane_weight: 0.0,
            aggregation: Aggregation::Minimum,
            returned: Returned::Best,
            horizon: 16,
            receding_horizon: 1,
            hold: true,
            coordinates: Coordinates::Bounds,
            num_samples: 256,
            num_elites: 24,
            iterations: 4,
            deadline_ms: 0,
            keep_elites: 6,
            noise: Noise::Autoregressive,
            noise_rho: 0.8,
            noise_beta: 2.0,
            initial_std: 0.8,
            std_min: 0.1,
            unbiased_std: false,
            momentum: 0.1,
            temperature: 0.5,
            learning_rate: 0.1,
            step_noise: 0.0,
            tie_break: 0.01,
            time_weight: 0.0,
            views: 1,
            history: 0,
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
        sizes(&[
            ("num_samples", self.num_samples),
            ("iterations", self.iterations),
        ])?;
        // Candidates of many problems may well be more than any size.
        ensure(self.rows > 0, "rows", "at least 1", self.rows)?;
        let longest = match self.noise {
            Noise::Colored => MOST_COLORED,
            Noise::White | Noise::Autoregressive => LONGEST_PLAN,
        };
        for (key, value, most) in [
            ("horizon", self.horizon, longest),
            ("views", self.views, MOST),
            ("receding_horizon", self.receding_horizon, self.horizon),
        ] {
            let fits = (1..=most).contains(&value);
            ensure(fits, key, format!("1 to {most}"), value)?;
        }
        self.validate_elites()?;
        self.validate_numbers()
    }

    /// Checks how many candidates are learnt from, where any are.
    fn validate_elites(&self) -> Result<()> {
        let Self {
            method,
            num_samples: samples,
            num_elites: elites,
            keep_elites: kept,
            ..
        } = *self;
        let unbiased = self.unbiased_std && method != Method::Mppi;
        let least = if unbiased { 2 } else { 1 };
        let fits = !method.has_elites() || (least..=samples).contains(&elites);
        let expected = format!("{least} to num_samples, {samples}");
        ensure(fits, "num_elites", expected, elites)?;
        if method != Method::Icem {
            return Ok(());
        }
        let expected = format!("at most num_elites, {elites}");
        ensure(kept <= elites, "keep_elites", expected, kept)?;
        let expected = "fewer than num_samples, with room for new candidates";
        ensure(kept + 1 < samples.max(2), "keep_elites", expected, kept)
    }

    /// Checks the settings that are no counts.
    fn validate_numbers(&self) -> Result<()> {
        for (key, value) in [("noise_rho", self.noise_rho), ("momentum", self.momentum)] {
            let share = (0.0..1.0).contains(&value);
            ensure(share, key, "at least 0 and below 1", value)?;
        }
        let method = self.method;
        for (key, value, heeded) in [
            ("initial_std", self.initial_std, true),
            ("temperature", self.temperature, method == Method::Mppi),
            (
                "learning_rate",
                self.learning_rate,
                method == Method::Gradient,
            ),
        ] {
            let fits = !heeded || (value.is_finite() && value > 0.0);
            ensure(fits, key, "above 0", value)?;
        }
        let heeded = method.has_elites() || method == Method::Mppi;
        let fits = !heeded || (0.0..=self.initial_std).contains(&self.std_min);
        ensure(fits, "std_min", "0 to initial_std", self.std_min)?;
        for (key, value) in [
            ("plane_weight", self.plane_weight),
            ("noise_beta", self.noise_beta),
            ("step_noise", self.step_noise),
            ("tie_break", self.tie_break),
            ("time_weight", self.time_weight),
        ] {
            let fits = value.is_finite() && value >= 0.0;
            ensure(fits, key, "a number of at least 0", value)?;
        }
        Ok(())
    }

    /// The costs of plans from those of their steps.
    ///
    /// # Shapes
    ///
    /// - steps: `[plans, steps]`
    /// - output: `[plans]`
    #[must_use]
    pub fn aggregate(&self, steps: Tensor<2>) -> Tensor<1> {
        let [plans, count] = steps.dims();
        let last = steps.clone().narrow(1, count - 1, 1);
        let costs = match self.aggregation {
            Aggregation::LastStep => last,
            Aggregation::Sum => steps.mean_dim(1),
            Aggregation::Minimum => {
                let passed: Vec<_> = (0..count)
                    .map(|step| self.time_weight * step as f32)
                    .collect();
                let passed = Tensor::<1>::from_floats(passed.as_slice(), &steps.device());
                (steps + passed.unsqueeze()).min_dim(1) + last * self.tie_break
            }
        };
        costs.reshape([plans])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn costs_by_hand() {
        let mut config = PlanConfig {
            tie_break: 0.1,
            ..PlanConfig::default()
        };
        let steps = Tensor::<2>::from_floats([[4.0, 1.0, 3.0, 2.0], [0.0; 4]], &Device::flex());
        let mut cost = |aggregation| {
            config.aggregation = aggregation;
            let costs = config.aggregate(steps.clone()).into_data();
            costs.iter::<f32>().collect::<Vec<_>>()
        };
        assert_eq!(cost(Aggregation::LastStep), [2.0, 0.0]);
        assert_eq!(cost(Aggregation::Sum), [2.5, 0.0]);
        assert_eq!(cost(Aggregation::Minimum), [1.2, 0.0]);
        config.time_weight = 10.0;
        let timed = config.aggregate(steps.narrow(0, 0, 1));
        assert_eq!(timed.into_scalar::<f32>(), 4.2);
    }

    #[test]
    fn every_wrong_setting_names_its_key() {
        assert!(PlanConfig::default().validate().is_ok());
        type Change = fn(&mut PlanConfig);
        let wrong: [(&str, Change); 20] = [
            ("plane_weight", |c| c.plane_weight = f32::INFINITY),
            ("horizon", |c| c.horizon = 0),
            ("horizon", |c| c.horizon = 1 << 13),
            ("horizon", |c| {
                (c.noise, c.horizon) = (Noise::Colored, 1 << 11)
            }),
            ("num_samples", |c| c.num_samples = 1 << 40),
            ("num_elites", |c| c.num_elites = 1 << 40),
            ("iterations", |c| c.iterations = 1 << 40),
            ("rows", |c| c.rows = 0),
            ("receding_horizon", |c| c.receding_horizon = 0),
            ("receding_horizon", |c| c.receding_horizon = 17),
            ("views", |c| c.views = 9),
            ("num_elites", |c| c.num_elites = 1000),
            ("keep_elites", |c| c.keep_elites = 25),
            ("noise_rho", |c| c.noise_rho = 1.0),
            ("noise_beta", |c| c.noise_beta = -1.0),
            ("initial_std", |c| c.initial_std = f32::NAN),
            ("std_min", |c| c.std_min = 2.0),
            ("temperature", |c| {
                (c.method, c.temperature) = (Method::Mppi, 0.0)
            }),
            ("learning_rate", |c| {
                (c.method, c.learning_rate) = (Method::Gradient, f32::INFINITY)
            }),
            ("step_noise", |c| c.step_noise = -0.1),
        ];
        for (key, change) in wrong {
            let mut config = PlanConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(key), "{key}: {error}");
        }
    }

    #[test]
    fn settings_of_other_methods_do_not_matter() {
        let with = |text: &str| toml::from_str::<PlanConfig>(text).unwrap();
        let few = "num_samples = 8\nnum_elites = 1\n";
        let unbiased = |method| {
            with(&format!(
                "method = \"{method}\"\nunbiased_std = true\n{few}"
            ))
        };
        assert!(unbiased("mppi").validate().is_ok());
        let error = unbiased("cem").validate().unwrap_err().to_string();
        assert!(error.starts_with("num_elites: expected 2 to"), "{error}");
        for method in ["random_shooting", "gradient"] {
            let others = "temperature = 0.0\ninitial_std = 0.05";
            let config = with(&format!("method = \"{method}\"\nnum_samples = 8\n{others}"));
            assert!(config.validate().is_ok());
        }
    }

    #[test]
    fn settings_are_words_and_no_others() {
        let text = "method = \"mppi\"\naggregation = \"sum\"\nnoise = \"colored\"\ncoordinates = \"standard\"";
        let config: PlanConfig = toml::from_str(text).unwrap();
        assert_eq!(
            (config.method, config.aggregation),
            (Method::Mppi, Aggregation::Sum)
        );
        assert_eq!(
            (config.noise, config.coordinates),
            (Noise::Colored, Coordinates::Standard)
        );
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<PlanConfig>(&written).unwrap(), config);
        assert!(toml::from_str::<PlanConfig>("topk = 3").is_err());
    }
}

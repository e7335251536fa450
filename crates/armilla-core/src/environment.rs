//! The trait that simulators, robots and recordings are driven through.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::action::Action;
use crate::error::{Error, Result};
use crate::features::Features;
use crate::observation::Observation;

/// What an environment is, readable before it is reset.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvironmentSpec {
    /// Name, such as `two-room`.
    pub name: String,
    /// Which episodes are drawn, such as `crossing` or `unseen-pairs`.
    pub protocol: String,
    /// Schema of observations and actions.
    pub features: Features,
    /// Control steps a second.
    pub rate_hz: f64,
    /// Steps after which an episode is truncated, at most (an episode may set fewer).
    pub max_steps: usize,
    /// Lower bound of each action value, in the action's units.
    pub action_low: Vec<f32>,
    /// Upper bound of each action value, in the action's units.
    pub action_high: Vec<f32>,
}

/// Hardly a range of the same unit is so much wider or narrower than another.
pub const MOST_APART: f32 = 50.0;

impl EnvironmentSpec {
    /// Whether actions are carried out as fast as in the recordings that a policy or a world model learnt from, where their rate is
    /// known. `file` of the checkpoint says it, as `fps`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with both rates where they differ.
    pub fn check_rate(&self, learnt_hz: Option<f64>, file: &str) -> Result<()> {
        // A simulator's rate may be one over a period in f32.
        let near = |learnt: f64| (self.rate_hz - learnt).abs() < 1e-3 * learnt;
        let Some(learnt) = learnt_hz.filter(|&learnt| !near(learnt)) else {
            return Ok(());
        };
        let found = (self.rate_hz * 1000.0).round() / 1000.0;
        Err(Error::invalid(
            format!("rate of environment {}", self.name),
            format!("{learnt} Hz, as in the recordings"),
            format!(
                "{found} Hz; who wants it all the same takes `fps` out of the checkpoint's {file}"
            ),
        ))
    }

    /// Whether each action value has a lower and an upper bound, in this order; an infinite one is none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the first pair that is not so, or both numbers of them.
    pub fn check_bounds(&self) -> Result<()> {
        let what = |value: usize| format!("bounds of action value {value} of {}", self.name);
        let (low, high) = (self.action_low.len(), self.action_high.len());
        if low != high {
            let expected = format!("as many of action_high as of action_low, {low}");
            let what = format!("action bounds of environment {}", self.name);
            return Err(Error::invalid(what, expected, high));
        }
        let mut pairs = self.action_low.iter().zip(&self.action_high).enumerate();
        let wrong = |low: &f32, high: &f32| low.partial_cmp(high).is_none_or(Ordering::is_gt);
        match pairs.find(|(_, (low, high))| wrong(low, high)) {
            None => Ok(()),
            Some((value, (low, high))) => {
                let expected = "a lower and an upper one, each a number";
                Err(Error::invalid(
                    what(value),
                    expected,
                    format!("{low} and {high}"),
                ))
            }
        }
    }

    /// Whether there are cameras of these names, whose pictures are squares of this side. `file` of the checkpoint names them.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with what is there where one is missing or has another size.
    pub fn check_cameras(&self, names: &[String], side: usize, file: &str) -> Result<()> {
        for name in names {
            let mut cameras = self.features.cameras();
            let Some((_, feature)) = cameras.find(|(known, _)| known == name) else {
                let what = format!("cameras of environment {}", self.name);
                let expected = format!("`{name}`, as in the recordings");
                let found: Vec<_> = self.features.cameras().map(|(name, _)| name).collect();
                let found = found.join(", ");
                let mend = "to look through another one, name it in the checkpoint's";
                let found = format!("{found}; {mend} {file}");
                return Err(Error::invalid(what, expected, found));
            };
            if !feature.shape.starts_with(&[side, side]) {
                let what = format!("pictures of camera `{name}` of environment {}", self.name);
                let expected = format!("{side} x {side}, as in the recordings");
                return Err(Error::invalid(
                    what,
                    expected,
                    format!("{:?}", feature.shape),
                ));
            }
        }
        Ok(())
    }

    /// Whether actions have the units of recordings with these extremes: moves are no places.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with both where a recorded value reaches much further than the environment's, none nearly as far, or there are others.
    pub fn check_units(&self, low: &[f32], high: &[f32]) -> Result<()> {
        let what = format!("actions of environment {}", self.name);
        let (expected, found) = (low.len(), self.action_low.len());
        if expected != found {
            let expected = format!("{expected} values, as in the recordings");
            return Err(Error::invalid(what, expected, found));
        }
        let recorded = low.iter().zip(high);
        let taken = self.action_low.iter().zip(&self.action_high);
        // Neither a value that never moved in the recordings nor one without bounds tells a unit.
        let told: Vec<_> = recorded
            .zip(taken)
            .map(|((low, high), (least, most))| [*low, *high, *least, *most])
            .filter(|[low, high, least, most]| high > low && (most - least).is_finite())
            .collect();
        let ratio = |[low, high, least, most]: &[f32; 4]| (high - low) / (most - least);
        // One joint may hardly have moved; that none did by a fiftieth of its range is no chance.
        let too_wide = told.iter().find(|value| ratio(value) > MOST_APART);
        let too_narrow = told.iter().all(|value| ratio(value) < 1.0 / MOST_APART);
        let wrong = too_wide.or(told.first().filter(|_| too_narrow));
        if let Some([low, high, least, most]) = wrong {
            let expected = format!("the units of the recordings, which reach from {low} to {high}");
            return Err(Error::invalid(what, expected, format!("{least} to {most}")));
        }
        Ok(())
    }
}

/// How an episode begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Fixes scene, start and goal.
    pub seed: u64,
    /// Replaces the instruction that the seed would give; success is still judged by the seed's own.
    pub instruction: Option<String>,
}

/// Facts about an episode or a step that no policy sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// Whether the goal holds at this moment.
    pub success: bool,
    /// Figures by name, such as `distance_px` or `coverage`.
    pub figures: BTreeMap<String, f64>,
    /// Words by name, such as `family`, `instruction` or `scene` (a hash of the scene, for disjoint splits).
    pub labels: BTreeMap<String, String>,
}

/// What a step led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What the robot senses after the step.
    pub observation: Observation,
    /// Reward of the step.
    pub reward: f32,
    /// Whether the episode reached an end of its own.
    pub terminated: bool,
    /// Whether the episode was cut by its step budget.
    pub truncated: bool,
    /// Facts for evaluation.
    pub info: Info,
}

/// A robot, a simulator or a recording: resets, then takes one action a step.
pub trait Environment: Send {
    /// Schema, rate and bounds.
    fn spec(&self) -> &EnvironmentSpec;

    /// Begins an episode. The same [`Reset`] gives the same episode.
    ///
    /// # Errors
    ///
    /// When the environment cannot be brought to the start.
    fn reset(&mut self, reset: &Reset) -> Result<(Observation, Info)>;

    /// Carries out one action.
    ///
    /// # Errors
    ///
    /// When the action has the wrong width or is not finite, or no episode was begun.
    fn step(&mut self, action: &Action) -> Result<Step>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rates_and_units_and_bounds_that_are_none_are_refused() {
        let spec = EnvironmentSpec {
            name: "points".to_owned(),
            protocol: "any".to_owned(),
            features: Features::default(),
            rate_hz: 1.0 / f64::from(0.1_f32),
            max_steps: 1,
            action_low: vec![0.0, -1.0],
            action_high: vec![512.0, 1.0],
        };
        assert!(spec.check_rate(None, "config.json").is_ok());
        assert!(spec.check_rate(Some(10.0), "config.json").is_ok());
        let error = spec.check_rate(Some(30.0), "config.json").unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("expected 30 Hz") && said.contains("found 10 Hz"),
            "{said}"
        );
        for (low, high) in [
            ([100.0, 0.0], [400.0, 0.0]),
            ([255.0, -0.5], [257.0, 0.5]), // hardly moved
        ] {
            assert!(spec.check_units(&low, &high).is_ok());
        }
        let unbounded = EnvironmentSpec {
            action_low: vec![f32::NEG_INFINITY; 2],
            action_high: vec![f32::INFINITY; 2],
            ..spec.clone()
        };
        assert!(unbounded.check_units(&[0.0; 2], &[512.0; 2]).is_ok());
        for (high, expected) in [
            (vec![512.0, f32::NAN], "value 1 of points: expected"),
            (vec![-1.0, 1.0], "found 0 and -1"),
            (vec![512.0], "action_low, 2, found 1"),
        ] {
            let wrong = EnvironmentSpec {
                action_high: high,
                ..spec.clone()
            };
            let said = wrong.check_bounds().unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        assert!(spec.check_bounds().is_ok() && unbounded.check_bounds().is_ok());
        for (low, high, expected) in [
            (
                &[-1.0, 0.0][..],
                &[1.0, 0.0][..],
                "from -1 to 1, found 0 to 512",
            ),
            (&[0.0, 0.0], &[512.0, 512.0], "from 0 to 512, found -1 to 1"),
            (
                &[0.0],
                &[512.0],
                "expected 1 values, as in the recordings, found 2",
            ),
        ] {
            let said = spec.check_units(low, high).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}

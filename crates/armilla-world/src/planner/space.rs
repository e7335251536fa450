//! The coordinates of a search.

use crate::error::{Result, ensure};
use crate::scale::ActionScale;

/// Leads from an action's own units to the coordinates that a search moves in, and back, value by value.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    /// Bounds in an action's own units.
    low: Vec<f32>,
    high: Vec<f32>,
    /// Mean and deviation of the recordings, where these are the units.
    standard: Option<(Vec<f32>, Vec<f32>)>,
}

impl Space {
    /// -1 at the lower bound and 1 at the upper.
    pub(super) fn bounds(low: &[f32], high: &[f32]) -> Self {
        Self {
            low: low.to_vec(),
            high: high.to_vec(),
            standard: None,
        }
    }

    /// Standard deviations from the mean.
    pub(super) fn standard(actions: &ActionScale) -> Self {
        Self {
            standard: Some((actions.mean.clone(), actions.std.clone())),
            ..Self::bounds(&actions.low, &actions.high)
        }
    }

    /// Checks that the bounds fit each other.
    pub(super) fn validate(&self) -> Result<()> {
        let Self { low, high, .. } = self;
        let mut pairs = low.iter().zip(high);
        // A difference is finite only where both are; of the largest numbers none is.
        let ordered = pairs.all(|(low, high)| (high - low).is_finite() && low <= high);
        let fits = ordered && low.len() == high.len() && !low.is_empty();
        let expected = "finite and a finite way apart, equally many, low at most high";
        ensure(
            fits,
            "action bounds",
            expected,
            format!("{low:?} and {high:?}"),
        )
    }

    /// Values of an action.
    pub(crate) fn action(&self) -> usize {
        self.low.len()
    }

    /// Coordinates of an action, within the bounds.
    pub(crate) fn to_unit(&self, action: &[f32]) -> Vec<f32> {
        let mut action = action.to_vec();
        self.clamp(&mut action);
        let values = action.into_iter().enumerate();
        let unit = |(at, value): (usize, f32)| match &self.standard {
            // A value that is always the same has nowhere to go.
            _ if self.length(at) <= 0.0 => 0.0,
            Some((mean, std)) => (value - mean[at]) / std[at],
            None => 2.0 * ((value - self.low[at]) / (self.high[at] - self.low[at])) - 1.0,
        };
        values.map(unit).collect()
    }

    /// Actions at coordinates, one after the other.
    pub(crate) fn to_actions(&self, unit: &[f32]) -> Vec<f32> {
        let values = unit.iter().zip((0..self.action()).cycle());
        let action = |(unit, at): (&f32, usize)| match &self.standard {
            Some((mean, std)) => mean[at] + unit * std[at],
            None => {
                let [low, high] = [self.low[at], self.high[at]];
                (low + (unit + 1.0) / 2.0 * (high - low)).clamp(low, high)
            }
        };
        values.map(action).collect()
    }

    /// How far an action's value goes from one coordinate to the next.
    fn length(&self, at: usize) -> f32 {
        match &self.standard {
            Some((_, std)) => std[at],
            None => (self.high[at] - self.low[at]) / 2.0,
        }
    }

    /// Brings actions, one after the other, within the bounds.
    pub(crate) fn clamp(&self, actions: &mut [f32]) {
        let bounds = self.low.iter().zip(&self.high).cycle();
        for (value, (low, high)) in actions.iter_mut().zip(bounds) {
            *value = value.clamp(*low, *high);
        }
    }

    /// Brings coordinates within the bounds.
    pub(crate) fn confine(&self, unit: &mut [f32]) {
        let [low, high] = [&self.low, &self.high].map(|bound| self.to_unit(bound));
        let bounds = low.iter().zip(&high).cycle();
        for (value, (low, high)) in unit.iter_mut().zip(bounds) {
            *value = value.clamp(*low, *high);
        }
    }

    /// Turns slopes along actions into slopes along coordinates.
    pub(crate) fn slopes(&self, slopes: &mut [f32]) {
        for (slope, at) in slopes.iter_mut().zip((0..self.action()).cycle()) {
            *slope *= self.length(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard() -> Space {
        Space::standard(&ActionScale {
            mean: vec![1.0, 0.0, 5.0],
            std: vec![2.0, 0.5, 0.0],
            low: vec![-1.0, -1.0, 4.0],
            high: vec![5.0, 1.0, 6.0],
        })
    }

    #[test]
    fn bounds_are_at_1_and_nothing_passes_them() {
        let space = Space::bounds(&[-1.0, 2.0], &[3.0, 2.0]);
        assert_eq!(space.to_unit(&[3.0, 2.0]), [1.0, 0.0]);
        assert_eq!(space.to_unit(&[-7.0, 9.0]), [-1.0, 0.0]);
        assert_eq!(
            space.to_actions(&[0.5, 0.3, 2.0, -9.0]),
            [2.0, 2.0, 3.0, 2.0]
        );
        let mut unit = [-1.5, 0.2, 0.7, 0.0];
        space.confine(&mut unit);
        assert_eq!(unit, [-1.0, 0.0, 0.7, 0.0]);
        let mut slopes = [1.0, 1.0];
        space.slopes(&mut slopes);
        assert_eq!(slopes, [2.0, 0.0]);
    }

    #[test]
    fn bounds_of_no_width_hold_a_value_and_those_without_end_are_refused() {
        let still = ActionScale {
            mean: vec![0.5],
            std: vec![0.0],
            low: vec![0.5],
            high: vec![0.5],
        };
        for space in [Space::bounds(&[0.5], &[0.5]), Space::standard(&still)] {
            space.validate().unwrap();
            let mut unit = [0.7];
            space.confine(&mut unit);
            assert_eq!(unit, [0.0]);
            let mut actions = space.to_actions(&[0.0, 0.3]);
            space.clamp(&mut actions);
            assert_eq!(actions, [0.5; 2]);
        }
        for (low, high) in [(-3.4e38, 3.4e38), (0.0, f32::INFINITY), (f32::NAN, 1.0)] {
            let error = Space::bounds(&[low], &[high]).validate().unwrap_err();
            let said = error.to_string();
            assert!(said.contains("a finite way apart"), "{said}");
        }
        let wide = Space::bounds(&[0.0], &[3.4e38]);
        wide.validate().unwrap();
        assert_eq!(wide.to_unit(&[3.4e38]), [1.0]);
    }

    #[test]
    fn deviations_are_counted_from_the_mean_and_may_pass_the_bounds() {
        let space = standard();
        assert_eq!(space.to_unit(&[3.0, -0.5, 5.0]), [1.0, -1.0, 0.0]);
        assert_eq!(space.to_actions(&[4.0, 0.0, 1.0]), [9.0, 0.0, 5.0]);
        let mut actions = [9.0, -3.0, 5.0, 0.0, 0.0, 4.5];
        space.clamp(&mut actions);
        assert_eq!(actions, [5.0, -1.0, 5.0, 0.0, 0.0, 4.5]);
        let mut unit = [4.0, -3.0, 1.0];
        space.confine(&mut unit);
        assert_eq!(unit, [2.0, -2.0, 0.0]);
    }
}

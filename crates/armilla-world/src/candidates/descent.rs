//! Gradient descent on plans: Adam (Kingma & Ba, 2015), on plain numbers.

/// How much of the mean gradient and of the mean square a step keeps.
const KEPT: [f32; 2] = [0.9, 0.999];
/// What keeps a step finite where the gradient is zero.
const EPSILON: f32 = 1e-8;

/// The moments of many values' gradients.
#[derive(Debug, Default)]
pub(super) struct Descent {
    first: Vec<f32>,
    second: Vec<f32>,
    steps: i32,
}

impl Descent {
    /// Moves values against their slopes, each by about `rate`. A slope that is not a number counts as none.
    pub(super) fn step(&mut self, values: &mut [f32], slopes: &[f32], rate: f32) {
        self.first.resize(values.len(), 0.0);
        self.second.resize(values.len(), 0.0);
        self.steps += 1;
        let [first_weight, second_weight] = KEPT.map(|kept| 1.0 - kept.powi(self.steps));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, &slope), (first, second)) in values.iter_mut().zip(slopes).zip(moments) {
            let slope = if slope.is_finite() { slope } else { 0.0 };
            *first = KEPT[0] * *first + (1.0 - KEPT[0]) * slope;
            *second = KEPT[1] * *second + (1.0 - KEPT[1]) * slope * slope;
            *value -= rate * (*first / first_weight) / ((*second / second_weight).sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_by_hand() {
        let mut descent = Descent::default();
        let mut values = [1.0, 1.0, 1.0, 1.0];
        descent.step(&mut values, &[100.0, -0.5, 0.0, f32::NAN], 0.1);
        let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-5, "{found}");
        near(values[0], 0.9);
        near(values[1], 1.1);
        assert_eq!(values[2..], [1.0, 1.0]);
        // Means 0.09 and 0.099 of the first slope over 1 - 0.9^2, and 0.000999 of its square over 1 - 0.999^2.
        descent.step(&mut values, &[0.0, 0.0, 0.0, 0.0], 0.1);
        near(
            values[0],
            0.9 - 0.1 * (0.09 / 0.19) / (0.000_999_f32 / 0.001_999).sqrt(),
        );
    }

    #[test]
    fn it_finds_the_bottom() {
        let mut descent = Descent::default();
        let mut values = [3.0, -2.0];
        for _ in 0..300 {
            let slopes = [2.0 * (values[0] - 1.0), 20.0 * values[1]];
            descent.step(&mut values, &slopes, 0.1);
        }
        assert!(
            (values[0] - 1.0).abs() < 1e-2 && values[1].abs() < 1e-2,
            "{values:?}"
        );
    }
}

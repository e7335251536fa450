//! Drawing what a sampler makes towards values that are known already.
//!
//! Real-time chunking ([Black et al.](https://arxiv.org/abs/2506.07339), equations 2 to 5): a chunk of actions is continued while it is
//! carried out. What will have been done when the next chunk is ready is given, what comes after it counts less and less, and the clean
//! sample that the network names at each step is moved against the error by the network's own slope (ΠGDM).

use burn::tensor::Tensor;

/// No step of the velocity is drawn harder than this: the paper's β.
const STRONGEST: f64 = 5.0;

/// Values that are known, and how much each counts.
#[derive(Clone, Debug)]
pub struct Guidance {
    /// `[batch, steps, value]`.
    pub known: Tensor<3>,
    /// 0 to 1, `[batch, steps]`.
    pub weight: Tensor<2>,
}

/// How much each of `known` steps counts of which the first `fixed` cannot be changed any more: 1 for these, then less and less.
#[must_use]
pub fn soft_mask(fixed: usize, known: usize) -> Vec<f32> {
    let fall = |step: usize| {
        let share = (known - step) as f64 / (known - fixed + 1) as f64;
        share * share.exp_m1() / 1f64.exp_m1()
    };
    (0..known)
        .map(|step| if step < fixed { 1.0 } else { fall(step) as f32 })
        .collect()
}

impl Guidance {
    /// What is known, moved to the right by `before` steps and brought to `steps` of them; what is added counts nothing.
    #[must_use]
    pub fn framed(self, before: usize, steps: usize) -> Self {
        let [_, known, _] = self.known.dims();
        let before = before.min(steps);
        let kept = known.min(steps - before);
        let after = steps - before - kept;
        Self {
            known: self
                .known
                .narrow(1, 0, kept)
                .pad([(before, after), (0, 0)], 0.0),
            weight: self
                .weight
                .narrow(1, 0, kept)
                .pad([(0, 0), (before, after)], 0.0),
        }
    }

    /// Some of the rows.
    #[must_use]
    pub fn part(&self, rows: std::ops::Range<usize>) -> Self {
        Self {
            known: self.known.clone().slice_dim(0, rows.clone()),
            weight: self.weight.clone().slice_dim(0, rows),
        }
    }

    /// The clean sample behind a point, `signal * clean + noise * noise`, drawn towards what is known.
    ///
    /// # Shapes
    ///
    /// - point, what `clean` gets and gives, and output: `[batch, steps, value]`
    #[must_use]
    pub fn clean(
        &self,
        point: Tensor<3>,
        [signal, noise]: [f64; 2],
        clean: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let point = point.autodiff().require_grad();
        let found = clean(point.clone());
        let free = found.clone().inner();
        let error = (self.known.clone() - free.clone()) * self.weight.clone().unsqueeze_dim(2);
        // Its gradient is the error times the network's Jacobian.
        let product = (found * Tensor::from_inner(error)).sum();
        let gradients = product.backward();
        match point.grad(&gradients) {
            // The slope along the flow's own coordinates, in which signal and noise are shares.
            Some(slope) => free + slope * ((signal + noise) * strength(signal / (signal + noise))),
            None => free,
        }
    }
}

/// How far the clean sample moves, by the share of it in the point.
fn strength(share: f64) -> f64 {
    let left = 1.0 - share;
    // Equation 4 with the prior's variance left² / (share² + left²).
    let pull = (share * share + left * left) / (share * left);
    left * pull.min(STRONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn what_is_fixed_counts_whole_and_the_rest_less_and_less() {
        let mask = soft_mask(2, 5);
        assert_eq!(mask[..2], [1.0, 1.0]);
        let expected = [0.75, 0.5, 0.25].map(|c: f32| c * c.exp_m1() / 1f32.exp_m1());
        assert!(
            mask[2..]
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6)
        );
        assert!(soft_mask(0, 0).is_empty());
        assert_eq!(soft_mask(7, 3), [1.0; 3]);
    }

    #[test]
    fn a_point_is_moved_by_the_error_through_the_slope() {
        let device = Device::flex();
        let guidance = Guidance {
            known: Tensor::from_floats([[[1.0], [1.0], [1.0]]], &device),
            weight: Tensor::from_floats([[1.0, 0.5, 0.0]], &device),
        };
        let point = Tensor::<3>::from_floats([[[0.2], [0.2], [0.2]]], &device);
        let found = guidance.clean(point, [0.5, 0.5], |point| point * 3.0);
        // 3 * 0.2, then 0.5 * 2 of slope 3 times the error 0.4, its half, none of it.
        let expected = TensorData::from([[[0.6f32 + 1.2], [0.6 + 0.6], [0.6]]]);
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
        assert_eq!(strength(0.0), 5.0);
        assert_eq!(strength(1.0), 0.0);
    }

    /// Chunks of four actions are all 1 or all -1: what is half carried out decides which, whatever the noise says.
    #[test]
    fn a_chunk_goes_on_the_way_it_began() {
        let device = Device::flex();
        let noise = Tensor::<3>::from_floats([[[0.3], [0.2], [0.4], [0.1]]], &device);
        let sample = |guidance: Option<&Guidance>| {
            let chunk = flow::integrate(noise.clone(), 20, |point, time| {
                // The mean of what can be behind a point.
                let clean = |point: Tensor<3>| {
                    let lean = point.sum_dim(1) * ((1.0 - time) / (time * time));
                    lean.tanh().expand([1, 4, 1])
                };
                let clean = match guidance {
                    Some(guidance) => guidance.clean(point.clone(), [1.0 - time, time], clean),
                    None => clean(point.clone()),
                };
                (point - clean) / time
            });
            chunk.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        assert!(sample(None).iter().all(|value| (value - 1.0).abs() < 0.1));
        let guidance = Guidance {
            known: -Tensor::<3>::ones([1, 2, 1], &device),
            weight: Tensor::<1>::from_floats(soft_mask(1, 2).as_slice(), &device).unsqueeze(),
        };
        let guided = sample(Some(&guidance.framed(0, 4)));
        assert!(
            guided.iter().all(|value| (value + 1.0).abs() < 0.1),
            "{guided:?}"
        );
    }

    #[test]
    fn a_frame_counts_nothing() {
        let device = Device::flex();
        let guidance = Guidance {
            known: Tensor::ones([2, 3, 1], &device),
            weight: Tensor::ones([2, 3], &device),
        };
        let framed = guidance.clone().framed(1, 6);
        assert_eq!(framed.known.dims(), [2, 6, 1]);
        let weight: Vec<f32> = framed.weight.narrow(0, 0, 1).into_data().iter().collect();
        assert_eq!(weight, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(guidance.framed(1, 2).known.dims(), [2, 2, 1]);
    }
}

//! Which windows come at which step.

use std::sync::{Arc, Mutex, PoisonError};

use armilla_core::random::stream;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// An order of window numbers.
pub(super) struct Order {
    seed: u64,
    kind: Kind,
}

enum Kind {
    /// Every window once an epoch, in an order drawn for each epoch.
    Permuted {
        count: usize,
        /// The permutation made last, and its epoch; only saves making it again.
        last: Mutex<Option<Epoch>>,
    },
    /// Drawn by weight: the running sum of the weights.
    Weighted { sums: Vec<f64> },
    /// A dataset by weight, and any of its windows alike: running sums of weights and of windows.
    Mixed { sums: Vec<f64>, ends: Vec<usize> },
}

/// An epoch's number and its permutation.
type Epoch = (u64, Arc<Vec<u32>>);

impl Order {
    pub(super) fn permuted(count: usize, seed: u64) -> Self {
        let last = Mutex::new(None);
        Self {
            seed,
            kind: Kind::Permuted { count, last },
        }
    }

    pub(super) fn weighted(weights: &[f32], seed: u64) -> Result<Self> {
        let mut sums = Vec::with_capacity(weights.len());
        let mut sum = 0.0;
        for (index, &weight) in weights.iter().enumerate() {
            if !(weight >= 0.0 && weight.is_finite()) {
                let what = format!("weight of window {index}");
                return Err(Error::invalid(
                    what,
                    "a finite number, zero or above",
                    weight,
                ));
            }
            sum += f64::from(weight);
            sums.push(sum);
        }
        if sum == 0.0 {
            return Err(Error::invalid("weights", "at least one above zero", "none"));
        }
        let kind = Kind::Weighted { sums };
        Ok(Self { seed, kind })
    }

    /// Datasets of so many windows each, drawn by weight.
    pub(super) fn mixed(counts: &[usize], weights: &[f64], seed: u64) -> Self {
        let sums = weights.iter().scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        let ends = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        });
        let kind = Kind::Mixed {
            sums: sums.collect(),
            ends: ends.collect(),
        };
        Self { seed, kind }
    }

    /// The window numbers of a step.
    pub(super) fn pick(&self, step: u64, batch_size: usize) -> Vec<usize> {
        match &self.kind {
            Kind::Permuted { count, last } => {
                let first = step * batch_size as u64;
                let positions = first..first + batch_size as u64;
                let count = *count as u64;
                positions
                    .map(|position| {
                        let order = self.permutation(last, position / count, count);
                        order[(position % count) as usize] as usize
                    })
                    .collect()
            }
            Kind::Weighted { sums } => {
                let mut generator = stream(self.seed, "weighted windows", step);
                (0..batch_size)
                    .map(|_| by_weight(sums, &mut generator))
                    .collect()
            }
            Kind::Mixed { sums, ends } => {
                let mut generator = stream(self.seed, "mixed windows", step);
                let mut draw = || {
                    let part = by_weight(sums, &mut generator);
                    let start = part.checked_sub(1).map_or(0, |before| ends[before]);
                    generator.random_range(start..ends[part])
                };
                (0..batch_size).map(|_| draw()).collect()
            }
        }
    }

    fn permutation(&self, last: &Mutex<Option<Epoch>>, epoch: u64, count: u64) -> Arc<Vec<u32>> {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, order)) = &*last
            && *known == epoch
        {
            return Arc::clone(order);
        }
        let mut generator = stream(self.seed, "window order", epoch);
        let mut order: Vec<u32> = (0..count as u32).collect();
        for end in (1..order.len()).rev() {
            order.swap(end, generator.random_range(0..=end));
        }
        let order = Arc::new(order);
        *last = Some((epoch, Arc::clone(&order)));
        order
    }
}

/// Draws a place by the running sums of weights.
fn by_weight(sums: &[f64], generator: &mut ChaCha8Rng) -> usize {
    let draw = generator.random::<f64>() * sums.last().copied().unwrap_or(0.0);
    let index = sums.partition_point(|&sum| sum <= draw);
    index.min(sums.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_once_an_epoch() {
        let order = Order::permuted(10, 3);
        // Five steps of four are two epochs; one batch straddles them.
        let drawn: Vec<_> = (0..5).flat_map(|step| order.pick(step, 4)).collect();
        let (first, second) = drawn.split_at(10);
        for epoch in [first, second] {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(first, second);
        // In any order of asking, and from a loader made anew.
        assert_eq!(Order::permuted(10, 3).pick(3, 4), drawn[12..16]);
        assert_eq!(order.pick(0, 4), drawn[..4]);
        assert_ne!(Order::permuted(10, 4).pick(0, 4), drawn[..4]);
    }

    #[test]
    fn a_mixture_draws_datasets_by_weight_and_windows_alike() {
        let order = Order::mixed(&[2, 10], &[1.0, 3.0], 0);
        let mut counts = [0; 12];
        for step in 0..100 {
            for window in order.pick(step, 40) {
                counts[window] += 1;
            }
        }
        assert!(counts[..2].iter().all(|count| (440..560).contains(count)));
        assert!(counts[2..].iter().all(|count| (240..360).contains(count)));
    }

    #[test]
    fn weights_are_shares() {
        let order = Order::weighted(&[1.0, 0.0, 3.0], 0).unwrap();
        let mut counts = [0; 3];
        for step in 0..100 {
            order
                .pick(step, 40)
                .into_iter()
                .for_each(|index| counts[index] += 1);
        }
        assert_eq!(counts[1], 0);
        assert!((2850..3150).contains(&counts[2]), "{counts:?}");
        assert_eq!(order.pick(7, 40), order.pick(7, 40));
        for weights in [&[0.0, 0.0][..], &[1.0, -1.0], &[f32::NAN]] {
            assert!(Order::weighted(weights, 0).is_err());
        }
    }
}

//! Probes: what can be read out of latents, by a linear map and by a small network.
//!
//! Features are standardised, values z-scored, both by the samples that the probe is fitted to; figures are of z-scored values of
//! other samples, as LeWorldModel reports them (<https://arxiv.org/abs/2603.19312>).

use std::collections::BTreeMap;

use armilla_core::random::stream;
use armilla_core::{Error, Result};
use armilla_nn::layers::{Mlp, MlpConfig};
use armilla_nn::random::seeded;
use armilla_train::TrainConfig;
use armilla_train::gradients::Gradients;
use armilla_train::optimizer::AdamW;
use armilla_world::diagnostics::standard_deviations;
use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};
use nalgebra::{DMatrix, DVector};
use rand::RngExt as _;

use crate::statistics::{Moments, bootstrap_interval, pearson, squared_distances};

/// The ridge: what is added to the diagonal of the standardised features' products.
const RIDGE: f64 = 1.0;
/// Width and layers of the network.
const HIDDEN: usize = 128;
const LAYERS: usize = 3;
/// Samples of a step of the network's training.
const BATCH: usize = 256;

/// Latents and what was true where they were seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// One a sample.
    pub latents: Vec<Vec<f32>>,
    /// As many values a sample as there are targets; none for what a scene does not have.
    pub values: Vec<Vec<Option<f64>>>,
    /// Of which episode each is: those of one resemble each other.
    pub episodes: Vec<usize>,
}

/// How well a probe reads a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeScore {
    /// Samples that have the value.
    pub samples: usize,
    /// Mean squared error of the z-scored value.
    pub mse: f64,
    /// Pearson's correlation; none where the value or the reading does not vary.
    pub r: Option<f64>,
    /// Its 95 % interval by a bootstrap of whole episodes; none of fewer than two, or where most resamples do not vary.
    pub r_interval: Option<[f64; 2]>,
    /// 1 minus the mean squared error over the value's variance.
    pub r2: Option<f64>,
}

/// Mean and deviation.
#[derive(Clone, Copy, Debug)]
struct Scale {
    mean: f64,
    std: f64,
}

impl Scale {
    /// Of values; what does not vary is left as it is.
    fn of(values: &[f64]) -> Self {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let std = standard_deviations(values, 1)[0];
        let std = if std > 1e-9 { std } else { 1.0 };
        Self { mean, std }
    }

    fn apply(self, value: f64) -> f64 {
        (value - self.mean) / self.std
    }
}

/// A fitted probe.
#[derive(Debug)]
pub struct Probe {
    features: Vec<Scale>,
    targets: Vec<Scale>,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    /// Weights and offset, one a target.
    Linear(Vec<(DVector<f64>, f64)>),
    Network(Box<Mlp>),
}

impl Probe {
    /// A ridge regression for each value, in closed form.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no sample.
    pub fn linear(samples: &Samples) -> Result<Self> {
        let (features, targets) = scales(samples)?;
        let rows = standardised(&features, &samples.latents);
        let fit = |target: usize| {
            let known: Vec<(usize, f64)> = known(samples, target).collect();
            if known.is_empty() {
                return Some((DVector::zeros(features.len()), 0.0));
            }
            let inputs = DMatrix::from_fn(known.len(), features.len(), |row, column| {
                rows[known[row].0][column]
            });
            // Values are centred over the samples that have them, which need not be the middle of all latents.
            let middle = inputs.row_mean();
            let inputs = DMatrix::from_fn(known.len(), features.len(), |row, column| {
                inputs[(row, column)] - middle[column]
            });
            let wanted = known.iter().map(|&(_, value)| targets[target].apply(value));
            let weights = ridge(&inputs, &DVector::from_iterator(known.len(), wanted))?;
            let offset = -middle.transpose().dot(&weights);
            Some((weights, offset))
        };
        let weights: Option<Vec<_>> = (0..targets.len()).map(fit).collect();
        let expected = "finite latents";
        let weights = weights.ok_or_else(|| Error::invalid("probe", expected, "others"))?;
        Ok(Self {
            features,
            targets,
            reader: Reader::Linear(weights),
        })
    }

    /// A network of two hidden layers for all values together, trained for so many steps.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no sample.
    pub fn network(samples: &Samples, steps: u64, seed: u64, device: &Device) -> Result<Self> {
        let (features, targets) = scales(samples)?;
        let rows = standardised(&features, &samples.latents);
        let device = device.clone().autodiff();
        let config = MlpConfig::new(features.len(), HIDDEN, targets.len()).with_depth(LAYERS);
        let mut network = seeded(&device, seed, || config.init(&device));
        let settings = TrainConfig {
            steps,
            learning_rate: 1e-3,
            warmup_steps: steps / 20,
            min_learning_rate_ratio: 0.01,
            beta2: 0.999,
            ..TrainConfig::default()
        };
        let mut optimizer = AdamW::new(&network);
        for step in 0..steps {
            let mut generator = stream(seed, "probe", step);
            let chosen: Vec<_> = (0..BATCH)
                .map(|_| generator.random_range(0..rows.len()))
                .collect();
            let input = chosen.iter().flat_map(|&row| &rows[row]);
            let input = tensor(input.map(|&value| value as f32).collect(), BATCH, &device);
            let values = || chosen.iter().map(|&row| &samples.values[row]);
            let of = |pick: &dyn Fn(usize, Option<f64>) -> f64| {
                let each = values().flat_map(|row| row.iter().enumerate());
                let each = each.map(|(target, &value)| pick(target, value) as f32);
                tensor(each.collect(), BATCH, &device)
            };
            let wanted =
                of(&|target, value| value.map_or(0.0, |value| targets[target].apply(value)));
            let counts = of(&|_, value| f64::from(u8::from(value.is_some())));
            let errors = (network.forward(input) - wanted).square() * counts.clone();
            let loss = errors.sum() / counts.sum().clamp_min(1.0);
            let mut gradients = Gradients::default();
            gradients.add(&network, loss.backward());
            network = optimizer.step(network, gradients, &settings, step);
        }
        Ok(Self {
            features,
            targets,
            reader: Reader::Network(Box::new(network.valid())),
        })
    }

    /// How well it reads each value of other samples; none for a value that none of them has.
    #[must_use]
    pub fn score(&self, samples: &Samples) -> Vec<Option<ProbeScore>> {
        let readings = self.read(&samples.latents);
        let score = |target: usize| {
            let scale = self.targets[target];
            let (wanted, found): (Vec<_>, Vec<_>) = known(samples, target)
                .map(|(row, value)| (scale.apply(value), readings[row][target]))
                .unzip();
            let squares = wanted.iter().zip(&found).map(|(a, b)| (a - b).powi(2));
            let count = wanted.len() as f64;
            let mse = squares.sum::<f64>() / count;
            (!wanted.is_empty()).then(|| {
                let variance = squared_distances(&wanted) / count;
                let rows = known(samples, target).map(|(row, _)| samples.episodes[row]);
                let pairs = rows.zip(wanted.iter().copied().zip(found.iter().copied()));
                ProbeScore {
                    samples: wanted.len(),
                    mse,
                    r: pearson(&wanted, &found),
                    r_interval: bootstrap_interval(&by_episode(pairs)),
                    r2: (variance > 0.0).then(|| 1.0 - mse / variance),
                }
            })
        };
        (0..self.targets.len()).map(score).collect()
    }

    /// The z-scored values that it reads, a row a latent.
    fn read(&self, latents: &[Vec<f32>]) -> Vec<Vec<f64>> {
        let rows = standardised(&self.features, latents);
        match &self.reader {
            Reader::Linear(weights) => {
                let dot = |row: &Vec<f64>, (weights, offset): &(DVector<f64>, f64)| {
                    offset
                        + row
                            .iter()
                            .zip(weights.iter())
                            .map(|(a, b)| a * b)
                            .sum::<f64>()
                };
                let read = |row| weights.iter().map(|weights| dot(row, weights)).collect();
                rows.iter().map(read).collect()
            }
            Reader::Network(network) if !rows.is_empty() => {
                let device = network.devices().into_iter().next().unwrap_or_default();
                let input = rows.iter().flatten().map(|&value| value as f32);
                let output = network.forward(tensor(input.collect(), rows.len(), &device));
                let values: Vec<f64> = output.into_data().iter::<f64>().collect();
                values
                    .chunks(self.targets.len())
                    .map(<[_]>::to_vec)
                    .collect()
            }
            Reader::Network(_) => Vec::new(),
        }
    }
}

/// Scales of latents and values.
fn scales(samples: &Samples) -> Result<(Vec<Scale>, Vec<Scale>)> {
    let (Some(latent), Some(values)) = (samples.latents.first(), samples.values.first()) else {
        return Err(Error::invalid("samples of a probe", "at least one", 0));
    };
    let feature = |at: usize| {
        let column = samples.latents.iter().map(|latent| f64::from(latent[at]));
        Scale::of(&column.collect::<Vec<_>>())
    };
    let target = |at: usize| {
        let column: Vec<_> = known(samples, at).map(|(_, value)| value).collect();
        match column.is_empty() {
            true => Scale {
                mean: 0.0,
                std: 1.0,
            },
            false => Scale::of(&column),
        }
    };
    Ok((
        (0..latent.len()).map(feature).collect(),
        (0..values.len()).map(target).collect(),
    ))
}

/// The sums of each episode.
fn by_episode(pairs: impl Iterator<Item = (usize, (f64, f64))>) -> Vec<Moments> {
    let mut all = BTreeMap::<usize, Moments>::new();
    for (episode, (a, b)) in pairs {
        all.entry(episode).or_default().add(a, b);
    }
    all.into_values().collect()
}

/// Samples that have a value, and it.
fn known(samples: &Samples, target: usize) -> impl Iterator<Item = (usize, f64)> {
    let all = samples.values.iter().enumerate();
    all.filter_map(move |(row, values)| Some((row, values[target]?)))
}

fn standardised(features: &[Scale], latents: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let row = |latent: &Vec<f32>| {
        let each = latent.iter().zip(features);
        each.map(|(&value, scale)| scale.apply(f64::from(value)))
            .collect()
    };
    latents.iter().map(row).collect()
}

/// Weights `w` that minimise `|inputs w - wanted|² + RIDGE |w|²`.
fn ridge(inputs: &DMatrix<f64>, wanted: &DVector<f64>) -> Option<DVector<f64>> {
    let (rows, columns) = inputs.shape();
    let with_ridge = |products: DMatrix<f64>| {
        let size = products.nrows();
        (products + DMatrix::identity(size, size) * RIDGE).cholesky()
    };
    // Both give the same weights; the smaller matrix is faster.
    if rows < columns {
        let solved = with_ridge(inputs * inputs.transpose())?.solve(wanted);
        return Some(inputs.tr_mul(&solved));
    }
    Some(with_ridge(inputs.tr_mul(inputs))?.solve(&inputs.tr_mul(wanted)))
}

/// Values row after row, `[rows, width]`.
fn tensor(values: Vec<f32>, rows: usize, device: &Device) -> Tensor<2> {
    let width = values.len() / rows;
    Tensor::from_data(TensorData::new(values, [rows, width]), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::random::normals;

    /// Latents of noise; the first value is linear in them, the second a square, the third known for every second sample.
    fn samples(stream_step: u64, count: usize) -> Samples {
        let noise = normals(&mut stream(0, "probe test", stream_step), count * 4);
        let latents: Vec<_> = noise.chunks(4).map(<[f32]>::to_vec).collect();
        let values = latents.iter().enumerate().map(|(row, latent)| {
            let [a, b] = [0, 1].map(|at| f64::from(latent[at]));
            vec![
                Some(100.0 + 5.0 * a - 2.0 * b),
                Some(a * a),
                row.is_multiple_of(2).then_some(b),
                None,
            ]
        });
        Samples {
            values: values.collect(),
            latents,
            episodes: (0..count).map(|row| row / 10).collect(),
        }
    }

    #[test]
    fn ridge_by_hand() {
        // (XᵀX + 1) w = Xᵀy with XᵀX = 2 and Xᵀy = 6.
        let inputs = DMatrix::from_row_slice(2, 1, &[1.0, 1.0]);
        let wanted = DVector::from_row_slice(&[2.0, 4.0]);
        assert!((ridge(&inputs, &wanted).unwrap()[0] - 2.0).abs() < 1e-12);
        // One row and two columns go through the other matrix: w = Xᵀ (XXᵀ + 1)⁻¹ y.
        let inputs = DMatrix::from_row_slice(1, 2, &[1.0, 2.0]);
        let found = ridge(&inputs, &DVector::from_row_slice(&[6.0])).unwrap();
        assert!((found[0] - 1.0).abs() < 1e-12 && (found[1] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_linear_probe_reads_what_is_linear_only() {
        let probe = Probe::linear(&samples(0, 400)).unwrap();
        let scores = probe.score(&samples(1, 200));
        let linear = scores[0].unwrap();
        assert!(linear.mse < 1e-3 && linear.r.unwrap() > 0.999, "{linear:?}");
        assert!((linear.r2.unwrap() - 1.0).abs() < 1e-3);
        let [low, high] = scores[1].unwrap().r_interval.unwrap();
        let square = scores[1].unwrap().r.unwrap();
        let of_one = Samples {
            episodes: vec![0; 200],
            ..samples(1, 200)
        };
        assert_eq!(probe.score(&of_one)[1].unwrap().r_interval, None);
        assert!(
            low < square && square < high && high - low < 0.6,
            "{low} {square} {high}"
        );
        assert!(scores[1].unwrap().r2.unwrap() < 0.2);
        assert_eq!(scores[2].unwrap().samples, 100);
        assert!(scores[2].unwrap().r.unwrap() > 0.99);
        assert!(scores[3].is_none());
    }

    #[test]
    fn a_value_that_only_some_samples_have_is_read_by_a_line_too() {
        let noise = normals(&mut stream(0, "probe test", 2), 400);
        // Known where the latent lies around 2, not where it lies around -2.
        let side = |row: usize| if row.is_multiple_of(2) { 2.0 } else { -2.0 };
        let latents = noise.iter().enumerate();
        let latents: Vec<_> = latents
            .map(|(row, noise)| vec![side(row) + 0.3 * noise])
            .collect();
        let known = |row: usize| row.is_multiple_of(2);
        let values = latents.iter().enumerate();
        let values = values.map(|(row, latent)| vec![known(row).then(|| f64::from(latent[0]))]);
        let samples = Samples {
            values: values.collect(),
            latents: latents.clone(),
            episodes: (0..latents.len()).collect(),
        };
        let score = Probe::linear(&samples).unwrap().score(&samples)[0].unwrap();
        assert!(score.r2.unwrap() > 0.9, "{score:?}");
    }

    #[test]
    fn a_network_reads_a_square_too_and_is_seeded() {
        let probe = || Probe::network(&samples(0, 600), 300, 7, &Device::flex()).unwrap();
        let scores = probe().score(&samples(1, 200));
        assert!(scores[1].unwrap().r2.unwrap() > 0.7, "{scores:?}");
        assert!(scores[0].unwrap().r.unwrap() > 0.95 && scores[2].unwrap().r.unwrap() > 0.9);
        assert_eq!(probe().score(&samples(1, 200)), scores);
        assert!(
            probe()
                .score(&Samples::default())
                .iter()
                .all(Option::is_none)
        );
    }

    #[test]
    fn no_sample_is_an_error() {
        let error = Probe::linear(&Samples::default()).unwrap_err().to_string();
        assert!(error.contains("at least one"), "{error}");
    }
}

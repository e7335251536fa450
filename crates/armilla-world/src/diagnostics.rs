//! Whether latents are alive, and whether predictions heed the action.

use armilla_nn::dropout::Dropout;
use armilla_nn::reduction::mean_squared_error;
use burn::module::Module as _;
use burn::tensor::{Int, Tensor, TensorData};
use nalgebra::DMatrix;

use crate::batch::TrainingBatch;
use crate::model::Model;
use crate::transition::Transition as _;

/// Figures of one batch. Healthy: effective rank of 8 or more, smallest deviation of 0.1 or more, action-shuffle ratio of 2 or more.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostics {
    /// Windows that they were measured on.
    pub windows: usize,
    /// Standard deviation of each of a latent's values.
    pub std: Vec<f64>,
    /// See [`effective_rank`].
    pub effective_rank: f64,
    /// Error of the one-step prediction under another window's action, over that under the right one. It takes two windows: of one alone
    /// the other action is its own, and the ratio 1.
    pub action_shuffle_ratio: f64,
    /// Error of predicting no change at all, over that of the one-step prediction.
    pub copy_ratio: f64,
    /// Mean cosine between consecutive displacements; 1 for straight paths.
    pub straightness: f64,
}

impl Diagnostics {
    /// Measures them on one batch, with the batch normalisation's running statistics. The more windows, the better: the effective
    /// rank cannot exceed their frames.
    #[must_use]
    pub fn measure(model: &Model, batch: &TrainingBatch) -> Self {
        let model = model.valid();
        let frames = model.encode_frames(batch.observations.clone().inner(), batch.frames);
        let latents = frames.narrow(1, 0, batch.time); // [batch, time, latent]
        let [windows, time, latent] = latents.dims();
        let blocks = match batch.blocks.is_autodiff() {
            true => batch.blocks.clone().inner(),
            false => batch.blocks.clone(),
        };
        let others = (0..windows)
            .map(|window| ((window + 1) % windows) as i64)
            .collect::<Vec<_>>();
        let others =
            Tensor::<1, Int>::from_data(TensorData::new(others, [windows]), &latents.device());
        let target = latents.clone().narrow(1, 1, time - 1);
        let error = |prediction: Tensor<3>| {
            let error = mean_squared_error(prediction, target.clone());
            f64::from(error.into_scalar::<f32>())
        };
        let predict = |blocks: Tensor<3>| {
            let first = model.look_ahead(latents.clone(), blocks, 1, &mut Dropout::Off);
            error(first.into_iter().next().unwrap_or_else(|| target.clone()))
        };
        let predicted = predict(blocks.clone()).max(1e-12);
        let shuffled = predict(blocks.select(0, others));
        let copied = error(latents.clone().narrow(1, 0, time - 1));
        let rows: Vec<f64> = latents.into_data().iter::<f64>().collect();
        Self {
            windows,
            std: standard_deviations(&rows, latent),
            effective_rank: effective_rank(&rows, latent),
            action_shuffle_ratio: shuffled / predicted,
            copy_ratio: copied / predicted,
            straightness: straightness(&rows, time, latent),
        }
    }

    /// The smallest standard deviation of a latent's values.
    #[must_use]
    pub fn smallest_std(&self) -> f64 {
        self.std.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The mean of the standard deviations.
    #[must_use]
    pub fn mean_std(&self) -> f64 {
        self.std.iter().sum::<f64>() / self.std.len().max(1) as f64
    }
}

/// The standard deviation of each column. `rows`: `[rows, width]`.
#[must_use]
pub fn standard_deviations(rows: &[f64], width: usize) -> Vec<f64> {
    let count = (rows.len() / width) as f64;
    let column = |at: usize| rows.iter().skip(at).step_by(width);
    let deviation = |at| {
        let mean = column(at).sum::<f64>() / count;
        (column(at).map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
    };
    (0..width).map(deviation).collect()
}

/// How many directions the rows spread over: the exponential of the entropy of the centred matrix's singular values, as shares of
/// their sum (Roy and Vetterli, 2007). 1 for a line, `width` for a ball, 0 where all rows are equal.
#[must_use]
pub fn effective_rank(rows: &[f64], width: usize) -> f64 {
    let matrix = DMatrix::from_row_slice(rows.len() / width, width, rows);
    let mean = matrix.row_mean();
    let centred = DMatrix::from_fn(matrix.nrows(), width, |row, column| {
        matrix[(row, column)] - mean[column]
    });
    // Both products have the same eigenvalues but for zeros; of tokens by the ten thousand the larger does not fit in memory.
    let product = match centred.nrows() < width {
        true => &centred * centred.transpose(),
        false => centred.tr_mul(&centred),
    };
    let squares = product.symmetric_eigenvalues();
    let values: Vec<f64> = squares
        .iter()
        .map(|square| square.max(0.0).sqrt())
        .collect();
    let total: f64 = values.iter().sum();
    // What rounding leaves of equal rows.
    if total <= 1e-12 * rows.iter().map(|value| value.abs()).sum::<f64>() {
        return 0.0;
    }
    let shares = values
        .iter()
        .map(|value| value / total)
        .filter(|&share| share > 1e-12);
    (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
}

/// Mean cosine between consecutive displacements. `rows`: `[batch, time, width]`; 0 where nothing moves.
#[must_use]
pub fn straightness(rows: &[f64], time: usize, width: usize) -> f64 {
    let mut cosines = Vec::new();
    for path in rows.chunks(time * width) {
        let frames: Vec<_> = path.chunks(width).collect();
        for three in frames.windows(3) {
            let dot = |a: [&[f64]; 2], b: [&[f64]; 2]| {
                (0..width)
                    .map(|at| (a[1][at] - a[0][at]) * (b[1][at] - b[0][at]))
                    .sum::<f64>()
            };
            let (first, second) = ([three[0], three[1]], [three[1], three[2]]);
            let norms = (dot(first, first) * dot(second, second)).sqrt();
            if norms > 1e-12 {
                cosines.push(dot(first, second) / norms);
            }
        }
    }
    let count = cosines.len().max(1) as f64;
    cosines.iter().sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jepa::loss::tests::tiny;

    #[test]
    fn ranks_of_known_matrices() {
        let line: Vec<f64> = (0..10)
            .flat_map(|i| [f64::from(i), 2.0 * f64::from(i), 5.0])
            .collect();
        assert!((effective_rank(&line, 3) - 1.0).abs() < 1e-6);
        let cross = [1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0];
        assert!((effective_rank(&cross, 2) - 2.0).abs() < 1e-9);
        // Singular values in the ratio 3 to 1: exp(-(0.75 ln 0.75 + 0.25 ln 0.25)).
        let long = [3.0, 0.0, -3.0, 0.0, 0.0, 1.0, 0.0, -1.0];
        assert!((effective_rank(&long, 2) - 1.754_765).abs() < 1e-5);
        assert_eq!(effective_rank(&[1.0; 8], 2), 0.0);
        assert_eq!(effective_rank(&[0.1; 9], 3), 0.0);
        // Fewer rows than values.
        let few = [3.0, 0.0, 0.0, -3.0, 0.0, 0.0];
        assert!((effective_rank(&few, 3) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn deviations_and_straightness_by_hand() {
        assert_eq!(standard_deviations(&[0.0, 1.0, 2.0, 1.0], 2), [1.0, 0.0]);
        let straight = [0.0, 0.0, 1.0, 1.0, 3.0, 3.0];
        let corner = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0];
        assert!((straightness(&straight, 3, 2) - 1.0).abs() < 1e-12);
        assert!((straightness(&[straight, corner].concat(), 3, 2) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn an_untrained_model_barely_heeds_the_action() {
        let (jepa, batch) = tiny();
        let figures = Diagnostics::measure(&Model::Jepa(jepa), &batch);
        assert_eq!(figures.windows, 2);
        assert!(figures.smallest_std() > 0.0 && figures.smallest_std() <= figures.mean_std());
        assert!((1.0..=6.0).contains(&figures.effective_rank), "{figures:?}");
        let ratio = figures.action_shuffle_ratio;
        assert!((0.2..5.0).contains(&ratio), "{figures:?}");
        assert!(figures.straightness.abs() <= 1.0);
    }
}

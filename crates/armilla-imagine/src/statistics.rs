//! What measured differences are worth: a paired t-test, the area under the ROC curve, and correlation.

use armilla_core::random::stream;
use rand::RngExt as _;

/// Resamples that an interval is taken from.
const RESAMPLES: usize = 1000;
/// Terms of the continued fraction, at most; some dozens are enough for any size of sample.
const TERMS: usize = 300;
/// Lanczos' coefficients (g = 7, 9 terms) for the logarithm of the gamma function.
const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// A paired t-test of whether the mean difference is zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedTest {
    /// Pairs.
    pub pairs: usize,
    /// Mean difference.
    pub mean: f64,
    /// Student's t with `pairs - 1` degrees of freedom.
    pub t: f64,
    /// Two-sided probability of a t at least as large where there is no difference.
    pub p: f64,
}

/// The sum of squared distances from the mean; 0 where they are no more than rounding leaves of equal values.
pub(crate) fn squared_distances(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let sum: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let rounding = values
        .iter()
        .fold(0.0, |most: f64, value| most.max(value.abs()))
        * 1e-14;
    match sum <= count * rounding * rounding {
        true => 0.0,
        false => sum,
    }
}

/// Tests the differences of pairs; none with fewer than two pairs or where all differ alike.
#[must_use]
pub fn paired_t_test(differences: &[f64]) -> Option<PairedTest> {
    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let squares = squared_distances(differences);
    if differences.len() < 2 || squares.is_nan() || squares <= 0.0 {
        return None;
    }
    let error = (squares / (count - 1.0) / count).sqrt();
    let (t, degrees) = (mean / error, count - 1.0);
    Some(PairedTest {
        pairs: differences.len(),
        mean,
        t,
        p: incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5),
    })
}

/// The share of pairs, one of each side, in which the positive is larger; ties count half. 0.5 is chance; none where a side is empty.
#[must_use]
pub fn auroc(negatives: &[f64], positives: &[f64]) -> Option<f64> {
    let pairs = negatives.len() * positives.len();
    let against = |positive: &f64| {
        let wins = negatives
            .iter()
            .map(|negative| match positive.partial_cmp(negative) {
                Some(std::cmp::Ordering::Greater) => 1.0,
                Some(std::cmp::Ordering::Equal) => 0.5,
                _ => 0.0,
            });
        wins.sum::<f64>()
    };
    (pairs > 0).then(|| positives.iter().map(against).sum::<f64>() / pairs as f64)
}

/// Pearson's correlation; none where one side does not vary.
#[must_use]
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product = a.iter().zip(b).map(|(x, y)| (x - mean_a) * (y - mean_b));
    let spread = squared_distances(a) * squared_distances(b);
    (spread > 0.0).then(|| product.sum::<f64>() / spread.sqrt())
}

/// The sums that a correlation of pairs is made of, which those of several sets of pairs add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    count: f64,
    first: [f64; 2],
    second: [f64; 2],
    product: f64,
}

impl Moments {
    /// Counts a pair.
    pub fn add(&mut self, a: f64, b: f64) {
        *self = self.with(&Self {
            count: 1.0,
            first: [a, b],
            second: [a * a, b * b],
            product: a * b,
        });
    }

    fn with(&self, other: &Self) -> Self {
        let sums = |a: [f64; 2], b: [f64; 2]| [a[0] + b[0], a[1] + b[1]];
        Self {
            count: self.count + other.count,
            first: sums(self.first, other.first),
            second: sums(self.second, other.second),
            product: self.product + other.product,
        }
    }

    /// Pearson's correlation of the pairs; none where one side does not vary.
    fn pearson(&self) -> Option<f64> {
        let [a, b] = self.first;
        let spread = |side: usize| {
            let middle = self.first[side] * self.first[side] / self.count;
            let spread = self.second[side] - middle;
            // Sums of what does not vary cancel up to rounding.
            if spread > 1e-12 * self.second[side] {
                spread
            } else {
                0.0
            }
        };
        let spread = spread(0) * spread(1);
        let product = self.product - a * b / self.count;
        (spread > 0.0).then(|| (product / spread.sqrt()).clamp(-1.0, 1.0))
    }
}

/// The 95 % interval of Pearson's correlation over sets of pairs that are drawn anew as wholes, seeded; none of fewer than two sets, or where
/// one side does not vary in most of the draws.
#[must_use]
pub fn bootstrap_interval(sets: &[Moments]) -> Option<[f64; 2]> {
    if sets.len() < 2 {
        return None;
    }
    let mut generator = stream(0, "bootstrap", 0);
    let mut resample = || {
        let drawn = (0..sets.len()).map(|_| &sets[generator.random_range(0..sets.len())]);
        drawn
            .fold(Moments::default(), |sum, set| sum.with(set))
            .pearson()
    };
    let found = (0..RESAMPLES).filter_map(|_| resample());
    let mut found: Vec<_> = found.collect();
    if found.len() < RESAMPLES / 2 {
        return None;
    }
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found[(share * (found.len() - 1) as f64).round() as usize];
    Some([at(0.025), at(0.975)])
}

/// The regularised incomplete beta function, by Lentz's continued fraction (Numerical Recipes, section 6.4).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on this side only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let logarithm =
        log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    logarithm.exp() * fraction(x, a, b) / a
}

fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away_from_zero = |value: f64| match value.abs() < 1e-300 {
        true => 1e-300,
        false => value,
    };
    let (mut c, mut d) = (1.0, 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut value = d;
    for term in 1..TERMS {
        let m = term as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for factor in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + factor * d);
            c = away_from_zero(1.0 + factor / c);
            value *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    value
}

/// The logarithm of the gamma function of a positive number.
fn log_gamma(x: f64) -> f64 {
    if x < 0.5 {
        let reflected = std::f64::consts::PI / (std::f64::consts::PI * x).sin();
        return reflected.ln() - log_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let terms = LANCZOS.iter().enumerate().skip(1);
    let sum: f64 = LANCZOS[0] + terms.map(|(at, term)| term / (x + at as f64)).sum::<f64>();
    let shifted = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * shifted.ln() - shifted + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_of_whole_sets() {
        let of = |pairs: &[(f64, f64)]| {
            let mut sums = Moments::default();
            pairs.iter().for_each(|&(a, b)| sums.add(a, b));
            sums
        };
        let line: Vec<_> = (0..20)
            .map(|i| (f64::from(i), 3.0 - f64::from(i)))
            .collect();
        let joined = of(&line[..9]).with(&of(&line[9..]));
        assert!((joined.pearson().unwrap() + 1.0).abs() < 1e-12);
        let [low, high] = bootstrap_interval(&[of(&line[..9]), of(&line[9..])]).unwrap();
        assert!(low <= high && (high + 1.0).abs() < 1e-12, "{low} {high}");
        // Sets that disagree: either may be drawn twice.
        let against = [(0.0, 0.0), (1.0, 1.0)];
        let with = [(0.0, 1.0), (1.0, 0.0)];
        assert_eq!(
            bootstrap_interval(&[of(&against), of(&with)]),
            Some([-1.0, 1.0])
        );
        assert_eq!(bootstrap_interval(&[of(&line)]), None);
        let constant = of(&[(0.1, 1.0), (0.1, 2.0), (0.1, 3.0)]);
        assert_eq!(bootstrap_interval(&[constant, constant]), None);
    }

    #[test]
    fn student_by_hand_and_by_tables() {
        // Mean 3, variance 10, so t = 3 / sqrt(10 / 5); with four degrees of freedom p has a closed form.
        let found = paired_t_test(&[-1.0, 1.0, 3.0, 5.0, 7.0]).unwrap();
        let t = 3.0 / 2.0_f64.sqrt();
        let s = t / (t * t + 4.0).sqrt();
        let closed = 1.0 - (1.5 * s - 0.5 * s.powi(3));
        assert!(
            (found.t - t).abs() < 1e-12 && (found.p - closed).abs() < 1e-12,
            "{found:?}"
        );
        // Two-sided 5 % and 1 % points of published tables.
        for (degrees, t, p) in [
            (1.0, 12.706, 0.05),
            (10.0, 2.228, 0.05),
            (30.0, 2.750, 0.01),
            (100.0, 2.626, 0.01),
        ] {
            let found = incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5);
            assert!(
                (found - p).abs() < 5e-5_f64.max(p * 2e-3),
                "{degrees} {t}: {found}"
            );
        }
        assert_eq!(paired_t_test(&[1.0]), None);
        assert_eq!(paired_t_test(&[1.0, 1.0]), None);
        // Their mean is none of them, but for rounding.
        assert_eq!(paired_t_test(&[0.1; 3]), None);
        assert_eq!(pearson(&[0.1; 3], &[1.0, 2.0, 3.0]), None);
        let flat = paired_t_test(&[-1.0, 1.0]).unwrap();
        assert_eq!((flat.t, flat.p), (0.0, 1.0));
    }

    #[test]
    fn beta_and_gamma_by_known_values() {
        // I_x(1, b) = 1 - (1 - x)^b, I_x(a, 1) = x^a, and the arcsine law.
        assert!((incomplete_beta(0.3, 1.0, 4.0) - (1.0 - 0.7_f64.powi(4))).abs() < 1e-12);
        assert!((incomplete_beta(0.9, 3.0, 1.0) - 0.729).abs() < 1e-12);
        assert!((incomplete_beta(0.25, 0.5, 0.5) - 1.0 / 3.0).abs() < 1e-12);
        assert!((log_gamma(5.0) - 24.0_f64.ln()).abs() < 1e-12);
        assert!((log_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
    }

    #[test]
    fn ranks_and_correlation_by_hand() {
        assert_eq!(auroc(&[1.0, 2.0], &[3.0, 4.0]), Some(1.0));
        assert_eq!(auroc(&[1.0, 3.0], &[2.0, 3.0]), Some(0.625));
        assert_eq!(auroc(&[], &[1.0]), None);
        let found = pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).unwrap();
        assert!((found - 0.5).abs() < 1e-12);
        assert!((pearson(&[1.0, 2.0, 4.0], &[-2.0, -4.0, -8.0]).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(pearson(&[1.0, 1.0], &[0.0, 1.0]), None);
    }
}

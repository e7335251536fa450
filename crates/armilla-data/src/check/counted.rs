//! Kept statistics against the values themselves: the rule of what may differ.
//!
//! LeRobot's own must pass, which are counted in single precision, with histograms, and over a sample of the pictures:
//!
//! - Numbers, all of them: minimum, maximum, mean and deviation may be off by 1e-4 of the range and 1e-6 of the largest
//!   value (the variance also by 1e-6 of its square). A quantile must lie between the values next to it, give or take
//!   one more and 1 % of the range; that of a whole dataset anywhere between the episodes'.
//! - Pictures, up to 100 of an episode: mean and deviation may be off by 0.05 where 1 is white.
//! - The whole dataset's pictures: mean and deviation within 0.01 of what the episodes' statistics make together.

use armilla_core::FeatureStatistics;

use super::is_within;
use crate::statistics::get;

/// Quantiles by name.
const QUANTILES: [(&str, f64); 5] = [
    ("q01", 0.01),
    ("q10", 0.10),
    ("q50", 0.50),
    ("q90", 0.90),
    ("q99", 0.99),
];
const OF_RANGE: f64 = 1e-4;
const OF_LARGEST: f64 = 1e-6;
/// LeRobot's histograms spread a value that never changes by a little.
const ALWAYS: f64 = 1e-9;
const QUANTILE_OF_RANGE: f64 = 0.01;
const OF_PICTURES: f64 = 0.05;
pub(super) const OF_WHOLE_PICTURES: f64 = 0.01;

/// What was counted of a feature in an episode.
#[derive(Clone, Debug)]
pub(super) enum Counted {
    /// Of all of its numbers.
    Numbers(Vec<Element>),
    /// Of some of its pictures.
    Pictures(FeatureStatistics),
}

/// One element of a feature.
#[derive(Clone, Debug, Default)]
pub(super) struct Element {
    frames: f64,
    min: f64,
    max: f64,
    mean: f64,
    variance: f64,
    /// Between what each quantile must lie.
    quantiles: [(f64, f64); 5],
}

impl Counted {
    /// Of numbers, `width` of which share an element; none if one is not finite, which is a finding of its own.
    pub(super) fn numbers(values: &[f64], width: usize, frames: usize) -> Option<Self> {
        let is_counted = !values.is_empty() && values.iter().all(|value| value.is_finite());
        let element = |offset: usize| {
            let own = values.iter().skip(offset).step_by(width.max(1)).copied();
            Element::of(own.collect(), frames)
        };
        is_counted.then(|| Self::Numbers((0..width.max(1)).map(element).collect()))
    }
}

impl Element {
    fn of(mut values: Vec<f64>, frames: usize) -> Self {
        values.sort_by(f64::total_cmp);
        let (count, last) = (values.len() as f64, values.len().saturating_sub(1));
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2));
        let variance = squares.sum::<f64>() / count;
        let between = |share: f64| {
            let position = share * last as f64;
            let below = (position.floor() as usize).saturating_sub(1);
            let above = (position.ceil() as usize + 1).min(last);
            (values[below.min(last)], values[above])
        };
        Self {
            frames: frames as f64,
            min: values[0],
            max: values[last],
            mean,
            variance,
            quantiles: QUANTILES.map(|(_, share)| between(share)),
        }
    }

    /// The same element over two sets of frames.
    pub(super) fn join(&self, other: &Self) -> Self {
        let frames = self.frames + other.frames;
        let mean = (self.mean * self.frames + other.mean * other.frames) / frames;
        let part = |one: &Self| (one.variance + (one.mean - mean).powi(2)) * one.frames;
        let mut quantiles = self.quantiles;
        for (own, their) in quantiles.iter_mut().zip(other.quantiles) {
            *own = (own.0.min(their.0), own.1.max(their.1));
        }
        Self {
            frames,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            mean,
            variance: (part(self) + part(other)) / frames,
            quantiles,
        }
    }

    /// What is wrong with the kept statistics of this element.
    fn differs(&self, kept: &FeatureStatistics, element: usize) -> Option<String> {
        let (range, largest) = (self.max - self.min, self.max.abs().max(self.min.abs()));
        let allowed = OF_RANGE * range + OF_LARGEST * largest + ALWAYS;
        let at = |name: &str| get(kept, name).get(element).copied();
        let wrong = |name: &str, expected: f64, found: f64| {
            Some(format!(
                "{name} of element {element}: expected {expected}, found {found}"
            ))
        };
        let std = self.variance.max(0.0).sqrt();
        for (name, expected) in [
            ("min", self.min),
            ("max", self.max),
            ("mean", self.mean),
            ("std", std),
        ] {
            let found = at(name).unwrap_or(f64::NAN);
            let squares_are_close = name == "std"
                && (found * found - self.variance).abs() <= OF_LARGEST * largest * largest;
            if !(is_within(found, expected, allowed) || squares_are_close) {
                return wrong(name, expected, found);
            }
        }
        for ((name, _), (low, high)) in QUANTILES.into_iter().zip(self.quantiles) {
            let slack = QUANTILE_OF_RANGE * range + OF_LARGEST * largest + ALWAYS;
            // Datasets of older versions have no quantiles.
            let Some(found) = at(name) else { continue };
            if !(found >= low - slack && found <= high + slack) {
                let expected = format!("between {low} and {high}");
                return Some(format!(
                    "{name} of element {element}: expected {expected}, found {found}"
                ));
            }
        }
        None
    }
}

/// What is wrong with the kept statistics of a feature.
pub(super) fn differs(counted: &Counted, kept: &FeatureStatistics) -> Option<String> {
    match counted {
        Counted::Numbers(elements) => {
            let (expected, found) = (elements.first()?.frames, kept.count);
            if found as f64 != expected {
                return Some(format!("count: expected {expected}, found {found}"));
            }
            widths(kept, elements.len()).or_else(|| {
                let mut elements = elements.iter().enumerate();
                elements.find_map(|(position, element)| element.differs(kept, position))
            })
        }
        Counted::Pictures(found) => pictures_differ(found, kept, OF_PICTURES),
    }
}

fn widths(kept: &FeatureStatistics, width: usize) -> Option<String> {
    let wrong = ["min", "max", "mean", "std"]
        .into_iter()
        .find(|name| get(kept, name).len() != width);
    let name = wrong?;
    let found = get(kept, name).len();
    Some(format!("{name}: expected {width} values, found {found}"))
}

pub(super) fn pictures_differ(
    counted: &FeatureStatistics,
    kept: &FeatureStatistics,
    allowed: f64,
) -> Option<String> {
    if let Some(problem) = widths(kept, 3) {
        return Some(problem);
    }
    for name in ["mean", "std"] {
        for (channel, (expected, found)) in
            get(counted, name).iter().zip(get(kept, name)).enumerate()
        {
            if !is_within(*found, *expected, allowed) {
                return Some(format!(
                    "{name} of channel {channel}: expected about {expected:.3}, found {found:.3}"
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics;

    fn rows(range: std::ops::Range<u32>) -> Vec<f64> {
        range.map(|value| f64::from(value * value)).collect()
    }

    #[test]
    fn ones_own_statistics_pass_and_others_are_named() {
        let values = rows(0..50);
        let counted = Counted::numbers(&values, 1, 50).unwrap();
        let kept = statistics::of_numbers(&values, 1, 50).unwrap();
        assert_eq!(differs(&counted, &kept), None);
        for name in statistics::NAMES {
            let mut off = kept.clone();
            statistics::get_mut(&mut off, name).unwrap()[0] += 700.0;
            let problem = differs(&counted, &off).unwrap();
            assert!(problem.contains(name), "{name}: {problem}");
        }
        let short = statistics::of_numbers(&values[..49], 1, 49).unwrap();
        assert!(differs(&counted, &short).unwrap().contains("count"));
        assert!(Counted::numbers(&[1.0, f64::NAN], 1, 2).is_none());
    }

    #[test]
    fn parts_make_the_whole() {
        let parts = [rows(0..20), rows(20..50)].map(|part| Element::of(part.clone(), part.len()));
        let whole = Element::of(rows(0..50), 50);
        let joined = parts[0].join(&parts[1]);
        assert!((joined.mean - whole.mean).abs() < 1e-9);
        assert!((joined.variance / whole.variance - 1.0).abs() < 1e-12);
        // LeRobot's quantiles of a whole are the mean of the parts'.
        let kept = statistics::merge(
            [rows(0..20), rows(20..50)]
                .map(|part| statistics::of_numbers(&part, 1, part.len()).unwrap())
                .iter(),
        );
        assert_eq!(
            differs(&Counted::Numbers(vec![joined]), &kept.unwrap()),
            None
        );
    }
}

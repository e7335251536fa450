//! Axes: intervals, round numbers on them, and how numbers are written.

const Y_TICKS: f64 = 5.0;

/// An interval that is never empty.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Range {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return None;
        }
        // A single value gets room around it.
        let room = if high > low {
            0.0
        } else {
            (low.abs() * 0.1).max(0.5)
        };
        Some(Self {
            low: low - room,
            high: high + room,
        })
    }

    /// Small values are judged against zero, so zero belongs on their axis.
    pub(super) fn reaching_zero_if_near(self) -> Self {
        let span = self.high - self.low;
        if self.low >= 0.0 && self.low < span {
            return Self { low: 0.0, ..self };
        }
        self
    }

    pub(super) fn padded(self) -> Self {
        let room = (self.high - self.low) * 0.05;
        let low = if self.low == 0.0 {
            0.0
        } else {
            self.low - room
        };
        Self {
            low,
            high: self.high + room,
        }
    }

    pub(super) fn share(self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// About `count` round numbers inside.
    pub(super) fn ticks(self, count: f64) -> Vec<f64> {
        let raw = (self.high - self.low) / count;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|&step| step >= raw * 0.999)
            .unwrap_or(raw);
        let (first, last) = ((self.low / step).ceil(), (self.high / step).floor());
        // Values far from zero with a tiny range can exhaust the mantissa: no ticks then, rather than millions.
        if !(first.is_finite() && last - first < 50.0) {
            return Vec::new();
        }
        let count = (last - first).max(-1.0) as i64 + 1;
        (0..count)
            .map(|index| (first + index as f64) * step)
            .collect()
    }

    /// Positions in the axis' scale with their labels. A logarithmic axis over few decades is marked at 1, 2 and 5 times
    /// the powers of ten, of which alone it would show too few.
    pub(super) fn labelled_ticks(self, logarithmic: bool) -> Vec<(f64, String)> {
        if !logarithmic {
            let ticks = self.ticks(Y_TICKS);
            let apart = ticks.get(1).map_or(1.0, |second| second - ticks[0]);
            let label = |value: f64| (value, label(value, apart));
            return ticks.into_iter().map(label).collect();
        }
        let factors: &[f64] = if self.high - self.low > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let exponents = self.low.floor() as i32..=self.high.ceil() as i32;
        let ticks: Vec<_> = exponents
            .flat_map(|exponent| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(exponent))
            })
            .filter(|value| (self.low..=self.high).contains(&value.log10()))
            .map(|value| (value.log10(), number(value)))
            .collect();
        if ticks.len() > 1 {
            return ticks;
        }
        // Between two of these marks: as on any axis.
        let values = Self {
            low: 10_f64.powf(self.low),
            high: 10_f64.powf(self.high),
        };
        let ticks = values.labelled_ticks(false).into_iter();
        ticks.map(|(value, label)| (value.log10(), label)).collect()
    }
}

/// A number as short as it can be read.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    if size >= 10_000.0 {
        return format!("{}k", trimmed(value / 1000.0, 1));
    }
    trimmed(
        value,
        if size >= 100.0 {
            0
        } else if size >= 1.0 {
            2
        } else {
            4
        },
    )
}

/// A tick's number with as many decimals as tell it from its neighbours, so far `apart`.
fn label(value: f64, apart: f64) -> String {
    let shown = number(value);
    let size = value.abs();
    if !(1e-3..1e6).contains(&size) {
        return shown;
    }
    let (unit, letter) = if size >= 10_000.0 {
        (1000.0, "k")
    } else {
        (1.0, "")
    };
    let whole = |decimals: &usize| {
        let scaled = apart / unit * 10_f64.powi(*decimals as i32);
        scaled.round() >= 1.0 && (scaled - scaled.round()).abs() < 1e-6
    };
    match (0..8).find(whole) {
        Some(decimals) => format!("{}{letter}", trimmed(value / unit, decimals)),
        None => shown,
    }
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let ticks = Range {
            low: 0.0,
            high: 1.0,
        }
        .ticks(5.0);
        assert_eq!(ticks.len(), 6);
        assert!((ticks[1] - 0.2).abs() < 1e-12);
        let powers = Range {
            low: -2.0,
            high: 2.0,
        }
        .labelled_ticks(true);
        let labels: Vec<_> = powers.iter().map(|tick| tick.1.as_str()).collect();
        assert_eq!(labels, ["0.01", "0.1", "1", "10", "100"]);
        for (low, high, least) in [(1.1, 1.9, 4), (0.21, 0.47, 2), (1.3, 3.2, 3), (0.4, 6.0, 4)] {
            let range = Range {
                low: f64::log10(low),
                high: f64::log10(high),
            };
            let ticks = range.labelled_ticks(true);
            assert!(ticks.len() >= least, "{low} to {high}: {ticks:?}");
            for (at, label) in ticks {
                assert!((range.low..=range.high).contains(&at), "{label}");
                assert!((10_f64.powf(at) - label.parse::<f64>().unwrap()).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn labels_say_where_ticks_stand() {
        let labels = |low, high| {
            let ticks = Range { low, high }.labelled_ticks(false);
            ticks.into_iter().map(|tick| tick.1).collect::<Vec<_>>()
        };
        assert_eq!(
            labels(100.0, 111.0),
            ["100", "102.5", "105", "107.5", "110"]
        );
        assert_eq!(
            labels(200.0, 200.4),
            ["200", "200.1", "200.2", "200.3", "200.4"]
        );
        let thousands = ["10k", "10.25k", "10.5k", "10.75k", "11k"];
        assert_eq!(labels(10_000.0, 11_200.0), thousands);
        assert_eq!(labels(0.0, 1.0)[..2], ["0", "0.2"]);
        assert!(labels(0.002, 0.002_002).contains(&"0.0020005".to_owned()));
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (1.5, "1.5"),
            (100.0, "100"),
            (3000.0, "3000"),
            (12_500.0, "12.5k"),
            (2e-5, "2.0e-5"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}

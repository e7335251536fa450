//! Success counts with the interval they deserve.

use std::collections::BTreeMap;

use crate::environment::Info;

/// How one closed-loop episode went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpisodeOutcome {
    /// Seed of the reset.
    pub seed: u64,
    /// Whether the goal held at any step.
    pub success: bool,
    /// Whether the goal held at the last step.
    pub success_at_end: bool,
    /// Steps taken.
    pub steps: usize,
    /// Best value of each of the environment's figures over the episode: the smallest of one that [`is_error`], the largest of others.
    pub best: BTreeMap<String, f64>,
    /// The environment's labels at reset: `family`, `scene`, `instruction`.
    pub labels: BTreeMap<String, String>,
}

impl EpisodeOutcome {
    /// An episode that has just begun, with the facts of its reset.
    #[must_use]
    pub fn begin(seed: u64, info: &Info) -> Self {
        let mut outcome = Self {
            seed,
            labels: info.labels.clone(),
            ..Self::default()
        };
        outcome.note(info);
        outcome
    }

    /// Adds one moment's facts.
    pub fn note(&mut self, info: &Info) {
        self.success |= info.success;
        self.success_at_end = info.success;
        for (name, &value) in &info.figures {
            let best = self.best.entry(name.clone()).or_insert(value);
            *best = match is_error(name) {
                true => best.min(value),
                false => best.max(value),
            };
        }
    }
}

/// Whether a figure of this name is the better the smaller it is: a distance, or a turn that is missing (`distance_px`, `turn_rad`).
#[must_use]
pub fn is_error(figure: &str) -> bool {
    ["distance", "turn"]
        .iter()
        .any(|word| figure.starts_with(word))
}

/// A confidence interval of a success rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WilsonInterval {
    /// Lower end, in [0, 1].
    pub low: f64,
    /// Upper end, in [0, 1].
    pub high: f64,
}

/// Successes among episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Episodes that succeeded.
    pub successes: usize,
    /// Episodes run.
    pub episodes: usize,
}

impl Rate {
    /// Counts the true ones.
    pub fn of(outcomes: impl IntoIterator<Item = bool>) -> Self {
        let mut rate = Self::default();
        for success in outcomes {
            rate.episodes += 1;
            rate.successes += usize::from(success);
        }
        rate
    }

    /// Share of successes in [0, 1]; zero for no episode.
    #[must_use]
    pub fn value(&self) -> f64 {
        if self.episodes == 0 {
            0.0
        } else {
            self.successes as f64 / self.episodes as f64
        }
    }

    /// The Wilson score interval at 95 %. No episode says nothing: [0, 1].
    ///
    /// Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    #[must_use]
    pub fn wilson(&self) -> WilsonInterval {
        if self.episodes == 0 {
            return WilsonInterval {
                low: 0.0,
                high: 1.0,
            };
        }
        const Z: f64 = 1.959_963_984_540_054;
        let (n, p) = (self.episodes as f64, self.value());
        let denominator = 1.0 + Z * Z / n;
        let center = (p + Z * Z / (2.0 * n)) / denominator;
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / denominator;
        WilsonInterval {
            // Exact at its ends, where rounding would leave the rate itself outside.
            low: match self.successes {
                0 => 0.0,
                _ => (center - half).max(0.0),
            },
            high: match self.episodes.saturating_sub(self.successes) {
                0 => 1.0,
                _ => (center + half).min(1.0),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_intervals() {
        // 180 of 200, as in statsmodels' proportion_confint(180, 200, method="wilson").
        let interval = Rate {
            successes: 180,
            episodes: 200,
        }
        .wilson();
        assert!((interval.low - 0.850_6).abs() < 1e-3, "{interval:?}");
        assert!((interval.high - 0.934_3).abs() < 1e-3, "{interval:?}");
        assert_eq!(
            Rate::default().wilson(),
            WilsonInterval {
                low: 0.0,
                high: 1.0
            }
        );
        for episodes in [1, 10, 100, 500] {
            let of = |successes| {
                Rate {
                    successes,
                    episodes,
                }
                .wilson()
            };
            assert_eq!((of(0).low, of(episodes).high), (0.0, 1.0), "{episodes}");
        }
    }
}

//! Two policies on the same episodes: what one solved and the other did not.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::results::ResultRow;

/// How a row differs from another one on the same episodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Paired {
    /// Who acted in the other row.
    pub policy: String,
    /// Episodes that were solved here alone.
    pub only_here: usize,
    /// Episodes that were solved there alone.
    pub only_there: usize,
    /// Probability of a difference at least as large between equals: McNemar's test, exact and two-sided.
    pub p_value: f64,
}

/// What is read of the other row's file.
#[derive(Deserialize)]
struct Other {
    env: String,
    protocol: String,
    policy: String,
    execution: Option<String>,
    delay_steps: Option<usize>,
    scenes: String,
    first_seed: u64,
    successes: String,
}

impl Paired {
    /// Compares with a row that `armilla eval --json` wrote.
    pub(crate) fn with_file(row: &ResultRow, path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let other: Other = serde_json::from_str(&text)
            .with_context(|| format!("{shown}: expected what `armilla eval --json` writes"))?;
        let this = (&row.env, &row.protocol, row.first_seed, row.successes.len());
        let that = (
            &other.env,
            &other.protocol,
            other.first_seed,
            other.successes.len(),
        );
        ensure!(
            this == that && row.scenes == other.scenes,
            "{shown}: expected the same episodes, {} {} from seed {} on, {} of them, found {} {} from {} on, {} of them",
            this.0,
            this.1,
            this.2,
            this.3,
            that.0,
            that.1,
            that.2,
            that.3
        );
        let pairs = row.successes.bytes().zip(other.successes.bytes());
        let only = |here: u8| pairs.clone().filter(|&(a, b)| a != b && a == here).count();
        let (only_here, only_there) = (only(b'1'), only(b'0'));
        Ok(Self {
            policy: carried_out(other.policy, other.execution, other.delay_steps),
            only_here,
            only_there,
            p_value: mcnemar(only_here, only_there),
        })
    }

    /// The comparison as a line for people.
    pub(crate) fn line(&self, episodes: usize) -> String {
        let apart = self.only_here as f64 - self.only_there as f64;
        format!(
            "    against {}: {:+.1} points on the same episodes, {} solved here alone, {} there alone, p = {:.3}",
            self.policy,
            100.0 * apart / episodes.max(1) as f64,
            self.only_here,
            self.only_there,
            self.p_value
        )
    }
}

/// The exact two-sided p-value of McNemar's test: how likely a fair coin falls at least as unevenly.
fn mcnemar(one: usize, other: usize) -> f64 {
    let (tosses, fewer) = (one + other, one.min(other));
    // Terms of the binomial distribution, each from the one before, in logarithms: 0.5 to the 500th is too small otherwise.
    let mut logarithm = -(tosses as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for heads in 0..=fewer {
        tail += logarithm.exp();
        logarithm += ((tosses - heads) as f64 / (heads + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// A policy's name, and how its chunks were carried out where that is not one after the other.
fn carried_out(policy: String, execution: Option<String>, delay_steps: Option<usize>) -> String {
    let late = delay_steps.map(|steps| format!("{steps} steps late"));
    let parts = [Some(policy), execution, late];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::EpisodeOutcome;

    fn row(env: &str, successes: &str) -> ResultRow {
        let outcomes = successes.chars().enumerate();
        let outcomes = outcomes.map(|(seed, success)| EpisodeOutcome {
            seed: seed as u64,
            success: success == '1',
            ..EpisodeOutcome::default()
        });
        ResultRow::of(env, "crossing", "planner", &outcomes.collect::<Vec<_>>())
    }

    #[test]
    fn p_values_by_hand() {
        // Ten to two: twice the share of 12 tosses with at most two heads, (1 + 12 + 66) / 4096.
        assert!((mcnemar(10, 2) - 2.0 * 79.0 / 4096.0).abs() < 1e-12);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(3, 3), 1.0);
        let how = carried_out("flow".into(), Some("ensemble 0.01".into()), Some(3));
        assert_eq!(how, "flow, ensemble 0.01, 3 steps late");
        let large = mcnemar(300, 200);
        assert!((large - 9e-6).abs() < 3e-6, "{large}");
    }

    #[test]
    fn only_the_same_episodes_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.json");
        let other = serde_json::to_string(&row("two-room", "110100")).unwrap();
        std::fs::write(&path, other).unwrap();
        let found = Paired::with_file(&row("two-room", "101111"), &path).unwrap();
        assert_eq!((found.only_here, found.only_there), (3, 1));
        assert!(found.line(6).contains("+33.3 points"), "{}", found.line(6));
        for (env, successes) in [("two-room", "11"), ("push-t", "101111")] {
            let error = Paired::with_file(&row(env, successes), &path).unwrap_err();
            assert!(
                error.to_string().contains("expected the same episodes"),
                "{error}"
            );
        }
        std::fs::write(&path, "{}").unwrap();
        let error = Paired::with_file(&row("two-room", "1"), &path).unwrap_err();
        assert!(error.to_string().contains("armilla eval --json"), "{error}");
    }
}

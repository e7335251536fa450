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

/// The other row, as `armilla eval --json` wrote it.
#[derive(Debug, Deserialize)]
pub(crate) struct Other {
    /// Where it is from, for people.
    #[serde(skip)]
    origin: String,
    env: String,
    protocol: String,
    policy: String,
    execution: Option<String>,
    delay_steps: Option<usize>,
    instruction: Option<String>,
    scenes: String,
    first_seed: u64,
    successes: String,
}

/// A file of one row, or of several.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Several { rows: Vec<Other> },
    One(Other),
}

/// Which episodes: environment, protocol, first seed, how many.
pub(crate) type Which<'a> = (&'a str, &'a str, u64, usize);

impl Other {
    /// Reads the rows of a file.
    pub(crate) fn open(path: &Path) -> Result<Vec<Self>> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let file = serde_json::from_str(&text)
            .with_context(|| format!("{shown}: expected what `armilla eval --json` writes"))?;
        let rows = match file {
            File::Several { rows } => rows,
            File::One(row) => vec![row],
        };
        let from_here = |row| Self {
            origin: shown.to_string(),
            ..row
        };
        Ok(rows.into_iter().map(from_here).collect())
    }

    /// That of several rows that is of the same episodes, before they are run: of the same looks if there is one.
    pub(crate) fn of<'a>(rows: &'a [Self], episodes: Which<'_>) -> Result<&'a Self> {
        let mut alike = rows.iter().filter(|row| row.is_of(episodes));
        let same = alike.clone().find(|row| row.protocol == episodes.1);
        let (env, protocol, seed, count) = episodes;
        same.or_else(|| alike.next()).with_context(|| {
            let found = rows.first().map_or("none".to_owned(), |row| {
                let count = row.successes.len();
                format!("{} {} from {} on, {count} of them", row.env, row.protocol, row.first_seed)
            });
            let origin = rows.first().map_or("", |row| &row.origin);
            format!(
                "{origin}: expected the same episodes, {env} {protocol} from seed {seed} on, {count} of them, found {found}"
            )
        })
    }

    /// Whether it has the tasks of episodes. They may look otherwise: a seed's task is the same in other colours and shapes, but not in
    /// other sizes.
    pub(crate) fn is_of(&self, episodes: Which<'_>) -> bool {
        let (env, protocol, seed, count) = episodes;
        let looks = |protocol: &str| protocol.replace(":colors", "").replace(":shapes", "");
        env == self.env
            && looks(protocol) == looks(&self.protocol)
            && (seed, count) == (self.first_seed, self.successes.len())
    }

    /// Its policy, and how it acted and what it heard where that is not the usual.
    pub(crate) fn who(&self) -> String {
        let late = self.delay_steps.map(|steps| format!("{steps} steps late"));
        let heard = self.instruction.as_ref();
        let heard = heard.map(|heard| format!("instruction {heard}"));
        let parts = [
            Some(self.policy.clone()),
            self.execution.clone(),
            late,
            heard,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// What a row of the same tasks has solved that this one has not, and the other way round.
    pub(crate) fn beside(&self, row: &ResultRow) -> Result<Paired> {
        let looks_alike = row.protocol == self.protocol;
        // Other looks are other scenes.
        ensure!(
            !looks_alike || row.scenes == self.scenes,
            "{}: expected the same scenes, {}, found {}: the simulator is another one",
            self.origin,
            row.scenes,
            self.scenes
        );
        let pairs = row.successes.bytes().zip(self.successes.bytes());
        let only = |here: u8| pairs.clone().filter(|&(a, b)| a != b && a == here).count();
        let (only_here, only_there) = (only(b'1'), only(b'0'));
        let policy = self.who();
        Ok(Paired {
            policy: match looks_alike {
                true => policy,
                false => format!("{policy} in {}", self.protocol),
            },
            only_here,
            only_there,
            p_value: mcnemar(only_here, only_there),
        })
    }
}

impl From<&ResultRow> for Other {
    fn from(row: &ResultRow) -> Self {
        Self {
            origin: row.protocol.clone(),
            env: row.env.clone(),
            protocol: row.protocol.clone(),
            policy: row.policy.clone(),
            execution: row.execution.clone(),
            delay_steps: row.delay_steps,
            instruction: row.instruction.clone(),
            scenes: row.scenes.clone(),
            first_seed: row.first_seed,
            successes: row.successes.clone(),
        }
    }
}

impl Paired {
    /// The comparison as a line for people.
    pub(crate) fn line(&self, episodes: usize) -> String {
        let apart = self.only_here as f64 - self.only_there as f64;
        format!(
            "    against {}: {:+.1} points on the same episodes, {} solved here alone, {} there alone, p = {}",
            self.policy,
            100.0 * apart / episodes.max(1) as f64,
            self.only_here,
            self.only_there,
            p_value(self.p_value)
        )
    }
}

/// A p-value for people.
pub(crate) fn p_value(p: f64) -> String {
    match p {
        // No test says so: it is below the least number there is.
        0.0 => "<1e-300".to_owned(),
        p if p < 0.001 => format!("{p:.1e}"),
        p => format!("{p:.3}"),
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
        let large = mcnemar(300, 200);
        assert!((large - 9e-6).abs() < 3e-6, "{large}");
    }

    #[test]
    fn how_a_policy_acted_is_told_with_it() {
        let unusual = ResultRow {
            execution: Some("ensemble 0.01".to_owned()),
            delay_steps: Some(3),
            instruction: Some("swapped".to_owned()),
            ..row("tabletop", "1")
        };
        let text = serde_json::to_string(&unusual).unwrap();
        let read: Other = serde_json::from_str(&text).unwrap();
        for other in [read, Other::from(&unusual)] {
            let expected = "planner, ensemble 0.01, 3 steps late, instruction swapped";
            assert_eq!(other.who(), expected);
        }
        assert_eq!(Other::from(&row("tabletop", "1")).who(), "planner");
    }

    #[test]
    fn only_the_same_episodes_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.json");
        let other = serde_json::to_string(&row("two-room", "110100")).unwrap();
        std::fs::write(&path, other).unwrap();
        let beside = |row: &ResultRow| {
            let rows = Other::open(&path)?;
            Other::of(&rows, row.which())?.beside(row)
        };
        let found = beside(&row("two-room", "101111")).unwrap();
        assert_eq!((found.only_here, found.only_there), (3, 1));
        assert!(found.line(6).contains("+33.3 points"), "{}", found.line(6));
        let in_other = |protocol: &str| ResultRow {
            protocol: protocol.to_owned(),
            scenes: "others".to_owned(),
            ..row("two-room", "101111")
        };
        let found = beside(&in_other("crossing:colors")).unwrap();
        assert_eq!(found.policy, "planner in crossing");
        let wrong = [
            row("two-room", "11"),
            row("push-t", "101111"),
            in_other("crossing:sizes"),
            in_other("crossing"),
        ];
        for row in wrong {
            let error = beside(&row).unwrap_err().to_string();
            assert!(error.contains("expected the same"), "{error}");
        }
        let rows = [in_other("crossing:colors"), row("two-room", "110100")];
        let several = serde_json::json!({ "rows": rows }).to_string();
        std::fs::write(&path, several).unwrap();
        let found = beside(&row("two-room", "101111")).unwrap();
        assert_eq!((found.only_here, found.policy.as_str()), (3, "planner"));
        std::fs::write(&path, "{}").unwrap();
        let error = beside(&row("two-room", "1")).unwrap_err().to_string();
        assert!(error.contains("armilla eval --json"), "{error}");
    }
}

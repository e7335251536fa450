//! Evaluation results: success with its interval, floors beside it, families within it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use armilla_core::{EpisodeOutcome, Rate};
use serde::Serialize;

use crate::paired::{Paired, Which};

/// The figure of an environment whose largest value says how well an episode went.
const COVERAGE: &str = "coverage";

/// A success rate with its 95 % Wilson interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Success {
    /// Share of successful episodes, in [0, 1].
    pub success: f64,
    /// Number of episodes.
    pub episodes: usize,
    /// Lower end of the interval.
    pub ci_low: f64,
    /// Upper end of the interval.
    pub ci_high: f64,
}

impl Success {
    /// Of counted episodes.
    pub(crate) fn of(outcomes: impl IntoIterator<Item = bool>) -> Self {
        let rate = Rate::of(outcomes);
        let interval = rate.wilson();
        Self {
            success: rate.value(),
            episodes: rate.episodes,
            ci_low: interval.low,
            ci_high: interval.high,
        }
    }
}

impl Success {
    /// All episodes of several rates counted together.
    pub(crate) fn pooled(parts: &[Self]) -> Self {
        let count = |part: &Self| (part.success * part.episodes as f64).round() as usize;
        let successes: usize = parts.iter().map(count).sum();
        let episodes: usize = parts.iter().map(|part| part.episodes).sum();
        Self::of((0..episodes).map(|index| index < successes))
    }
}

impl std::fmt::Display for Success {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [value, low, high] =
            [self.success, self.ci_low, self.ci_high].map(|share| 100.0 * share);
        write!(formatter, "{value:5.1} % [{low:.1}, {high:.1}]")
    }
}

/// One row of the result table: a policy on the episodes of a protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ResultRow {
    /// Environment.
    pub env: String,
    /// Which episodes.
    pub protocol: String,
    /// Who acted.
    pub policy: String,
    /// How chunks became actions, where it is not one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// Steps that a chunk took to arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_steps: Option<usize>,
    /// What the policy heard in place of its instruction: `blank` or `swapped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Success at any step.
    #[serde(flatten)]
    pub success: Success,
    /// Success at the last step.
    pub success_at_end: Success,
    /// Mean number of steps an episode took.
    pub mean_steps: f64,
    /// Success of what knows nothing or cheats, and of the expert, on the same episodes.
    pub floors: BTreeMap<String, f64>,
    /// The floors with their intervals.
    pub floor_intervals: BTreeMap<String, Success>,
    /// Success by instruction family.
    pub families: BTreeMap<String, f64>,
    /// The families with their intervals.
    pub family_intervals: BTreeMap<String, Success>,
    /// Mean of the best value in an episode of each of the environment's figures: the smallest distance or turn, the largest of others.
    pub figures: BTreeMap<String, f64>,
    /// The same of the floors.
    pub floor_figures: BTreeMap<String, BTreeMap<String, f64>>,
    /// Hash over the scenes of the episodes, to tell splits apart.
    pub scenes: String,
    /// Seed of the first episode.
    pub first_seed: u64,
    /// `1` for each episode with success, else `0`, in the order of seeds.
    pub successes: String,
    /// The difference to another row on the same episodes, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Paired>,
}

impl ResultRow {
    /// Summarises episodes.
    pub(crate) fn of(env: &str, protocol: &str, policy: &str, outcomes: &[EpisodeOutcome]) -> Self {
        let family_intervals = by_family(outcomes);
        Self {
            env: env.to_owned(),
            protocol: protocol.to_owned(),
            policy: policy.to_owned(),
            execution: None,
            delay_steps: None,
            instruction: None,
            success: Success::of(outcomes.iter().map(|outcome| outcome.success)),
            success_at_end: Success::of(outcomes.iter().map(|outcome| outcome.success_at_end)),
            mean_steps: mean(outcomes.iter().map(|outcome| outcome.steps as f64)),
            floors: BTreeMap::new(),
            floor_intervals: BTreeMap::new(),
            families: family_intervals
                .iter()
                .map(|(name, success)| (name.clone(), success.success))
                .collect(),
            family_intervals,
            figures: mean_figures(outcomes),
            floor_figures: BTreeMap::new(),
            scenes: scenes(outcomes),
            first_seed: outcomes.first().map_or(0, |outcome| outcome.seed),
            successes: outcomes
                .iter()
                .map(|outcome| if outcome.success { '1' } else { '0' })
                .collect(),
            against: None,
        }
    }

    /// Which episodes it is of.
    pub(crate) fn which(&self) -> Which<'_> {
        let count = self.successes.len();
        (&self.env, &self.protocol, self.first_seed, count)
    }

    /// Puts a floor beside the row: its episodes.
    pub(crate) fn add_floor_of(&mut self, name: &str, outcomes: &[EpisodeOutcome]) {
        let figures = mean_figures(outcomes);
        self.floor_figures.insert(name.to_owned(), figures);
        self.add_floor(
            name,
            Success::of(outcomes.iter().map(|outcome| outcome.success)),
        );
    }

    /// Puts a floor beside the row whose success is known alone.
    pub(crate) fn add_floor(&mut self, name: &str, success: Success) {
        self.floors.insert(name.to_owned(), success.success);
        self.floor_intervals.insert(name.to_owned(), success);
    }

    /// The row as lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} / {} / {}: {}  at the end {:.1} %  ({} episodes, {:.1} steps)",
            self.env,
            self.protocol,
            self.policy,
            self.success,
            100.0 * self.success_at_end.success,
            self.success.episodes,
            self.mean_steps,
        )];
        let late = self.delay_steps.map(|steps| format!("{steps} steps late"));
        let how: Vec<_> = self.execution.iter().cloned().chain(late).collect();
        if !how.is_empty() {
            lines.push(format!("    chunks: {}", how.join(", ")));
        }
        let heard = self.instruction.iter();
        lines.extend(heard.map(|heard| format!("    instruction: {heard}")));
        let part = |title: &str, parts: &BTreeMap<String, Success>| {
            let parts: Vec<_> = parts
                .iter()
                .map(|(name, success)| format!("{name} {success}"))
                .collect();
            (!parts.is_empty()).then(|| format!("    {title}: {}", parts.join("   ")))
        };
        lines.extend(part("families", &self.family_intervals));
        lines.extend(part("floors", &self.floor_intervals));
        lines.extend(self.coverage());
        let against = self.against.as_ref();
        lines.extend(against.map(|paired| paired.line(self.success.episodes)));
        lines
    }
}

impl ResultRow {
    /// How much of the goal was covered at most, on average, beside the floors; where an environment tells it.
    fn coverage(&self) -> Option<String> {
        let own = self.figures.get(COVERAGE)?;
        let mut line = format!("    mean largest coverage: {own:.3}");
        for (name, figures) in &self.floor_figures {
            if let Some(value) = figures.get(COVERAGE) {
                write!(line, "   {name} {value:.3}").ok();
            }
        }
        Some(line)
    }
}

/// Success by the `family` label, empty where there is none.
fn by_family(outcomes: &[EpisodeOutcome]) -> BTreeMap<String, Success> {
    let mut families: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for outcome in outcomes {
        if let Some(family) = outcome.labels.get("family") {
            families
                .entry(family.clone())
                .or_default()
                .push(outcome.success);
        }
    }
    families
        .into_iter()
        .map(|(name, successes)| (name, Success::of(successes)))
        .collect()
}

fn mean_figures(outcomes: &[EpisodeOutcome]) -> BTreeMap<String, f64> {
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, &value) in outcomes.iter().flat_map(|outcome| &outcome.best) {
        figures.entry(name.clone()).or_default().push(value);
    }
    figures
        .into_iter()
        .map(|(name, values)| (name, mean(values.into_iter())))
        .collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// One hash for the scenes of episodes.
pub(crate) fn scenes(outcomes: &[EpisodeOutcome]) -> String {
    let labels = outcomes.iter().map(|outcome| &outcome.labels);
    scene_hash(labels.filter_map(|labels| labels.get("scene")))
}

/// One hash for a set of scenes.
pub(crate) fn scene_hash<'a>(scenes: impl Iterator<Item = &'a String>) -> String {
    let text: Vec<_> = scenes.map(String::as_str).collect();
    format!(
        "{:016x}",
        armilla_core::random::fnv1a(text.join("\n").as_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(seed: u64, family: &str, success: bool) -> EpisodeOutcome {
        EpisodeOutcome {
            seed,
            success,
            steps: 10,
            labels: [
                ("family".into(), family.into()),
                ("scene".into(), seed.to_string()),
            ]
            .into(),
            best: [("coverage".into(), seed as f64)].into(),
            ..EpisodeOutcome::default()
        }
    }

    #[test]
    fn rows_count_by_family() {
        let outcomes = [
            outcome(0, "touch", true),
            outcome(1, "touch", false),
            outcome(2, "push", true),
        ];
        let mut row = ResultRow::of("tabletop", "new-scenes", "vla", &outcomes);
        let lucky = [(7, false), (8, false), (9, true)];
        row.add_floor_of(
            "random",
            &lucky.map(|(seed, success)| outcome(seed, "touch", success)),
        );
        assert_eq!(row.families["touch"], 0.5);
        assert_eq!((row.success.episodes, row.figures["coverage"]), (3, 1.0));
        let json = serde_json::to_value(&row).unwrap();
        assert!((json["success"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9);
        assert!(json["ci_low"].as_f64().unwrap() > 0.2 && json["floors"]["random"].is_f64());
        let lines = row.lines().join("\n");
        assert!(lines.contains("random  33.3 %"), "{lines}");
        let coverage = "mean largest coverage: 1.000   random 8.000";
        assert!(lines.contains(coverage), "{lines}");
    }
}

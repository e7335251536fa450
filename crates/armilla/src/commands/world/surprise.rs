//! `armilla world surprise`: the prediction error where something impossible happens, beside the same episode without it.

use anyhow::{Result, ensure};
use armilla_imagine::Footage;
use armilla_imagine::footage::variance;
use armilla_imagine::statistics::{PairedTest, auroc, paired_t_test};
use armilla_imagine::surprise::{recoloured, surprise};
use armilla_viz::Series;
use armilla_viz::report::{Plot, ReportData};
use armilla_world::WorldModel;
use clap::Args;
use serde_json::{Value, json};

use super::episodes::Stage;
use super::table::{cell, table};
use super::{Findings, ModelArguments, at_least_one, plot};
use crate::paired::p_value;
use crate::progress::{Progress, say};

/// Model steps of an episode, at most.
const LONGEST: usize = 20;
/// Frames before and after the event of which the mean is told.
const AROUND: usize = 3;

/// Arguments of `world surprise`.
#[derive(Args, Debug)]
pub(crate) struct SurpriseArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The simulator: two-room, push-t, push-t-moves or tabletop.
    #[arg(long)]
    pub env: String,
    /// Held-out episodes.
    #[arg(long, default_value_t = 100)]
    pub episodes: usize,
    /// Which episodes; equal seeds, equal episodes.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// One episode as it was, and with something impossible in it.
struct Trial {
    clean: Footage,
    teleport: Footage,
    colour: Footage,
    /// The frame at which it happens.
    event: usize,
}

/// Surprise around the event of every trial, in shares of the latents' variance.
#[derive(Clone, Debug, Default)]
struct Course {
    /// `[trials][2 * AROUND + 1]`; none beyond an episode's ends.
    around: Vec<Vec<Option<f64>>>,
}

/// Runs `armilla world surprise`.
pub(super) fn run(arguments: &SurpriseArguments) -> Result<()> {
    at_least_one("episodes", arguments.episodes)?;
    let opened = arguments.model.open()?;
    let model = &opened.model;
    let stage = Stage {
        steps: LONGEST,
        ..Stage::new(model, &arguments.env, true, arguments.seed)?
    };
    let history = model.shape().history.max(1);
    let trials = stage.play(arguments.episodes, |stage, seed| {
        trial(stage, seed, history)
    })?;
    let trials: Vec<_> = trials.into_iter().flatten().collect();
    let short = arguments.episodes - trials.len();
    if short > 0 {
        say(&format!(
            "{short} episodes are too short for the model's history and are left out"
        ));
    }
    ensure!(
        trials.len() > 1,
        "episodes: expected at least 2 that are long enough for a history of {history}, found {}",
        trials.len()
    );
    let (courses, events) = (courses(model, &trials)?, ["clean", "teleport", "colour"]);
    let title = format!(
        "{} {}: {} held-out episodes; one-step error of the latent in shares of the latents' variance",
        arguments.env,
        stage.environment.protocol,
        trials.len()
    );
    let mut lines = vec![title.clone()];
    lines.extend(tests_table(&courses, &events));
    lines.push(String::new());
    lines.extend(around_table(&courses, &events));
    let clean = courses[0].at_event();
    let figures = events
        .iter()
        .zip(&courses)
        .map(|(name, course)| ((*name).to_owned(), course.json(&clean)));
    let figures = json!({
        "checkpoint": arguments.model.checkpoint,
        "env": arguments.env,
        "protocol": stage.environment.protocol,
        "seed": arguments.seed,
        "episodes": trials.len(),
        "events": figures.collect::<serde_json::Map<_, _>>(),
    });
    let page = ReportData {
        title: "What surprises a world model".to_owned(),
        summary: title,
        curves: vec![around_plot(&courses, &events)],
        ..ReportData::default()
    };
    arguments.model.report(&Findings {
        lines,
        figures,
        page,
        ..Findings::default()
    })
}

/// Plays an episode thrice; none where it is too short.
fn trial(stage: &Stage, seed: u64, history: usize) -> Result<Option<Trial>> {
    let clean = stage.expert(seed)?.footage;
    let event = history.max(clean.images.len() / 2);
    if event >= clean.images.len() {
        return Ok(None);
    }
    let teleport = stage.teleported(seed, &clean.blocks, event)?.footage;
    let mut colour = clean.clone();
    for image in &mut colour.images[event..] {
        *image = recoloured(image);
    }
    Ok(Some(Trial {
        clean,
        teleport,
        colour,
        event,
    }))
}

/// The surprise of the clean episodes, those with a teleport and those with another colour.
fn courses(model: &WorldModel, trials: &[Trial]) -> Result<[Course; 3]> {
    let mut progress = Progress::new("surprise", "episodes", trials.len() as u64);
    let history = model.shape().history.max(1);
    let (mut courses, mut clean) = ([(); 3].map(|()| Course::default()), Vec::new());
    for trial in trials {
        let all = [&trial.clean, &trial.teleport, &trial.colour];
        for (footage, course) in all.into_iter().zip(&mut courses) {
            let encoded = footage.clone().encode(model)?;
            let found = surprise(model, &encoded);
            let at = |offset: usize| {
                let frame = (trial.event + offset).checked_sub(AROUND + history)?;
                found.get(frame).copied()
            };
            course.around.push((0..=2 * AROUND).map(at).collect());
            if std::ptr::eq(footage, &trial.clean) {
                clean.push(encoded);
            }
        }
        progress.set(clean.len() as u64, "");
    }
    progress.finish();
    let variance = variance(&clean);
    for course in &mut courses {
        let values = course.around.iter_mut().flatten().flatten();
        values.for_each(|value| *value /= variance);
    }
    Ok(courses)
}

impl Course {
    /// The surprise at the event itself.
    fn at_event(&self) -> Vec<f64> {
        self.around
            .iter()
            .filter_map(|around| around[AROUND])
            .collect()
    }

    /// The mean so many frames from the event.
    fn mean(&self, offset: usize) -> Option<f64> {
        let values: Vec<_> = self
            .around
            .iter()
            .filter_map(|around| around[offset])
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Against the same step of the same episodes without the event.
    fn test(&self, clean: &[f64]) -> (Option<PairedTest>, Option<f64>) {
        let found = self.at_event();
        let differences: Vec<_> = found.iter().zip(clean).map(|(a, b)| a - b).collect();
        (paired_t_test(&differences), auroc(clean, &found))
    }

    fn json(&self, clean: &[f64]) -> Value {
        let (test, area) = self.test(clean);
        let around = (0..=2 * AROUND).map(
            |offset| json!({ "offset": offset as i64 - AROUND as i64, "mean": self.mean(offset) }),
        );
        let test = test.map(|test| {
            json!({ "n": test.pairs, "mean_difference": test.mean, "t": test.t, "p": test.p })
        });
        json!({
            "mean": self.mean(AROUND),
            "paired_t_test": test,
            "auroc": test.as_ref().and(area),
            "around": around.collect::<Value>(),
        })
    }
}

fn tests_table(courses: &[Course], events: &[&str]) -> Vec<String> {
    let clean = courses[0].at_event();
    let row = |(course, event): (&Course, &&str)| {
        let (test, area) = course.test(&clean);
        vec![
            (*event).to_owned(),
            clean.len().to_string(),
            cell(course.mean(AROUND), 4),
            cell(test.map(|test| test.mean), 4),
            cell(test.map(|test| test.t), 2),
            test.map_or_else(|| "-".to_owned(), |test| p_value(test.p)),
            cell(test.and(area), 3),
        ]
    };
    let rows: Vec<_> = courses.iter().zip(events).map(row).collect();
    table(
        &["event", "n", "surprise", "difference", "t", "p", "AUROC"],
        &rows,
    )
}

fn around_table(courses: &[Course], events: &[&str]) -> Vec<String> {
    let head: Vec<String> = (0..=2 * AROUND)
        .map(|offset| format!("{:+}", offset as i64 - AROUND as i64))
        .collect();
    let head: Vec<_> = std::iter::once("steps from event")
        .chain(head.iter().map(String::as_str))
        .collect();
    let row = |(course, event): (&Course, &&str)| {
        let means = (0..=2 * AROUND).map(|offset| cell(course.mean(offset), 4));
        std::iter::once((*event).to_owned()).chain(means).collect()
    };
    let rows: Vec<_> = courses.iter().zip(events).map(row).collect();
    table(&head, &rows)
}

fn around_plot(courses: &[Course], events: &[&str]) -> Plot {
    let series = courses.iter().zip(events).map(|(course, event)| Series {
        name: (*event).to_owned(),
        points: (0..=2 * AROUND)
            .filter_map(|offset| Some((offset as f64 - AROUND as f64, course.mean(offset)?)))
            .collect(),
        dashed: *event == "clean",
    });
    plot(
        "surprise",
        "model steps from the event",
        "One-step error of the latent in shares of the latents' variance, the mean over episodes.",
        series.collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(values: &[f64]) -> Course {
        let around = values.iter().map(|&value| {
            let mut around = vec![None; 2 * AROUND + 1];
            around[AROUND] = Some(value);
            around
        });
        Course {
            around: around.collect(),
        }
    }

    #[test]
    fn an_event_is_tested_against_the_same_step_without_it() {
        let clean = course(&[1.0, 2.0, 3.0]);
        let event = course(&[2.0, 4.0, 6.0]);
        let (test, area) = event.test(&clean.at_event());
        let test = test.unwrap();
        // Differences 1, 2, 3: mean 2, variance 1, t = 2 sqrt(3).
        assert!((test.mean - 2.0).abs() < 1e-12 && (test.t - 12.0_f64.sqrt()).abs() < 1e-12);
        // Of nine pairs, seven with the event higher and one equal.
        assert!((area.unwrap() - 7.5 / 9.0).abs() < 1e-12);
        assert_eq!(clean.test(&clean.at_event()).0, None);
        let lines = tests_table(&[clean.clone(), event], &["clean", "teleport"]);
        assert!(
            lines[1].ends_with('-') && lines[2].contains("0.833"),
            "{lines:?}"
        );
        assert_eq!(clean.json(&clean.at_event())["auroc"], Value::Null);
        assert_eq!((clean.mean(AROUND), clean.mean(0)), (Some(2.0), None));
    }
}

//! `armilla world probe`: what can be read out of latents, and out of predicted ones.

use std::iter::repeat_n;

use anyhow::{Result, ensure};
use armilla_core::random::stream;
use armilla_envs::Truth;
use armilla_imagine::Encoded;
use armilla_imagine::footage::{predict, windows};
use armilla_imagine::probe::{Probe, ProbeScore, Samples};
use armilla_viz::Series;
use armilla_viz::report::{Plot, ReportData};
use armilla_world::WorldModel;
use clap::Args;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use super::episodes::{Stage, encode};
use super::table::{cell, table};
use super::{Findings, ModelArguments, Opened, at_least_one, plot};
use crate::progress::Progress;

/// Model steps ahead at which predicted latents are probed.
const AHEAD: [usize; 2] = [1, 4];
/// Held-out episodes that test the probes, at most.
const MOST_TESTS: usize = 200;
/// Model steps of each of them, at most.
const LONGEST: usize = 40;
/// Samples that the probes are fitted to, at most.
const MOST_SAMPLES: usize = 20_000;
/// Steps of the network's training.
const NETWORK_STEPS: u64 = 2000;

/// Arguments of `world probe`.
#[derive(Args, Debug)]
pub(crate) struct ProbeArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// The simulator that tells the truth: two-room, push-t, push-t-moves or tabletop.
    #[arg(long)]
    pub env: String,
    /// Episodes that the probes are fitted to, on training's starts; half as many held-out ones, 200 at most, test them.
    #[arg(long, default_value_t = 1000)]
    pub episodes: usize,
    /// Model steps of each that they are fitted to, at most. Many short episodes say more than few long ones of what seldom changes
    /// within one, as how a block is turned.
    #[arg(long, default_value_t = 8)]
    pub steps: usize,
    /// Which episodes, and the network's weights.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Episodes with what was true in them.
struct Known {
    episodes: Vec<Encoded>,
    truths: Vec<Vec<Truth>>,
}

/// What one probe reads out of latents of one kind: a score a value.
struct Reading {
    probe: &'static str,
    /// 0 for encoded latents.
    ahead: usize,
    scores: Vec<Option<ProbeScore>>,
}

/// Runs `armilla world probe`.
pub(super) fn run(arguments: &ProbeArguments) -> Result<()> {
    at_least_one("episodes", arguments.episodes)?;
    at_least_one("steps", arguments.steps)?;
    let opened = arguments.model.open()?;
    let fit = known(arguments, &opened, false)?;
    let test = known(arguments, &opened, true)?;
    let names = fit.names();
    let fitted = thinned(fit.samples(), arguments.seed);
    let mut kinds = vec![(0, test.samples())];
    for ahead in AHEAD {
        kinds.push((ahead, test.predicted(&opened.model, ahead)?));
    }
    let mut progress = Progress::new("fit", "probes", 2);
    let linear = Probe::linear(&fitted)?;
    progress.set(1, "");
    let network = Probe::network(&fitted, NETWORK_STEPS, arguments.seed, &opened.device)?;
    progress.finish();
    let mut readings = Vec::new();
    for (name, probe) in [("linear", &linear), ("mlp", &network)] {
        readings.extend(kinds.iter().map(|(ahead, samples)| Reading {
            probe: name,
            ahead: *ahead,
            scores: probe.score(samples),
        }));
    }
    let title = format!(
        "{}: probes fitted to {} latents of {} episodes, tested on {} held-out ones; MSE of z-scored values",
        arguments.env,
        fitted.latents.len(),
        fit.episodes.len(),
        test.episodes.len()
    );
    let mut lines = vec![title.clone()];
    lines.extend(rows(&names, &readings));
    let figures = json!({
        "checkpoint": arguments.model.checkpoint,
        "env": arguments.env,
        "seed": arguments.seed,
        "fit_episodes": fit.episodes.len(),
        "fit_samples": fitted.latents.len(),
        "test_episodes": test.episodes.len(),
        "action_repeat": opened.model.shape().action_repeat,
        "readings": readings.iter().map(|reading| reading.json(&names)).collect::<Value>(),
    });
    let page = ReportData {
        title: "What latents know".to_owned(),
        summary: title,
        curves: plots(&names, &readings),
        ..ReportData::default()
    };
    arguments.model.report(&Findings {
        lines,
        figures,
        page,
        ..Findings::default()
    })
}

/// Plays and encodes episodes of half a noisy expert and half random actions.
fn known(arguments: &ProbeArguments, opened: &Opened, held_out: bool) -> Result<Known> {
    let (count, steps) = match held_out {
        true => (arguments.episodes.div_ceil(2).min(MOST_TESTS), LONGEST),
        false => (arguments.episodes, arguments.steps),
    };
    let stage = Stage {
        steps,
        ..Stage::new(&opened.model, &arguments.env, held_out, arguments.seed)?
    };
    let (episodes, truths) = encode(&opened.model, stage.play(count, Stage::mixed)?)?;
    Ok(Known { episodes, truths })
}

impl Known {
    fn names(&self) -> Vec<&'static str> {
        let first = self.truths.iter().flatten().next();
        let values = first.iter().flat_map(|truth| &truth.values);
        values.map(|(name, _)| *name).collect()
    }

    /// Every frame's latent with what was true there.
    fn samples(&self) -> Samples {
        let latents = self.episodes.iter().flat_map(|episode| &episode.latents);
        let episodes = self.episodes.iter().enumerate();
        let episodes =
            episodes.flat_map(|(number, episode)| repeat_n(number, episode.latents.len()));
        Samples {
            latents: latents.cloned().collect(),
            values: self.truths.iter().flatten().map(values).collect(),
            episodes: episodes.collect(),
        }
    }

    /// Predicted latents with what was true where they lead to.
    fn predicted(&self, model: &WorldModel, ahead: usize) -> Result<Samples> {
        let shape = model.shape();
        let windows = windows(&self.episodes, shape.history, ahead, 1);
        ensure!(
            !windows.is_empty(),
            "episodes: expected at least {} frames a model step apart to predict {ahead} model steps ahead, found fewer in all",
            shape.history.max(1) + ahead
        );
        let predicted = predict(model, &self.episodes, &windows, ahead);
        let latent = shape.latent;
        let last = |steps: &[f32]| steps[(ahead - 1) * latent..].to_vec();
        let truth = windows
            .iter()
            .map(|window| &self.truths[window.episode][window.start + ahead]);
        Ok(Samples {
            latents: predicted.chunks(ahead * latent).map(last).collect(),
            values: truth.map(values).collect(),
            episodes: windows.iter().map(|window| window.episode).collect(),
        })
    }
}

fn values(truth: &Truth) -> Vec<Option<f64>> {
    truth.values.iter().map(|(_, value)| *value).collect()
}

/// As many samples as the probes are fitted to, in their order. Drawn, as every so many might be the same step of each episode.
fn thinned(samples: Samples, seed: u64) -> Samples {
    let count = samples.latents.len();
    let mut taken: Vec<bool> = (0..count).map(|place| place < MOST_SAMPLES).collect();
    taken.shuffle(&mut stream(seed, "probe-samples", 0));
    fn kept<T>(all: Vec<T>, taken: &[bool]) -> Vec<T> {
        let pairs = all.into_iter().zip(taken);
        pairs
            .filter_map(|(one, &taken)| taken.then_some(one))
            .collect()
    }
    Samples {
        latents: kept(samples.latents, &taken),
        values: kept(samples.values, &taken),
        episodes: kept(samples.episodes, &taken),
    }
}

/// A line a value, probe and kind of latent.
fn rows(names: &[&str], readings: &[Reading]) -> Vec<String> {
    let mut rows = Vec::new();
    for (target, name) in names.iter().enumerate() {
        for reading in readings {
            let score = reading.scores[target];
            rows.push(vec![
                (*name).to_owned(),
                reading.probe.to_owned(),
                reading.latents(),
                cell(score.map(|score| score.mse), 4),
                cell(score.and_then(|score| score.r), 4),
                interval(score),
                cell(score.and_then(|score| score.r2), 4),
                score.map_or(0, |score| score.samples).to_string(),
            ]);
        }
    }
    table(
        &[
            "value", "probe", "latents", "MSE", "r", "95 %", "R2", "samples",
        ],
        &rows,
    )
}

/// Between which values r lies.
fn interval(score: Option<ProbeScore>) -> String {
    match score.and_then(|score| score.r_interval) {
        Some([low, high]) => format!("{low:.4} to {high:.4}"),
        None => "-".to_owned(),
    }
}

/// Pearson's r of each value over the model steps ahead, a chart a probe.
fn plots(names: &[&str], readings: &[Reading]) -> Vec<Plot> {
    let chart = |probe: &str| {
        let of_probe = || readings.iter().filter(|reading| reading.probe == probe);
        let series = names.iter().enumerate().map(|(target, name)| Series {
            name: (*name).to_owned(),
            points: of_probe()
                .filter_map(|reading| Some((reading.ahead as f64, reading.scores[target]?.r?)))
                .collect(),
            dashed: false,
        });
        plot(
            &format!("r, {probe} probe"),
            "model steps ahead",
            "Pearson's r on held-out episodes, of latents and of predicted ones.",
            series.collect(),
        )
    };
    ["linear", "mlp"].map(chart).into()
}

impl Reading {
    fn latents(&self) -> String {
        match self.ahead {
            0 => "encoded".to_owned(),
            ahead => format!("predicted +{ahead}"),
        }
    }

    fn json(&self, names: &[&str]) -> Value {
        let scores = names.iter().zip(&self.scores).map(|(name, score)| {
            let score = score.map(|score| {
                json!({
                    "samples": score.samples,
                    "mse": score.mse,
                    "r": score.r,
                    "r_interval": score.r_interval,
                    "r2": score.r2,
                })
            });
            ((*name).to_owned(), json!(score))
        });
        let scores: serde_json::Map<_, _> = scores.collect();
        json!({ "probe": self.probe, "ahead": self.ahead, "values": scores })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_every_step_of_an_episode() {
        let all = || 0..5000 * 9;
        let samples = Samples {
            latents: all().map(|place| vec![place as f32]).collect(),
            values: all()
                .map(|place| vec![Some(f64::from(place % 9))])
                .collect(),
            episodes: all().map(|place| place as usize / 9).collect(),
        };
        let found = thinned(samples, 0);
        assert_eq!(found.latents.len(), MOST_SAMPLES);
        assert!(found.latents.is_sorted() && found.episodes.is_sorted());
        for step in 0..9 {
            let of_step = |values: &&Vec<Option<f64>>| values[0] == Some(f64::from(step));
            let share = found.values.iter().filter(of_step).count() as f64 / MOST_SAMPLES as f64;
            assert!((share - 1.0 / 9.0).abs() < 0.01, "{step}: {share}");
        }
        for (latent, episode) in found.latents.iter().zip(&found.episodes) {
            assert_eq!(latent[0] as usize / 9, *episode);
        }
    }

    #[test]
    fn truths_stand_beside_their_latents() {
        let truth = |value: f64| Truth {
            values: vec![("x", Some(value)), ("y", None)],
            ..Truth::default()
        };
        let known = Known {
            episodes: vec![Encoded {
                latents: vec![vec![1.0], vec![2.0]],
                ..Encoded::default()
            }],
            truths: vec![vec![truth(10.0), truth(20.0)]],
        };
        assert_eq!(known.names(), ["x", "y"]);
        let samples = known.samples();
        assert_eq!(samples.latents, [[1.0], [2.0]]);
        assert_eq!(samples.values[1], [Some(20.0), None]);
        let scores = Probe::linear(&samples).unwrap().score(&samples);
        let reading = Reading {
            probe: "linear",
            ahead: 4,
            scores,
        };
        let lines = rows(&known.names(), std::slice::from_ref(&reading));
        assert!(
            lines[1].contains("predicted +4") && lines[2].ends_with('0'),
            "{lines:?}"
        );
        let plots = plots(&known.names(), std::slice::from_ref(&reading));
        let points: Vec<_> = plots[0]
            .chart
            .series
            .iter()
            .map(|series| series.points.len())
            .collect();
        assert_eq!(points, [1, 0], "nothing is drawn of what is not known");
        assert_eq!(reading.json(&known.names())["values"]["y"], Value::Null);
    }
}

//! `armilla world rollout`: open-loop predictions beside what came, step by step.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use armilla_imagine::footage::{Window, variance, windows};
use armilla_imagine::rollout::{Measured, PictureScores, Scores, has_decoder, measure};
use armilla_imagine::{Encoded, Imagination, imagine_from};
use armilla_viz::Series;
use armilla_viz::report::{Plot, ReportData};
use armilla_world::WorldModel;
use clap::Args;
use serde_json::{Value, json};

use super::episodes::{Stage, encode};
use super::kept::Kept;
use super::table::{cell, table};
use super::{Findings, ModelArguments, Opened, at_least_one, plot};
use crate::commands::viz;
use crate::hub::{self, HubType};
use crate::progress::Progress;

/// Windows measured at once, which bounds memory.
const AT_ONCE: usize = 64;
/// Rollouts that are drawn, each of another episode.
const SHOWN: usize = 5;
/// Model steps of an episode of a simulator, at most.
const LONGEST: usize = 60;

/// Arguments of `world rollout`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["dataset", "env"]))]
pub(crate) struct RolloutArguments {
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// Roll out on episodes of this dataset, those that the run kept from training where it is the run's: a folder, or OWNER/NAME on the hub.
    #[arg(long)]
    pub dataset: Option<PathBuf>,
    /// Roll out on held-out episodes of a noisy expert in this simulator, in contact and in free space apart: two-room, push-t, push-t-moves or tabletop.
    #[arg(long)]
    pub env: Option<String>,
    /// Episodes, at most.
    #[arg(long, default_value_t = 50)]
    pub episodes: usize,
    /// Model steps to predict.
    #[arg(long, default_value_t = 8)]
    pub steps: usize,
    /// Share of the dataset's episodes to take, evenly spread or the last as the checkpoint's run says, 1 for all. Unless given, those that the run kept from training, all of a dataset that is not the run's, 0.05 where no run is beside the checkpoint.
    #[arg(long, conflicts_with = "env")]
    pub validation_share: Option<f64>,
    /// Which episodes of the simulator, 0 unless given; equal seeds, equal episodes.
    #[arg(long, conflicts_with = "dataset")]
    pub seed: Option<u64>,
}

/// What is rolled out on.
struct Gathered {
    episodes: Vec<Encoded>,
    /// What was where at every frame, where a simulator tells.
    truths: Option<Vec<Vec<armilla_envs::Truth>>>,
    source: Value,
    title: String,
    /// Whether training did not see them.
    are_held_out: bool,
}

/// Predictions equally far ahead, by what happened meanwhile.
struct Group {
    name: &'static str,
    /// One entry a step; none where there was no such prediction.
    steps: Vec<Option<Scores>>,
}

/// Runs `armilla world rollout`.
pub(super) fn run(arguments: &RolloutArguments) -> Result<()> {
    at_least_one("episodes", arguments.episodes)?;
    at_least_one("steps", arguments.steps)?;
    let opened = arguments.model.open()?;
    let model = &opened.model;
    let gathered = gather(arguments, &opened)?;
    let (steps, history) = (arguments.steps, model.shape().history);
    let windows = windows(&gathered.episodes, history, steps, steps);
    let longest = gathered
        .episodes
        .iter()
        .map(|episode| episode.latents.len())
        .max();
    ensure!(
        !windows.is_empty(),
        "episodes: expected at least {} frames a model step apart, for the model's history of {history} and --steps {steps}, found {} in the longest",
        history.max(1) + steps,
        longest.unwrap_or(0)
    );
    let measured = measured(model, &gathered.episodes, &windows, steps)?;
    let groups = groups(&gathered, &windows, &measured);
    let mut lines = vec![format!(
        "{}: {} episodes, {} windows, {} control steps a model step",
        gathered.title,
        gathered.episodes.len(),
        windows.len(),
        model.shape().action_repeat
    )];
    groups.iter().for_each(|group| lines.extend(group.lines()));
    if !has_decoder(model) {
        lines.push("the checkpoint has no decoder: PSNR and SSIM are left out".to_owned());
    }
    let dreams = match arguments.model.draws() && has_decoder(model) {
        true => dreams(model, &gathered, &windows, steps)?,
        false => Vec::new(),
    };
    let figures = json!({
        "checkpoint": arguments.model.checkpoint,
        "source": gathered.source,
        "episodes": gathered.episodes.len(),
        "windows": windows.len(),
        "action_repeat": model.shape().action_repeat,
        "groups": groups.iter().map(|group| (group.name.to_owned(), group.json())).collect::<serde_json::Map<_, _>>(),
    });
    arguments.model.report(&Findings {
        lines,
        figures,
        page: page(&gathered, &dreams, &groups),
        dreams,
        are_held_out: gathered.are_held_out,
    })
}

/// Takes the episodes from where they were asked for.
fn gather(arguments: &RolloutArguments, opened: &Opened) -> Result<Gathered> {
    if let Some(env) = &arguments.env {
        let seed = arguments.seed.unwrap_or(0);
        let stage = Stage {
            steps: LONGEST,
            ..Stage::new(&opened.model, env, true, seed)?
        };
        let played = stage.play(arguments.episodes, Stage::expert)?;
        let (episodes, truths) = encode(&opened.model, played)?;
        return Ok(Gathered {
            episodes,
            truths: Some(truths),
            source: json!({ "env": env, "protocol": stage.environment.protocol, "seed": seed }),
            title: format!("noisy expert in {env} {}", stage.environment.protocol),
            are_held_out: true,
        });
    }
    let dataset = arguments
        .dataset
        .as_deref()
        .context("expected --dataset or --env")?;
    let folder = hub::folder(HubType::Dataset, dataset)?;
    let kept = Kept::open(opened, &folder, arguments.validation_share)?;
    Ok(Gathered {
        episodes: kept.encode(&opened.model, arguments.episodes)?,
        truths: None,
        source: json!({
            "dataset": dataset,
            "validation_share": kept.share,
            "validation_split": kept.split,
            "kept_from_training": kept.kept_from_training(),
        }),
        title: format!("{}, {}", dataset.display(), kept.title()),
        are_held_out: kept.kept_from_training() == Some(true),
    })
}

fn measured(
    model: &WorldModel,
    episodes: &[Encoded],
    windows: &[Window],
    steps: usize,
) -> Result<Vec<Vec<Measured>>> {
    let mut progress = Progress::new("rollout", "windows", windows.len() as u64);
    let mut all = Vec::with_capacity(windows.len());
    for group in windows.chunks(AT_ONCE) {
        all.extend(measure(model, episodes, group, steps)?);
        progress.set(all.len() as u64, "");
    }
    progress.finish();
    Ok(all)
}

/// All predictions, and where a simulator tells, those in contact and in free space.
fn groups(gathered: &Gathered, windows: &[Window], measured: &[Vec<Measured>]) -> Vec<Group> {
    let variance = variance(&gathered.episodes);
    let steps = measured.first().map_or(0, Vec::len);
    let group = |name, belongs: &dyn Fn(&Window, usize) -> bool| Group {
        name,
        steps: (0..steps)
            .map(|step| {
                let each = windows.iter().zip(measured);
                let chosen = each.filter(|(window, _)| belongs(window, step + 1));
                let chosen: Vec<_> = chosen.map(|(_, measured)| measured[step]).collect();
                Scores::of(&chosen, variance)
            })
            .collect(),
    };
    let mut groups = vec![group("all", &|_, _| true)];
    let objects = |truths: &Vec<Vec<armilla_envs::Truth>>| {
        let mut all = truths.iter().flatten();
        all.any(|truth| !truth.objects.is_empty())
    };
    if let Some(truths) = gathered.truths.as_ref().filter(|truths| objects(truths)) {
        let moved = |window: &Window, ahead: usize| {
            let truths = &truths[window.episode];
            truths[window.start + ahead].has_moved_since(&truths[window.start])
        };
        groups.push(group("contact", &moved));
        groups.push(group("free", &|window, ahead| !moved(window, ahead)));
    }
    groups
}

impl Group {
    fn lines(&self) -> Vec<String> {
        let title = match self.name {
            "contact" => "in contact: an object moved meanwhile",
            "free" => "in free space: no object moved meanwhile",
            _ => "all windows",
        };
        let head = [
            "ahead",
            "latent error",
            "copy",
            "skill",
            "PSNR dB",
            "copy",
            "decoder",
            "SSIM",
            "copy",
            "decoder",
            "windows",
        ];
        let rows = self.steps.iter().enumerate().map(|(step, scores)| {
            let mut row = vec![format!("+{}", step + 1)];
            row.push(cell(scores.map(|scores| scores.latent_error), 4));
            row.push(cell(scores.map(|scores| scores.copy_latent_error), 4));
            row.push(cell(scores.and_then(|scores| scores.skill()), 3));
            let picture = |which: usize, of: fn(&PictureScores) -> f64| {
                scores.and_then(|scores| Some(of(&scores.pictures?[which])))
            };
            row.extend((0..3).map(|which| cell(picture(which, |scores| scores.psnr_db), 1)));
            row.extend((0..3).map(|which| cell(picture(which, |scores| scores.ssim), 4)));
            row.push(scores.map_or(0, |scores| scores.windows).to_string());
            row
        });
        let lines = table(&head, &rows.collect::<Vec<_>>());
        [String::new(), title.to_owned()]
            .into_iter()
            .chain(lines)
            .collect()
    }

    fn json(&self) -> Value {
        let step = |(step, scores): (usize, &Option<Scores>)| {
            let mut entry = json!({ "ahead": step + 1, "windows": 0 });
            if let Some(scores) = scores {
                entry["windows"] = json!(scores.windows);
                entry["latent_error"] = json!(scores.latent_error);
                entry["copy_latent_error"] = json!(scores.copy_latent_error);
                entry["skill"] = json!(scores.skill());
                let names = ["", "copy_", "decoder_"];
                for (name, picture) in names.iter().zip(scores.pictures.iter().flatten()) {
                    entry[format!("{name}psnr_db")] = json!(picture.psnr_db);
                    entry[format!("{name}ssim")] = json!(picture.ssim);
                }
            }
            entry
        };
        self.steps.iter().enumerate().map(step).collect()
    }
}

/// A rollout from the first window of each of the first episodes.
fn dreams(
    model: &WorldModel,
    gathered: &Gathered,
    windows: &[Window],
    steps: usize,
) -> Result<Vec<Imagination>> {
    let mut firsts: Vec<Window> = windows.to_vec();
    firsts.dedup_by_key(|window| window.episode);
    let dream = |window: &Window| {
        let episode = &gathered.episodes[window.episode];
        Ok(imagine_from(model, episode, window.start, steps)?)
    };
    firsts.iter().take(SHOWN).map(dream).collect()
}

fn page(gathered: &Gathered, dreams: &[Imagination], groups: &[Group]) -> ReportData {
    ReportData {
        title: "Rollouts of a world model".to_owned(),
        summary: format!(
            "{}: what the model predicts from the frames before and the actions alone.",
            gathered.title
        ),
        facts: vec![("episodes".to_owned(), gathered.episodes.len().to_string())],
        filmstrips: viz::filmstrips(dreams, gathered.are_held_out),
        curves: groups.iter().flat_map(plots).collect(),
        ..ReportData::default()
    }
}

/// Curves of one group over the steps ahead.
fn plots(group: &Group) -> Vec<Plot> {
    let curve = |name: &str, of: &dyn Fn(&Scores) -> Option<f64>| {
        let points = group.steps.iter().enumerate().filter_map(|(step, scores)| {
            let value = of(scores.as_ref()?)?;
            Some(((step + 1) as f64, value))
        });
        Series {
            name: name.to_owned(),
            points: points.collect(),
            dashed: name != "world model",
        }
    };
    let plot = |name: &str, caption: &str, series: Vec<Series>| {
        let title = format!("{name}, {}", group.name);
        plot(&title, "model steps ahead", caption, series)
    };
    let latents = vec![
        curve("world model", &|scores| Some(scores.latent_error)),
        curve("last frame kept", &|scores| Some(scores.copy_latent_error)),
    ];
    let mut plots = vec![
        plot(
            "latent error",
            "In shares of the latents' variance.",
            latents,
        ),
        plot(
            "skill",
            "1 minus the error over that of keeping the last frame.",
            vec![curve("world model", &Scores::skill)],
        ),
    ];
    for (name, of) in [
        (
            "PSNR dB",
            (|scores| scores.psnr_db) as fn(&PictureScores) -> f64,
        ),
        ("SSIM", |scores| scores.ssim),
    ] {
        let names = ["world model", "last frame kept", "true latent decoded"];
        let picture =
            |which: usize| curve(names[which], &|scores| Some(of(&scores.pictures?[which])));
        let series: Vec<_> = (0..3).map(picture).collect();
        if series.iter().any(|series| !series.points.is_empty()) {
            plots.push(plot(
                name,
                "What the decoder can draw at best is dashed too.",
                series,
            ));
        }
    }
    plots
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_envs::Truth;
    use armilla_imagine::Footage;

    fn truth(x: f64) -> Truth {
        Truth {
            objects: vec![[x, 0.5, 0.0]],
            ..Truth::default()
        }
    }

    #[test]
    fn contact_is_told_by_the_objects_from_the_start_on() {
        let episode = Encoded {
            footage: Footage::default(),
            latents: vec![vec![0.0], vec![2.0]],
        };
        let gathered = Gathered {
            episodes: vec![episode],
            truths: Some(vec![vec![truth(0.1), truth(0.1), truth(0.2), truth(0.2)]]),
            source: Value::Null,
            title: String::new(),
            are_held_out: false,
        };
        let window = |start| Window { episode: 0, start };
        let measured = |error| Measured {
            latent: [error, 4.0],
            pictures: None,
        };
        let all = [
            vec![measured(1.0), measured(2.0)],
            vec![measured(3.0), measured(1.0)],
        ];
        let groups = groups(&gathered, &[window(0), window(1)], &all);
        let errors = |at: usize| {
            let steps: &Vec<Option<Scores>> = &groups[at].steps;
            steps
                .iter()
                .map(|scores| scores.map(|scores| scores.latent_error))
                .collect::<Vec<_>>()
        };
        // The variance of the latents is 1.
        assert_eq!(errors(0), [Some(2.0), Some(1.5)]);
        assert_eq!(errors(1), [Some(3.0), Some(1.5)]);
        assert_eq!(errors(2), [Some(1.0), None]);
        let figures = groups[2].json();
        assert_eq!(
            (&figures[0]["skill"], &figures[1]["windows"]),
            (&json!(0.75), &json!(0))
        );
        assert!(groups[2].lines()[2].starts_with("ahead"));
        let plots = plots(&groups[0]);
        assert_eq!(
            plots.len(),
            2,
            "without pictures there are no curves of them"
        );
    }
}

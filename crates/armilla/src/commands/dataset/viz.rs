//! `armilla dataset viz`: episodes in Rerun, with cameras, state, actions, instruction and statistics.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use armilla_core::features::{ACTION, IMAGE_PREFIX, STATE};
use armilla_core::{Action, Observation};
use armilla_data::{Dataset, Rows, parse_episodes};
use armilla_viz::recording::plain;
use armilla_viz::{EpisodeTitle, Recording, Reel};
use clap::Args;

use super::stats;
use crate::commands::{can_write, stop_asked};
use crate::hub::{self, HubType};
use crate::progress::{Progress, say};

/// Frames whose pictures are held at once.
const FRAMES_AT_ONCE: usize = 64;
/// Episodes that are shown unless others are asked for.
const EPISODES: usize = 5;

/// Arguments of `dataset viz`.
#[derive(Args, Debug)]
pub(crate) struct VizArguments {
    /// The dataset's folder, or OWNER/NAME on the hub.
    pub dataset: PathBuf,
    /// The episodes to show, such as `3,5-7`; the first five unless given.
    #[arg(long)]
    pub episodes: Option<String>,
    /// The recording to write; opens the viewer unless given.
    #[arg(long, value_name = "FILE.rrd")]
    pub out: Option<PathBuf>,
}

/// Runs `armilla dataset viz`.
pub(super) fn run(arguments: &VizArguments) -> Result<()> {
    can_write(&[arguments.out.as_deref()])?;
    let dataset = Dataset::open(hub::folder(HubType::Dataset, &arguments.dataset)?)?;
    let count = dataset.episodes().len();
    let episodes = match &arguments.episodes {
        Some(text) => parse_episodes(text, count)?,
        None => (0..count.min(EPISODES)).collect(),
    };
    let shown = arguments.out.is_none();
    // Gone when the viewer ends.
    let folder = tempfile::tempdir().context("no folder for the recording")?;
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => folder.path().join(format!("{}.rrd", name(dataset.root()))),
    };
    let mut recording = Recording::create(&out)?;
    log(&mut recording, &dataset, &episodes)?;
    let bytes = recording.finish()?;
    let megabytes = bytes as f64 / 1e6;
    if shown {
        say(&format!(
            "{} ({megabytes:.1} MB): opening the viewer",
            out.display()
        ));
        return open_viewer(&out);
    }
    say(&format!(
        "{} ({megabytes:.1} MB): open it with `rerun {0}`",
        out.display()
    ));
    Ok(())
}

/// Opens a recording in Rerun's viewer and waits until it is closed.
fn open_viewer(recording: &Path) -> Result<()> {
    match Command::new("rerun").arg(recording).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("the viewer `rerun` ended with {status}"),
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "the viewer `rerun` is not on the path: install it (`pip install rerun-sdk==0.36.3`), or write a file with --out"
        ),
        Err(error) => Err(error).context("the viewer `rerun` does not start"),
    }
}

/// A folder's name.
fn name(root: &Path) -> String {
    let in_cache = root.parent().filter(|parent| parent.ends_with("snapshots"));
    // In the hub's cache a folder is named after its commit, and the repository's is `datasets--OWNER--NAME`.
    let repository = in_cache.and_then(|parent| parent.parent()?.file_name()?.to_str());
    if let Some((_, name)) = repository.and_then(|name| name.rsplit_once("--")) {
        return name.to_owned();
    }
    let name = root.file_name();
    name.map_or("dataset".to_owned(), |name| {
        name.to_string_lossy().into_owned()
    })
}

/// Logs episodes of a dataset, and its statistics.
pub(in crate::commands) fn log(
    recording: &mut Recording,
    dataset: &Dataset,
    episodes: &[usize],
) -> Result<()> {
    let name = name(dataset.root());
    let reel = recording.reel(&name);
    reel.describe(dataset.features())?;
    reel.statistics(&markdown(dataset))?;
    let mut progress = Progress::new("dataset to Rerun", "episodes", episodes.len() as u64);
    for (done, &episode) in (1..).zip(episodes) {
        let instruction = dataset
            .episodes()
            .get(episode)
            .map(|found| found.instruction());
        let note = format!("dataset {name}");
        reel.begin_episode(&EpisodeTitle {
            instruction: instruction.filter(|text| !text.is_empty()),
            number: Some(episode),
            note: &note,
            success: None,
        })?;
        log_episode(reel, dataset, episode)?;
        progress.set(done, "");
    }
    progress.finish();
    Ok(())
}

fn log_episode(reel: &mut Reel, dataset: &Dataset, episode: usize) -> Result<()> {
    let rows = |key: &str, read: fn(&Dataset, usize) -> armilla_data::Result<Rows>| {
        let is_there = dataset.features().0.contains_key(key);
        is_there.then(|| read(dataset, episode)).transpose()
    };
    let (states, actions) = (
        rows(STATE, Dataset::states)?,
        rows(ACTION, Dataset::actions)?,
    );
    let length = dataset
        .episodes()
        .get(episode)
        .map_or(0, |found| found.length);
    let cameras: Vec<_> = dataset.cameras().map(str::to_owned).collect();
    for from in (0..length).step_by(FRAMES_AT_ONCE) {
        ensure!(!stop_asked(), "stopped; no recording is kept");
        let frames = from..length.min(from + FRAMES_AT_ONCE);
        let mut pictures = Vec::with_capacity(cameras.len());
        for key in &cameras {
            let name = key.strip_prefix(IMAGE_PREFIX).unwrap_or(key);
            let images = dataset.images_in(episode, key, frames.clone())?;
            pictures.push((name.to_owned(), images.into_iter()));
        }
        for frame in frames {
            let images = pictures
                .iter_mut()
                .filter_map(|(name, images)| Some((name.clone(), images.next()?)));
            reel.observe(&Observation {
                images: images.collect(),
                state: states
                    .as_ref()
                    .map_or_else(Vec::new, |rows| rows.row(frame).to_vec()),
                captured_at_secs: frame as f64 / f64::from(dataset.fps()),
                ..Observation::default()
            })?;
            if let Some(actions) = &actions {
                reel.act(&Action(actions.row(frame).to_vec()))?;
            }
        }
    }
    Ok(())
}

/// The statistics as Markdown.
fn markdown(dataset: &Dataset) -> String {
    let mut text = String::new();
    for table in stats::tables(dataset) {
        let cells = |row: &[String]| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>();
        let line = |row: &[String]| format!("| {} |\n", cells(row).join(" | "));
        let rule = vec!["---:".to_owned(); table.header.len()];
        // Writing to a text cannot fail.
        write!(
            text,
            "**{}**\n\n{}{}",
            plain(&table.title),
            line(&table.header),
            format_args!("| {} |\n", rule.join(" | "))
        )
        .ok();
        text.extend(table.rows.iter().map(|row| line(row)));
        text.push('\n');
    }
    text
}

//! The loader.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{AT_LEAST, Settings, WARM_UP, Work};
use anyhow::{Context as _, Result};
use armilla_core::features::{Feature, Features};
use armilla_core::random::{normals, stream};
use armilla_core::{Action, Image, Observation};
use armilla_data::{
    Dataset, EpisodeFrames, LoaderConfig, LoaderSource, Recorder, RecorderConfig, WindowLoader,
    WindowSpec,
};

/// Windows a batch.
const BATCH: usize = 32;
/// Batches whose mean time is one measurement: with several workers they come in bursts.
const BATCHES: usize = 8;
/// Rows and columns of the pictures recorded here.
const SIDE: usize = 96;

pub(super) const ALL: &[Work] = &[Work {
    name: "loader",
    what: "32 windows of 2 observations and 16 actions, all cameras, in random order",
    measure: load,
}];

fn load(settings: &Settings) -> Result<Vec<f64>> {
    let mut own = None;
    let root = match &settings.loader.dataset {
        Some(root) => root.as_path(),
        None => own.insert(record()?).path(),
    };
    let spec = WindowSpec {
        allow_short_tail: true,
        actions_from: Some(0),
        ..WindowSpec::new(&[-1, 0], 16)
    };
    let mut config = LoaderConfig::new(spec, BATCH, 0);
    let rows = row_bytes(root)?;
    let kept = settings.loader.memory_gib * f64::from(1 << 30);
    config.memory_limit_bytes = rows + kept as u64;
    let dataset = Arc::new(Dataset::open(root)?);
    let loader = WindowLoader::new(vec![LoaderSource::new(dataset)], config)?;
    loader.preload(&|_, _| ())?;
    let mut batches = Arc::new(loader).batches(0, settings.loader.workers)?;
    let mut once = || {
        let begin = Instant::now();
        for _ in 0..BATCHES {
            batches.next().context("the loader ended")??;
        }
        Ok::<_, anyhow::Error>(begin.elapsed().as_secs_f64() / BATCHES as f64)
    };
    (0..WARM_UP).try_for_each(|_| once().map(drop))?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < AT_LEAST || begin.elapsed() < settings.time {
        times.push(once()?);
    }
    Ok(times)
}

/// Bytes that states, actions and instructions take.
fn row_bytes(root: &Path) -> Result<u64> {
    let dataset = Dataset::open(root)?;
    let features = dataset.features();
    let frames: usize = dataset
        .episodes()
        .iter()
        .map(|episode| episode.length)
        .sum();
    let width = features.width("observation.state") + features.width("action") + 1;
    Ok(4 * (frames * width) as u64)
}

/// Two cameras of a square that moves, and a stick of it.
fn record() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut features = Features::robot(
        ("top", Feature::camera(SIDE, SIDE)),
        Feature::vector(&["x", "y"]),
        Feature::vector(&["dx", "dy"]),
    );
    let side = "observation.images.side".to_owned();
    features.0.insert(side, Feature::camera(SIDE, SIDE));
    let config = RecorderConfig::new(features, 10, "bench", "push the square");
    let mut recorder = Recorder::create(folder.path(), config)?;
    for number in 0..8 {
        recorder.add_episodes(&[episode(number)])?;
    }
    recorder.finish()?;
    Ok(folder)
}

fn episode(number: u64) -> EpisodeFrames {
    let mut generator = stream(0, "bench loader", number);
    let [mut x, mut y] = [SIDE as f32 / 2.0; 2];
    let mut frames = EpisodeFrames::default();
    for _ in 0..150 {
        let action = normals(&mut generator, 2);
        x = (x + 2.0 * action[0]).clamp(8.0, SIDE as f32 - 8.0);
        y = (y + 2.0 * action[1]).clamp(8.0, SIDE as f32 - 8.0);
        let picture = |color: [u8; 3]| {
            let mut image = Image::filled(SIDE, SIDE, [200, 200, 190]);
            let [top, left] = [y, x].map(|middle| middle as usize - 8);
            for row in top..top + 16 {
                let at = (row * SIDE + left) * 3;
                image.data_mut()[at..at + 48].copy_from_slice(&color.repeat(16));
            }
            image
        };
        let observation = Observation {
            images: [
                ("top".to_owned(), picture([40, 90, 200])),
                ("side".to_owned(), picture([200, 60, 20])),
            ]
            .into(),
            state: vec![x, y],
            ..Observation::default()
        };
        frames.push(observation, Action(action));
    }
    frames
}

//! The loader.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{AT_LEAST, Settings, WARM_UP, Work};
use anyhow::{Context as _, Result, anyhow};
use armilla_core::features::{Feature, Features};
use armilla_core::random::{normals, stream};
use armilla_core::{Action, Image, Observation};
use armilla_data::{
    Dataset, EpisodeFrames, LoaderConfig, LoaderCosts, LoaderSource, Recorder, RecorderConfig,
    WindowLoader, WindowSpec,
};
use serde::Serialize;

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

/// Where the time of a loader went, and what its decoder does by itself.
#[derive(Debug, Serialize)]
pub(super) struct Costs {
    workers: usize,
    samples_per_s: f64,
    /// Frames that were decoded, those too that only others were built upon.
    frames_per_s: f64,
    /// What as many threads as there are workers decode when they go through the same videos in order and keep nothing.
    bare_frames_per_s: f64,
    /// Parts of the workers' time.
    decoding: f64,
    reading: f64,
    colors: f64,
    keeping: f64,
    /// Rows, memory for the batches, pictures that were kept.
    rest: f64,
}

impl Costs {
    fn new(settings: &Settings, times: &[f64], costs: [LoaderCosts; 2], bare: f64) -> Self {
        let seconds = times.iter().sum::<f64>() * BATCHES as f64;
        let [before, after] = costs;
        let total = (after.total - before.total).as_secs_f64().max(1e-9);
        let part =
            |of: fn(&LoaderCosts) -> Duration| (of(&after) - of(&before)).as_secs_f64() / total;
        let video = part(|costs| costs.video.total());
        Self {
            workers: settings.loader.workers,
            samples_per_s: (times.len() * BATCHES * BATCH) as f64 / seconds,
            frames_per_s: (after.video.frames - before.video.frames) as f64 / seconds,
            bare_frames_per_s: bare,
            decoding: part(|costs| costs.video.decoding),
            reading: part(|costs| costs.video.reading),
            colors: part(|costs| costs.video.colors),
            keeping: part(|costs| costs.video.keeping),
            rest: (1.0 - video).max(0.0),
        }
    }

    /// What people are shown.
    pub(super) fn lines(&self) -> [String; 2] {
        let Self {
            workers,
            samples_per_s,
            frames_per_s,
            bare_frames_per_s,
            ..
        } = *self;
        let bare = match frames_per_s > 0.0 && bare_frames_per_s > 0.0 {
            true => format!(
                "{frames_per_s:.0} frames/s decoded; the bare decoder {bare_frames_per_s:.0} ({:.0} %)",
                100.0 * frames_per_s / bare_frames_per_s
            ),
            false => "no frame decoded".to_owned(),
        };
        let percent = |part: f64| 100.0 * part;
        [
            format!("  {samples_per_s:.0} samples/s, {workers} workers: {bare}"),
            format!(
                "  of the workers' time: decoder {:.0} %, reading {:.0} %, colours {:.0} %, resizing and keeping {:.0} %, rest {:.0} %",
                percent(self.decoding),
                percent(self.reading),
                percent(self.colors),
                percent(self.keeping),
                percent(self.rest)
            ),
        ]
    }
}

/// Frames a second that threads of their own decode, each from an episode of its own on.
fn bare(dataset: &Dataset, threads: usize, long: Duration) -> Result<f64> {
    let episodes = dataset.episodes().len();
    let one = |thread: usize| {
        let (mut frames, mut time) = (0, Duration::ZERO);
        let begin = Instant::now();
        for episode in (0..episodes).cycle().skip(thread * episodes / threads) {
            let costs = dataset.decode_bare(episode)?;
            frames += costs.frames;
            time += costs.decoding;
            if begin.elapsed() >= long {
                break;
            }
        }
        Ok::<_, anyhow::Error>(frames as f64 / time.as_secs_f64().max(1e-9))
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || one(thread)))
            .collect();
        let rates = running.into_iter().map(|thread| {
            let ended = thread
                .join()
                .map_err(|_panic| anyhow!("a decoder's thread panicked"));
            ended.flatten()
        });
        rates.sum()
    })
}

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
    let loader = WindowLoader::new(vec![LoaderSource::new(Arc::clone(&dataset))], config)?;
    loader.preload(&|_, _| ())?;
    let loader = Arc::new(loader);
    let mut batches = loader.batches(0, settings.loader.workers)?;
    let mut once = || {
        let begin = Instant::now();
        for _ in 0..BATCHES {
            batches.next().context("the loader ended")??;
        }
        Ok::<_, anyhow::Error>(begin.elapsed().as_secs_f64() / BATCHES as f64)
    };
    (0..WARM_UP).try_for_each(|_| once().map(drop))?;
    let (begin, before, mut times) = (Instant::now(), loader.costs(), Vec::new());
    while times.len() < AT_LEAST || begin.elapsed() < settings.time {
        times.push(once()?);
    }
    let costs = [before, loader.costs()];
    drop(batches);
    let bare = bare(&dataset, settings.loader.workers, settings.time)?;
    settings
        .costs
        .set(Some(Costs::new(settings, &times, costs, bare)));
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

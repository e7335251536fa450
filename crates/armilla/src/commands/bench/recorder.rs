//! `armilla bench recorder`: whether cameras are recorded in real time, and how fast without a clock.
//!
//! `scripts/bench/recorder.py` records the same pictures with LeRobot.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use armilla_core::features::{ACTION, Feature, Features, IMAGE_PREFIX, STATE};
use armilla_core::{Action, Image, Observation};
use armilla_data::{Added, Columns, Frame, Recorder, RecorderConfig};
use serde::Serialize;

use crate::cli::BenchArguments;
use crate::machine::{Machine, cpu_secs, field_mib};

const HEIGHT: usize = 480;
const WIDTH: usize = 640;
const FPS: u32 = 30;
/// Pictures of a camera; they come again and again, and move on smoothly from the last to the first.
const PICTURES: usize = 16;
const JOINTS: [&str; 6] = ["pan", "lift", "elbow", "flex", "roll", "grip"];

/// One way of recording.
struct Case {
    name: &'static str,
    what: &'static str,
    cameras: usize,
    in_real_time: bool,
}

/// The first is the one that a robot needs; memory is its own only there, since the system keeps the most of all.
const CASES: [Case; 3] = [
    Case {
        name: "recorder-real-time",
        what: "three cameras of 640 x 480 at 30 Hz",
        cameras: 3,
        in_real_time: true,
    },
    Case {
        name: "recorder-three",
        what: "three cameras of 640 x 480, as fast as they are taken",
        cameras: 3,
        in_real_time: false,
    },
    Case {
        name: "recorder-two",
        what: "two cameras of 640 x 480, as fast as they are taken",
        cameras: 2,
        in_real_time: false,
    },
];

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    name: &'static str,
    what: &'static str,
    steps: usize,
    /// Steps that were left out since an encoder's queue was full.
    dropped: usize,
    /// Steps a second, until the episode is on the disk.
    steps_per_sec: f64,
    /// Processors that were busy, on average, while steps were handed in and encoded.
    processors: f64,
    /// The longest that the recorder kept its caller with a step, ms.
    longest_add_ms: f64,
    /// The mean of it, ms.
    mean_add_ms: f64,
    /// From the last step until the episode is on the disk, ms.
    save_ms: f64,
    /// Of the videos, MB a camera and minute of 30 Hz.
    megabytes_per_minute: f64,
    /// The most memory the process has held so far, MiB.
    peak_memory_mib: Option<f64>,
    /// What it held before recording, MiB, the pictures of the benchmark included.
    memory_before_mib: Option<f64>,
}

/// Runs `armilla bench recorder`.
pub(super) fn run(arguments: &BenchArguments) -> Result<()> {
    let time = Duration::try_from_secs_f64(arguments.seconds)
        .with_context(|| format!("--seconds: {} is no time", arguments.seconds))?;
    let mut all = Vec::new();
    for case in &CASES {
        let measured = measure(case, time)?;
        if !arguments.json {
            crate::progress::print(&describe(&measured))?;
        }
        all.push(measured);
    }
    if arguments.json {
        let report = serde_json::json!({"results": all, "machine": Machine::here()});
        crate::progress::print(&report.to_string())?;
    }
    Ok(())
}

fn describe(measured: &Measured) -> String {
    let mib = |value: Option<f64>| value.map_or("?".to_owned(), |value| format!("{value:.0}"));
    format!(
        "{:<20} {:>7.1} steps/s, {} of {} dropped   {:.2} processors   add {:.2} ms (at most {:.2})   save {:.0} ms   \
         memory {} MiB ({} before)   {:.0} MB a minute   {}",
        measured.name,
        measured.steps_per_sec,
        measured.dropped,
        measured.steps,
        measured.processors,
        measured.mean_add_ms,
        measured.longest_add_ms,
        measured.save_ms,
        mib(measured.peak_memory_mib),
        mib(measured.memory_before_mib),
        measured.megabytes_per_minute,
        measured.what,
    )
}

fn measure(case: &Case, time: Duration) -> Result<Measured> {
    let folder = std::env::temp_dir().join(format!("armilla-bench-{}", std::process::id()));
    let measured = record(case, time, &folder);
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot remove {}", folder.display()))?;
    measured
}

/// Times of a recording, s.
#[derive(Default)]
struct Times {
    adding: Vec<f64>,
    dropped: usize,
}

fn record(case: &Case, time: Duration, folder: &Path) -> Result<Measured> {
    let observations = observations(case.cameras);
    let config = RecorderConfig::new(features(case.cameras), FPS, "bench", "bench");
    let mut recorder = Recorder::create(folder, config.with_capture_timestamps())?;
    let memory_before_mib = field_mib("/proc/self/status", "VmRSS:");
    let (begun, processor) = (Instant::now(), cpu_secs());
    let times = add_steps(case, time, &observations, &mut recorder)?;
    let saving = Instant::now();
    let saved = recorder.save_episode()?;
    let (whole, busy) = (begun.elapsed().as_secs_f64(), cpu_secs());
    let steps = times.adding.len();
    let bytes = video_bytes(folder, case.cameras)?;
    let minutes = (saved.frames * case.cameras) as f64 / f64::from(FPS) / 60.0;
    Ok(Measured {
        name: case.name,
        what: case.what,
        steps,
        dropped: times.dropped,
        steps_per_sec: saved.frames as f64 / whole,
        processors: (busy - processor) / whole,
        longest_add_ms: times.adding.iter().copied().fold(0.0, f64::max) * 1e3,
        mean_add_ms: times.adding.iter().sum::<f64>() / steps.max(1) as f64 * 1e3,
        save_ms: saving.elapsed().as_secs_f64() * 1e3,
        megabytes_per_minute: bytes as f64 / 1e6 / minutes,
        peak_memory_mib: field_mib("/proc/self/status", "VmHWM:"),
        memory_before_mib,
    })
}

fn add_steps(
    case: &Case,
    time: Duration,
    observations: &[Observation],
    recorder: &mut Recorder,
) -> Result<Times> {
    let (action, none) = (Action(vec![0.5; JOINTS.len()]), Columns::new());
    let (begun, mut times) = (Instant::now(), Times::default());
    while begun.elapsed() < time {
        let step = times.adding.len();
        let frame = Frame {
            observation: &observations[step % PICTURES],
            action: &action,
            others: &none,
        };
        if case.in_real_time {
            let due = begun + Duration::from_secs(1) / FPS * step as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let adding = Instant::now();
        if !case.in_real_time {
            recorder.add(&frame)?;
        } else if recorder.try_add(&frame)? == Added::Dropped {
            times.dropped += 1;
        }
        times.adding.push(adding.elapsed().as_secs_f64());
    }
    Ok(times)
}

fn camera(number: usize) -> String {
    format!("camera{number}")
}

fn features(cameras: usize) -> Features {
    let mut features = Features::default();
    for number in 0..cameras {
        let key = format!("{IMAGE_PREFIX}{}", camera(number));
        features.0.insert(key, Feature::camera(HEIGHT, WIDTH));
    }
    for key in [STATE, ACTION] {
        features.0.insert(key.to_owned(), Feature::vector(&JOINTS));
    }
    features
}

/// What the cameras see: coloured boxes that move by four pixels a picture over a slope of colours, with the noise of a
/// sensor (triangular, a deviation of 3.2 of 255).
fn observations(cameras: usize) -> Vec<Observation> {
    let observation = |number: usize| Observation {
        images: (0..cameras)
            .map(|of| (camera(of), picture(of, number)))
            .collect(),
        state: vec![0.25; JOINTS.len()],
        captured_at_secs: number as f64 / f64::from(FPS),
        ..Observation::default()
    };
    (0..PICTURES).map(observation).collect()
}

fn picture(camera: usize, number: usize) -> Image {
    let mut image = Image::filled(HEIGHT, WIDTH, [0; 3]);
    let first = ((camera * PICTURES + number) * HEIGHT * WIDTH * 3) as u32;
    for (position, value) in image.data_mut().iter_mut().enumerate() {
        let (pixel, channel) = (position / 3, position % 3);
        let (row, column) = (pixel / WIDTH, pixel % WIDTH);
        let boxed = (column + 4 * number) % 64 < 28 && (row + 20 * camera) % 96 < 40;
        let ground = [40 + row / 4, 30 + column / 5, 120];
        let color = if boxed { [200, 60, 30] } else { ground };
        *value = color[channel] as u8 + noise(first + position as u32) - 7;
    }
    image
}

/// 0 to 14, triangular; integers that wrap, so that a script in Python finds the same.
fn noise(index: u32) -> u8 {
    let mixed = index.wrapping_mul(0x9E37_79B1);
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA77);
    let mixed = mixed ^ (mixed >> 13);
    ((mixed & 7) + (mixed >> 3 & 7)) as u8
}

/// Bytes of all the cameras' videos.
fn video_bytes(folder: &Path, cameras: usize) -> Result<u64> {
    let path = |number: usize| -> PathBuf {
        let key = format!("{IMAGE_PREFIX}{}", camera(number));
        let file = format!("videos/{key}/chunk-000/file-000.mp4");
        folder.join(file)
    };
    let mut bytes = 0;
    for path in (0..cameras).map(path) {
        let metadata = std::fs::metadata(&path);
        bytes += metadata
            .with_context(|| format!("no video at {}", path.display()))?
            .len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_noisy_and_move() {
        let [first, second, other] = [picture(0, 0), picture(0, 1), picture(1, 0)];
        // Within a box that has moved by four pixels, and beyond it.
        for (image, row, column, red) in [
            (&first, 10, 20, 200),
            (&second, 10, 26, 42),
            (&other, 30, 20, 47),
        ] {
            let found = i32::from(image.pixel(row, column)[0]);
            assert!((found - red).abs() <= 7, "{found} at {row}, {column}");
        }
        // As `scripts/bench/recorder.py` makes it.
        let theirs = picture(2, 13);
        let sum: u64 = theirs.data().iter().map(|&value| u64::from(value)).sum();
        assert_eq!(sum, 94_539_619);
        assert_eq!(theirs.pixel(100, 200), [69, 75, 120]);
        let draws: Vec<_> = (0..10_000).map(|index| f64::from(noise(index))).collect();
        let mean = draws.iter().sum::<f64>() / 1e4;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 1e4;
        assert!(
            (mean - 7.0).abs() < 0.1 && (variance.sqrt() - 3.24).abs() < 0.1,
            "{mean} {variance}"
        );
    }
}

//! Windows from recorded datasets.

use std::collections::BTreeMap;
use std::sync::Arc;

use armilla_core::features::{ACTION, STATE};
use armilla_core::{Normalization, WindowBatch};

use super::*;

pub(super) fn opened(folder: &TempDir) -> LoaderSource {
    LoaderSource::new(Arc::new(Dataset::open(folder.path()).unwrap()))
}

fn loader(spec: WindowSpec, batch: usize) -> (TempDir, Dataset, WindowLoader) {
    let folder = recorded();
    let config = LoaderConfig::new(spec, batch, 5);
    let loader = WindowLoader::new(vec![opened(&folder)], config).unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    (folder, dataset, loader)
}

/// A recording of one episode, with another camera and rate.
fn other(camera: &str, [height, width]: [usize; 2], fps: u32, length: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let features = Features::robot(
        (camera, Feature::camera(height, width)),
        Feature::vector(&["x"]),
        Feature::vector(&["dx", "dy", "dz", "grip"]),
    );
    let config = RecorderConfig::new(features, fps, "arm", "lift it");
    let mut recorder = Recorder::create(folder.path(), config).unwrap();
    let mut frames = EpisodeFrames::default();
    for frame in 0..length {
        let observation = Observation {
            images: [(
                camera.to_owned(),
                Image::filled(height, width, [7 * frame as u8, 50, 60]),
            )]
            .into(),
            state: vec![frame as f32],
            ..Observation::default()
        };
        let action = [1.0, 2.0, 3.0, 0.1].map(|factor| factor * frame as f32);
        frames.push(observation, Action(action.to_vec()));
    }
    recorder.add_episodes(&[frames]).unwrap();
    recorder.finish().unwrap();
    folder
}

#[test]
fn windows_hold_what_they_should() {
    let mut spec = WindowSpec::new(&[-1, 0, 2], 4);
    spec.actions_from = Some(0);
    spec.later = Some(LaterSpec {
        min_steps: 3,
        max_steps: 6,
        last_share: 0.5,
    });
    let (_folder, dataset, loader) = loader(spec, 8);
    // Episodes of 7, 40, 1 and 12 frames; the last action lies 3 past the anchor.
    assert_eq!(loader.len(), 4 + 37 + 9);
    let mut latest = 0;
    for step in [0, 11, 3, 11] {
        let (batch, windows) = (loader.batch(step).unwrap(), loader.windows(step));
        assert_eq!(batch, loader.batch(step).unwrap());
        assert_eq!((batch.batch, batch.time, batch.action_horizon), (8, 3, 4));
        let camera = &batch.cameras[0];
        let picture = camera.picture_len();
        assert_eq!((camera.name.as_str(), picture), ("top", HEIGHT * WIDTH * 3));
        assert_eq!(camera.images.len(), 8 * 3 * picture);
        for (i, window) in windows.iter().enumerate() {
            let (episode, length) = (window.episode, LENGTHS[window.episode]);
            let (states, images) = (
                dataset.states(episode).unwrap(),
                dataset.images(episode, "top").unwrap(),
            );
            let frames = [
                window.frame.saturating_sub(1),
                window.frame,
                window.frame + 2,
            ];
            for (time, frame) in frames.into_iter().enumerate() {
                let at = i * 3 + time;
                assert_eq!(
                    &camera.images[at * picture..][..picture],
                    images[frame].data()
                );
                assert_eq!(&batch.states[at * 2..][..2], states.row(frame));
                assert_eq!(batch.observation_is_pad[at], time == 0 && window.frame == 0);
            }
            let first_action = batch.actions[i * 12 + 2];
            assert_eq!(first_action, window.frame as f32);
            assert_eq!(
                batch.instructions[i],
                dataset.episodes()[episode].instruction()
            );
            let first = frames[0];
            let later = batch.later_steps[i] as usize;
            assert!((3..=6).contains(&later) && first + later < length);
            latest += usize::from(later == 6.min(length - 1 - first));
            let found = &camera.later_images[i * picture..][..picture];
            assert_eq!(found, images[first + later].data());
        }
    }
    assert!(
        (16..=30).contains(&latest),
        "half and a quarter of the rest, found {latest} of 32"
    );
}

#[test]
fn actions_before_the_start_are_padding() {
    let (_folder, _, loader) = loader(WindowSpec::new(&[-2, 0], 3), 60);
    let batch = loader.batch(0).unwrap();
    for (i, window) in loader.windows(0).iter().enumerate() {
        for step in 0..3 {
            let before = window.frame + step < 2;
            assert_eq!(batch.action_is_pad[i * 3 + step], before);
        }
    }
    assert!(batch.action_is_pad.contains(&true));
}

#[test]
fn actions_past_the_end_are_padding() {
    let mut spec = WindowSpec::new(&[0], 5);
    spec.allow_short_tail = true;
    let (_folder, _, loader) = loader(spec, 60);
    assert_eq!(loader.len(), 60);
    let batch = loader.batch(0).unwrap();
    for (i, window) in loader.windows(0).iter().enumerate() {
        let length = loader.episodes()[window.episode].length;
        for step in 0..5 {
            let frame = window.frame + step;
            assert_eq!(batch.action_is_pad[i * 5 + step], frame >= length);
            let value = batch.actions[(i * 5 + step) * 3 + 2];
            assert_eq!(value, frame.min(length - 1) as f32);
        }
    }
}

#[test]
fn memory_changes_nothing_but_time() {
    let folder = recorded();
    let batches = |limit: u64, preload: bool| -> (bool, Vec<WindowBatch>) {
        let mut config = LoaderConfig::new(WindowSpec::new(&[0, 3], 3), 6, 1);
        config.memory_limit_bytes = limit;
        let loader = WindowLoader::new(vec![opened(&folder)], config).unwrap();
        if preload {
            loader.preload(&|_, _| ()).unwrap();
        }
        let fits = loader.fits_in_memory();
        (
            fits,
            (0..12).map(|step| loader.batch(step).unwrap()).collect(),
        )
    };
    let (fits, expected) = batches(1 << 30, true);
    assert!(fits);
    // Rows alone; a few pictures; all of them without having been decoded in advance.
    for limit in [60 * 24, 100 * (HEIGHT * WIDTH * 3) as u64 / 2, 1 << 24] {
        assert_eq!(batches(limit, false).1, expected, "{limit}");
    }
    let mut config = LoaderConfig::new(WindowSpec::new(&[0], 3), 6, 1);
    config.memory_limit_bytes = 1000;
    let error = WindowLoader::new(vec![opened(&folder)], config)
        .err()
        .unwrap();
    assert!(error.to_string().contains("raise the limit"), "{error}");
}

#[test]
fn batches_come_in_order_from_any_number_of_workers() {
    let (_folder, _, loader) = loader(WindowSpec::new(&[0], 2), 4);
    let loader = Arc::new(loader);
    let expected: Vec<_> = (5..14).map(|step| loader.batch(step).unwrap()).collect();
    for workers in [1, 2, 5] {
        let batches = loader.batches(5, workers).unwrap().take(9);
        let found: Result<Vec<_>> = batches.collect();
        assert_eq!(found.unwrap(), expected, "{workers} workers");
    }
    assert!(loader.batches(0, 0).is_err());
}

#[test]
fn after_an_error_no_more_batches_come() {
    let (folder, _, loader) = loader(WindowSpec::new(&[0], 2), 4);
    std::fs::remove_dir_all(folder.path().join("videos")).unwrap();
    let mut batches = Arc::new(loader).batches(0, 3).unwrap();
    assert!(batches.next().unwrap().is_err());
    assert!(batches.next().is_none() && batches.next().is_none());
}

#[test]
fn pictures_in_the_tables_are_loaded_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    let camera = config.features.0.get_mut("observation.images.top").unwrap();
    camera.data_type = armilla_core::features::DataType::Image;
    let mut recorder = Recorder::create(folder.path(), config).unwrap();
    recorder
        .add_episodes(&[episode(0, 9), episode(1, 12)])
        .unwrap();
    recorder.finish().unwrap();
    let mut config = LoaderConfig::new(WindowSpec::new(&[-1, 0, 3], 1), 8, 1);
    // Once with what was decoded in advance, once anew for each window.
    for limit in [1 << 26, 21 * 24] {
        config.memory_limit_bytes = limit;
        let loader = WindowLoader::new(vec![opened(&folder)], config.clone()).unwrap();
        loader.preload(&|_, _| ()).unwrap();
        let camera = loader.batch(0).unwrap().cameras.remove(0);
        let pictures: Vec<_> = camera.images.chunks(camera.picture_len()).collect();
        for (i, window) in loader.windows(0).iter().enumerate() {
            let frames = [
                window.frame.saturating_sub(1),
                window.frame,
                window.frame + 3,
            ];
            for (time, frame) in frames.into_iter().enumerate() {
                // PNG loses nothing.
                let expected = picture(window.episode, frame);
                assert_eq!(pictures[3 * i + time], expected.data());
            }
        }
    }
}

/// A source of a mixture.
fn weighted(folder: &TempDir, weight: f64) -> LoaderSource {
    LoaderSource {
        weight: Some(weight),
        ..opened(folder)
    }
}

/// The first dataset's 10 Hz from its own, and from 30 Hz; a camera of each.
fn mixture(first: &TempDir, second: &TempDir) -> WindowLoader {
    let mut spec = WindowSpec::new(&[-1, 0], 3);
    (spec.actions_from, spec.allow_short_tail) = (Some(0), true);
    let mut config = LoaderConfig::new(spec, 40, 2);
    config.transforms = vec![SMALL];
    config.cameras = Some(vec!["top".to_owned(), "wrist".to_owned()]);
    let sources = vec![weighted(first, 1.0), weighted(second, 3.0)];
    WindowLoader::new(sources, config).unwrap()
}

const SMALL: ImageTransform = ImageTransform::ResizeWithPad {
    height: 16,
    width: 24,
};

#[test]
fn a_mixture_joins_rates_and_widths() {
    let (first, second) = (recorded(), other("wrist", [20, 30], 30, 31));
    let loader = mixture(&first, &second);
    assert_eq!(loader.widths(), [2, 4]);
    let mut seconds = 0;
    for step in 0..10 {
        let batch = loader.batch(step).unwrap();
        for (i, window) in loader.windows(step).iter().enumerate() {
            let actions = &batch.actions[i * 12..][..12];
            if loader.episodes()[window.episode].source == 0 {
                assert_eq!(actions[3], 0.0, "narrower actions end in zeros");
                continue;
            }
            seconds += 1;
            // Three frames a step at 30 Hz.
            let at = |step: usize| (window.frame + 3 * step).min(30) as f32;
            assert_eq!([actions[0], actions[4], actions[8]], [0, 1, 2].map(at));
            assert_eq!(batch.states[i * 4 + 3], 0.0, "narrower states too");
            let before = window.frame.saturating_sub(3) as f32;
            assert_eq!(batch.states[i * 4], before);
            assert_eq!(batch.observation_is_pad[2 * i], window.frame < 3);
            assert_eq!(batch.instructions[i], "lift it");
        }
    }
    assert!(
        (270..330).contains(&seconds),
        "three quarters of 400, found {seconds}"
    );
}

#[test]
fn a_mixture_marks_cameras_that_are_missing() {
    let (first, second) = (recorded(), other("wrist", [20, 30], 30, 31));
    let loader = mixture(&first, &second);
    let known = loader.statistics();
    for camera in ["top", "wrist"] {
        let key = format!("observation.images.{camera}");
        assert!(known[&key].count > 0, "of the dataset that has it");
    }
    let batch = loader.batch(3).unwrap();
    for (i, window) in loader.windows(3).iter().enumerate() {
        let is_second = loader.episodes()[window.episode].source == 1;
        let missing = [0, 1].map(|camera| batch.cameras[camera].is_missing[i]);
        assert_eq!(missing, [is_second, !is_second]);
        let size = 2 * batch.cameras[0].picture_len();
        let images = [0, 1].map(|camera| &batch.cameras[camera].images[i * size..][..size]);
        let black = images[usize::from(!is_second)];
        assert!(black.iter().all(|&value| value == 0));
        if is_second {
            let middle = (8 * 24 + 12) * 3;
            let red = images[1][size / 2 + middle];
            let expected = 7 * window.frame as u8;
            assert!(red.abs_diff(expected) < 6, "{red} {expected}");
        }
    }
}

#[test]
fn a_camera_may_have_another_name_and_not_another_size() {
    let (first, second) = (recorded(), other("wrist", [20, 30], 30, 31));
    let sources = || {
        let mut renamed = opened(&second);
        renamed.cameras = BTreeMap::from([("top".to_owned(), "wrist".to_owned())]);
        vec![opened(&first), renamed]
    };
    let mut config = LoaderConfig::new(WindowSpec::new(&[0], 3), 40, 2);
    config.transforms = vec![SMALL];
    let loader = WindowLoader::new(sources(), config.clone()).unwrap();
    assert_eq!(loader.cameras().len(), 1);
    let kept = loader.state().datasets.into_iter();
    let kept: Vec<_> = kept.flat_map(|dataset| dataset.cameras).flatten().collect();
    let keys = ["top", "wrist"].map(|name| format!("observation.images.{name}"));
    assert_eq!(kept, keys, "a resumed run must find the same");
    let counts = [(&first, "top"), (&second, "wrist")].map(|(folder, name)| {
        let known = opened(folder).dataset.statistics().clone();
        known[&format!("observation.images.{name}")].count
    });
    let known = loader.statistics();
    let joined = counts[0] + counts[1];
    assert_eq!(known["observation.images.top"].count, joined);
    assert!(!known.contains_key("observation.images.wrist"));
    let missing = loader.batch(0).unwrap().cameras[0].is_missing.clone();
    assert!(missing.iter().all(|missing| !missing));
    config.transforms.clear();
    let error = WindowLoader::new(sources(), config).err().unwrap();
    let error = error.to_string();
    assert!(
        error.contains("[32, 48]") && error.contains("resize"),
        "{error}"
    );
}

#[test]
fn each_dataset_is_normalised_by_its_own_statistics() {
    let (first, second) = (recorded(), other("top", [HEIGHT, WIDTH], 10, 31));
    let mut config = LoaderConfig::new(WindowSpec::new(&[0], 1), 64, 2);
    config.normalization = [
        (STATE, Normalization::MeanStd),
        (ACTION, Normalization::MinMax),
    ]
    .map(|(key, mode)| (key.to_owned(), mode))
    .into();
    let sources = vec![opened(&first), opened(&second)];
    let loader = WindowLoader::new(sources, config.clone()).unwrap();
    let batch = loader.batch(0).unwrap();
    assert!(
        batch
            .actions
            .iter()
            .all(|value| (-1.0..=1.0).contains(value))
    );
    for (i, window) in loader.windows(0).iter().enumerate() {
        if loader.episodes()[window.episode].source == 1 {
            let expected = window.frame as f32 / 15.0 - 1.0;
            for action in &batch.actions[i * 4..][..4] {
                assert!((action - expected).abs() < 1e-5);
            }
            let deviation = (960.0_f32 / 12.0).sqrt();
            let expected = (window.frame as f32 - 15.0) / deviation;
            assert!((batch.states[i * 2] - expected).abs() < 1e-4);
        }
    }
    let joined = loader.statistics();
    assert!(!joined.contains_key(ACTION), "of other widths");
    config.normalization = [("next.reward".to_owned(), Normalization::MeanStd)].into();
    let error = WindowLoader::new(vec![opened(&first)], config)
        .err()
        .unwrap();
    assert!(error.to_string().contains("next.reward"), "{error}");
}

#[test]
fn random_transforms_change_windows_and_not_batches() {
    let folder = recorded();
    let pictures = |transforms: Vec<ImageTransform>| {
        let mut config = LoaderConfig::new(WindowSpec::new(&[0, 1], 1), 8, 3);
        config.transforms = transforms;
        let loader = WindowLoader::new(vec![opened(&folder)], config).unwrap();
        let batch = loader.batch(2).unwrap();
        assert_eq!(batch, loader.batch(2).unwrap());
        batch.cameras.into_iter().next().unwrap()
    };
    let plain = pictures(Vec::new());
    let crop = pictures(vec![ImageTransform::RandomCrop {
        height: 24,
        width: 40,
    }]);
    assert_eq!(
        (crop.height, crop.width, crop.images.len()),
        (24, 40, 8 * 2 * 24 * 40 * 3)
    );
    let jitter = ColorJitter {
        brightness: 0.4,
        ..ColorJitter::default()
    };
    let bright = pictures(vec![ImageTransform::ColorJitter(jitter)]);
    let window = 2 * plain.picture_len();
    let factors: Vec<_> = (0..8)
        .map(|i| {
            let sum = |images: &[u8]| images.iter().map(|&value| f64::from(value)).sum::<f64>();
            sum(&bright.images[i * window..][..window]) / sum(&plain.images[i * window..][..window])
        })
        .collect();
    assert!(
        factors.iter().all(|factor| (0.55..=1.41).contains(factor)),
        "{factors:?}"
    );
    assert!(
        factors
            .windows(2)
            .any(|pair| (pair[0] - pair[1]).abs() > 0.05),
        "{factors:?}"
    );
}

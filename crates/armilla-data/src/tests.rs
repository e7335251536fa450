//! Tests of the crate as a whole: what is recorded comes back, and broken files are named.

use std::path::Path;

use armilla_core::features::{Feature, Features};
use armilla_core::random::stream;
use armilla_core::{Action, FeatureStatistics, Image, Observation};
use rand::RngExt as _;
use tempfile::TempDir;

use super::*;

const HEIGHT: usize = 32;
const WIDTH: usize = 48;

pub(crate) fn config() -> RecorderConfig {
    let features = Features::robot(
        ("top", Feature::camera(HEIGHT, WIDTH)),
        Feature::vector(&["x", "y"]),
        Feature::vector(&["dx", "dy", "grip"]),
    );
    RecorderConfig::new(features, 10, "pusher", "reach the goal")
}

/// A coloured square on a coloured ground, moving.
fn picture(episode: usize, frame: usize) -> Image {
    let mut image = Image::filled(HEIGHT, WIDTH, [40, 90, 30 * (episode % 8) as u8]);
    let (top, left) = (4 + 2 * (frame % 8), 6 + 2 * (frame % 12));
    for row in top..top + 8 {
        let at = (row * WIDTH + left) * 3;
        image.data_mut()[at..at + 24].copy_from_slice(&[220, 60, 20].repeat(8));
    }
    image
}

pub(crate) fn episode(index: usize, length: usize) -> EpisodeFrames {
    let mut generator = stream(7, "example", index as u64);
    let mut frames = EpisodeFrames::default();
    for frame in 0..length {
        let mut value = || generator.random::<f32>();
        let observation = Observation {
            images: [("top".to_owned(), picture(index, frame))].into(),
            state: vec![value(), value()],
            instruction: (index % 2 == 1).then(|| format!("push it {index}")),
            ..Observation::default()
        };
        frames.push(observation, Action(vec![value(), value(), frame as f32]));
    }
    frames
}

const LENGTHS: [usize; 4] = [7, 40, 1, 12];

/// A dataset of four episodes.
fn recorded() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), config()).unwrap();
    let episodes: Vec<_> = (0..3).map(|i| episode(i, LENGTHS[i])).collect();
    recorder.add_episodes(&episodes).unwrap();
    let last = episode(3, LENGTHS[3]);
    for (observation, action) in last.observations.iter().zip(&last.actions) {
        let frame = Frame {
            observation,
            action,
        };
        recorder.add(&frame).unwrap();
    }
    recorder.save_episode().unwrap();
    recorder.finish().unwrap();
    folder
}

fn check_contents(dataset: &Dataset, episodes: usize) {
    assert_eq!(dataset.episodes().len(), episodes);
    for (index, &length) in LENGTHS.iter().enumerate().take(episodes) {
        let expected = episode(index, length);
        let found = &dataset.episodes()[index];
        let instruction = expected.observations[0].instruction.clone();
        let instruction = instruction.unwrap_or_else(|| "reach the goal".to_owned());
        assert_eq!(
            (found.length, found.instruction()),
            (length, instruction.as_str())
        );
        let (states, actions) = (
            dataset.states(index).unwrap(),
            dataset.actions(index).unwrap(),
        );
        let images = dataset.images(index, "top").unwrap();
        assert_eq!(
            (states.len(), actions.len(), images.len()),
            (length, length, length)
        );
        for frame in 0..length {
            assert_eq!(states.row(frame), expected.observations[frame].state);
            assert_eq!(actions.row(frame), expected.actions[frame].0);
            let original = &expected.observations[frame].images["top"];
            let off = mean_difference(&images[frame], original);
            assert!(off < 3.0, "episode {index} frame {frame}: {off}");
        }
        let tasks = dataset.numbers(index, "task_index").unwrap();
        assert_eq!(dataset.tasks()[tasks[0] as usize], instruction);
    }
}

fn mean_difference(left: &Image, right: &Image) -> f64 {
    let pairs = left.data().iter().zip(right.data());
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / left.data().len() as f64
}

#[test]
fn what_is_recorded_comes_back() {
    let folder = recorded();
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!((dataset.recovered(), dataset.fps()), (None, 10));
    assert_eq!(dataset.features(), &config().features);
    assert_eq!(
        dataset.tasks(),
        ["reach the goal", "push it 1", "push it 3"]
    );
    check_contents(&dataset, 4);
    let files = layout::files_below(folder.path()).unwrap();
    assert_eq!(files.len(), 6, "joined into one of each: {files:?}");
    let times = dataset.numbers(3, "timestamp").unwrap();
    assert_eq!(times[7] as f32, 0.7);
    assert_eq!(dataset.numbers(3, "index").unwrap()[0], 48.0);
}

#[test]
fn the_same_episodes_give_the_same_files() {
    let hash = |folder: &TempDir| {
        Dataset::open(folder.path())
            .unwrap()
            .content_hash()
            .unwrap()
    };
    assert_eq!(hash(&recorded()), hash(&recorded()));
}

#[test]
fn statistics_are_those_of_the_values() {
    let folder = recorded();
    let dataset = Dataset::open(folder.path()).unwrap();
    let episodes: Vec<_> = (0..4).map(|i| episode(i, LENGTHS[i])).collect();
    let rows: Vec<Vec<f64>> = episodes
        .iter()
        .flat_map(|e| &e.actions)
        .map(|action| action.0.iter().map(|&value| f64::from(value)).collect())
        .collect();
    let expected = FeatureStatistics::of_rows(&rows, 3).unwrap();
    let found = &dataset.statistics()["action"];
    assert_eq!((found.count, found.min[2]), (60, 0.0));
    for name in statistics::NAMES {
        let pairs = statistics::get(found, name)
            .iter()
            .zip(statistics::get(&expected, name));
        // The last digit may be lost on the way through JSON.
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-14 * (1.0 + b.abs()), "{name} {a} {b}"));
    }
    assert_eq!(dataset.statistics()["frame_index"].max, [39.0]);
    let camera = &dataset.statistics()["observation.images.top"];
    let red = |image: &Image| {
        image
            .data()
            .iter()
            .step_by(3)
            .map(|&v| f64::from(v))
            .sum::<f64>()
    };
    let images = episodes
        .iter()
        .flat_map(|e| &e.observations)
        .map(|o| &o.images["top"]);
    let mean = images.map(red).sum::<f64>() / (60 * HEIGHT * WIDTH) as f64 / 255.0;
    assert!((camera.mean[0] - mean).abs() < 1e-9 && camera.count == 60);
    assert!((camera.max[0] - 220.0 / 255.0).abs() < 1e-12);
}

#[test]
fn a_crash_loses_only_the_episode_in_progress() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), config()).unwrap();
    recorder
        .add_episodes(&[episode(0, LENGTHS[0]), episode(1, LENGTHS[1])])
        .unwrap();
    let running = Dataset::open(folder.path()).unwrap();
    assert!(running.recovered().unwrap().being_recorded);
    check_contents(&running, 2);
    let frames = episode(2, 1);
    let frame = Frame {
        observation: &frames.observations[0],
        action: &frames.actions[0],
    };
    recorder.add(&frame).unwrap();
    // As a crash between the last two renames leaves it: all in place, not counted.
    let mut info = info::Info::read(folder.path()).unwrap();
    (info.total_episodes, info.total_frames) = (1, 7);
    info.write(folder.path()).unwrap();
    drop(recorder);
    // And one that was cut off before its metadata.
    let stray = folder.path().join("data/chunk-000/file-002.parquet");
    std::fs::write(&stray, b"PAR1").unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    let recovered = dataset.recovered().unwrap();
    assert_eq!(
        (recovered.episodes, recovered.removed.len()),
        (2, 2),
        "{recovered:?}"
    );
    assert!(!stray.exists() && recovered.to_string().contains("2 finished episodes kept"));
    check_contents(&dataset, 2);
    assert!(!dataset.statistics().is_empty());
    drop(dataset);
    // Recording goes on, and the whole is what it would have been.
    let mut recorder = Recorder::resume(folder.path(), config()).unwrap();
    recorder
        .add_episodes(&[episode(2, LENGTHS[2]), episode(3, LENGTHS[3])])
        .unwrap();
    recorder.finish().unwrap();
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(dataset.recovered(), None);
    check_contents(&dataset, 4);
    let whole = recorded();
    let whole = Dataset::open(whole.path()).unwrap();
    assert_eq!(
        dataset.content_hash().unwrap(),
        whole.content_hash().unwrap()
    );
}

#[test]
fn an_interrupted_compaction_is_gone_on_with() {
    let (folder, spare) = (recorded(), tempfile::tempdir().unwrap());
    let root = folder.path();
    // As if `videos` had been moved already, `data` and `meta` not yet.
    let moved = |name: &str| root.join(layout::COMPACT).join(name);
    std::fs::create_dir(root.join(layout::COMPACT)).unwrap();
    for name in ["data", "meta"] {
        std::fs::rename(root.join(name), moved(name)).unwrap();
    }
    std::fs::create_dir(root.join("data")).unwrap();
    std::fs::write(moved("whole"), b"").unwrap();
    check_contents(&Dataset::open(root).unwrap(), 4);
    // One that was not whole is dropped.
    std::fs::rename(spare.path(), moved("")).unwrap();
    check_contents(&Dataset::open(root).unwrap(), 4);
    assert!(!moved("").exists());
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() * 2 / 3]).unwrap();
}

#[test]
fn broken_files_are_named() {
    type Read = fn(&Dataset) -> Result<()>;
    let images: Read = |dataset| dataset.images(1, "top").map(|_| ());
    let states: Read = |dataset| dataset.states(1).map(|_| ());
    let video = "videos/observation.images.top/chunk-000/file-000.mp4";
    for (file, read) in [(video, images), ("data/chunk-000/file-000.parquet", states)] {
        let folder = recorded();
        let path = folder.path().join(file);
        cut(&path);
        let dataset = Dataset::open(folder.path()).unwrap();
        let error = read(&dataset).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("cut"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let error = read(&dataset).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("missing"), "{error}");
    }
    let folder = recorded();
    cut(&folder.path().join("meta/tasks.parquet"));
    let error = Dataset::open(folder.path()).err().unwrap().to_string();
    assert!(
        error.contains("tasks.parquet") && error.contains("cut"),
        "{error}"
    );
    let error = Dataset::open("/nowhere").err().unwrap().to_string();
    assert!(
        error.contains("no dataset here") && error.contains("/nowhere"),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut odd = config();
    let camera = odd.features.0.get_mut("observation.images.top").unwrap();
    camera.shape = vec![33, 48, 3];
    let error = Recorder::create(folder.path(), odd)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("even sides") && error.contains("33"),
        "{error}"
    );
    let mut recorder = Recorder::create(folder.path(), config()).unwrap();
    let error = Recorder::create(folder.path(), config()).err().unwrap();
    assert!(error.to_string().contains("not empty"), "{error}");
    let mut frames = episode(0, 3);
    frames.actions[2].0.pop();
    let error = recorder.add_episode(&frames).unwrap_err().to_string();
    assert!(error.contains("action") && error.contains('2'), "{error}");
    assert!(recorder.save_episode().is_err());
    recorder.finish().unwrap();
    assert!(Dataset::open(folder.path()).unwrap().episodes().is_empty());
}

fn loader(spec: WindowSpec, batch: usize) -> (TempDir, WindowLoader) {
    let folder = recorded();
    let dataset = Dataset::open(folder.path()).unwrap();
    let loader = WindowLoader::open(&dataset, &StoreConfig::default(), spec, batch, 5).unwrap();
    (folder, loader)
}

#[test]
fn windows_hold_what_they_should() {
    let mut spec = WindowSpec::new(&[-1, 0, 2], 4);
    spec.actions_from = Some(0);
    spec.later = Some(LaterSpec {
        min_steps: 3,
        max_steps: 6,
    });
    let (_folder, loader) = loader(spec, 8);
    // Episodes of 7, 40, 1 and 12 frames; the last action lies 3 past the anchor.
    assert_eq!(loader.len(), 4 + 37 + 9);
    let store = loader.store();
    for step in [0, 11, 3, 11] {
        let (batch, windows) = (loader.batch(step), loader.windows(step));
        assert_eq!(batch, loader.batch(step));
        assert_eq!((batch.batch, batch.time, batch.action_horizon), (8, 3, 4));
        assert_eq!(batch.images.len(), 8 * 3 * HEIGHT * WIDTH * 3);
        for (i, window) in windows.iter().enumerate() {
            let stored = &store.episodes()[window.episode];
            let frames = [
                window.frame.saturating_sub(1),
                window.frame,
                window.frame + 2,
            ];
            for (time, frame) in frames.into_iter().enumerate() {
                let at = (i * 3 + time) * store.picture_len();
                assert_eq!(
                    &batch.images[at..at + store.picture_len()],
                    stored.image(frame)
                );
                assert_eq!(
                    &batch.states[(i * 3 + time) * 2..][..2],
                    stored.states.row(frame)
                );
            }
            let first_action = batch.actions[i * 12 + 2];
            assert_eq!(first_action, window.frame as f32);
            assert_eq!(batch.instructions[i], stored.instruction);
            let first = frames[0];
            let later = batch.later_steps[i] as usize;
            assert!((3..=6).contains(&later) && first + later < stored.length);
            let at = i * store.picture_len();
            let picture = &batch.later_images[at..at + store.picture_len()];
            assert_eq!(picture, stored.image(first + later));
        }
    }
}

#[test]
fn actions_past_the_end_are_padding() {
    let mut spec = WindowSpec::new(&[0], 5);
    spec.allow_short_tail = true;
    let (_folder, loader) = loader(spec, 60);
    assert_eq!(loader.len(), 60);
    let batch = loader.batch(0);
    for (i, window) in loader.windows(0).iter().enumerate() {
        let length = loader.store().episodes()[window.episode].length;
        for step in 0..5 {
            let frame = window.frame + step;
            assert_eq!(batch.action_is_pad[i * 5 + step], frame >= length);
            let value = batch.actions[(i * 5 + step) * 3 + 2];
            assert_eq!(value, frame.min(length - 1) as f32);
        }
    }
}

#[test]
fn a_store_keeps_its_limit_and_selection() {
    let folder = recorded();
    let dataset = Dataset::open(folder.path()).unwrap();
    let mut config = StoreConfig {
        episodes: Some(vec![3, 0]),
        ..StoreConfig::default()
    };
    let store = FrameStore::load(&dataset, &config, &|_, _| ()).unwrap();
    let lengths: Vec<_> = store
        .episodes()
        .iter()
        .map(|e| (e.index, e.length))
        .collect();
    assert_eq!(lengths, [(3, 12), (0, 7)]);
    config.memory_limit_bytes = 1000;
    let error = FrameStore::load(&dataset, &config, &|_, _| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("19 decoded frames") && error.contains("limit"),
        "{error}"
    );
    let error = WindowLoader::new(store.into(), WindowSpec::new(&[0], 50), 4, 0)
        .err()
        .unwrap();
    assert!(error.to_string().contains("longest episode 12"), "{error}");
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// The largest difference from the frame that PyAV decoded.
fn off_pyav(image: &Image, name: &str) -> u8 {
    let file = std::fs::File::open(fixture(name)).unwrap();
    let decoder = image::codecs::png::PngDecoder::new(std::io::BufReader::new(file)).unwrap();
    let mut expected = vec![0; image.data().len()];
    image::ImageDecoder::read_image(decoder, &mut expected).unwrap();
    let pairs = image.data().iter().zip(&expected);
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn what_lerobot_writes_is_read() {
    let dataset = Dataset::open(fixture("lerobot")).unwrap();
    assert_eq!((dataset.episodes().len(), dataset.fps()), (2, 10));
    assert_eq!(dataset.episodes()[1].instruction(), "task 1");
    assert_eq!(dataset.states(1).unwrap().row(3), [1.0, 0.75]);
    assert_eq!(dataset.actions(0).unwrap().row(4), [0.0, -1.0]);
    assert_eq!(
        dataset.numbers(1, "next.reward").unwrap(),
        [0.0, 1.0, 2.0, 3.0, 4.0]
    );
    let found = &dataset.statistics()["observation.state"];
    assert_eq!((found.mean.as_slice(), found.count), (&[0.5, 0.5][..], 10));
    let key = dataset.first_camera().unwrap();
    assert_eq!(dataset.statistics()[&key].mean.len(), 3);
    // Coded as AV1; both episodes lie in one file.
    let off = [
        off_pyav(&dataset.images(0, &key).unwrap()[2], "lerobot-02.png"),
        off_pyav(&dataset.images(1, &key).unwrap()[2], "lerobot-07.png"),
    ];
    assert_eq!(off, [0, 0]);
}

#[test]
fn b_pictures_and_edit_lists_are_read() {
    let index = video::demux::VideoIndex::read(&fixture("b_pictures.mp4")).unwrap();
    assert_eq!(index.shown.len(), 12);
    assert_ne!(
        index.shown,
        (0..12).collect::<Vec<_>>(),
        "there are B-pictures"
    );
    assert_eq!(index.nearest(0.5).unwrap().0, 5);
    assert!(
        index.nearest(0.0).unwrap().1 < 1e-9,
        "the edit list is applied"
    );
    for frame in [0, 5, 11] {
        let images = video::decode::decode(&index, frame..frame + 1).unwrap();
        let off = off_pyav(&images[0], &format!("b_pictures-{frame:02}.png"));
        assert_eq!(off, 0, "frame {frame}");
    }
}

/// Writes what `scripts/lerobot_check.py` compares, under the system's temporary folder.
#[test]
#[ignore = "only for scripts/lerobot_check.py"]
fn write_what_lerobot_checks() {
    let folder = std::env::temp_dir().join("armilla-lerobot-check");
    layout::remove_folder(&folder).unwrap();
    let (root, frames) = (folder.join("dataset"), folder.join("frames"));
    std::fs::create_dir_all(&frames).unwrap();
    let mut config = config();
    let wrist = "observation.images.wrist".to_owned();
    config.features.0.insert(wrist, Feature::camera(64, 64));
    let mut recorder = Recorder::create(&root, config).unwrap();
    let mut episodes: Vec<_> = (0..12).map(|i| episode(i, 20 + 7 * i)).collect();
    for (number, frames) in episodes.iter_mut().enumerate() {
        for (time, observation) in frames.observations.iter_mut().enumerate() {
            let mut image = Image::filled(64, 64, [20 * number as u8, 200, 90]);
            let at = (time % 40) * 64 * 3;
            image.data_mut()[at..at + 64 * 3 * 8].fill(250);
            observation.images.insert("wrist".to_owned(), image);
        }
    }
    recorder.add_episodes(&episodes).unwrap();
    recorder.finish().unwrap();
    let dataset = Dataset::open(&root).unwrap();
    let write = |number: usize, what: &str, bytes: Vec<u8>| {
        std::fs::write(frames.join(format!("{number:03}.{what}")), bytes).unwrap();
    };
    for (number, episode) in episodes.iter().enumerate() {
        for camera in ["top", "wrist"] {
            let original = episode
                .observations
                .iter()
                .flat_map(|o| o.images[camera].data());
            write(
                number,
                &format!("{camera}.original"),
                original.copied().collect(),
            );
            let decoded = dataset.images(number, camera).unwrap();
            let decoded = decoded.iter().flat_map(|image| image.data().to_vec());
            write(number, &format!("{camera}.decoded"), decoded.collect());
        }
        let bytes = |row: &Vec<f32>| row.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        write(
            number,
            "state",
            episode
                .observations
                .iter()
                .flat_map(|o| bytes(&o.state))
                .collect(),
        );
        write(
            number,
            "action",
            episode.actions.iter().flat_map(|a| bytes(&a.0)).collect(),
        );
        write(
            number,
            "task",
            dataset.episodes()[number].instruction().into(),
        );
    }
}

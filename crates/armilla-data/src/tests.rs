//! Tests of the crate as a whole: what is recorded comes back, and broken files are named.

use std::path::Path;

use armilla_core::features::{Feature, Features};
use armilla_core::random::stream;
use armilla_core::{Action, FeatureStatistics, Image, Observation};
use rand::RngExt as _;
use tempfile::TempDir;

use super::*;

mod checking;
mod converting;
mod damage;
mod editing;
mod every_type;
mod loader_state;
mod loading;
mod opening;
mod peers;
mod recording;
mod refusing;
mod repairing;

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
            others: &Columns::new(),
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
        for (frame, image) in images.iter().enumerate() {
            assert_eq!(states.row(frame), expected.observations[frame].state);
            assert_eq!(actions.row(frame), expected.actions[frame].0);
            let original = &expected.observations[frame].images["top"];
            let off = mean_difference(image, original);
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
        others: &Columns::new(),
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
    // Recording goes on, and the whole is what it would have been; what others put there stays.
    let modality = folder.path().join("meta/modality.json");
    std::fs::write(&modality, "{}").unwrap();
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
    assert_eq!(std::fs::read_to_string(&modality).unwrap(), "{}");
    std::fs::remove_file(modality).unwrap();
    assert_eq!(
        dataset.content_hash().unwrap(),
        whole.content_hash().unwrap()
    );
}

/// What is in a dataset's way stands for a crash just before that rename: the batch stops there.
#[test]
fn a_crash_within_a_batch_keeps_its_finished_episodes() {
    let whole = recorded();
    let expected = Dataset::open(whole.path()).unwrap().content_hash().unwrap();
    let all: Vec<_> = (0..4).map(|i| episode(i, LENGTHS[i])).collect();
    for (obstacle, finished) in [
        ("videos/observation.images.top/chunk-000/file-002.mp4", 2),
        ("data/chunk-000/file-001.parquet", 1),
        ("meta/tasks.parquet", 0),
        ("meta/episodes/chunk-000/file-003.parquet", 3),
        ("meta/info.json.partial", 4),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(folder.path(), config()).unwrap();
        let path = folder.path().join(obstacle);
        std::fs::create_dir_all(&path).unwrap();
        recorder.add_episodes(&all).unwrap_err();
        drop(recorder);
        std::fs::remove_dir(&path).unwrap();
        let counted = info::Info::read(folder.path()).unwrap().total_episodes;
        assert_eq!(counted, 0, "{obstacle}");
        let dataset = Dataset::open(folder.path()).unwrap();
        let recovered = dataset.recovered().unwrap();
        assert_eq!(recovered.episodes, finished, "{obstacle}");
        check_contents(&dataset, finished);
        drop(dataset);
        let mut recorder = Recorder::resume(folder.path(), config()).unwrap();
        recorder.add_episodes(&all[finished..]).unwrap();
        recorder.finish().unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        check_contents(&dataset, 4);
        assert_eq!(dataset.content_hash().unwrap(), expected, "{obstacle}");
    }
}

#[test]
fn a_refused_batch_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), config()).unwrap();
    let obstacle = folder.path().join(".recording/episode-000001/data.parquet");
    std::fs::create_dir_all(&obstacle).unwrap();
    let all: Vec<_> = (0..4).map(|i| episode(i, LENGTHS[i])).collect();
    let error = recorder.add_episodes(&all).unwrap_err().to_string();
    assert!(error.contains("data.parquet"), "{error}");
    assert_eq!((recorder.episodes(), recorder.frames()), (0, 0));
    std::fs::remove_dir(&obstacle).unwrap();
    recorder.add_episodes(&all).unwrap();
    recorder.finish().unwrap();
    check_contents(&Dataset::open(folder.path()).unwrap(), 4);
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
fn a_dataset_that_counts_too_few_of_its_episodes_is_refused() {
    let folder = recorded();
    let info = folder.path().join(layout::INFO);
    damage::replace(&info, "\"total_episodes\": 4", "\"total_episodes\": 3");
    let error = Dataset::open(folder.path()).err().unwrap().to_string();
    let problem = "it counts 3 episodes, and there is metadata of 1 more";
    assert!(error.contains(problem), "{error}");
    assert!(
        error.contains(layout::INFO) && error.contains("`armilla dataset repair`"),
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
    let error = Recorder::resume(peers::fixture("lerobot"), config())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("schema of the dataset"),
        "{error}"
    );
    let lerobot = Dataset::open(peers::fixture("lerobot")).unwrap();
    let error = recorder::compact::check_joinable(lerobot.reader()).unwrap_err();
    assert!(error.to_string().contains("new folder"), "{error}");
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

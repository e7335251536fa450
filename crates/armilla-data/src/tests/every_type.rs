//! A dataset with every type of feature: recorded, laid out in many files, read back; and written for
//! `scripts/lerobot_check.py`, which reads it with LeRobot.

use std::collections::BTreeMap;

use armilla_core::features::{DataType, STATE};

use super::*;
use crate::column::Element;

const SIDE: usize = 64;

fn one(data_type: DataType, shape: &[usize]) -> Feature {
    Feature {
        data_type,
        shape: shape.to_vec(),
        names: Vec::new(),
    }
}

fn everything() -> RecorderConfig {
    let mut features = Features::robot(
        ("top", Feature::camera(SIDE, 160)),
        Feature::vector(&["x", "y"]),
        Feature::vector(&["dx", "dy", "grip"]),
    );
    let mut wrist = Feature::camera(SIDE, SIDE);
    features
        .0
        .insert("observation.images.side".to_owned(), wrist.clone());
    wrist.data_type = DataType::Image;
    features
        .0
        .insert("observation.images.wrist".to_owned(), wrist);
    for (key, feature) in [
        ("next.reward", one(DataType::Float32, &[1])),
        ("next.done", one(DataType::Bool, &[1])),
        ("note", one(DataType::String, &[1])),
        ("double", one(DataType::Float64, &[3])),
        ("grid", one(DataType::Float32, &[2, 3])),
        ("cube", one(DataType::Int32, &[2, 2, 2])),
        ("flags", one(DataType::Bool, &[4])),
        ("int8", one(DataType::Int8, &[1])),
        ("int16", one(DataType::Int16, &[1])),
        ("int64", one(DataType::Int64, &[2])),
        ("uint8", one(DataType::UInt8, &[2])),
        ("uint16", one(DataType::UInt16, &[1])),
        ("uint32", one(DataType::UInt32, &[1])),
        ("uint64", one(DataType::UInt64, &[1])),
    ] {
        features.0.insert(key.to_owned(), feature);
    }
    let mut config = RecorderConfig::new(features, 10, "everything", "do it");
    config.limits = FileLimits {
        chunks_size: 1,
        data_files_size_in_mb: 1,
        video_files_size_in_mb: 1,
    };
    config
}

/// A picture that neither PNG nor video can make much smaller (all of a byte is more than openh264 has room for).
fn noise(episode: usize, frame: usize, width: usize) -> Image {
    let mut generator = stream(3, "noise", (episode * 1000 + frame) as u64);
    let data = (0..SIDE * width * 3)
        .map(|_| 64 + generator.random::<u8>() / 2)
        .collect();
    Image::new(SIDE, width, data).unwrap()
}

fn values<T: Element>(length: usize, value: impl Fn(usize) -> T) -> Column {
    Column::from((0..length).map(value).collect::<Vec<T>>())
}

/// An episode of everything.
fn full_episode(index: usize, length: usize) -> EpisodeFrames {
    let mut frames = EpisodeFrames::default();
    for frame in 0..length {
        let mut images = BTreeMap::new();
        images.insert("top".to_owned(), noise(index, frame, 160));
        images.insert(
            "side".to_owned(),
            Image::filled(SIDE, SIDE, [(frame * 5) as u8, 90, 200]),
        );
        images.insert("wrist".to_owned(), noise(index, frame, SIDE));
        let observation = Observation {
            images,
            state: vec![index as f32, (frame as f32).sin()],
            instruction: (frame >= length / 2).then(|| format!("then do {index}")),
            ..Observation::default()
        };
        frames.push(observation, Action(vec![frame as f32, 0.5, -1.0]));
    }
    frames.others = [
        ("next.reward", values(length, |i| i as f32 / 3.0)),
        ("next.done", values(length, |i| i + 1 == length)),
        (
            "note",
            values(length, |i| format!("größer, \"{index}\" {i}")),
        ),
        ("double", values(3 * length, |i| (i as f64).sqrt())),
        ("grid", values(6 * length, |i| i as f32 * 0.25)),
        ("cube", values(8 * length, |i| i as i32 - 100)),
        ("flags", values(4 * length, |i| i % 3 == 0)),
        ("int8", values(length, |i| -(i as i8))),
        ("int16", values(length, |i| i as i16 * -300)),
        ("int64", values(2 * length, |i| (1 << 50) + i as i64)),
        ("uint8", values(2 * length, |i| 255 - i as u8)),
        ("uint16", values(length, |i| 65_535 - i as u16)),
        ("uint32", values(length, |i| u32::MAX - i as u32)),
        ("uint64", values(length, |i| (1 << 62) + i as u64 * 4096)),
    ]
    .into_iter()
    .map(|(key, column)| (key.to_owned(), column))
    .collect();
    frames
}

/// Records episodes of everything into a folder; gives them back.
fn record_everything(root: &Path, lengths: &[usize]) -> Vec<EpisodeFrames> {
    let mut recorder = Recorder::create(root, everything()).unwrap();
    let episodes: Vec<_> = lengths
        .iter()
        .enumerate()
        .map(|(index, &length)| full_episode(index, length))
        .collect();
    recorder.add_episodes(&episodes).unwrap();
    recorder.finish().unwrap();
    episodes
}

#[test]
fn every_type_comes_back_from_many_files() {
    let folder = tempfile::tempdir().unwrap();
    let episodes = record_everything(folder.path(), &[40, 25, 60, 9]);
    let dataset = Dataset::open(folder.path()).unwrap();
    assert_eq!(dataset.features(), &everything().features);
    for (index, expected) in episodes.iter().enumerate() {
        for (key, column) in &expected.others {
            assert_eq!(&dataset.column(index, key).unwrap(), column, "{key}");
        }
        let wrist = dataset.images(index, "wrist").unwrap();
        for (frame, observation) in expected.observations.iter().enumerate() {
            assert_eq!(wrist[frame], observation.images["wrist"]);
        }
        let last = expected.observations.len() - 1;
        let side = dataset.image(index, "side", last).unwrap();
        let off = mean_difference(&side, &expected.observations[last].images["side"]);
        assert!(off < 3.0, "{off}");
        assert_eq!(
            dataset.episodes()[index].tasks,
            ["do it", &format!("then do {index}")]
        );
    }
    let paths = layout::files_below(folder.path()).unwrap();
    let has = |name: &str| paths.contains(&folder.path().join(name));
    // An episode's pictures take between half and one MiB; a file holds at most one MiB, a folder one file.
    assert!(has("data/chunk-001/file-000.parquet"), "{paths:?}");
    assert!(
        has("videos/observation.images.top/chunk-001/file-000.mp4"),
        "{paths:?}"
    );
    assert!(
        !has("videos/observation.images.side/chunk-000/file-001.mp4"),
        "{paths:?}"
    );
    assert!(!dataset.statistics().contains_key("note"));
    let grid = &dataset.statistics()["grid"];
    assert_eq!((grid.mean.len(), grid.count, grid.min[2]), (3, 134, 0.5));
    assert_eq!(dataset.statistics()["observation.images.wrist"].count, 134);
}

#[test]
fn a_value_that_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), everything()).unwrap();
    type Edit = fn(&mut Columns);
    let edits: [(&str, Edit); 4] = [
        ("`grid`", |others| {
            others.remove("grid");
        }),
        ("`int8`", |others| {
            others.insert("int8".to_owned(), Column::from(vec![0_i16, 1]));
        }),
        ("`wind`", |others| {
            others.insert("wind".to_owned(), Column::from(vec![0_i16, 1]));
        }),
        ("`double`", |others| {
            others.insert("double".to_owned(), values(6, |_| f64::NAN));
        }),
    ];
    for (word, edit) in edits {
        let mut frames = full_episode(0, 2);
        edit(&mut frames.others);
        let error = recorder.add_episode(&frames).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let mut config = everything();
    config
        .features
        .0
        .insert("text".to_owned(), one(DataType::String, &[2]));
    config
        .features
        .0
        .insert(STATE.to_owned(), one(DataType::Float64, &[2]));
    for key in ["text", STATE] {
        let error = config.features.0.remove(key).map(|feature| {
            let mut config = everything();
            config.features.0.insert(key.to_owned(), feature);
            Recorder::create(folder.path(), config)
                .err()
                .unwrap()
                .to_string()
        });
        assert!(error.unwrap().contains(key));
    }
}

/// Writes what `scripts/lerobot_check.py` compares, under the system's temporary folder.
#[test]
#[ignore = "only for scripts/lerobot_check.py"]
fn write_what_lerobot_checks() {
    let folder = std::env::temp_dir().join("armilla-lerobot-check");
    layout::remove_folder(&folder).unwrap();
    let root = folder.join("dataset");
    let lengths: Vec<_> = (0..9).map(|index| 20 + 9 * index).collect();
    let episodes = record_everything(&root, &lengths);
    let dataset = Dataset::open(&root).unwrap();
    for (index, frames) in episodes.iter().enumerate() {
        let written = folder.join(format!("frames/{index:03}"));
        std::fs::create_dir_all(&written).unwrap();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(written.join(name), bytes).unwrap();
        for camera in ["top", "side", "wrist"] {
            let decoded = dataset.images(index, camera).unwrap();
            let originals = frames.observations.iter().map(|o| &o.images[camera]);
            let bytes = |image: &Image| image.data().to_vec();
            write(
                &format!("{camera}.original"),
                originals.flat_map(bytes).collect(),
            );
            write(
                &format!("{camera}.decoded"),
                decoded.iter().flat_map(bytes).collect(),
            );
        }
        let mut table = serde_json::Map::new();
        let states = frames
            .observations
            .iter()
            .flat_map(|o| o.state.clone())
            .collect::<Vec<_>>();
        let actions = frames
            .actions
            .iter()
            .flat_map(|a| a.0.clone())
            .collect::<Vec<_>>();
        let own = [
            (STATE, Column::from(states)),
            ("action", Column::from(actions)),
        ];
        let own = own.map(|(key, column)| (key.to_owned(), column));
        for (key, column) in own.into_iter().chain(frames.others.clone()) {
            let numbers = match column.values::<String>() {
                Some(texts) => serde_json::json!(texts),
                // Text, since a number of JSON would lose the last digits of large integers.
                None => serde_json::json!(exact_texts(&column)),
            };
            table.insert(key, numbers);
        }
        let task = |o: &Observation| o.instruction.clone().unwrap_or_else(|| "do it".to_owned());
        let tasks: Vec<_> = frames.observations.iter().map(task).collect();
        table.insert("task".to_owned(), serde_json::json!(tasks));
        write(
            "table.json",
            serde_json::Value::Object(table).to_string().into_bytes(),
        );
    }
}

fn exact_texts(column: &Column) -> Vec<String> {
    match (column.values::<u64>(), column.values::<i64>()) {
        (Some(values), _) => values.iter().map(ToString::to_string).collect(),
        (_, Some(values)) => values.iter().map(ToString::to_string).collect(),
        _ => column
            .numbers()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

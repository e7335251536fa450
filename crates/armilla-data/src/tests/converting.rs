//! Datasets in other layouts.

use super::*;
use std::path::PathBuf;

fn old(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/old");
    fixtures.join(name)
}

fn converted(name: &str) -> (TempDir, Dataset, Conversion) {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("deep/new");
    let options = ConvertOptions {
        task: "reach".to_owned(),
        ..ConvertOptions::default()
    };
    let conversion = convert(&old(name), &target, &options, &|_, total| {
        assert_eq!(total, 3)
    })
    .unwrap();
    let dataset = Dataset::open(&target).unwrap();
    let lengths: Vec<_> = dataset.episodes().iter().map(|e| e.length).collect();
    assert_eq!((lengths, conversion.episodes), (vec![5, 6, 7], 3));
    let left = std::fs::read_dir(target.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside the dataset");
    (folder, dataset, conversion)
}

#[test]
fn lerobot_v21_is_converted() {
    let (_folder, dataset, conversion) = converted("lerobot_v21");
    assert_eq!(
        (conversion.from.as_str(), conversion.notes.len()),
        ("LeRobot v2.1", 0)
    );
    assert_eq!(dataset.tasks(), ["task 0", "task 1"]);
    assert_eq!(dataset.episodes()[2].instruction(), "task 0");
    assert_eq!(dataset.states(2).unwrap().row(6), [2.0, 1.5]);
    assert_eq!(
        dataset
            .column(1, "note")
            .unwrap()
            .values::<String>()
            .unwrap()[5],
        "größer 1.5"
    );
    assert_eq!(
        dataset.column(0, "grid").unwrap().values::<f64>().unwrap()[6..8],
        [0.125, 1.125]
    );
    assert_eq!(dataset.numbers(2, "index").unwrap()[0], 11.0);
    let video = video::demux::VideoIndex::read(
        &old("lerobot_v21").join("videos/chunk-000/observation.image/episode_000001.mp4"),
    );
    let expected = video::decode::decode(&video.unwrap(), 0..6, None).unwrap();
    assert_eq!(dataset.images(1, "observation.image").unwrap(), expected);
    assert_eq!(
        dataset.image(1, "wrist", 3).unwrap().pixel(0, 0),
        [30, 140, 120]
    );
    // Pictures keep their statistics, which had no quantiles; numbers are counted anew.
    let statistics = dataset.statistics();
    let picture = &statistics["observation.image"];
    assert_eq!(
        (picture.mean.len(), picture.q50.len(), picture.count),
        (3, 0, 18)
    );
    assert_eq!(
        (statistics["action"].q50.len(), statistics["action"].count),
        (2, 18)
    );
}

#[test]
fn a_video_folder_is_converted() {
    let (_folder, dataset, conversion) = converted("video_folder");
    assert_eq!(
        (conversion.from.as_str(), dataset.fps()),
        ("stable-worldmodel video", 10)
    );
    let notes = conversion.notes.join("\n");
    assert!(
        notes.contains("`index` is left out") && notes.contains("3 episodes"),
        "{notes}"
    );
    assert_eq!(dataset.tasks(), ["reach"]);
    assert_eq!(dataset.states(2).unwrap().row(6), [2.0, 6.0]);
    let actions = dataset.actions(1).unwrap();
    assert_eq!(
        (actions.row(3), actions.row(5)),
        (&[3.0, -3.0][..], &[4.0, -4.0][..])
    );
    assert_eq!(dataset.column(1, "state").unwrap().len(), 18);
    assert_eq!(
        dataset
            .column(0, "name")
            .unwrap()
            .values::<String>()
            .unwrap()[4],
        "größer 0"
    );
    assert_eq!(
        dataset
            .column(0, "terminated")
            .unwrap()
            .values::<bool>()
            .unwrap()[3..],
        [false, true]
    );
    let video = video::demux::VideoIndex::read(&old("video_folder").join("pixels/ep_2.mp4"));
    let expected = video::decode::decode(&video.unwrap(), 0..7, None).unwrap();
    assert_eq!(dataset.images(2, "pixels").unwrap(), expected);
    let counted = &dataset.statistics()["observation.images.pixels"];
    assert_eq!((counted.count, counted.q99.len()), (18, 3));
}

#[test]
fn one_frame_is_written() {
    let (folder, dataset, _) = converted("lerobot_v21");
    let frame = dataset.frame(12).unwrap();
    assert_eq!(
        (frame.episode, frame.frame, frame.task.as_str()),
        (2, 1, "task 0")
    );
    let written = frame.write(folder.path()).unwrap();
    assert_eq!(written.len(), 3);
    let text = std::fs::read_to_string(folder.path().join("frame-000012.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["values"]["note"], "größer 2.1");
    assert_eq!(
        value["values"]["observation.state"],
        serde_json::json!([2.0, 0.25])
    );
    assert_eq!(value["values"]["next.done"], false);
    let png = std::fs::read(folder.path().join("frame-000012.observation.image.png")).unwrap();
    assert_eq!(
        pictures::decode(&png).unwrap(),
        frame.images["observation.image"]
    );
}

/// A copy of a fixture, to be broken.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in layout::files_below(&old(name)).unwrap() {
        let to = folder.path().join(path.strip_prefix(old(name)).unwrap());
        layout::make_parent(&to).unwrap();
        std::fs::copy(&path, &to).unwrap();
    }
    folder
}

type Break = fn(&Path);

/// Converting a broken copy names what is wrong, by these words, and leaves nothing.
fn refused(name: &str, words: &[&str], damage: Break) {
    let folder = copy(name);
    damage(folder.path());
    let target = tempfile::tempdir().unwrap();
    let new = target.path().join("new");
    let error = convert(folder.path(), &new, &ConvertOptions::default(), &|_, _| ());
    let error = error.unwrap_err().to_string();
    assert!(
        words.iter().all(|word| error.contains(word)),
        "{words:?} {error}"
    );
    let left = std::fs::read_dir(target.path()).unwrap().count();
    assert_eq!(left, 0, "{words:?}");
}

#[test]
fn a_broken_lerobot_dataset_is_named_and_leaves_nothing() {
    let refused = |words: &[&str], damage: Break| refused("lerobot_v21", words, damage);
    refused(&["v1.6", "v2.1"], |root| {
        replace(&root.join("meta/info.json"), "v2.1", "v1.6");
    });
    refused(&["episode_000001.parquet", "missing"], |root| {
        std::fs::remove_file(root.join("data/chunk-000/episode_000001.parquet")).unwrap();
    });
    refused(&["episode_000002.mp4", "episode 2"], |root| {
        let video = |episode: usize| {
            let name = format!("videos/chunk-000/observation.image/episode_00000{episode}.mp4");
            root.join(name)
        };
        std::fs::copy(video(0), video(2)).unwrap();
    });
    refused(&["task_index 1", "tasks.jsonl"], |root| {
        let (from, to) = ("\"task_index\": 1", "\"task_index\": 8");
        replace(&root.join("meta/tasks.jsonl"), from, to);
    });
}

#[test]
fn a_broken_video_folder_is_named_and_leaves_nothing() {
    let refused = |words: &[&str], damage: Break| refused("video_folder", words, damage);
    refused(&["action.npz", "npz"], |root| cut(&root.join("action.npz")));
    refused(&["ep_1.mp4", "missing"], |root| {
        std::fs::remove_file(root.join("pixels/ep_1.mp4")).unwrap();
    });
    refused(&["ep_len.npz", "neither"], |root| {
        std::fs::remove_file(root.join("ep_len.npz")).unwrap();
    });
}

#[test]
fn an_occupied_target_is_left_alone() {
    let there = tempfile::tempdir().unwrap();
    let options = ConvertOptions::default();
    let error = convert(&old("lerobot_v21"), there.path(), &options, &|_, _| ());
    assert!(error.unwrap_err().to_string().contains("already"));
}

#[test]
fn file_limits_of_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new");
    let edits: [fn(&mut FileLimits); 3] = [
        |limits| limits.chunks_size = 0,
        |limits| limits.data_files_size_in_mb = 0,
        |limits| limits.video_files_size_in_mb = 0,
    ];
    for edit in edits {
        let mut options = ConvertOptions::default();
        edit(&mut options.limits);
        let error = convert(&old("lerobot_v21"), &target, &options, &|_, _| ());
        let error = error.unwrap_err().to_string();
        let expected = "file limits: expected numbers above zero, found";
        assert!(error.contains(expected), "{error}");
        assert!(!target.exists());
    }
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, text.replace(from, to)).unwrap();
}

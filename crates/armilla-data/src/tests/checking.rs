//! What checking finds, and that it changes nothing.

use super::damage::{
    DATA, METADATA, VIDEO, in_many_files, keep_rows, replace, set_float, set_integer, spoil_frame,
};
use super::peers::fixture;
use super::*;
use crate::layout::files_below;

pub(super) fn findings(root: &Path) -> Vec<Finding> {
    let options = CheckOptions { decode: true };
    check(root, options, &|_, _| ()).unwrap().findings
}

/// The findings of a quick check do not need the pictures.
fn quick(root: &Path) -> Vec<Finding> {
    let options = CheckOptions { decode: false };
    check(root, options, &|_, _| ()).unwrap().findings
}

#[test]
fn sound_datasets_pass_whoever_wrote_them() {
    for folder in [recorded(), in_many_files()] {
        assert_eq!(findings(folder.path()), []);
    }
    for name in ["lerobot", "lerobot_h264", "lerobot_b_pictures"] {
        assert_eq!(findings(&fixture(name)), [], "{name}");
    }
}

#[test]
fn progress_reaches_its_end() {
    let folder = recorded();
    let last = std::sync::Mutex::new((0, 0));
    let report = check(
        folder.path(),
        CheckOptions { decode: false },
        &|done, total| {
            let mut last = last.lock().unwrap();
            *last = (last.0.max(done), total);
        },
    );
    assert_eq!(report.unwrap().frames, 60);
    // Four episodes: their rows, and their one camera.
    assert_eq!(*last.lock().unwrap(), (8, 8));
}

type Damage = fn(&Path);

/// What breaks, the file that is named, the episodes, a word of the problem, and whether a quick check sees it.
const CASES: [(Damage, &str, &str, &str); 22] = [
    (
        |root| {
            replace(
                &root.join("meta/info.json"),
                "\"total_frames\": 60",
                "\"total_frames\": 61",
            )
        },
        "meta/info.json",
        "",
        "total_frames is 61",
    ),
    (
        |root| {
            replace(
                &root.join("meta/info.json"),
                "\"total_tasks\": 3",
                "\"total_tasks\": 4",
            )
        },
        "meta/info.json",
        "",
        "tasks.parquet has 3",
    ),
    (
        |root| {
            replace(
                &root.join("meta/info.json"),
                "\"total_episodes\": 4",
                "\"total_episodes\": 5",
            )
        },
        "meta/episodes",
        "4",
        "metadata is missing",
    ),
    (
        |root| replace(&root.join("meta/info.json"), "v3.0", "v9"),
        "meta/info.json",
        "",
        "v9",
    ),
    (|root| cut(&root.join(DATA)), DATA, "0-3", "cut short"),
    (
        |root| std::fs::remove_file(root.join(DATA)).unwrap(),
        DATA,
        "0-3",
        "missing",
    ),
    (|root| cut(&root.join(VIDEO)), VIDEO, "1-3", "cut short"),
    (
        |root| std::fs::remove_file(root.join(VIDEO)).unwrap(),
        VIDEO,
        "0-3",
        "missing",
    ),
    (|root| cut(&root.join(METADATA)), METADATA, "", "cut short"),
    (
        |root| cut(&root.join("meta/tasks.parquet")),
        "meta/tasks.parquet",
        "",
        "cut short",
    ),
    (
        |root| std::fs::remove_file(root.join("meta/stats.json")).unwrap(),
        "meta/stats.json",
        "",
        "missing",
    ),
    (
        |root| {
            std::fs::copy(root.join(VIDEO), root.join("videos/other.mp4")).unwrap();
        },
        "videos/other.mp4",
        "",
        "refers to this file",
    ),
    (
        |root| std::fs::write(root.join("meta/info.json.partial"), "{").unwrap(),
        "meta/info.json.partial",
        "",
        "not written to its end",
    ),
    (
        |root| set_float(&root.join(DATA), "action", 9, f64::NAN),
        DATA,
        "1",
        "`action`: 1 values are not finite, the first (NaN) at frame 2",
    ),
    (
        |root| set_float(&root.join(DATA), "timestamp", 48, 0.01),
        DATA,
        "3",
        "`timestamp` of 1 frames",
    ),
    (
        |root| set_integer(&root.join(DATA), "index", 3, 70),
        DATA,
        "0",
        "expected 3 at frame 3, found 70",
    ),
    (
        |root| set_integer(&root.join(DATA), "task_index", 8, 7),
        DATA,
        "1",
        "`task_index` of frame 1 is 7",
    ),
    (
        |root| keep_rows(&root.join(DATA), 0, 59),
        DATA,
        "3",
        "expected 12 rows",
    ),
    (
        |root| set_integer(&root.join(METADATA), "dataset_to_index", 1, 46),
        METADATA,
        "1",
        "dataset_to_index 47",
    ),
    (
        |root| {
            set_float(
                &root.join(METADATA),
                "videos/observation.images.top/to_timestamp",
                0,
                0.5,
            )
        },
        METADATA,
        "0",
        "7 frames last 0.7",
    ),
    (
        |root| {
            set_float(
                &root.join(METADATA),
                "videos/observation.images.top/from_timestamp",
                3,
                4.9,
            )
        },
        VIDEO,
        "3",
        "expected 12 frames",
    ),
    (
        |root| keep_rows(&root.join(METADATA), 0, 3),
        DATA,
        "3",
        "no metadata of them",
    ),
];

#[test]
fn what_is_broken_is_found_with_file_and_episode() {
    for (damage, file, episodes, word) in CASES {
        let folder = recorded();
        damage(folder.path());
        let before = state(folder.path());
        let found = quick(folder.path());
        let hit = found.iter().find(|finding| {
            finding.file == Path::new(file)
                && finding.episode_list() == episodes
                && finding.problem.contains(word)
        });
        let all: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(
            hit.is_some(),
            "{file} {episodes} {word}:\n{}",
            all.join("\n")
        );
        assert_eq!(state(folder.path()), before, "checking changes nothing");
    }
}

/// All files and their contents.
fn state(root: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = files_below(root).unwrap().into_iter();
    files
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn frames_that_cannot_be_decoded_are_found_by_decoding() {
    let folder = recorded();
    spoil_frame(&folder.path().join(VIDEO), 20);
    assert_eq!(quick(folder.path()), []);
    let found = findings(folder.path());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].episodes.as_slice(), found[0].severity),
        (&[1][..], Severity::Error)
    );
}

#[test]
fn statistics_of_other_values_are_found() {
    let folder = recorded();
    let path = folder.path().join("meta/stats.json");
    let mut kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    kept["action"]["mean"][2] = 40.0.into();
    kept["observation.images.top"]["mean"][0] = serde_json::json!([[0.9]]);
    kept.as_object_mut().unwrap().remove("observation.state");
    std::fs::write(&path, kept.to_string()).unwrap();
    let name = "stats/observation.images.top/mean";
    assert!(
        crate::table::read_footer(&folder.path().join(METADATA))
            .unwrap()
            .schema()
            .column_with_name(name)
            .is_some()
    );
    let found = quick(folder.path());
    let text: Vec<_> = found.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    assert_eq!(found.len(), 3, "{text}");
    for words in [
        "`action`: mean of element 2",
        "`observation.images.top`: mean of channel 0",
        "no statistics of `observation.state`",
        "--recount",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let folder = recorded();
    set_float(&folder.path().join(METADATA), "stats/action/max", 1, 1e3);
    let found = quick(folder.path());
    assert_eq!(
        (found.len(), found[0].episode_list().as_str()),
        (1, "1"),
        "{found:?}"
    );
    assert!(found[0].problem.contains("max of element 0"), "{found:?}");
}

#[test]
fn an_interrupted_recording_is_told_of_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), config()).unwrap();
    recorder
        .add_episodes(&[episode(0, 7), episode(1, 9)])
        .unwrap();
    let running = check(folder.path(), CheckOptions { decode: true }, &|_, _| ()).unwrap();
    assert!(
        running.findings.is_empty() && running.notes[0].contains("being recorded"),
        "{running:?}"
    );
    let frames = episode(2, 1);
    let frame = Frame {
        observation: &frames.observations[0],
        action: &frames.actions[0],
        others: &Columns::new(),
    };
    recorder.add(&frame).unwrap();
    drop(recorder);
    let before = state(folder.path());
    let found = findings(folder.path());
    assert!(
        found[0].problem.contains("interrupted") && found[0].remedy.contains("dataset info"),
        "{found:?}"
    );
    assert_eq!(state(folder.path()), before);
}

#[test]
fn what_is_no_dataset_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = check(folder.path(), CheckOptions { decode: true }, &|_, _| ()).unwrap_err();
    assert!(error.to_string().contains("no dataset here"), "{error}");
}

//! What becomes of work that is interrupted: a recording keeps every episode that was finished, an evaluation just ends.

use std::path::Path;

use serde_json::Value;

use crate::program::{Running, json, succeed, wait_until};

/// More episodes than can be recorded before the interruption.
const LONG: &[&str] = &[
    "record",
    "--env",
    "two-room",
    "--policy",
    "expert",
    "--episodes",
    "5000",
    "--out",
    "d",
];

/// Episodes that are finished, by what lies in the folder: an episode is whole once it has its metadata.
fn finished(folder: &Path) -> usize {
    let metadata = folder.join("d/meta/episodes/chunk-000");
    let is_whole = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "parquet")
    };
    std::fs::read_dir(metadata).map_or(0, |entries| {
        entries
            .filter(|entry| is_whole(&entry.as_ref().unwrap().path()))
            .count()
    })
}

/// Starts a long recording and waits until some episodes of it are finished.
fn begin(folder: &Path) -> Running {
    let running = Running::start(folder, LONG);
    wait_until("forty episodes", || finished(folder) >= 40);
    running
}

/// What the program says of the dataset.
fn info(folder: &Path) -> Value {
    json(folder, &["dataset", "info", "--json", "--hash", "d"])
}

/// Every frame of the dataset can be decoded, and a short dataset holds exactly its episodes' frames.
fn check_readable(folder: &Path, episodes: u64) {
    let said = succeed(folder, &["viz", "d", "--episodes", "5000"]);
    assert!(
        said.contains(&format!("dataset to Rerun: {episodes} episodes")),
        "{said}"
    );
}

#[test]
fn killed_while_recording() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = begin(folder);
    running.signal("KILL");
    let (status, _) = running.finish();
    assert!(!status.success());
    let whole = finished(folder);
    let first = info(folder);
    assert_eq!(first["episodes"], whole, "{first}");
    let recovered = first["recovered"]
        .as_str()
        .expect("it says what was recovered");
    assert!(
        recovered.contains(&format!("{whole} finished episodes kept")),
        "{recovered}"
    );
    let again = info(folder);
    assert_eq!(again["recovered"], Value::Null, "it is put right once");
    assert_eq!(
        (&again["episodes"], &again["hash"]),
        (&first["episodes"], &first["hash"])
    );
    check_readable(folder, whole as u64);
}

#[test]
fn stopped_while_recording() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = begin(folder);
    running.signal("INT");
    let (status, said) = running.finish();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("stopping"), "{said}");
    let info = info(folder);
    let episodes = info["episodes"].as_u64().unwrap();
    assert!((40..5000).contains(&episodes), "{episodes}");
    assert!(said.contains(&format!("d: {episodes} episodes")), "{said}");
    assert_eq!(
        info["recovered"],
        Value::Null,
        "nothing was left to recover"
    );
    check_readable(folder, episodes);
}

/// As when a connection is lost.
#[cfg(target_os = "linux")]
#[test]
fn the_end_of_a_terminal_stops_a_recording_but_not_under_nohup() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Also where who runs the tests ignores it.
    let running = Running::start_by(&["env", "--default-signal=HUP"], folder, LONG);
    wait_until("forty episodes", || finished(folder) >= 40);
    running.signal("HUP");
    let (status, said) = running.finish();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("stopping"), "{said}");

    std::fs::remove_dir_all(folder.join("d")).unwrap();
    let running = Running::start_by(&["nohup"], folder, LONG);
    wait_until("forty episodes", || finished(folder) >= 40);
    running.signal("HUP");
    let more = finished(folder) + 40;
    wait_until("forty more episodes", || finished(folder) >= more);
    assert!(!running.said().contains("stopping"), "{}", running.said());
}

#[test]
fn an_evaluation_ends_when_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    let episodes = [
        "--env",
        "push-t",
        "--protocol",
        "push",
        "--episodes",
        "100000",
    ];
    let arguments = [&["eval", "--policy", "expert"], &episodes[..]].concat();
    let running = Running::start(folder.path(), &arguments);
    std::thread::sleep(std::time::Duration::from_secs(1));
    running.signal("INT");
    let (status, said) = running.finish();
    assert!(!status.success() && !said.contains("safe point"), "{said}");
}

#[test]
fn looking_into_a_recording_under_way_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = begin(folder);
    let seen = info(folder);
    assert!(seen["episodes"].as_u64().unwrap() >= 32, "{seen}");
    assert!(
        seen["recovered"]
            .as_str()
            .unwrap()
            .contains("being recorded"),
        "{seen}"
    );
    running.signal("INT");
    let (status, said) = running.finish();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(info(folder)["episodes"].as_u64().unwrap() >= seen["episodes"].as_u64().unwrap());
}

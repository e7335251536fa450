//! `armilla dataset`: datasets of others become ours, and can be looked into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::program::{armilla, fail, json, succeed, wait_until};

fn old(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("crates/armilla-data/fixtures/old").join(name)
}

/// Converts a fixture of three episodes below a folder, and looks into what comes of it.
fn convert_and_look(folder: &Path, name: &str, camera: &str) {
    let source = old(name);
    let source = source.to_str().unwrap();
    let said = succeed(folder, &["dataset", "convert", source, "--out", name]);
    assert!(said.contains("3 episodes"), "{said}");
    let info = json(folder, &["dataset", "info", name, "--json"]);
    let found = (&info["frames"], &info["longest_episode"]);
    assert_eq!(found, (&18.into(), &7.into()), "{info}");
    let feature = &info["features"][camera];
    assert_eq!(feature["shape"], serde_json::json!([64, 64, 3]), "{info}");
    let codec = feature["codec"].as_str().unwrap();
    assert!(["av1", "h264"].contains(&codec), "{info}");
    let said = succeed(folder, &["dataset", "info", name]);
    assert!(
        said.contains(camera) && said.contains("float32 [2]"),
        "{said}"
    );
    let said = succeed(folder, &frame(name, "17"));
    let picture = format!("frame-000017.{camera}.png");
    assert!(said.contains(&picture), "{said}");
    assert!(folder.join("frames/frame-000017.json").is_file());
    let said = fail(folder, &frame(name, "18"));
    assert!(said.contains("below 18") && said.contains(name), "{said}");
}

fn frame<'a>(dataset: &'a str, index: &'a str) -> [&'a str; 7] {
    let out = ["--out", "frames"];
    [
        "dataset", "frame", dataset, "--index", index, out[0], out[1],
    ]
}

#[test]
fn datasets_of_other_layouts_are_converted_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    convert_and_look(folder.path(), "lerobot_v21", "observation.image");
    convert_and_look(folder.path(), "video_folder", "observation.images.pixels");
}

#[test]
fn what_cannot_be_converted_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let source = old("lerobot_v21");
    let source = source.to_str().unwrap();
    let said = fail(folder.path(), &["dataset", "info", source]);
    assert!(
        said.contains("v2.1") && said.contains("armilla dataset convert"),
        "{said}"
    );
    let convert = ["dataset", "convert", source, "--out", "new"];
    succeed(folder.path(), &convert);
    let said = fail(folder.path(), &convert);
    assert!(
        said.contains("already") && said.contains("new folder"),
        "{said}"
    );
    let again = ["dataset", "convert", "new", "--out", "again"];
    let said = fail(folder.path(), &again);
    assert!(said.contains("v3.0") && said.contains("v2.1"), "{said}");
}

/// Records four short episodes.
fn record(folder: &Path, out: &str, seed: &str) {
    let env = ["record", "--env", "two-room", "--policy", "random"];
    let size = ["--episodes", "4", "--image-size", "64"];
    succeed(
        folder,
        &[&env[..], &size, &["--seed", seed, "--out", out]].concat(),
    );
}

#[test]
fn a_recordings_settings_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let groups = "episodes=[{policy='random', count=1}, {policy='expert', count=2}]";
    let arguments = ["record", "--config", "record/two-room", "--set", groups];
    succeed(
        folder.path(),
        &[&arguments[..], &["--set", "seed=7", "--out", "d"]].concat(),
    );
    assert_eq!(episodes(folder.path(), "d"), 3);
    let said = fail(
        folder.path(),
        &[&arguments[..3], &["--set", "seeds=7", "--out", "e"]].concat(),
    );
    assert!(said.contains("seeds") && said.contains("seed"), "{said}");
}

fn episodes(folder: &Path, dataset: &str) -> u64 {
    let info = json(folder, &["dataset", "info", dataset, "--json"]);
    info["episodes"].as_u64().unwrap()
}

#[test]
fn datasets_are_merged_split_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "a", "1");
    record(folder, "b", "2");
    let said = succeed(folder, &["dataset", "merge", "a", "b", "--out", "both"]);
    assert!(said.contains("both: 8 episodes"), "{said}");
    let parts = ["--parts", "train=0.5,test=6,7,val=0.25"];
    let split = ["dataset", "split", "both", parts[0], parts[1], "--out", "s"];
    let said = succeed(folder, &split);
    for line in [
        "train: 4 episodes (0-3)",
        "test: 2 episodes (6-7)",
        "val: 2 episodes (4-5)",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let delete = ["dataset", "delete", "both", "--episodes", "0,2-4"];
    let said = succeed(folder, &[&delete[..], &["--in-place"]].concat());
    assert!(said.contains("both: 4 episodes, 4 are gone"), "{said}");
    for (dataset, count) in [("both", 4), ("s/train", 4), ("s/test", 2), ("s/val", 2)] {
        let said = succeed(folder, &["dataset", "check", dataset]);
        assert!(said.contains("nothing wrong"), "{said}");
        assert_eq!(episodes(folder, dataset), count, "{dataset}");
    }
    let said = fail(folder, &["dataset", "merge", "a", "b", "--out", "both"]);
    assert!(said.contains("already"), "{said}");
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Names beside each other in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Kills a deletion in place after some time; the dataset is the old or the new one, and the next try leaves nothing behind.
fn kill_in_place(base: &Path, after: Option<Duration>) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    copy(base, &folder.join("d"));
    let delete = ["dataset", "delete", "d", "--episodes", "0", "--in-place"];
    let mut deletion = armilla(folder, &delete)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    match after {
        Some(after) => std::thread::sleep(after),
        // As soon as something is written.
        None => wait_until("a hidden folder", || {
            names(folder).len() > 1 || deletion.try_wait().unwrap().is_some()
        }),
    }
    deletion.kill().ok();
    deletion.wait().unwrap();
    let kept = episodes(folder, "d");
    assert!([3, 4].contains(&kept), "{kept} episodes");
    let checked = armilla(folder, &["dataset", "check", "d"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let left = names(folder).len() > 1;
    assert_eq!(checked.status.success(), !left, "{said}");
    assert!(!left || said.contains(".d."), "{said}");
    succeed(folder, &delete);
    assert_eq!(
        (episodes(folder, "d"), names(folder)),
        (kept - 1, vec!["d".to_owned()])
    );
    kept
}

#[test]
fn killed_in_place_the_dataset_is_the_old_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), "d", "1");
    let base = folder.path().join("d");
    assert_eq!(kill_in_place(&base, Some(Duration::from_secs(5))), 3);
    for milliseconds in 0..12 {
        kill_in_place(&base, Some(Duration::from_millis(4 * milliseconds)));
    }
    for _ in 0..4 {
        kill_in_place(&base, None);
    }
}

#[test]
fn where_to_must_be_said_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let delete = ["dataset", "delete", "d", "--episodes", "0"];
    let recount = ["dataset", "stats", "d", "--recount"];
    for command in [&delete[..], &recount] {
        for place in [&[][..], &["--out", "x", "--in-place"]] {
            let output = armilla(folder.path(), &[command, place].concat())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(
                said.contains("--in-place") && said.contains("--out"),
                "{said}"
            );
        }
    }
}

#[test]
fn what_is_broken_is_found_and_what_can_be_saved_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d", "3");
    std::fs::remove_file(folder.join("d/meta/stats.json")).unwrap();
    let metadata = "d/meta/episodes/chunk-000/file-000.parquet";
    std::fs::remove_file(folder.join(metadata)).unwrap();
    let said = fail(folder, &["dataset", "check", "d", "--quick"]);
    for words in [
        "episodes 0-3: their metadata is missing",
        "error",
        "dataset repair",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let output = armilla(folder, &["dataset", "check", "d", "--json"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report["errors"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(
        report["findings"][0]["episodes"],
        serde_json::json!([0, 1, 2, 3])
    );
    let said = succeed(folder, &["dataset", "repair", "d", "--out", "new"]);
    assert!(
        said.contains("new: 4 episodes") && said.contains("was lost"),
        "{said}"
    );
    let report = json(folder, &["dataset", "check", "new", "--json"]);
    assert_eq!(
        (&report["errors"], &report["warnings"]),
        (&0.into(), &0.into()),
        "{report}"
    );
}

#[test]
fn statistics_are_shown_and_counted_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d", "4");
    let said = succeed(folder, &["dataset", "stats", "d"]);
    for words in ["action: float32 [2]", "mean", "q99", "red", "timestamp"] {
        assert!(said.contains(words), "{said}");
    }
    let before = json(folder, &["dataset", "stats", "d", "--json"]);
    std::fs::remove_file(folder.join("d/meta/stats.json")).unwrap();
    std::fs::write(folder.join("d/README.md"), "mine").unwrap();
    succeed(
        folder,
        &["dataset", "stats", "d", "--recount", "--in-place"],
    );
    let after = json(folder, &["dataset", "stats", "d", "--json"]);
    assert_eq!(after["action"], before["action"]);
    assert!(folder.join("d/README.md").is_file());
    succeed(folder, &["dataset", "check", "d"]);
}

#[test]
fn episodes_are_shown_in_rerun() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d", "5");
    let viz = ["dataset", "viz", "d", "--episodes", "1,3"];
    let said = succeed(folder, &[&viz[..], &["--out", "d.rrd"]].concat());
    assert!(
        said.contains("2 episodes") && said.contains("d.rrd"),
        "{said}"
    );
    let recording = std::fs::read(folder.join("d.rrd")).unwrap();
    let holds = |text: &str| {
        recording
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    for entity in [
        "d/camera/top",
        "d/state",
        "d/action",
        "d/text",
        "d/statistics",
    ] {
        assert!(holds(entity), "{entity} is missing");
    }
    let output = armilla(folder, &viz).env("PATH", "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("pip install rerun-sdk") && said.contains("--out"),
        "{said}"
    );
    let said = fail(folder, &["dataset", "viz", "d", "--episodes", "9"]);
    assert!(said.contains("below 4"), "{said}");
}

//! `armilla dataset`: datasets of others become ours, and can be looked into.

use std::path::{Path, PathBuf};

use crate::program::{fail, json, succeed};

fn old(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join("crates/armilla-data/fixtures/old").join(name)
}

#[test]
fn a_dataset_of_another_layout_is_converted_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    for (name, camera) in [
        ("lerobot_v21", "observation.image"),
        ("video_folder", "observation.images.pixels"),
    ] {
        let source = old(name);
        let source = source.to_str().unwrap();
        let said = succeed(
            folder.path(),
            &["dataset", "convert", source, "--out", name],
        );
        assert!(said.contains("3 episodes"), "{said}");
        let info = json(folder.path(), &["dataset", "info", name, "--json"]);
        assert_eq!(
            (&info["frames"], &info["longest_episode"]),
            (&18.into(), &7.into()),
            "{info}"
        );
        let feature = &info["features"][camera];
        assert_eq!(feature["shape"], serde_json::json!([64, 64, 3]), "{info}");
        assert!(
            ["av1", "h264"].contains(&feature["codec"].as_str().unwrap()),
            "{info}"
        );
        let said = succeed(folder.path(), &["dataset", "info", name]);
        assert!(
            said.contains(camera) && said.contains("float32 [2]"),
            "{said}"
        );
        let said = succeed(
            folder.path(),
            &["dataset", "frame", name, "--index", "17", "--out", "frames"],
        );
        assert!(
            said.contains(&format!("frame-000017.{camera}.png")),
            "{said}"
        );
        assert!(folder.path().join("frames/frame-000017.json").is_file());
        let said = fail(
            folder.path(),
            &["dataset", "frame", name, "--index", "18", "--out", "frames"],
        );
        assert!(said.contains("below 18") && said.contains(name), "{said}");
        let said = fail(
            folder.path(),
            &["dataset", "convert", source, "--out", name],
        );
        assert!(
            said.contains("already") && said.contains("new folder"),
            "{said}"
        );
        let said = fail(
            folder.path(),
            &["dataset", "convert", name, "--out", "again"],
        );
        assert!(said.contains("v3.0") && said.contains("v2.1"), "{said}");
    }
    let said = fail(
        folder.path(),
        &["dataset", "info", old("lerobot_v21").to_str().unwrap()],
    );
    assert!(
        said.contains("v2.1") && said.contains("armilla dataset convert"),
        "{said}"
    );
}

//! `armilla dataset`: datasets of others become ours, and can be looked into.

use std::path::{Path, PathBuf};

use crate::program::{fail, json, succeed};

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

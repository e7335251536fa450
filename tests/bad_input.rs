//! Wrong input ends with one clear message, and nothing is lost.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::program::{armilla, fail, succeed};

#[test]
fn wrong_use_ends_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let status = armilla(folder.path(), &["fly"]).output().unwrap().status;
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_wrong_key_names_file_key_and_choices() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "env = \"two-room\"\nprotocol = \"record\"\nimage_size = 64\nepisodes = []\ncolour = 1\n";
    std::fs::write(folder.path().join("mine.toml"), text).unwrap();
    let said = fail(
        folder.path(),
        &["record", "--config", "mine.toml", "--out", "d"],
    );
    assert!(
        said.contains("mine.toml") && said.contains("colour") && said.contains("image_size"),
        "{said}"
    );
}

#[test]
fn unknown_names_list_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let said = fail(
        folder.path(),
        &[
            "record",
            "--env",
            "moon",
            "--policy",
            "expert",
            "--episodes",
            "1",
            "--out",
            "d",
        ],
    );
    assert!(
        said.contains("moon") && said.contains("two-room") && said.contains("tabletop"),
        "{said}"
    );
    let said = fail(folder.path(), &["train", "train/nothing", "--out", "run"]);
    assert!(
        said.contains("train/nothing") && said.contains("train/tabletop-vla"),
        "{said}"
    );
}

#[test]
fn a_missing_or_truncated_dataset_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let said = fail(folder.path(), &["dataset", "info", "absent"]);
    assert!(said.contains("absent"), "{said}");
    let record = [
        "record",
        "--env",
        "two-room",
        "--policy",
        "expert",
        "--episodes",
        "2",
        "--out",
        "d",
    ];
    succeed(folder.path(), &record);
    let said = fail(folder.path(), &record);
    assert!(said.contains("d") && said.contains("exists"), "{said}");
    let data = folder.path().join("d/data/chunk-000/file-000.parquet");
    let bytes = std::fs::read(&data).unwrap();
    std::fs::write(&data, &bytes[..bytes.len() / 2]).unwrap();
    let said = fail(
        folder.path(),
        &[
            "train",
            "train/two-room-jepa",
            "--dataset",
            "d",
            "--out",
            "run",
        ],
    );
    assert!(said.contains("file-000.parquet"), "{said}");
}

#[test]
fn a_missing_checkpoint_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "eval",
        "--planner",
        "absent",
        "--env",
        "two-room",
        "--protocol",
        "crossing",
        "--episodes",
        "1",
    ];
    let said = fail(folder.path(), &arguments);
    assert!(
        said.contains("absent") && said.contains("config.json"),
        "{said}"
    );
}

#[test]
fn an_occupied_or_unreachable_endpoint_says_so_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp/{}", occupied.local_addr().unwrap());
    let serve = [
        "serve",
        "env",
        "--env",
        "two-room",
        "--protocol",
        "crossing",
        "--listen",
        &endpoint,
    ];
    let begun = Instant::now();
    let said = fail(folder.path(), &serve);
    assert!(said.contains(&endpoint), "{said}");
    drop(occupied);
    let eval = [
        "eval",
        "--policy",
        "expert",
        "--env",
        "two-room",
        "--protocol",
        "crossing",
        "--connect",
        &endpoint,
    ];
    let said = fail(folder.path(), &eval);
    assert!(said.contains(&endpoint), "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
}

//! A disk that refuses to write ends a recording with a clear error, and keeps every finished episode.
//!
//! A limit on the size of files (`ulimit -f`) stands in for the disk: no privilege is needed, and the system refuses a
//! write in the middle of a file just so.

use std::path::Path;
use std::process::Command;

use crate::program::json;

/// Records two-room into `d` with files of at most some blocks of 512 bytes; gives back what was said.
fn record_limited(folder: &Path, blocks: u32, arguments: &[&str]) -> String {
    // With the signal ignored, the limit is an error of the write, as a full disk is.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_armilla")])
        .args(["record", "--env", "two-room", "--policy", "expert"])
        .args(["--out", "d"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("File too large"), "{said}");
    said
}

#[test]
fn a_video_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let said = record_limited(folder, 16, &["--episodes", "3", "--image-size", "224"]);
    assert!(
        said.contains("top.mp4") && said.contains("ulimit"),
        "{said}"
    );
    let there = folder.join("d").exists();
    assert!(!there, "no empty dataset stands in the way of the next try");
}

#[test]
fn finished_episodes_stay_when_they_cannot_be_joined() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Room for each episode's video, not for that of all.
    let said = record_limited(folder, 200, &["--episodes", "40"]);
    assert!(
        said.contains(".compact") && said.contains("40 finished episodes"),
        "{said}"
    );
    assert!(
        !folder.join("d/.compact").exists(),
        "what is of no use takes no room"
    );
    let info = json(folder, &["dataset", "info", "--json", "d"]);
    assert_eq!(info["episodes"], 40, "{info}");
    let recovered = info["recovered"].as_str().unwrap();
    assert!(
        recovered.contains("40 finished episodes kept"),
        "{recovered}"
    );
}

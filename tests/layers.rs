//! The rules of ARCHITECTURE.md that are absences: who may not know whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Direct dependencies by crate of the workspace, tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let direct = |package: &serde_json::Value| -> BTreeSet<String> {
        let all = package["dependencies"].as_array().unwrap();
        all.iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .map(name)
            .collect()
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (name(package), direct(package)))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Everything of ours that a crate reaches.
fn reaches(all: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in all.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    seen
}

/// Every Rust source of the workspace, with its crate's name.
fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["crates", "envs"] {
        for member in std::fs::read_dir(root().join(folder)).unwrap() {
            let member = member.unwrap().path();
            let name = member.file_name().unwrap().to_str().unwrap().to_owned();
            collect(&name, &member.join("src"), &mut found);
        }
    }
    assert!(found.len() > 30, "the sources were found");
    found
}

fn collect(name: &str, folder: &Path, found: &mut Vec<(String, PathBuf, String)>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(name, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((name.to_owned(), path, text));
        }
    }
}

#[test]
fn one_crate_each_names_zenoh_rerun_and_the_file_formats() {
    let owners = [
        ("zenoh", "armilla-bus"),
        ("re_sdk", "armilla-viz"),
        ("re_sdk_types", "armilla-viz"),
        ("parquet", "armilla-data"),
        ("arrow", "armilla-data"),
        ("openh264", "armilla-data"),
        ("muxide", "armilla-data"),
        ("re_mp4", "armilla-data"),
        ("re_rav1d", "armilla-data"),
        ("rapier2d", "armilla-envs"),
        ("burn-flex", "armilla-kernels"),
        ("burn-autodiff", "armilla-kernels"),
        ("gemm", "armilla-kernels"),
        ("pulp", "armilla-kernels"),
        ("pulp", "armilla-data"),
        ("cubecl-cuda", "armilla-nn"),
        ("hf-hub", "armilla-hub"),
        ("ureq", "armilla-hub"),
    ];
    for (name, direct) in dependencies() {
        for (dependency, _) in owners {
            assert!(
                owners.contains(&(dependency, name.as_str())) || !direct.contains(dependency),
                "{name} may not depend on {dependency}"
            );
        }
    }
}

#[test]
fn models_know_neither_bus_nor_viewer_nor_recordings_nor_each_other() {
    let all = dependencies();
    let forbidden = [
        ("armilla-core", vec!["burn", "tokio", "serde"]),
        (
            "armilla-nn",
            vec![
                "armilla-bus",
                "armilla-viz",
                "armilla-data",
                "armilla-world",
                "armilla-vla",
            ],
        ),
        ("armilla-kernels", vec!["armilla-core", "armilla-nn"]),
        (
            "armilla-world",
            vec![
                "armilla-bus",
                "armilla-viz",
                "armilla-data",
                "armilla-vla",
                "armilla-train",
            ],
        ),
        (
            "armilla-vla",
            vec![
                "armilla-bus",
                "armilla-viz",
                "armilla-data",
                "armilla-world",
                "armilla-train",
            ],
        ),
        (
            "armilla-train",
            vec!["armilla-world", "armilla-vla", "armilla-bus", "armilla-viz"],
        ),
        (
            "armilla-bus",
            vec!["burn", "armilla-envs", "armilla-world", "armilla-vla"],
        ),
        ("armilla-viz", vec!["burn", "armilla-world", "armilla-vla"]),
        ("armilla-envs", vec!["burn", "armilla-data", "armilla-bus"]),
    ];
    for (name, absent) in forbidden {
        let reached = reaches(&all, name);
        for other in absent {
            assert!(!reached.contains(other), "{name} may not reach {other}");
        }
    }
}

#[test]
fn models_touch_files_only_for_checkpoints() {
    for (name, path, text) in sources() {
        let model = ["armilla-nn", "armilla-world", "armilla-vla"].contains(&name.as_str());
        let library = text.split("#[cfg(test)]").next().unwrap();
        let touches = library.contains("std::fs") || library.contains("File::");
        let below = path.to_str().unwrap().rsplit_once("/src/").unwrap().1;
        let may = [
            "checkpoint.rs",
            "checkpoint/file.rs",
            "checkpoint/pytorch.rs",
            "jepa/published.rs",
            "json.rs",
            "lerobot/checkpoint.rs",
            "lerobot/golden.rs",  // of tests alone
            "goal_policy/mod.rs", // its checkpoint is the last part of it
        ];
        let may = may.contains(&below) || below.ends_with("/tests.rs");
        assert!(
            !model || !touches || may,
            "{} touches files",
            path.display()
        );
    }
}

#[test]
fn randomness_comes_from_keyed_streams() {
    for (_, path, text) in sources() {
        for generator in [
            "Tensor::random",
            "::random_like",
            "rand::rng()",
            "thread_rng",
            "DropoutConfig",
        ] {
            assert!(
                !text.contains(generator),
                "{} uses {generator}",
                path.display()
            );
        }
    }
}

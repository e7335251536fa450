//! Every command of README.md works, in the order in which it stands there.
//!
//! Commands are those of its `sh` blocks, one a line. They run as written but for what makes them cheap: [`cheaper`] puts in a
//! few episodes and steps, and a free port. The demo is run by `demo.rs`, `cargo test` is what is running, and [`NEED_A_GPU`] are left out.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::pipeline::SMALL_PLAN;
use crate::program::{Running, succeed};

/// How README begins a command of the program.
const PROGRAM: &str = "cargo run --release -- ";
/// Commands that need a GPU, which machines of tests lack: `armilla doctor` does there what the tests do here.
const NEED_A_GPU: [&str; 2] = [
    "cargo run --release --features cuda -- doctor --device cuda:0 --self-test",
    "scripts/build_cuda.sh run -- doctor --device cuda:0 --self-test",
];
/// README's endpoint.
const ENDPOINT: &str = "tcp/127.0.0.1:7447";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The lines of the `sh` blocks.
fn commands(text: &str) -> Vec<&str> {
    let blocks = text.split("```sh\n").skip(1);
    let inside = blocks.map(|block| block.split("```").next().unwrap());
    let lines = inside.flat_map(str::lines);
    lines.filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn every_command_works() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = free_endpoint();
    let text = readme();
    let mut servers = Vec::new();
    let mut seen = Vec::new();
    for command in commands(&text) {
        if command == "cargo test --release" || NEED_A_GPU.contains(&command) {
            continue;
        }
        let typed = command
            .strip_prefix(PROGRAM)
            .unwrap_or_else(|| panic!("README has a command that is not tested: {command}"));
        let words = cheaper(typed, &endpoint);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        seen.push(words[0].to_owned());
        match words[0] {
            "demo" => assert_eq!(typed, "demo", "tests/demo.rs runs it"),
            "serve" => {
                let server = Running::start(folder.path(), &words);
                server.wait_for("Ctrl-C ends it");
                servers.push(server);
            }
            _ => {
                succeed(folder.path(), &words);
            }
        }
    }
    for stage in [
        "demo", "record", "dataset", "train", "eval", "serve", "viz", "doctor",
    ] {
        assert!(
            seen.iter().any(|word| word == stage),
            "README lacks {stage}"
        );
    }
    assert!(folder.path().join("out/crossing.rrd").is_file());
}

/// A command with a few episodes and steps in the place of many.
fn cheaper(command: &str, endpoint: &str) -> Vec<String> {
    let mut words: Vec<String> = command
        .split_whitespace()
        .map(|word| word.replace(ENDPOINT, endpoint))
        .collect();
    let has = |word: &str| words.iter().any(|other| other == word);
    let mut settings = Vec::new();
    match words[0].as_str() {
        "record" => settings.extend(["--episodes", "8"]),
        "train" if !has("--resume") => settings.extend([
            "--set",
            "train.steps=4",
            "--set",
            "train.checkpoint_every=2",
            "--set",
            "train.warmup_steps=1",
            "--set",
            "batch_size=4",
        ]),
        "eval" => {
            settings.extend(["--episodes", "2"]);
            if has("--planner") {
                settings.extend(SMALL_PLAN);
            }
        }
        _ => {}
    }
    if let Some(at) = words.iter().position(|word| word == "--episodes") {
        words.drain(at..at + 2);
    }
    words.extend(settings.into_iter().map(str::to_owned));
    words
}

/// An endpoint that nobody listens on at this moment.
fn free_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp/{}", listener.local_addr().unwrap())
}

#[test]
fn it_is_short_and_its_links_lead_somewhere() {
    let text = readme();
    assert!(text.lines().count() <= 150, "README has at most 150 lines");
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/evaluation.md",
        "docs/policies.md",
        "docs/training.md",
        "docs/world-models.md",
    ] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let folder = root().join(page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            let elsewhere = link.is_empty() || link.starts_with("https://");
            assert!(
                elsewhere || folder.join(link).exists(),
                "{page} links to {link}, which is not there"
            );
        }
    }
}

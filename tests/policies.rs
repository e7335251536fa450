//! LeRobot's policies through the program: recorded, trained, carried out in every way, and held against a file.

use std::path::Path;

use armilla_nn::checkpoint::{self, Weights};
use burn::tensor::TensorData;

use crate::pipeline::{record, training};
use crate::program::{fail, json, succeed};

const FEW: [&str; 10] = [
    "--set",
    "validation_batches=1",
    "--set",
    "evaluation.episodes=2",
    "--set",
    "batch_size=2",
    "--set",
    "train.accumulation=1",
    "--set",
    "validation_share=0.2",
];
const MODEL: &str = "run/checkpoints/best/model";

/// Trains for a step on episodes of push-t.
fn trained(folder: &Path, config: &[&str]) {
    record(folder, "push-t-demonstrations", "data", "0");
    let train = training(config, "data", "run", "train.steps=1");
    let said = succeed(folder, &[&train[..], &FEW].concat());
    assert!(said.contains("step 1: coverage"), "{said}");
    let metrics = std::fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    assert!(metrics.contains("validation_loss"), "{metrics}");
    let line = std::fs::read_to_string(folder.join("run/evaluations.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["step"], &line["episodes"]),
        (&1.into(), &2.into()),
        "{line}"
    );
}

/// What a run that was killed in its evaluation lacks, the next one makes up for; no step of a run that is done is done again.
fn made_up(folder: &Path) {
    let [evaluations, best] = ["run/evaluations.jsonl", "run/checkpoints/best"];
    let metrics = || std::fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let before = metrics();
    std::fs::remove_file(folder.join(evaluations)).unwrap();
    std::fs::remove_file(folder.join(best)).unwrap();
    // As in a copy that followed the links.
    let last = folder.join("run/checkpoints/last");
    std::fs::remove_file(&last).unwrap();
    std::fs::create_dir(&last).unwrap();
    for _ in 0..2 {
        succeed(folder, &["train", "--resume", "run"]);
        let text = std::fs::read_to_string(folder.join(evaluations)).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(metrics(), before);
        assert!(folder.join(MODEL).is_dir());
    }
}

/// A run is not gone on with where its data has other statistics since: the model would be scaled by others than it learnt with.
fn other_statistics(folder: &Path) {
    let path = folder.join("data/meta/stats.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut statistics: serde_json::Value = serde_json::from_str(&text).unwrap();
    statistics["action"]["std"] = serde_json::json!([1.0, 1.0]);
    std::fs::write(&path, statistics.to_string()).unwrap();
    let said = fail(folder, &["train", "--resume", "run"]);
    assert!(
        said.contains("cannot be resumed with other settings: `statistics` was"),
        "{said}"
    );
    std::fs::write(&path, text).unwrap();
}

/// What evaluates a policy on two episodes.
fn evaluation<'a>(policy: &'a str, execution: &[&'a str]) -> Vec<&'a str> {
    let episodes = ["--env", "push-t", "--protocol", "ahead", "--episodes", "2"];
    [
        &["eval", "--no-floors", "--policy", policy],
        &episodes[..],
        execution,
    ]
    .concat()
}

fn evaluated(folder: &Path, execution: &[&str]) -> serde_json::Value {
    let arguments = evaluation(MODEL, execution);
    let row = json(folder, &[&arguments[..], &["--json", "-"]].concat());
    assert_eq!(row["episodes"], 2, "{row}");
    row
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|at| (at % 11) as f32 / 11.0).collect()
}

/// Acts on a batch of two, and takes its loss and gradients.
fn exchanged(folder: &Path, history: usize, first: &str) {
    let array = |shape: &[usize]| TensorData::new(values(shape.iter().product()), shape.to_vec());
    let mut arrays: Weights = [
        ("observation.state", array(&[2, history, 2])),
        ("observation.images.top", array(&[2, history, 3, 64, 64])),
        ("action", array(&[2, 16, 2])),
    ]
    .map(|(key, data)| (key.to_owned(), data))
    .into();
    let input = folder.join("in.safetensors");
    checkpoint::write(&input, &arrays, &Default::default()).unwrap();
    let files = ["--input", "in.safetensors", "--output", "out.safetensors"];
    succeed(folder, &[&["policy", "infer", MODEL], &files[..]].concat());
    let (found, _) = checkpoint::read(&folder.join("out.safetensors")).unwrap();
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["action", "action_normalized"]);
    assert_eq!(found["action"].shape().to_vec()[0], 2);

    let loss = [&["policy", "loss", MODEL, "--grads"], &files[..]].concat();
    succeed(folder, &loss);
    let (found, _) = checkpoint::read(&folder.join("out.safetensors")).unwrap();
    assert!(found["loss"].iter::<f32>().all(f32::is_finite));
    assert!(found.keys().any(|name| name.starts_with(first)), "{first}");
    succeed(folder, &[&["policy", "loss", MODEL], &files[..]].concat());
    let (alone, _) = checkpoint::read(&folder.join("out.safetensors")).unwrap();
    assert_eq!(alone["loss"], found["loss"], "whatever else is written");
    assert_eq!(alone.len(), 1, "no gradients unless asked for");

    arrays.remove("observation.state");
    checkpoint::write(&input, &arrays, &Default::default()).unwrap();
    let said = fail(folder, &loss);
    assert!(
        said.contains("in.safetensors") && said.contains("`observation.state`"),
        "{said}"
    );
}

#[test]
fn act_is_trained_carried_out_and_exchanged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    trained(folder, &["train/push-t-act"]);
    made_up(folder);
    other_statistics(folder);
    let row = evaluated(folder, &[]);
    assert!(row.get("execution").is_none(), "{row}");
    let row = evaluated(folder, &["--instruction", "blank"]);
    assert_eq!(row["instruction"], "blank", "{row}");
    let row = evaluated(folder, &["--execution", "ensemble", "--delay-ms", "100"]);
    assert_eq!(row["execution"], "ensemble 0.01", "{row}");
    assert_eq!(row["delay_steps"], 1, "{row}");
    exchanged(folder, 1, "grad.model.backbone.");
    let said = fail(folder, &evaluation(MODEL, &["--execution", "real-time"]));
    assert!(
        said.contains("continue a chunk") && said.contains("act"),
        "{said}"
    );
    let said = fail(folder, &evaluation("expert", &["--delay-ms", "100"]));
    assert!(said.contains("found with a script"), "{said}");
    let said = fail(folder, &evaluation(MODEL, &["--delay-ms", "-5"]));
    assert!(said.contains("--delay-ms"), "{said}");
    let elsewhere = ["--env", "push-t-moves", "--protocol", "block"];
    let said = fail(
        folder,
        &[&["eval", "--policy", MODEL][..], &elsewhere].concat(),
    );
    assert!(said.contains("the units of the recordings"), "{said}");
}

#[test]
fn diffusion_is_trained_carried_out_and_exchanged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Batch normalisation has other moments in training than in use, which normalisation of groups has not.
    let norm = ["--set", "policy.group_norm=false"];
    trained(folder, &[&["train/push-t-diffusion"], &norm[..]].concat());
    evaluated(folder, &[]);
    let asynchronous = ["--execution", "asynchronous", "--aggregate", "latest_only"];
    evaluated(
        folder,
        &[&asynchronous[..], &["--delay-ms", "300"]].concat(),
    );
    evaluated(folder, &["--execution", "real-time", "--delay-ms", "200"]);
    exchanged(folder, 1, "grad.diffusion.unet.");
}

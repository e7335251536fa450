//! Wrong input ends with one clear message, and nothing is lost.

use std::net::TcpListener;
use std::path::Path;
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
    let expected = "absent: expected a checkpoint's folder, or OWNER/NAME on the hub";
    assert!(said.contains(expected), "{said}");
    std::fs::create_dir(folder.path().join("absent")).unwrap();
    let said = fail(folder.path(), &arguments);
    assert!(said.contains("absent/config.json"), "{said}");
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
    let said = fail_soon(folder.path(), &serve);
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
    let said = fail_soon(folder.path(), &eval);
    assert!(said.contains(&endpoint), "{said}");
    assert!(
        !said.contains(".rs:"),
        "no place in a source file for a person to read: {said}"
    );
}

/// Fails the test unless the program fails within five seconds.
fn fail_soon(folder: &Path, arguments: &[&str]) -> String {
    let begun = Instant::now();
    let said = fail(folder, arguments);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    said
}

#[test]
fn a_wrong_type_or_setting_of_a_training_names_key_and_choices() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (setting, words) in [
        ("train.steps=many", ["steps", "u64", "many"]),
        ("train.stepz=3", ["stepz", "warmup_steps", "two-room-jepa"]),
        ("jepa.latent=0", ["latent", "at least 1", "0"]),
    ] {
        let out = setting.split('=').next().unwrap();
        record(folder, out);
        let said = fail(folder, &train(out, &["--set", setting]));
        for word in words {
            assert!(said.contains(word), "{word} in {said}");
        }
        assert!(
            !folder.join("run").exists(),
            "{setting}: the folder stands in the way of the next try"
        );
    }
}

#[test]
fn what_would_be_ignored_or_lost_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let eval = ["eval", "--policy", "expert", "--env", "two-room"];
    for (protocol, more, expected) in [
        ("record", &[][..], "found `record`"),
        (
            "crossing",
            &["--instruction", "swapped"],
            "--instruction: expected with a policy",
        ),
        (
            "crossing",
            &["--set", "horizon=4"],
            "--plan, --set: expected with --planner",
        ),
        (
            "crossing",
            &["--threshold", "0.3"],
            "with `--execution asynchronous` or `real-time`",
        ),
        (
            "crossing",
            &["--ensemble", "0.3"],
            "with `--execution ensemble`, found receding",
        ),
        (
            "crossing",
            &["--image-size", "96"],
            "--image-size: expected with a served policy",
        ),
        (
            "crossing",
            &["--json", "absent/row.json"],
            "cannot write absent/row.json",
        ),
        (
            "crossing",
            &["--report", "."],
            "expected a file, found a folder",
        ),
    ] {
        let said = fail(
            folder,
            &[&eval[..], &["--protocol", protocol], more].concat(),
        );
        assert!(said.contains(expected), "{expected} in {said}");
    }
}

#[test]
fn what_would_not_be_learnt_from_is_not_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (env, policy, expected) in [
        ("two-room", "noisy-expert", "`noise` above 0"),
        ("two-room", "expart", "expart"),
        ("push-t", "simulator", "expected `--env two-room`"),
    ] {
        let record = ["record", "--env", env, "--out", "d", "--policy", policy];
        let said = fail(folder, &record);
        assert!(
            said.contains(expected) && !folder.join("d").exists(),
            "{said}"
        );
    }
    let config = ["record", "--config", "record/two-room", "--out", "d"];
    let said = fail(
        folder,
        &[&config[..], &["--set", "protocol=crossing"]].concat(),
    );
    assert!(
        said.contains("found `crossing`, whose scenes are those of evaluations"),
        "{said}"
    );
    assert!(!folder.join("d").exists());
}

#[test]
fn settings_that_keep_nothing_to_learn_from_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d");
    for (setting, expected) in [
        ("validation_share=5", "less than 1, found 5"),
        ("validation_batches=0", "at least 1 beside validate_every"),
        ("evaluation.figure=coverige", "expected one of"),
        ("evaluation.episodes=0", "[evaluation] episodes"),
        ("evaluation.protocol=pull", "pull"),
        (
            "validate_every=0",
            "[evaluation] in push-t: expected an environment that the recordings fit",
        ),
    ] {
        let said = fail(
            folder,
            &training("train/push-t-vla", "d", &["--set", setting]),
        );
        assert!(said.contains(expected), "{expected} in {said}");
        assert!(!folder.join("run").exists(), "{setting}");
    }
    // Before pictures are decoded, and before a window of that many steps is made up.
    let long = ["--set", "policy.history=1000000000000"];
    let said = fail(folder, &training("train/push-t-diffusion", "d", &long));
    let expected = "`history`: expected 1 to 16384, found 1000000000000";
    assert!(
        said.contains(expected) && !said.contains("decode"),
        "{said}"
    );
    assert!(!said.contains("panicked") && !folder.join("run").exists());
}

/// `armilla train` of a world model on the dataset of a name, into `run`.
fn train<'a>(dataset: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    training("train/two-room-jepa", dataset, rest)
}

/// The same of any configuration.
fn training<'a>(config: &'a str, dataset: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let own = ["train", config, "--dataset", dataset, "--out", "run"];
    [&own, rest].concat()
}

/// A few episodes of two-room.
fn record(folder: &Path, out: &str) {
    let arguments = [
        "record",
        "--env",
        "two-room",
        "--episodes",
        "3",
        "--out",
        out,
    ];
    succeed(folder, &arguments);
}

/// Keeps the first half of a file.
fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_missing_or_truncated_video_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d");
    let video = "d/videos/observation.images.top/chunk-000/file-000.mp4";
    cut(&folder.join(video));
    let said = fail(folder, &train("d", &[]));
    assert!(said.contains(video) && said.contains("cut short"), "{said}");
    std::fs::remove_file(folder.join(video)).unwrap();
    let said = fail(folder, &["viz", "d"]);
    assert!(said.contains(video) && said.contains("missing"), "{said}");
}

#[test]
fn a_dataset_that_is_being_recorded_is_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), "d");
    // What a recorder holds as long as it lives.
    let held = folder.path().join("d/.recording");
    std::fs::create_dir_all(&held).unwrap();
    let lock = std::fs::File::create(held.join("lock")).unwrap();
    lock.lock().unwrap();
    let said = fail(folder.path(), &train("d", &[]));
    assert!(said.contains("being recorded at this moment"), "{said}");
    drop(lock);
}

#[test]
fn a_dataset_without_episodes_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d");
    let info = folder.join("d/meta/info.json");
    let text = std::fs::read_to_string(&info).unwrap();
    let mut info_of_none: serde_json::Value = serde_json::from_str(&text).unwrap();
    for key in ["total_episodes", "total_frames", "total_tasks"] {
        info_of_none[key] = 0.into();
    }
    info_of_none["splits"] = serde_json::json!({});
    std::fs::write(&info, info_of_none.to_string()).unwrap();
    for part in [
        "data",
        "videos",
        "meta/episodes",
        "meta/tasks.parquet",
        "meta/stats.json",
    ] {
        let path = folder.join("d").join(part);
        match path.is_dir() {
            true => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    let said = fail(folder, &train("d", &[]));
    assert!(
        said.contains("d: expected episodes to learn from, found none"),
        "{said}"
    );
    assert!(!folder.join("run").exists());
}

#[test]
fn a_truncated_checkpoint_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d");
    let short = [
        "--set",
        "train.steps=2",
        "--set",
        "train.warmup_steps=1",
        "--set",
        "batch_size=4",
    ];
    succeed(folder, &train("d", &short));
    let model = "run/checkpoints/last/model";
    cut(&folder.join(model).join("model.safetensors"));
    let eval = [
        "eval",
        "--planner",
        model,
        "--env",
        "two-room",
        "--protocol",
        "crossing",
    ];
    let said = fail(folder, &eval);
    assert!(
        said.contains("model.safetensors") && said.contains("whole"),
        "{said}"
    );
    cut(&folder.join("run/checkpoints/last/training_state/weights.safetensors"));
    let said = fail(folder, &["train", "--resume", "run"]);
    assert!(
        said.contains("training_state/weights.safetensors"),
        "{said}"
    );
    let said = fail(folder, &train("d", &short));
    assert!(
        said.contains("run is not empty") && said.contains("--resume"),
        "{said}"
    );
    let said = fail(folder, &["train", "--resume", "absent"]);
    assert!(
        said.contains("absent") && said.contains("config.toml"),
        "{said}"
    );
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_training_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "d");
    let wild = [
        "--set",
        "train.learning_rate=1e30",
        "--set",
        "train.clip_norm=0.0",
        "--set",
        "train.warmup_steps=0",
        "--set",
        "batch_size=4",
    ];
    let said = fail(folder, &train("d", &wild));
    assert!(
        said.contains("not finite") && said.contains("step "),
        "{said}"
    );
}

#[test]
fn a_dataset_that_does_not_fit_a_model_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path(), "data");
    let train = |settings: &[&str]| {
        let mut arguments = train("data", &[]);
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let said = fail(folder.path(), &arguments);
        assert!(!folder.path().join("run").exists(), "{said}");
        said
    };
    for (settings, expected) in [
        (&["jepa.image_size=32"][..], "expected pictures of 32 x 32"),
        (&["jepa.action=3"], "`action`: expected 3 values"),
        (&["jepa.history=400"], "as long as a window"),
        (&["cameras=['wrist']"], "`cameras`: expected 1 of top"),
        (
            &["mixture=[{dataset='data',weight=1.0,cameras={top='wrist'}}]"],
            "expected camera `wrist`, which the model looks through, found top",
        ),
        (&["jepa.symmetries=false", "jepa.state=2"], "`state`"),
        (
            &["jepa.symmetries=false", "jepa.cameras=2", "jepa.state=0"],
            "expected 2 cameras",
        ),
    ] {
        let said = train(settings);
        assert!(said.contains(expected), "{settings:?}: {said}");
        assert!(!said.contains("WindowSpec"), "{said}");
    }
}

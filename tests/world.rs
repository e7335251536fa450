//! Looking inside a world model, and what is said where that cannot be done.

use std::path::Path;

use serde_json::Value;

use crate::datasets::copy;
use crate::pipeline::{SMALL_WORLD_MODEL, record, training};
use crate::program::{fail, json, succeed};

const MODEL: &str = "run/checkpoints/last/model";

fn ask(folder: &Path, arguments: &[&str]) -> Value {
    let typed = [
        &["world", arguments[0], MODEL],
        &arguments[1..],
        &["--json", "-"],
    ];
    json(folder, &typed.concat())
}

#[test]
fn every_question_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "two-room", "data", "3");
    let train = training(SMALL_WORLD_MODEL, "data", "run", "train.steps=20");
    succeed(
        folder,
        &[&train[..], &["--set", "validation_share=0.25"]].concat(),
    );

    kept_episodes(folder);
    other_episodes(folder);
    other_units(folder);
    played_episodes(folder);
    wrong_input(folder);
}

/// On what training did not see.
fn kept_episodes(folder: &Path) {
    let drawn = ["--rerun", "r.rrd", "--report", "r.html", "--steps", "2"];
    let found = ask(
        folder,
        &[&["rollout", "--dataset", "data"], &drawn[..]].concat(),
    );
    assert_eq!(
        found["source"]["validation_share"], 0.25,
        "as the run kept: {found}"
    );
    assert_eq!(found["source"]["validation_split"], "spread");
    assert_eq!(found["source"]["kept_from_training"], true);
    assert_eq!(found["episodes"], 2);
    let step = &found["groups"]["all"][1];
    for figure in [
        "latent_error",
        "skill",
        "psnr_db",
        "copy_psnr_db",
        "decoder_ssim",
    ] {
        assert!(step[figure].is_f64(), "{figure} in {step}");
    }
    let page = std::fs::read_to_string(folder.join("r.html")).unwrap();
    assert!(page.contains("Curves") && page.contains("Figures") && page.contains("imagined"));
    assert!(folder.join("r.rrd").is_file());

    let check = ["check", "--dataset", "data", "--windows", "8"];
    let found = ask_drawn(folder, &check, "standard deviation");
    assert_eq!(
        found["figures"]["effective_rank"]["at_least"], 8.0,
        "{found}"
    );
    let straightness = &found["figures"]["straightness"]["value"];
    assert_ne!(straightness, 0.0, "windows of three frames: {found}");
    assert!(found["std"].as_array().unwrap().len() > 1);

    // A run that does not say which episodes it kept is older than the choice.
    let path = folder.join("run/config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let older = config.replace("validation_split = \"spread\"\n", "");
    assert_ne!(older, config);
    std::fs::write(&path, older).unwrap();
    let of_older = ask(folder, &check);
    assert_eq!(
        (&of_older["validation_split"], &found["validation_split"]),
        (&"last".into(), &"spread".into())
    );
    assert_ne!(of_older["figures"], found["figures"], "other episodes");
    std::fs::write(&path, config).unwrap();
}

/// What training kept is told apart from other episodes, and from those of a dataset that is not the run's.
fn other_episodes(folder: &Path) {
    let data = folder.join("data");
    copy(&data, &folder.join("copy"));
    let all = ["--validation-share", "1"];
    let [kept, others, unknown] = [
        "the 25 % kept from training",
        "100 % of the episodes, of which training kept 25 %",
        "100 % of a dataset that is not, or not known to be,",
    ];
    for (dataset, more, (is_kept, episodes), title) in [
        ("data", &[][..], (Value::from(true), 2), kept),
        ("data", &all[..], (Value::from(false), 8), others),
        ("copy", &[], (Value::Null, 8), unknown),
    ] {
        let check = ["check", "--dataset", dataset, "--windows", "8"];
        let files = ["--report", "check.html"];
        let found = ask(folder, &[&check[..], &files, more].concat());
        assert_eq!(found.get("kept_from_training"), Some(&is_kept), "{found}");
        assert_eq!(found["episodes"], episodes, "{found}");
        let page = std::fs::read_to_string(folder.join("check.html")).unwrap();
        assert!(page.contains(title), "{title}");
        let says_kept = page.contains("kept from training");
        assert_eq!(says_kept, is_kept == true, "{dataset} {more:?}");
    }

    // One that lies nowhere any more was moved.
    std::fs::rename(&data, folder.join("moved")).unwrap();
    let found = ask(folder, &["check", "--dataset", "moved", "--windows", "8"]);
    assert_eq!(found["kept_from_training"], true, "{found}");
    // Where nothing counts its episodes either, nobody knows.
    let state = folder.join("run/checkpoints/last/training_state");
    std::fs::rename(&state, folder.join("state")).unwrap();
    let found = ask(folder, &["check", "--dataset", "moved", "--windows", "8"]);
    assert_eq!(
        found.get("kept_from_training"),
        Some(&Value::Null),
        "{found}"
    );
    std::fs::rename(folder.join("state"), state).unwrap();
    std::fs::rename(folder.join("moved"), data).unwrap();
}

/// A dataset whose actions are of another unit is no measure of the model.
fn other_units(folder: &Path) {
    let path = folder.join("copy/meta/stats.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut statistics: Value = serde_json::from_str(&text).unwrap();
    statistics["action"]["min"] = serde_json::json!([-1000.0, -1000.0]);
    statistics["action"]["max"] = serde_json::json!([1000.0, 1000.0]);
    std::fs::write(&path, statistics.to_string()).unwrap();
    let said = fail(folder, &["world", "check", MODEL, "--dataset", "copy"]);
    assert!(
        said.contains("copy: actions: expected the units of the recordings")
            && said.contains("found -1000 to 1000"),
        "{said}"
    );
}

/// An answer that is drawn as well, with a curve of this name.
fn ask_drawn(folder: &Path, arguments: &[&str], curve: &str) -> Value {
    let files = ["--rerun", "drawn.rrd", "--report", "drawn.html"];
    let found = ask(folder, &[arguments, &files].concat());
    let page = std::fs::read_to_string(folder.join("drawn.html")).unwrap();
    assert!(
        page.contains("<svg class=\"chart\"") && page.contains(curve),
        "{curve}"
    );
    for file in ["drawn.rrd", "drawn.html"] {
        std::fs::remove_file(folder.join(file)).unwrap();
    }
    found
}

/// In a simulator.
fn played_episodes(folder: &Path) {
    let played = [
        "rollout",
        "--env",
        "two-room",
        "--episodes",
        "2",
        "--steps",
        "2",
    ];
    let found = ask(folder, &played);
    assert_eq!(
        found["groups"].as_object().unwrap().len(),
        1,
        "nothing to touch: {found}"
    );

    let probe = ["probe", "--env", "two-room", "--episodes", "4"];
    let found = ask_drawn(folder, &probe, "r, linear probe");
    let readings = found["readings"].as_array().unwrap();
    assert_eq!(
        readings.len(),
        6,
        "two probes, encoded and one and four steps ahead"
    );
    assert!(
        readings
            .iter()
            .all(|reading| reading["values"]["agent_y"]["mse"].is_f64())
    );

    let surprise = ["surprise", "--env", "two-room", "--episodes", "4"];
    let found = ask_drawn(folder, &surprise, "teleport");
    let test = &found["events"]["teleport"]["paired_t_test"];
    assert_eq!(test["n"], 4, "{found}");
    assert!((0.0..=1.0).contains(&test["p"].as_f64().unwrap()));
    assert_eq!(found["events"]["clean"]["paired_t_test"], Value::Null);
}

/// What does not fit the model is named.
fn wrong_input(folder: &Path) {
    let recorded = [
        "record",
        "--env",
        "two-room",
        "--policy",
        "random",
        "--episodes",
        "2",
        "--image-size",
        "96",
        "--out",
        "large",
    ];
    succeed(folder, &recorded);
    let said = fail(folder, &["world", "check", MODEL, "--dataset", "large"]);
    assert!(
        said.contains("camera `top`") && said.contains("64 x 64") && said.contains("96 x 96"),
        "{said}"
    );
    let said = fail(
        folder,
        &[
            "world",
            "rollout",
            MODEL,
            "--dataset",
            "data",
            "--steps",
            "500",
        ],
    );
    assert!(said.contains("--steps 500"), "{said}");
    let said = fail(folder, &["world", "probe", MODEL, "--env", "moon"]);
    assert!(said.contains("moon") && said.contains("push-t"), "{said}");
}

#[test]
fn pictures_of_any_size_are_brought_to_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recorded = [
        "record",
        "--config",
        "record/two-room",
        "--image-size",
        "96",
        "--episodes",
        "8",
        "--out",
        "large",
    ];
    succeed(folder, &recorded);
    let train = training(SMALL_WORLD_MODEL, "large", "run", "train.steps=3");
    let said = fail(folder, &train);
    assert!(
        said.contains("expected pictures of 64 x 64") && said.contains("--set 'transforms="),
        "{said}"
    );
    let share = ["--set", "validation_share=0.25"];
    let smaller =
        "transforms=[{kind='random-crop',height=92,width=92},{kind='resize',height=64,width=64}]";
    let fitting = [&train[..], &share, &["--set", smaller]].concat();
    succeed(folder, &fitting);
    let rollout = ["rollout", "--dataset", "large", "--steps", "2"];
    assert_eq!(ask(folder, &rollout)["episodes"], 2);
    let check = ["check", "--dataset", "large", "--windows", "8"];
    assert!(ask(folder, &check)["figures"]["effective_rank"].is_object());
    // Without the run nothing tells what became of pictures.
    let path = folder.join("run/config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("\"random-crop\"", "\"unheard-of\"")).unwrap();
    let said = fail(folder, &["world", "check", MODEL, "--dataset", "large"]);
    assert!(
        said.contains("`transforms`") && said.contains("unheard-of"),
        "{said}"
    );
    std::fs::remove_file(&path).unwrap();
    let said = fail(folder, &["world", "check", MODEL, "--dataset", "large"]);
    assert!(
        said.contains("large: camera `top`") && said.contains("found 96 x 96"),
        "{said}"
    );
}

#[test]
fn contact_is_told_from_free_space() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "push-t-world", "data", "3");
    let train = training(SMALL_WORLD_MODEL, "data", "run", "train.steps=3");
    succeed(folder, &train);
    let played = ["--env", "push-t-moves", "--episodes", "4"];
    let rollout = ask(
        folder,
        &[&["rollout", "--steps", "3"], &played[..]].concat(),
    );
    let groups = &rollout["groups"];
    let [all, contact, free] =
        ["all", "contact", "free"].map(|group| groups[group][2]["windows"].as_u64().unwrap());
    assert!(contact > 0 && free > 0, "{groups}");
    assert_eq!(contact + free, all);
    let surprise = ask(folder, &[&["surprise"], &played[..]].concat());
    assert_eq!(surprise["events"]["teleport"]["paired_t_test"]["n"], 4);
}

#[test]
fn a_published_model_is_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let published =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/armilla-world/fixtures/lewm");
    let published = published.to_str().unwrap();
    record(folder, "two-room", "data", "3");
    let import = ["world", "import", published, "--dataset", "data", "--out"];
    let said = succeed(folder, &[&import[..], &["lewm"]].concat());
    assert!(
        said.contains("5 actions of 2 values a model step"),
        "{said}"
    );

    // It is a checkpoint as any other, for pictures as small as nothing records.
    let said = fail(folder, &["world", "check", "lewm", "--dataset", "data"]);
    assert!(said.contains("8 x 8") && said.contains("64 x 64"), "{said}");

    let said = fail(folder, &[&import[..], &["lewm"]].concat());
    assert!(said.contains("give a new folder"), "{said}");
    let said = fail(
        folder,
        &[&import[..], &["other", "--camera", "wrist"]].concat(),
    );
    assert!(said.contains("`wrist`") && said.contains("top"), "{said}");
    assert!(!folder.join("other").exists());
}

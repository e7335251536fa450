//! The stages in a row: record, look, train, stop, resume, evaluate. Twice, and the same comes out.

use std::path::Path;

use serde_json::Value;

use crate::program::{Running, fail, json, succeed, wait_until};

/// Settings that make a world model of a few milliseconds a step.
pub(crate) const SMALL_WORLD_MODEL: &[&str] = &[
    "train/two-room-jepa",
    "--set",
    "jepa.encoder.channels=[8,8,8]",
    "--set",
    "jepa.decoder_channels=[8,8,8,8]",
    "--set",
    "jepa.latent=16",
    "--set",
    "jepa.projector_hidden=16",
    "--set",
    "jepa.predictor.hidden=16",
    "--set",
    "jepa.embedding=8",
    "--set",
    "jepa.loss.sigreg_projections=16",
];
/// The policy of the demo: a step takes some twenty milliseconds as it is.
pub(crate) const POLICY: &[&str] = &["train/tabletop-vla"];

/// A plan of a few milliseconds.
pub(crate) const SMALL_PLAN: &[&str] = &[
    "--set",
    "horizon=4",
    "--set",
    "num_samples=16",
    "--set",
    "num_elites=4",
    "--set",
    "keep_elites=2",
    "--set",
    "iterations=2",
];

/// Records a few episodes of the demonstrations that the configuration describes; gives back the hash.
pub(crate) fn record(folder: &Path, env: &str, out: &str, seed: &str) -> String {
    let config = format!("record/{env}");
    let arguments = [
        "record",
        "--config",
        &config,
        "--episodes",
        "8",
        "--seed",
        seed,
        "--out",
        out,
    ];
    succeed(folder, &arguments);
    let info = json(folder, &["dataset", "info", "--json", "--hash", out]);
    assert_eq!(info["episodes"], 8, "{info}");
    assert_eq!(info["recovered"], Value::Null, "{info}");
    assert_eq!(info["features"]["observation.images.top"]["dtype"], "video");
    info["hash"].as_str().unwrap().to_owned()
}

/// `armilla train` with a number of steps.
pub(crate) fn training<'a>(
    model: &[&'a str],
    dataset: &'a str,
    out: &'a str,
    steps: &'a str,
) -> Vec<&'a str> {
    let rest = [
        "--dataset",
        dataset,
        "--out",
        out,
        "--set",
        steps,
        "--set",
        "batch_size=4",
        "--set",
        "train.warmup_steps=2",
        "--set",
        "train.checkpoint_every=0",
        "--set",
        "train.log_every=1",
    ];
    [&["train"], model, &rest].concat()
}

/// Trains and stops it by Ctrl-C under way.
fn train_a_part(folder: &Path, arguments: &[&str], out: &str) {
    let running = Running::start(folder, arguments);
    let metrics = folder.join(out).join("metrics.jsonl");
    wait_until("the third step", || {
        std::fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= 3)
    });
    running.signal("INT");
    let (status, said) = running.finish();
    assert_eq!(status.code(), Some(130), "a script must not go on: {said}");
    assert!(said.contains("stopped; `armilla train --resume"), "{said}");
}

/// The same, and goes on to the end.
fn train_in_two_parts(folder: &Path, arguments: &[&str], out: &str) {
    train_a_part(folder, arguments, out);
    let checkpoints = folder.join(out).join("checkpoints");
    let last = std::fs::read_link(checkpoints.join("last")).expect("a checkpoint was written");
    let whole = model_file(folder, out);
    assert!(
        whole.len() > 1000,
        "the model of {} is there",
        last.display()
    );
    succeed(folder, &["train", "--resume", out]);
    let ended = std::fs::read_link(checkpoints.join("last")).unwrap();
    assert!(ended > last, "it went on from {}", last.display());
}

fn model_file(folder: &Path, run: &str) -> Vec<u8> {
    std::fs::read(
        folder
            .join(run)
            .join("checkpoints/last/model/model.safetensors"),
    )
    .unwrap()
}

/// Records and trains twice, the second time with a stop in between; the weights are the same bytes.
fn twice_the_same(folder: &Path, env: &str, model: &[&str], steps: &str) {
    let first = record(folder, env, "first", "3");
    assert_eq!(
        first,
        record(folder, env, "second", "3"),
        "the same seed, the same dataset"
    );
    assert_ne!(
        first,
        record(folder, env, "other", "100"),
        "another seed, another dataset"
    );
    succeed(folder, &training(model, "first", "straight", steps));
    train_in_two_parts(
        folder,
        &training(model, "second", "stopped", steps),
        "stopped",
    );
    assert!(
        model_file(folder, "straight") == model_file(folder, "stopped"),
        "the weights of a resumed run differ from those of an uninterrupted one"
    );
}

/// What a row of results has to tell.
fn check_row(row: &Value, floors: &[&str]) {
    let share = |key: &str| {
        row[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {row}"))
    };
    assert_eq!(row["episodes"], 4, "{row}");
    assert!(share("ci_low") <= share("success") + 1e-9 && share("success") <= share("ci_high"));
    assert!(
        share("ci_low") >= 0.0 && share("ci_high") <= 1.0 && share("ci_high") > 0.4,
        "four episodes tell little: {row}"
    );
    for floor in floors {
        assert!(row["floors"][floor].is_f64(), "floor {floor} in {row}");
    }
    assert_eq!(row["floors"]["nothing"], 0.0, "nothing is solved at reset");
    assert_eq!(row["floors"]["expert"], 1.0, "the expert can do it");
}

#[test]
fn a_world_model_is_the_same_twice_and_plans_over_the_bus() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    twice_the_same(folder, "two-room", SMALL_WORLD_MODEL, "train.steps=300");
    let evaluate = |run: &str, settings: &[&str]| {
        let checkpoint = format!("{run}/checkpoints/last/model");
        let arguments = [
            "eval",
            "--planner",
            &checkpoint,
            "--env",
            "two-room",
            "--protocol",
            "crossing",
            "--episodes",
            "4",
            "--seed",
            "5",
            "--parallel",
            "3",
            "--json",
            "-",
        ];
        json(folder, &[&arguments, SMALL_PLAN, settings].concat())
    };
    let row = evaluate("straight", &[]);
    assert_eq!(row["policy"], "planner");
    check_row(&row, &["nothing", "random", "straight-line", "expert"]);
    assert_eq!(row["families"], Value::Object(serde_json::Map::new()));
    assert_eq!(
        row,
        evaluate("stopped", &[]),
        "the same weights, the same figures"
    );
    for settings in OTHER_PLANS {
        let row = evaluate("straight", settings);
        check_row(&row, &["nothing"]);
        assert_eq!(row, evaluate("stopped", settings), "{settings:?}");
    }
    variations(folder, &row, &evaluate);
}

#[test]
fn a_model_over_an_encoders_tokens_outlives_where_that_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "two-room", "data", "3");
    let first = [SMALL_WORLD_MODEL, &["--set", "jepa.activation=relu"]].concat();
    succeed(folder, &training(&first, "data", "first", "train.steps=2"));
    let model = [
        "train/push-t-dino-wm",
        "--set",
        "dino-wm.encoder.channels=[8,8,8]",
        "--set",
        "encoder=first/checkpoints/last/model",
    ];
    train_a_part(
        folder,
        &training(&model, "data", "run", "train.steps=300"),
        "run",
    );
    std::fs::remove_dir_all(folder.join("first")).unwrap();
    let path = folder.join("run/config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let lines = config.lines().filter(|line| !line.starts_with("encoder ="));
    let without = lines.collect::<Vec<_>>().join("\n");
    assert!(without.len() < config.len(), "{config}");
    std::fs::write(&path, without).unwrap();
    let said = fail(folder, &["train", "--resume", "run"]);
    assert!(said.contains("`activation` was \"relu\""), "{said}");
    std::fs::write(&path, config).unwrap();
    succeed(folder, &["train", "--resume", "run"]);
    let arguments = [
        "eval",
        "--planner",
        "run/checkpoints/last/model",
        "--plan",
        "plan/push-t",
        "--env",
        "two-room",
        "--protocol",
        "crossing",
        "--episodes",
        "2",
        "--no-floors",
        "--json",
        "-",
    ];
    let row = json(folder, &[&arguments, SMALL_PLAN].concat());
    assert_eq!(row["episodes"], 2, "{row}");
}

/// Variations side by side, to look at; and what is none of the same episodes is not compared with them.
fn variations(folder: &Path, row: &Value, evaluate: &dyn Fn(&str, &[&str]) -> Value) {
    let drawn = ["--no-floors", "--report", "e.html", "--rerun", "e.rrd"];
    let varied = ["--variation", "plain,colors,sizes"];
    let rows = evaluate("straight", &[&drawn[..], &varied].concat());
    check_variations(&rows["rows"], row);
    let page = std::fs::read_to_string(folder.join("e.html")).unwrap();
    for expected in [
        "crossing:colors",
        "crossing:sizes",
        "seen",
        "goal",
        "Figures",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(folder.join("e.rrd").is_file());
    std::fs::write(folder.join("other.json"), row.to_string()).unwrap();
    let other = [
        "eval",
        "--policy",
        "random",
        "--env",
        "two-room",
        "--protocol",
        "ahead",
        "--episodes",
        "4",
        "--seed",
        "5",
        "--against",
        "other.json",
    ];
    let said = fail(folder, &other);
    assert!(
        said.contains("other.json: expected the same episodes"),
        "{said}"
    );
}

/// A row for each variation, with those of the same tasks held against the first, which is the row without any.
fn check_variations(rows: &Value, plain: &Value) {
    let of = |index: usize, key: &str| &rows[index][key];
    assert_eq!(rows.as_array().unwrap().len(), 3, "{rows}");
    for key in ["protocol", "successes", "scenes"] {
        assert_eq!(of(0, key), &plain[key]);
    }
    assert_eq!(of(1, "protocol"), "crossing:colors");
    assert_eq!(of(1, "against")["policy"], "planner in crossing");
    let alone = ["only_here", "only_there"].map(|key| of(1, "against")[key].as_i64().unwrap());
    let solved = |index: usize| {
        let successes = of(index, "successes").as_str().unwrap();
        successes.matches('1').count() as i64
    };
    assert_eq!(alone[0] - alone[1], solved(1) - solved(0));
    assert!(
        of(2, "against").is_null(),
        "other sizes are other tasks: {rows}"
    );
}

/// Other ways to plan, beside [`SMALL_PLAN`].
const OTHER_PLANS: [&[&str]; 4] = [
    &["--delay-ms", "300"],
    &["--plan", "plan/lewm", "--set", "receding_horizon=4"],
    &["--set", "method=gradient", "--set", "deadline_ms=60000"],
    &[
        "--set",
        "method=mppi",
        "--set",
        "noise=colored",
        "--set",
        "receding_horizon=2",
    ],
];

#[test]
fn a_policy_is_the_same_twice_and_acts_over_the_bus() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    twice_the_same(folder, "tabletop", POLICY, "train.steps=100");
    let evaluate = |run: &str| {
        let checkpoint = format!("{run}/checkpoints/last/model");
        let arguments = [
            "eval",
            "--policy",
            &checkpoint,
            "--env",
            "tabletop",
            "--protocol",
            "new-scenes",
            "--episodes",
            "4",
            "--seed",
            "5",
            "--parallel",
            "3",
            "--json",
            "-",
        ];
        json(folder, &arguments)
    };
    let row = evaluate("straight");
    assert_eq!(row["policy"], "armilla_flow");
    check_row(&row, &["nothing", "random", "reach-only", "expert"]);
    let families = row["families"].as_object().unwrap();
    assert!(
        !families.is_empty()
            && families
                .keys()
                .all(|name| FAMILIES.contains(&name.as_str()))
    );
    assert_eq!(
        row,
        evaluate("stopped"),
        "the same weights, the same figures"
    );
}

/// Families of tabletop's instructions.
const FAMILIES: [&str; 4] = ["push_to", "push_edge", "touch", "push_away"];

#[test]
fn a_recording_for_rerun_is_written_of_datasets_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "two-room", "dataset", "0");
    succeed(
        folder,
        &training(SMALL_WORLD_MODEL, "dataset", "run", "train.steps=3"),
    );
    for (source, more) in [("dataset", &["--episodes", "2"][..]), ("run", &[])] {
        let out = format!("{source}.rrd");
        let said = succeed(
            folder,
            &[&["viz", source, "--out", &out][..], more].concat(),
        );
        assert!(said.contains(&out), "{said}");
        let bytes = std::fs::read(folder.join(&out)).unwrap();
        assert_eq!(&bytes[..4], b"RRF2", "{out} begins as a Rerun recording");
    }
}

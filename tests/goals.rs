//! What acts by pictures of its goal: planners and goal-conditioned cloning on the same episodes, beside floors and the simulator itself.

use std::path::Path;

use serde_json::Value;

use crate::pipeline::{SMALL_PLAN, SMALL_WORLD_MODEL, record, training};
use crate::program::{fail, json, succeed};

/// A model that looks back, knows where the agent is, and predicts by a transformer.
const FEELING: &[&str] = &[
    "--set",
    "jepa.symmetries=false",
    "--set",
    "jepa.state=2",
    "--set",
    "jepa.embedding=0",
    "--set",
    "jepa.loss.distance_weight=0.0",
    "--set",
    "jepa.history=2",
    "--set",
    "jepa.predictor={kind='transformer',depth=1,heads=2,head_width=4,hidden=16,action_hidden=16}",
];
const EPISODES: &[&str] = &["--protocol", "block", "--episodes", "2", "--seed", "7"];

fn evaluation<'a>(actor: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    let env = ["eval", "--env", "push-t-moves"];
    [&env[..], actor, EPISODES, rest].concat()
}

#[test]
fn planning_and_cloning_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "push-t-world", "data", "3");
    let model = [SMALL_WORLD_MODEL, FEELING].concat();
    succeed(folder, &training(&model, "data", "model", "train.steps=3"));
    let cloning = training(&["train/two-room-goal"], "data", "cloning", "train.steps=2");
    succeed(folder, &cloning);

    cloned(folder);
    let planner = ["--planner", "model/checkpoints/last/model"];
    let plan = [&["--plan", "plan/push-t"], SMALL_PLAN].concat();
    let beside = ["--ceiling", "--against", "cloning.json", "--json", "-"];
    let arguments = evaluation(&planner, &[&plan[..], &beside].concat());
    let row = json(folder, &arguments);
    assert_eq!(
        (&row["policy"], &row["episodes"]),
        (&"planner".into(), &2.into())
    );
    for floor in ["nothing", "random", "agent-only", "expert", "simulator"] {
        assert!(row["floors"][floor].is_f64(), "floor {floor} in {row}");
    }
    assert_eq!(row["floors"]["expert"], 1.0, "{row}");
    let against = &row["against"];
    let [here, there] = ["only_here", "only_there"].map(|key| against[key].as_u64());
    let apart = here.unwrap() + there.unwrap();
    assert!(apart <= 2 && against["p_value"].is_f64(), "{against}");
}

/// Cloning, plain and in another look, whose rows are written together.
fn cloned(folder: &Path) {
    let cloning = ["--policy", "cloning/checkpoints/last/model"];
    let blank = ["--instruction", "blank"];
    let said = fail(folder, &evaluation(&cloning, &blank));
    assert!(said.contains("acts by a picture of the goal"), "{said}");
    let looks = [
        "--no-floors",
        "--variation",
        "plain,shapes",
        "--json",
        "cloning.json",
    ];
    succeed(folder, &evaluation(&cloning, &looks));
    let text = std::fs::read_to_string(folder.join("cloning.json")).unwrap();
    let rows: Value = serde_json::from_str(&text).unwrap();
    let protocols = [0, 1].map(|row| rows["rows"][row]["protocol"].as_str());
    assert_eq!(protocols, [Some("block"), Some("block:shapes")], "{rows}");
}

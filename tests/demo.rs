//! The demo in its quick version: what it leaves behind, and what it refuses.

use std::collections::BTreeSet;
use std::path::Path;

use armilla_core::Reset;
use armilla_core::random::fnv1a;
use armilla_envs::{EnvironmentConfig, make};
use serde_json::Value;

use crate::program::{Running, fail, succeed};

/// The quick demo into a folder.
const DEMO: &[&str] = &["demo", "--quick", "--out", "out"];

#[test]
fn the_quick_demo_leaves_a_report_a_page_and_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(folder, &[DEMO, &["--seed", "2"]].concat());
    let out = folder.join("out");
    let text = std::fs::read_to_string(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    check_facts(&report);
    check_results(&report);
    check_splits(&report);
    check_page(&std::fs::read_to_string(out.join("report.html")).unwrap());
    let recording = std::fs::read(out.join("demo.rrd")).unwrap();
    assert_eq!(&recording[..4], b"RRF2", "it begins as a Rerun recording");

    let said = fail(folder, DEMO);
    assert!(said.contains("out") && said.contains("--force"), "{said}");
    assert!(out.join("report.json").is_file(), "the refusal kept it");
    let forced = Running::start(folder, &[DEMO, &["--force"]].concat());
    forced.wait_for("train: 20 steps");
    assert!(!out.join("report.json").exists(), "the old one is gone");
    forced.signal("INT");
    let (status, said) = forced.finish();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("armilla train --resume"), "{said}");
}

#[test]
fn a_folder_that_no_demo_made_is_never_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("out")).unwrap();
    std::fs::write(folder.join("out/thesis.tex"), "years of work").unwrap();
    let said = fail(folder, &[DEMO, &["--force"]].concat());
    assert!(
        said.contains("not empty") && !said.contains("--force"),
        "{said}"
    );
    assert!(folder.join("out/thesis.tex").is_file());
}

/// Seed, machine, versions, stages, latents.
fn check_facts(report: &Value) {
    assert_eq!(
        (&report["seed"], &report["quick"]),
        (&2.into(), &true.into())
    );
    for key in ["processor", "threads", "platform"] {
        assert!(!report["machine"][key].is_null(), "machine.{key}");
    }
    for key in ["armilla", "burn", "rerun"] {
        assert!(report["versions"][key].is_string(), "versions.{key}");
    }
    let stages: Vec<_> = report["stages"].as_array().unwrap().iter().collect();
    for stage in &stages {
        assert!(stage["seconds"].as_f64().unwrap() >= 0.0, "{stage}");
    }
    for begin in ["record", "train", "evaluate"] {
        let named = |stage: &&&Value| stage["name"].as_str().unwrap().starts_with(begin);
        assert!(
            stages.iter().filter(named).count() >= 2,
            "stages of {begin}"
        );
    }
    for key in ["effective_rank", "smallest_std", "action_shuffle_ratio"] {
        assert!(report["latents"][key].is_f64(), "latents.{key}");
    }
}

/// One row a protocol, each with interval and floors; tabletop's with families, the pooled one with other instructions.
fn check_results(report: &Value) {
    let wanted = [
        ("two-room", "crossing"),
        ("two-room", "ahead"),
        ("tabletop", "new-scenes"),
        ("tabletop", "new-templates"),
        ("tabletop", "unseen-pairs"),
        ("tabletop", "unseen-verb-object"),
        ("tabletop", "new-scenes+new-templates"),
    ];
    for (env, protocol) in wanted {
        let row = row(report, env, protocol);
        for key in ["success", "ci_low", "ci_high"] {
            assert!(row[key].is_f64(), "{key} of {env} {protocol}");
        }
        assert!(row["episodes"].as_u64().unwrap() >= 4, "{row}");
        let cheat = if env == "two-room" {
            "straight-line"
        } else {
            "reach-only"
        };
        for floor in ["nothing", "random", "expert", cheat] {
            assert!(row["floors"][floor].is_f64(), "{floor} beside {protocol}");
        }
        let families = row["families"].as_object().unwrap();
        assert_eq!(families.is_empty(), env == "two-room", "{families:?}");
    }
    let pooled = row(report, "tabletop", "new-scenes+new-templates");
    assert_eq!(pooled["episodes"], 8);
    for floor in ["blank-instruction", "swapped-instruction"] {
        assert!(pooled["floors"][floor].is_f64(), "{floor}");
    }
}

fn row<'a>(report: &'a Value, env: &str, protocol: &str) -> &'a Value {
    let rows = report["results"].as_array().unwrap();
    rows.iter()
        .find(|row| row["env"] == env && row["protocol"] == protocol)
        .unwrap_or_else(|| panic!("no row of {env} {protocol}"))
}

/// The report's hashes are those of the scenes that the seed stands for, and training shares none with evaluation.
fn check_splits(report: &Value) {
    let first = 2_000_000;
    for (env, protocols) in [
        ("two-room", &["crossing", "ahead"][..]),
        ("tabletop", &["new-scenes", "new-templates", "unseen-pairs"]),
    ] {
        let recorded = report["datasets"][env]["episodes"].as_u64().unwrap();
        let training = scenes(env, "record", first, recorded);
        assert_eq!(
            report["splits"][format!("{env} training")],
            hash(&training),
            "training scenes of {env}"
        );
        for protocol in protocols {
            let evaluated = scenes(env, protocol, first, 4);
            let name = format!("{env} {protocol}");
            assert_eq!(report["splits"][&name], hash(&evaluated), "{name}");
            assert_eq!(row(report, env, protocol)["scenes"], hash(&evaluated));
            let training: BTreeSet<_> = training.iter().collect();
            let shared = evaluated.iter().find(|scene| training.contains(scene));
            assert_eq!(shared, None, "{name} shares a scene with training");
        }
    }
}

/// Names of the scenes of some seeds.
fn scenes(env: &str, protocol: &str, first_seed: u64, count: u64) -> Vec<String> {
    let mut simulator = make(&EnvironmentConfig {
        name: env.to_owned(),
        protocol: protocol.to_owned(),
        image_size: 64,
    })
    .unwrap();
    let mut scene = |seed| {
        let reset = Reset {
            seed,
            instruction: None,
        };
        simulator.reset(&reset).unwrap().1.labels["scene"].clone()
    };
    (first_seed..first_seed + count).map(&mut scene).collect()
}

/// One hash for all, as the report has it.
fn hash(scenes: &[String]) -> String {
    format!("{:016x}", fnv1a(scenes.join("\n").as_bytes()))
}

#[test]
fn training_and_evaluation_share_no_scene() {
    for (env, protocols) in [
        ("two-room", &["crossing", "ahead"][..]),
        (
            "tabletop",
            &[
                "new-scenes",
                "new-templates",
                "unseen-pairs",
                "unseen-verb-object",
            ],
        ),
        ("push-t", &["push"]),
    ] {
        let training: BTreeSet<_> = scenes(env, "record", 0, 300).into_iter().collect();
        assert!(training.len() > 290, "{env}: {} scenes", training.len());
        for protocol in protocols {
            let shared = scenes(env, protocol, 0, 100)
                .into_iter()
                .find(|scene| training.contains(scene));
            assert_eq!(
                shared, None,
                "{env} {protocol} shares a scene with training"
            );
        }
    }
}

/// The page needs nothing but itself.
fn check_page(page: &str) {
    assert!(
        page.contains("<svg") && page.contains("data:image/"),
        "curves and pictures"
    );
    for reference in ["src=\"", "href=\"", "url("] {
        for rest in page.split(reference).skip(1) {
            let inside = rest.starts_with("data:") || rest.starts_with('#');
            assert!(
                inside,
                "{reference}{}",
                rest.chars().take(80).collect::<String>()
            );
        }
    }
    for foreign in ["@import", "<link", "fetch("] {
        assert!(!page.contains(foreign), "the page has {foreign}");
    }
    for protocol in ["crossing", "new-scenes", "unseen-pairs"] {
        assert!(page.contains(protocol), "{protocol} in the page");
    }
}

/// Only the demo's folder is made: nothing else lies beside it.
#[test]
fn a_wrong_option_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let status = crate::program::armilla(folder.path(), &["demo", "--fast"])
        .output()
        .unwrap()
        .status;
    assert_eq!(status.code(), Some(2));
    assert!(is_empty(folder.path()));
}

fn is_empty(folder: &Path) -> bool {
    folder.read_dir().unwrap().next().is_none()
}

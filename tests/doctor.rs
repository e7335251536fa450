//! `armilla doctor`: what the machine has, and the self-test on the CPU.

use crate::program::{fail, json, succeed};

#[test]
fn it_says_what_there_is_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let text = succeed(folder.path(), &["doctor"]);
    for word in ["system", "processor", "memory", "built in   cpu", "viewer"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn the_cpu_passes_its_self_test() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["doctor", "--self-test", "--steps", "100", "--json"];
    let report = json(folder.path(), &arguments);
    let checks = report["checks"].as_array().unwrap();
    let of = |precision: &str| {
        let checks = checks.iter();
        checks
            .filter(|check| check["precision"] == precision)
            .count()
    };
    assert!(of("f32") >= 16 && of("bf16") >= 14, "{report}");
}

#[test]
fn a_device_that_is_not_there_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["doctor", "bench"] {
        let mut arguments = vec![command, "--device", "cuda:7"];
        if command == "doctor" {
            arguments.push("--self-test");
        }
        let text = fail(folder.path(), &arguments);
        assert!(
            text.contains("cuda:7") && text.contains("use `cpu`") && !text.contains("panicked"),
            "{text}"
        );
    }
}

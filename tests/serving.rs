//! A simulator served by one process and used by others.

use std::path::Path;
use std::time::Duration;

use crate::pipeline::{POLICY, record, training};
use crate::program::{Running, json, succeed};

/// `armilla eval` of the policy, with an endpoint where there is one.
fn evaluation<'a>(episodes: &'a str, connect: &[&'a str]) -> Vec<&'a str> {
    let own = [
        "eval",
        "--policy",
        "run/checkpoints/last/model",
        "--env",
        "tabletop",
        "--protocol",
        "new-scenes",
        "--no-floors",
        "--json",
        "-",
        "--episodes",
        episodes,
    ];
    [&own, connect].concat()
}

/// Where a server says that it is.
fn endpoint(server: &Running) -> String {
    server.wait_for("Ctrl-C ends it");
    let said = server.said();
    let after = said.split(" is at ").nth(1).unwrap();
    after.split(';').next().unwrap().to_owned()
}

#[test]
fn a_served_simulator_survives_its_clients_death() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    record(folder, "tabletop", "dataset", "0");
    succeed(folder, &training(POLICY, "dataset", "run", "train.steps=2"));
    let serve = [
        "serve",
        "env",
        "--env",
        "tabletop",
        "--protocol",
        "new-scenes",
    ];
    let server = Running::start(folder, &serve);
    let endpoint = endpoint(&server);
    assert!(endpoint.starts_with("tcp/127.0.0.1:"), "{endpoint}");
    let connect = ["--connect", endpoint.as_str()];
    let client = Running::start(folder, &evaluation("100000", &connect));
    client.wait_for("tabletop new-scenes: 100000 episodes");
    std::thread::sleep(Duration::from_millis(500));
    client.signal("KILL");
    assert!(!client.finish().0.success());
    assert_eq!(
        json(folder, &evaluation("6", &connect)),
        json(folder, &evaluation("6", &[])),
        "the same episodes, whoever serves them"
    );
    server.signal("INT");
    let (status, said) = server.finish();
    assert!(status.success(), "{said}");
    a_served_policy_acts_as_its_checkpoint_does(folder);
}

fn a_served_policy_acts_as_its_checkpoint_does(folder: &Path) {
    let serve = ["serve", "policy", "run/checkpoints/last/model"];
    let server = Running::start(folder, &serve);
    let endpoint = endpoint(&server);
    assert!(server.said().contains("warmed up"), "{}", server.said());
    let mut served = evaluation("6", &[]);
    served[2] = &endpoint;
    let client = Running::start(folder, &[&served[..], &["--seed", "1"]].concat());
    client.wait_for("tabletop new-scenes: 6 episodes");
    client.signal("KILL");
    client.finish();
    let (served, own) = (json(folder, &served), json(folder, &evaluation("6", &[])));
    assert_eq!(served["successes"], own["successes"], "{served} {own}");
    assert_eq!(served["mean_steps"], own["mean_steps"]);
    server.signal("INT");
    let (status, said) = server.finish();
    assert!(status.success() && said.contains("latency p50"), "{said}");
}

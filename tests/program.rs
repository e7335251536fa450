//! Runs the built program.

use std::path::Path;
use std::process::{Command, Output};

/// The program with its arguments, in a folder.
pub(crate) fn armilla(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_armilla"));
    command.current_dir(folder).args(arguments);
    command
}

/// Runs the program and returns what it said; fails the test unless it succeeded.
pub(crate) fn succeed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let text = text(&output);
    assert!(
        output.status.success(),
        "armilla {arguments:?} ended with {}:\n{text}",
        output.status
    );
    text
}

/// Runs the program and returns what it said; fails the test unless it ended with status 1.
pub(crate) fn fail(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let text = text(&output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "armilla {arguments:?}:\n{text}"
    );
    text
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    armilla(folder, arguments)
        .output()
        .expect("the program starts")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

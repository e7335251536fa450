//! The `armilla` program: it reads the command line and the configuration, and wires the crates together.

mod allocator;
mod cli;
mod commands;
mod config;
mod hub;
mod machine;
mod paired;
mod progress;
mod results;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use commands::Ended;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let arguments = cli::Arguments::parse();
    start_log(arguments.verbose);
    match commands::run(arguments.command) {
        Ok(Ended::Whole) => ExitCode::SUCCESS,
        Ok(Ended::Stopped) => ExitCode::from(commands::STOPPED),
        Err(error) => {
            progress::say(&format!("error: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each said once: some errors tell their cause themselves.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Logs of our own crates go to standard error; dependencies speak from warnings up.
fn start_log(verbose: u8) {
    let own = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter = format!(
        // What fails in zenoh comes back as an error of ours; what it says beside that is of no use, as of a bus that closes.
        "error,zenoh=off,armilla={own},armilla_bus={own},armilla_data={own},armilla_hub={own},armilla_train={own}"
    );
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_cause_is_said_once() {
        let cause = armilla_core::Error::invalid("horizon", "at least 1", 0);
        let shown = armilla_core::Error::behind("plan settings", cause);
        let error = Err::<(), _>(shown).context("cannot plan").unwrap_err();
        let expected = "cannot plan: plan settings: horizon: expected at least 1, found 0";
        assert_eq!(chain(&error), expected);
    }
}

//! The commands, one module each: they resolve configuration, call the crates, and report.

pub(crate) mod bench;
pub(crate) mod checkpoint;
pub(crate) mod dataset;
mod demo;
mod doctor;
mod eval;
pub(crate) mod fit;
pub(crate) mod hub;
pub(crate) mod policy;
mod record;
mod report;
mod serve;
mod stop;
pub(crate) mod train;
mod viz;
pub(crate) mod world;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::cli::Command;
pub(crate) use stop::stop_asked;

/// Runs a command.
pub(crate) fn run(command: Command) -> Result<()> {
    stop::listen(has_safe_points(&command))?;
    match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Dataset(command) => dataset::run(&command),
        Command::Train(arguments) => train::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Serve(command) => serve::run(&command),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Policy(command) => policy::run(&command),
        Command::Hub(command) => hub::run(&command),
        Command::Viz(arguments) => viz::run(&arguments),
        Command::World(command) => world::run(&command),
    }
}

/// Whether a command stops by itself when asked to; any other has nothing to lose, and Ctrl-C ends it at once.
fn has_safe_points(command: &Command) -> bool {
    match command {
        Command::Demo(_)
        | Command::Record(_)
        | Command::Dataset(_)
        | Command::Train(_)
        | Command::Serve(_)
        | Command::Viz(_)
        | Command::Hub(_) => true,
        Command::Eval(_)
        | Command::Bench(_)
        | Command::Doctor(_)
        | Command::Policy(_)
        | Command::World(_) => false,
    }
}

/// Refuses files that could not be written after long work, before it begins. `-` is standard output.
pub(crate) fn can_write(files: &[Option<&Path>]) -> Result<()> {
    let files = files.iter().flatten();
    for path in files.filter(|path| **path != Path::new("-")) {
        let shown = path.display();
        ensure!(!path.is_dir(), "{shown}: expected a file, found a folder");
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let folder = parent.unwrap_or(Path::new("."));
        let there = tempfile::tempfile_in(folder);
        there.with_context(|| {
            format!("cannot write {shown}: expected a folder that can be written to")
        })?;
    }
    Ok(())
}

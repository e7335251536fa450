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
pub(crate) use stop::{STOPPED, stop_asked};

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It did what it was asked for.
    Whole,
    /// It was stopped before: what it left behind is sound but not whole, so a script should not go on as if it were.
    Stopped,
}

impl Ended {
    fn when(stopped: bool) -> Self {
        if stopped { Self::Stopped } else { Self::Whole }
    }
}

/// Runs a command.
pub(crate) fn run(command: Command) -> Result<Ended> {
    stop::listen(has_safe_points(&command))?;
    let done = match command {
        Command::Record(arguments) => return record::run(&arguments),
        Command::Train(arguments) => return train::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Dataset(command) => dataset::run(&command),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Serve(command) => serve::run(&command),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Policy(command) => policy::run(&command),
        Command::Hub(command) => hub::run(&command),
        Command::Viz(arguments) => viz::run(&arguments),
        Command::World(command) => world::run(&command),
    };
    done.map(|()| Ended::Whole)
}

/// Whether a command stops by itself when asked to; any other has nothing to lose, and Ctrl-C ends it at once.
fn has_safe_points(command: &Command) -> bool {
    match command {
        Command::Dataset(command) => command.has_safe_points(),
        Command::Demo(_)
        | Command::Record(_)
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

//! Progress of long work: a bar with rate and time left on a terminal, plain lines otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Seconds between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// One piece of long work.
pub(crate) struct Progress {
    bar: ProgressBar,
    name: String,
    plain: bool,
    started: Instant,
    said: Instant,
}

impl Progress {
    /// Begins work of `total` units (`steps`, `episodes`).
    pub(crate) fn new(name: &str, unit: &str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        let template = format!(
            "{{prefix:>22.bold}} [{{bar:30}}] {{pos}}/{{len}} {unit} {{rate:>10}} left {{eta:>4}} {{msg}}"
        );
        if let Ok(style) = ProgressStyle::with_template(&template) {
            let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                write!(text, "{:.1}/s", state.per_sec()).ok();
            };
            bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
        let plain = !std::io::stderr().is_terminal();
        if plain {
            say(&format!("{name}: {total} {unit}"));
        }
        Self {
            bar,
            name: name.to_owned(),
            plain,
            started: Instant::now(),
            said: Instant::now(),
        }
    }

    /// Says how much is done, with a few words beside it.
    pub(crate) fn set(&mut self, done: u64, message: impl Into<String>) {
        let message = message.into();
        if self.plain && self.said.elapsed() >= PLAIN_INTERVAL {
            self.said = Instant::now();
            let total = self.bar.length().unwrap_or(0);
            let seconds = self.started.elapsed().as_secs();
            say(&format!(
                "{}: {done}/{total} after {seconds} s {message}",
                self.name
            ));
        }
        self.bar.set_message(message);
        self.bar.set_position(done);
    }

    /// Ends the work; gives back how many seconds it took.
    pub(crate) fn finish(self) -> f64 {
        let seconds = self.started.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        say(&format!("{:>22}  done in {seconds:.1} s", self.name));
        seconds
    }
}

/// One line for people, on standard error.
pub(crate) fn say(line: &str) {
    // A closed standard error must not end the work.
    writeln!(std::io::stderr(), "{line}").ok();
}

/// One line of output, on standard output. A reader that has gone, as `head` does, is no error.
pub(crate) fn print(line: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

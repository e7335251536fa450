//! Runs the built program.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that a test waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Runs the program and reads its standard output as JSON; fails the test unless it succeeded.
pub(crate) fn json(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = run(folder, arguments);
    assert!(
        output.status.success(),
        "armilla {arguments:?} ended with {}:\n{}",
        output.status,
        text(&output)
    );
    serde_json::from_slice(&output.stdout).expect("standard output is JSON")
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

/// Waits until something is so; fails the test when it takes too long.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
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

/// The program while it runs; killed when the test ends before it does.
pub(crate) struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts the program with its arguments, in a folder.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::of(armilla(folder, arguments))
    }

    /// The same by way of another program, which becomes this one, such as `nohup`.
    pub(crate) fn start_by(starter: &[&str], folder: &Path, arguments: &[&str]) -> Self {
        let own = armilla(folder, arguments);
        let mut command = Command::new(starter[0]);
        command.args(&starter[1..]);
        command.arg(own.get_program()).args(own.get_args());
        command.current_dir(folder);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (output, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![gather(output, &said), gather(errors, &said)];
        Self {
            child,
            said,
            readers,
        }
    }

    /// Everything said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said something.
    pub(crate) fn wait_for(&self, words: &str) {
        wait_until(&format!("\"{words}\""), || self.said().contains(words));
    }

    /// Sends a signal, such as `INT` for Ctrl-C.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("`kill` starts");
        assert!(sent.success(), "it had ended already: {}", self.said());
    }

    /// Waits for its end; gives back how it ended and what it said.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        wait_until("the end", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (status, self.said())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Adds lines to what was said, as they come.
fn gather(stream: impl Read + Send + 'static, said: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    let read = move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    };
    std::thread::Builder::new()
        .name("gather".to_owned())
        .spawn(read)
        .unwrap()
}

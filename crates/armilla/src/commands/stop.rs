//! Who asks the program to stop, and how it hears that.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

/// The exit status of what was stopped before its end, as shells have it for Ctrl-C.
pub(crate) const STOPPED: u8 = 130;

/// Set by Ctrl-C: long work ends at its next safe point.
static STOP: AtomicBool = AtomicBool::new(false);

/// Hears Ctrl-C, also where a script started the program in the background, which ignores it otherwise; the end that a system asks for; and
/// that of the terminal, but not under `nohup`.
#[cfg(unix)]
pub(super) fn listen(safe_points: bool) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut heard = vec![SIGINT, SIGTERM];
    heard.extend((!is_ignored(SIGHUP)).then_some(SIGHUP));
    let signals = signal_hook::iterator::Signals::new(heard);
    let mut signals = signals.context("cannot listen for Ctrl-C")?;
    let listener = std::thread::Builder::new().name("signals".to_owned());
    let listen = move || signals.forever().for_each(|_| asked_to_stop(safe_points));
    listener.spawn(listen).context("cannot listen for Ctrl-C")?;
    Ok(())
}

/// Hears Ctrl-C.
#[cfg(not(unix))]
pub(super) fn listen(safe_points: bool) -> Result<()> {
    ctrlc::set_handler(move || asked_to_stop(safe_points)).context("cannot listen for Ctrl-C")
}

/// Whether who started the program had it ignore a signal; where the system does not tell, no.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Asked twice, the person means it.
fn asked_to_stop(safe_points: bool) {
    if STOP.swap(true, Ordering::SeqCst) || !safe_points {
        std::process::exit(STOPPED.into());
    }
    crate::progress::say("stopping at the next safe point (again to stop at once)");
}

/// Whether the program was asked to stop.
pub(crate) fn stop_asked() -> bool {
    STOP.load(Ordering::SeqCst)
}

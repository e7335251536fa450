//! Hostile bytes for `armilla_data::fuzzing::json`.
#![no_main]

use armilla_data::fuzzing::{Scratch, quiet_panics};

std::thread_local!(static SCRATCH: Scratch = Scratch::new());

libfuzzer_sys::fuzz_target!(init: quiet_panics(), |bytes: &[u8]| {
    SCRATCH.with(|scratch| armilla_data::fuzzing::json(scratch, bytes));
});

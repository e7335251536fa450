//! The allocator, and how long it keeps what was freed.
#![allow(
    unsafe_code,
    reason = "the allocator's option is set through its C interface"
)]

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's `mi_option_purge_delay`, which the bindings do not name; the same number in its versions 2 and 3.
const PURGE_DELAY: mi_option_t = 15;
/// Milliseconds after which freed memory goes back to the system. A training step of a second frees and takes the same memory
/// again; at mimalloc's own 1,000 ms every step or second one got its pages anew, a fifth of the time in the kernel.
const PURGE_DELAY_MS: std::ffi::c_long = 20_000;

/// Keeps freed memory for the next training step, unless the environment (`MIMALLOC_PURGE_DELAY`) says otherwise.
pub(crate) fn keep_freed_memory() {
    // SAFETY: the option exists, and no other thread runs yet.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) };
}

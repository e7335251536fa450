//! End-to-end tests: they drive the built program as a person would.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; most of this binary is helpers outside of test functions"
)]

mod bad_input;
mod datasets;
mod demo;
mod doctor;
mod full_disk;
mod goals;
mod interrupted;
mod killed;
mod layers;
mod pipeline;
mod policies;
mod program;
mod readme;
mod serving;
mod world;

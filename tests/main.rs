//! End-to-end tests: they drive the built program as a person would.

mod bad_input;
mod layers;
mod pipeline;
mod program;

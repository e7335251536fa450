//! The bus: environments and policies served over zenoh to other processes and machines.
//!
//! One process serves: [`Bus::serve`] opens a router on an explicit endpoint, `tcp/127.0.0.1:PORT`. Everyone else is a
//! client of it by [`Bus::connect`]. On a bus, whoever serves starts an [`EnvironmentServer`] or a [`PolicyServer`];
//! whoever uses gets a [`RemoteEnvironment`] or a [`RemotePolicy`], which are an `Environment` and a `Policy` like any
//! other. All calls block and may come from any thread, except from inside a single-threaded tokio runtime.
//!
//! # Wire format
//!
//! Under one prefix, `armilla` by default, every key is a zenoh queryable:
//!
//! | key | request | reply |
//! | --- | --- | --- |
//! | `robot/{name}/spec` | nothing, or any message | `spec` |
//! | `robot/{name}/reset` | `reset_request` | `reset_reply` |
//! | `robot/{name}/step` | `step_request` | `step_reply` |
//! | `robot/{name}/close` | `close_request` | `done` |
//! | `policy/{name}/reset` | `policy_reset_request` | `done` |
//! | `policy/{name}/act` | `act_request` | `act_reply` |
//! | `policy/{name}/spec` | `policy_spec_request` | `policy_spec` |
//!
//! Every payload is one MessagePack map `{"version": 3, "kind": "step_request", "body": {..}}`, so that a peer that speaks
//! another version or another message gets an error that says so. Pictures are raw bytes, `[height, width, 3]`. The types
//! in `wire` list the fields. A failure is a zenoh error reply with a body `{"text": ..}`. A server announces itself by a
//! liveliness token at `robot/{name}` or `policy/{name}`.

mod bus;
mod config;
mod environment_client;
mod environment_server;
mod error;
#[cfg(test)]
mod fixtures;
mod latency;
mod message;
mod policy_client;
mod policy_server;
mod sessions;
mod wire;
mod workers;

pub use bus::Bus;
pub use config::BusConfig;
pub use environment_client::{EnvironmentClient, RemoteEnvironment};
pub use environment_server::{EnvironmentFactory, EnvironmentServer, SessionLimits};
pub use error::{BusError, Result};
pub use latency::Latency;
pub use message::VERSION;
pub use policy_client::RemotePolicy;
pub use policy_server::{PolicyOptions, PolicyServer, ServedChunks};

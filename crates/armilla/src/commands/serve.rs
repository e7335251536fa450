//! `armilla serve`: a simulator or a policy on the bus, until Ctrl-C.

use std::time::Duration;

use anyhow::Result;
use armilla_bus::{Bus, BusConfig, PolicyOptions, PolicyServer};
use armilla_envs::{EnvironmentConfig, make};

use crate::cli::ServeCommand;
use crate::commands::{eval, stop_asked};
use crate::progress::say;

/// Sessions of a served simulator, at most.
const SESSIONS: usize = 256;

/// Runs `armilla serve`.
pub(crate) fn run(command: &ServeCommand) -> Result<()> {
    match command {
        ServeCommand::Env {
            env,
            protocol,
            image_size,
            listen,
        } => {
            let environment = EnvironmentConfig {
                name: env.clone(),
                protocol: protocol.clone(),
                image_size: *image_size,
            };
            let served = eval::serve(&environment, listen.clone(), SESSIONS)?;
            say(&format!(
                "{env} ({protocol}) is at {}; Ctrl-C ends it",
                served.bus.endpoint()
            ));
            wait();
        }
        ServeCommand::Policy {
            checkpoint,
            env,
            protocol,
            listen,
            device,
        } => {
            let device = armilla_nn::device::parse(device)?;
            let environment = |image_size| EnvironmentConfig {
                name: env.clone(),
                protocol: protocol.clone(),
                image_size,
            };
            let (policy, side) = eval::open_trained(checkpoint, 0, &environment, &device)?;
            let width = make(&environment(side))?.spec().action_low.len();
            let bus = Bus::serve(&BusConfig {
                endpoint: listen.clone(),
                ..BusConfig::default()
            })?;
            let _server =
                PolicyServer::start(&bus, "policy", Box::new(policy), PolicyOptions::new(width))?;
            say(&format!(
                "{} is at {}; Ctrl-C ends it",
                checkpoint.display(),
                bus.endpoint()
            ));
            wait();
        }
    }
    Ok(())
}

fn wait() {
    while !stop_asked() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

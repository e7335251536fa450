//! `armilla serve`: a simulator or a policy on the bus, until Ctrl-C.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use armilla_bus::{Bus, BusConfig, Latency, PolicyOptions, PolicyServer, ServedChunks};
use armilla_core::{Environment, Leftover, Policy, PolicyRequest, Reset};
use armilla_envs::{EnvironmentConfig, make};

use crate::cli::{ServeCommand, ServePolicyArguments};
use crate::commands::{eval, stop_asked};
use crate::progress::say;

/// How often a served policy's latency is told, while it is asked.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Sessions of a served simulator, at most: each holds a simulator and room in queues.
const MOST_SESSIONS: usize = 65_536;

/// Runs `armilla serve`.
pub(crate) fn run(command: &ServeCommand) -> Result<()> {
    match command {
        ServeCommand::Env {
            env,
            protocol,
            image_size,
            listen,
            sessions,
        } => {
            ensure!(
                (1..=MOST_SESSIONS).contains(sessions),
                "--sessions: expected 1 to {MOST_SESSIONS}, found {sessions}"
            );
            let environment = EnvironmentConfig {
                name: env.clone(),
                protocol: protocol.clone(),
                image_size: *image_size,
            };
            let served = eval::serve(&environment, listen.clone(), *sessions)?;
            say(&format!(
                "{env} ({protocol}) is at {}; Ctrl-C ends it",
                served.bus.endpoint()
            ));
            wait();
        }
        ServeCommand::Policy(arguments) => policy(arguments)?,
    }
    Ok(())
}

/// Serves a policy's checkpoint.
fn policy(arguments: &ServePolicyArguments) -> Result<()> {
    let device = armilla_nn::device::parse(&arguments.device)?;
    let environment = |image_size| EnvironmentConfig {
        name: arguments.env.clone(),
        protocol: arguments.protocol.clone(),
        image_size,
    };
    let (checkpoint, seed) = (&arguments.checkpoint, arguments.seed);
    let (policy, side) = eval::open_trained(checkpoint, seed, &environment, &device)?;
    let mut simulator = make(&environment(side))?;
    let width = simulator.spec().action_low.len();
    let horizons = policy.horizons();
    let chunks = ServedChunks {
        receding: Some(horizons.receding),
        whole: arguments.whole_chunks || horizons.ensemble.is_some(),
        ensemble: horizons.ensemble,
    };
    let mut policy = match chunks.whole {
        true => policy.with_whole_chunks(),
        false => policy,
    };
    warm_up(&mut policy, simulator.as_mut())?;
    let bus = Bus::serve(&BusConfig {
        endpoint: arguments.listen.clone(),
        ..BusConfig::default()
    })?;
    let options = PolicyOptions {
        chunks,
        ..PolicyOptions::new(width)
    };
    let server = PolicyServer::start(&bus, eval::SERVED_POLICY, Box::new(policy), options)?;
    say(&format!(
        "{} is at {}; Ctrl-C ends it",
        checkpoint.display(),
        bus.endpoint()
    ));
    report_until_stopped(&server);
    Ok(())
}

/// Acts once before anyone asks, so that nobody waits for what is done at first use only.
fn warm_up(policy: &mut dyn Policy, simulator: &mut dyn Environment) -> Result<()> {
    let (observation, _) = simulator.reset(&Reset {
        seed: 0,
        instruction: None,
    })?;
    let request = PolicyRequest {
        observation,
        ..PolicyRequest::default()
    };
    let begin = Instant::now();
    let chunk = policy.act(std::slice::from_ref(&request))?.pop();
    let took = begin.elapsed().as_secs_f64() * 1e3;
    if let (true, Some(chunk)) = (policy.continues(), chunk) {
        let leftover = Some(Leftover {
            actions: chunk.actions,
            delay_steps: 1,
        });
        policy.act(&[PolicyRequest {
            leftover,
            ..request
        }])?;
    }
    say(&format!("warmed up: the first chunk took {took:.0} ms"));
    Ok(())
}

/// Says now and then, and at the end, how long those who ask have waited.
fn report_until_stopped(server: &PolicyServer) {
    let mut told = ((0, 0), Instant::now());
    while !stop_asked() {
        std::thread::sleep(Duration::from_millis(100));
        if told.1.elapsed() >= REPORT_EVERY
            && let Some(latency) = server.latency()
            && (latency.answers, latency.refused) != told.0
        {
            told = ((latency.answers, latency.refused), Instant::now());
            tell(&latency);
        }
    }
    if let Some(latency) = server.latency() {
        tell(&latency);
    }
}

fn tell(latency: &Latency) {
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    say(&format!(
        "{} answers, {:.2} a call; latency p50 {:.1} ms, p99 {:.1} ms",
        latency.answers,
        latency.batch_percent as f64 / 100.0,
        ms(latency.p50),
        ms(latency.p99)
    ));
    if let Some(error) = &latency.last_error {
        say(&format!(
            "{} queries refused, the last one: {error}",
            latency.refused
        ));
    }
}

fn wait() {
    while !stop_asked() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

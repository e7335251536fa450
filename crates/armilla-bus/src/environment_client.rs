//! An environment that lives on the bus.

use armilla_core::features::ACTION;
use armilla_core::{Action, Environment, EnvironmentSpec, Error, Info, Observation, Reset, Step};

use crate::bus::Bus;
use crate::config::check_name;
use crate::error::{BusError, Result};
use crate::message::Message;
use crate::wire::{
    CloseRequest, ResetReply, ResetRequest, SpecReply, SpecRequest, StepReply, StepRequest,
};

/// A served environment, known by its spec; opens sessions with it.
#[derive(Clone, Debug)]
pub struct EnvironmentClient {
    bus: Bus,
    root: String,
    spec: EnvironmentSpec,
}

impl EnvironmentClient {
    /// Asks for the spec of `robot/{name}`.
    ///
    /// # Errors
    ///
    /// [`BusError::Absent`] when nobody serves it, [`BusError::Version`] when its server speaks another version.
    pub fn connect(bus: &Bus, name: &str) -> Result<Self> {
        check_name(name)?;
        let root = format!("robot/{name}");
        require_served(bus, &root)?;
        let reply: SpecReply = bus.ask(&format!("{root}/spec"), &SpecRequest {})?;
        Ok(Self {
            bus: bus.clone(),
            root,
            spec: reply.try_into()?,
        })
    }

    /// What is served.
    #[must_use]
    pub fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }

    /// A session of its own; its simulator is made by its first reset.
    #[must_use]
    pub fn open_session(&self) -> RemoteEnvironment {
        RemoteEnvironment {
            session: self.bus.next_environment_session(),
            client: self.clone(),
            episode: 0,
            steps: None,
        }
    }
}

/// One session with a served environment: an [`Environment`] like any other. Dropping it gives the simulator back.
#[derive(Debug)]
pub struct RemoteEnvironment {
    client: EnvironmentClient,
    session: u64,
    /// Resets so far.
    episode: u64,
    /// Steps done in the episode; none when there is no episode or a reply was lost.
    steps: Option<u64>,
}

impl RemoteEnvironment {
    fn ask<Q: Message, R: Message>(&mut self, last: &str, request: &Q) -> armilla_core::Result<R> {
        let key = format!("{}/{last}", self.client.root);
        self.client
            .bus
            .ask(&key, request)
            .map_err(|error: BusError| {
                // Without an answer nobody knows whether the step was carried out.
                if !error.is_answer() {
                    self.steps = None;
                }
                error.into_core("environment on the bus")
            })
    }

    fn check(&self, observation: &Observation) -> armilla_core::Result<()> {
        observation.check(&self.client.spec.features)
    }
}

impl Environment for RemoteEnvironment {
    fn spec(&self) -> &EnvironmentSpec {
        &self.client.spec
    }

    fn reset(&mut self, reset: &Reset) -> armilla_core::Result<(Observation, Info)> {
        self.episode += 1;
        self.steps = None;
        let request = ResetRequest {
            session: self.session,
            episode: self.episode,
            seed: reset.seed,
            instruction: reset.instruction.clone(),
        };
        let reply: ResetReply = self.ask("reset", &request)?;
        let observation = read(reply.observation)?;
        self.check(&observation)?;
        self.steps = Some(0);
        Ok((observation, read(reply.info)?))
    }

    fn step(&mut self, action: &Action) -> armilla_core::Result<Step> {
        let Some(steps) = self.steps else {
            return Err(Error::OutOfOrder(
                "step without an episode on the bus: none was begun, or a reply was lost; reset first".to_owned(),
            ));
        };
        action.check(self.client.spec.features.width(ACTION))?;
        let request = StepRequest {
            session: self.session,
            episode: self.episode,
            step: steps,
            action: action.0.clone(),
        };
        let reply: StepReply = self.ask("step", &request)?;
        self.steps = Some(steps + 1);
        let step: Step = read(reply)?;
        self.check(&step.observation)?;
        Ok(step)
    }
}

impl Drop for RemoteEnvironment {
    fn drop(&mut self) {
        if self.episode == 0 {
            return;
        }
        let key = format!("{}/close", self.client.root);
        let request = CloseRequest {
            session: self.session,
        };
        if let Err(error) = self.client.bus.tell(&key, &request) {
            tracing::debug!("closing a session: {error}");
        }
    }
}

/// From the wire to the vocabulary of the traits.
fn read<T, B: TryInto<T, Error = BusError>>(body: B) -> armilla_core::Result<T> {
    body.try_into()
        .map_err(|error| error.into_core("reply on the bus"))
}

/// Names who is served instead of whom nobody serves.
pub(crate) fn require_served(bus: &Bus, key: &str) -> Result<()> {
    let served = bus.list()?;
    if served.iter().any(|other| other == key) {
        return Ok(());
    }
    Err(BusError::Absent {
        key: key.to_owned(),
        endpoint: bus.endpoint().to_owned(),
        served,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Counter, client, counters, server};
    use crate::workers::SMALL_PAYLOAD;
    use crate::{BusConfig, EnvironmentServer, SessionLimits};
    use std::thread;
    use std::time::{Duration, Instant};
    use zenoh::Wait as _;

    fn serve(bus: &Bus) -> EnvironmentServer {
        EnvironmentServer::start(bus, "counter", counters(5), SessionLimits::default()).unwrap()
    }

    fn reset(seed: u64) -> Reset {
        Reset {
            seed,
            instruction: Some(format!("count from {seed}")),
        }
    }

    /// An episode's every word.
    fn episode(environment: &mut dyn Environment, seed: u64) -> Vec<String> {
        let mut log = vec![format!("{:?}", environment.reset(&reset(seed)).unwrap())];
        loop {
            let step = environment.step(&Action(vec![0.5, seed as f32])).unwrap();
            log.push(format!("{step:?}"));
            if step.truncated {
                return log;
            }
        }
    }

    fn same_episodes(session: &mut RemoteEnvironment, seeds: [u64; 2]) {
        for seed in seeds {
            let alone = episode(&mut Counter::new(5), seed);
            assert_eq!(episode(session, seed), alone);
        }
    }

    #[test]
    fn many_sessions_at_once_equal_the_environment_itself() {
        let bus = server();
        let _server = serve(&bus);
        let remote = EnvironmentClient::connect(&client(&bus), "counter").unwrap();
        assert_eq!(remote.spec(), Counter::new(5).spec());
        thread::scope(|scope| {
            for seed in 0..20 {
                let mut session = remote.open_session();
                scope.spawn(move || same_episodes(&mut session, [seed, seed + 100]));
            }
        });
    }

    #[test]
    fn errors_come_back_and_leave_the_server_serving() {
        let bus = server();
        let _server = serve(&bus);
        let remote = EnvironmentClient::connect(&client(&bus), "counter").unwrap();
        let mut session = remote.open_session();
        let error = session
            .step(&Action(vec![0.0, 0.0]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("reset first"), "{error}");
        session.reset(&reset(0)).unwrap();
        let error = session.step(&Action(vec![0.0])).unwrap_err().to_string();
        assert!(error.contains("expected 2 values, found 1"), "{error}");
        let error = session
            .step(&Action(vec![666.0, 0.0]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("panicked: number of the beast"), "{error}");
        let error = session
            .step(&Action(vec![0.0, 0.0]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no session"), "{error}");
        assert_eq!(episode(&mut session, 3), episode(&mut Counter::new(5), 3));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_words() {
        let bus = server();
        let _server = serve(&bus);
        let client = client(&bus);
        let answer: Result<StepReply> =
            client.ask("robot/counter/step", &CloseRequest { session: 1 });
        let error = answer.unwrap_err().to_string();
        assert!(
            error.contains("expected `step_request`, found `close_request`"),
            "{error}"
        );
        let answer: Result<StepReply> = client.ask("robot/counter/spec", &SpecRequest {});
        let error = answer.unwrap_err().to_string();
        assert!(
            error.contains("expected `step_reply`, found `spec`"),
            "{error}"
        );
        let error = EnvironmentClient::connect(&client, "abacus")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`robot/abacus`") && error.contains("[\"robot/counter\"]"),
            "{error}"
        );
    }

    #[test]
    fn a_payload_larger_than_any_request_is_refused_and_the_server_goes_on() {
        let bus = server();
        let _server = serve(&bus);
        let client = client(&bus);
        let remote = EnvironmentClient::connect(&client, "counter").unwrap();
        let mut session = remote.open_session();
        let large = ResetRequest {
            session: 1,
            episode: 1,
            seed: 0,
            instruction: Some("a".repeat(SMALL_PAYLOAD)),
        };
        for last in ["spec", "reset", "step", "close"] {
            let answer: Result<ResetReply> = client.ask(&format!("robot/counter/{last}"), &large);
            let error = answer.unwrap_err().to_string();
            assert!(
                error.contains("the payload in bytes is") && error.contains("limit is 1048576"),
                "{error}"
            );
        }
        same_episodes(&mut session, [3, 4]);
    }

    #[test]
    fn a_client_that_dies_or_leaves_costs_nobody_anything() {
        let bus = server();
        let limits = SessionLimits {
            max_sessions: 2,
            idle_timeout: Duration::from_millis(300),
            ..SessionLimits::default()
        };
        let _server = EnvironmentServer::start(&bus, "counter", counters(5), limits).unwrap();
        for _ in 0..4 {
            let remote = EnvironmentClient::connect(&client(&bus), "counter").unwrap();
            let mut leaving = remote.open_session();
            leaving.reset(&reset(1)).unwrap();
        }
        let remote = EnvironmentClient::connect(&client(&bus), "counter").unwrap();
        for _ in 0..2 {
            let mut dying = remote.open_session();
            dying.reset(&reset(1)).unwrap();
            // No farewell.
            std::mem::forget(dying);
        }
        let mut next = remote.open_session();
        let error = next.reset(&reset(1)).unwrap_err().to_string();
        assert!(error.contains("all 2 sessions"), "{error}");
        thread::sleep(Duration::from_millis(350));
        assert_eq!(episode(&mut next, 3), episode(&mut Counter::new(5), 3));
    }

    #[test]
    fn a_dead_server_is_reported_at_once() {
        let bus = server();
        let served = serve(&bus);
        let remote = EnvironmentClient::connect(&client(&bus), "counter").unwrap();
        let mut session = remote.open_session();
        session.reset(&reset(0)).unwrap();
        drop((served, bus));
        let start = Instant::now();
        let error = session
            .step(&Action(vec![0.0, 0.0]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("its server has stopped or died"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(1));
        let error = session
            .step(&Action(vec![0.0, 0.0]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("a reply was lost"), "{error}");
    }

    #[test]
    fn a_server_that_dies_during_a_step_is_reported_at_once() {
        let bus = server();
        let _server = serve(&bus);
        let remote = EnvironmentClient::connect(&client(&bus), "counter").unwrap();
        let mut session = remote.open_session();
        session.reset(&reset(0)).unwrap();
        thread::scope(|scope| {
            let step = scope.spawn(|| {
                let start = Instant::now();
                let error = session.step(&Action(vec![77.0, 0.0])).unwrap_err();
                (error.to_string(), start.elapsed())
            });
            thread::sleep(Duration::from_millis(100));
            bus.session().close().wait().unwrap();
            let (error, elapsed) = step.join().unwrap();
            assert!(error.contains("has stopped or died"), "{error}");
            assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
        });
    }

    #[test]
    fn a_slow_server_is_reported_in_time() {
        let bus = server();
        let _server = serve(&bus);
        let config = BusConfig {
            query_timeout_secs: 0.2,
            ..BusConfig::at(bus.endpoint())
        };
        let remote =
            EnvironmentClient::connect(&Bus::connect(&config).unwrap(), "counter").unwrap();
        let mut session = remote.open_session();
        session.reset(&reset(0)).unwrap();
        let error = session
            .step(&Action(vec![77.0, 0.0]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("did not answer within 0.2 s"), "{error}");
        let error = session.reset(&reset(1)).unwrap_err().to_string();
        assert!(error.contains("still working"), "{error}");
    }
}

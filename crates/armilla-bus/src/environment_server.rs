//! Serves an environment: one simulator a session, stepped in lock-step by its client.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use armilla_core::{Environment, EnvironmentSpec, Reset};
use zenoh::Wait as _;
use zenoh::liveliness::LivelinessToken;
use zenoh::query::{Query, Queryable};

use crate::bus::Bus;
use crate::config::check_name;
use crate::error::{BusError, Result};
use crate::sessions::{Sessions, StepNumber};
use crate::wire::{
    self, CloseRequest, Done, ResetReply, ResetRequest, SpecReply, StepReply, StepRequest,
};
use crate::workers::{SMALL_PAYLOAD, Workers, declare, guard, reply, request};

/// Makes one more simulator, for one more session.
pub type EnvironmentFactory =
    Arc<dyn Fn() -> armilla_core::Result<Box<dyn Environment>> + Send + Sync>;

/// How much a served environment may take.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionLimits {
    /// Most sessions, that is simulators, at once.
    pub max_sessions: usize,
    /// Threads that step them; zero for as many as there are cores.
    pub workers: usize,
    /// A session without a request for this long makes room for another where there is none; its client is taken for dead.
    pub idle_timeout: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_sessions: 64,
            workers: 0,
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// An environment on the bus, until it is dropped. The drop waits for the steps under way.
pub struct EnvironmentServer {
    // Dropped in this order: announced no longer, asked no longer, working no longer.
    _token: LivelinessToken,
    _keys: Vec<Queryable<()>>,
    _workers: Workers<Key>,
    spec: EnvironmentSpec,
}

#[derive(Clone, Copy)]
enum Key {
    Spec,
    Reset,
    Step,
    Close,
}

impl EnvironmentServer {
    /// Serves simulators from a factory as `robot/{name}`.
    ///
    /// # Errors
    ///
    /// When the name is taken or cannot be part of a key, or the factory fails: its first environment gives the spec.
    pub fn start(
        bus: &Bus,
        name: &str,
        factory: EnvironmentFactory,
        limits: SessionLimits,
    ) -> Result<Self> {
        check_name(name)?;
        let spec = guard("the environment", || Ok(factory()?.spec().clone()))?;
        let root = format!("robot/{name}");
        refuse_taken(bus, &root)?;

        let count = match limits.workers {
            0 => available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let sessions = Sessions::new(factory, &limits);
        let spec_reply = SpecReply::from(&spec);
        let handle = move |key, query: &Query| match key {
            Key::Spec => reply(query, Ok(spec_reply.clone())),
            Key::Reset => reply(query, guarded(|| reset(&sessions, query))),
            Key::Step => reply(query, guarded(|| step(&sessions, query))),
            Key::Close => reply(query, guarded(|| close(&sessions, query))),
        };
        // A client sends one request a session at a time, so a longer queue holds nothing of use.
        let bound = 2 * limits.max_sessions + 16;
        let workers = Workers::start(&format!("env-{name}"), count, bound, handle)?;
        let keys = [
            ("spec", Key::Spec),
            ("reset", Key::Reset),
            ("step", Key::Step),
            ("close", Key::Close),
        ];
        let keys = keys.map(|(last, key)| {
            let key = (key, SMALL_PAYLOAD);
            declare(bus, &format!("{root}/{last}"), key, workers.queue())
        });
        Ok(Self {
            _keys: keys.into_iter().collect::<Result<_>>()?,
            _token: announce(bus, &root)?,
            _workers: workers,
            spec,
        })
    }

    /// What is served.
    #[must_use]
    pub fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }
}

/// Makes an error also of a panic outside the environment's own calls, such as in its drop.
fn guarded<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    guard("the environment's server", run)
}

fn reset(sessions: &Sessions, query: &Query) -> Result<ResetReply> {
    let ResetRequest {
        session,
        episode,
        seed,
        instruction,
    } = request(query)?;
    wire::check_elements(instruction.as_ref().map_or(0, String::len))?;
    let (observation, info) = sessions.reset(session, episode, &Reset { seed, instruction })?;
    Ok(ResetReply {
        observation: observation.into(),
        info: info.into(),
    })
}

fn step(sessions: &Sessions, query: &Query) -> Result<StepReply> {
    let StepRequest {
        session,
        episode,
        step,
        action,
    } = request(query)?;
    let number = StepNumber {
        session,
        episode,
        step,
    };
    Ok(sessions.step(number, &wire::action(action)?)?.into())
}

fn close(sessions: &Sessions, query: &Query) -> Result<Done> {
    sessions.close(request::<CloseRequest>(query)?.session);
    Ok(Done {})
}

/// Refuses a name that somebody serves already: two servers would both answer.
pub(crate) fn refuse_taken(bus: &Bus, key: &str) -> Result<()> {
    if bus.alive(key)?.is_empty() {
        return Ok(());
    }
    Err(BusError::Taken {
        key: key.to_owned(),
        endpoint: bus.endpoint().to_owned(),
    })
}

/// Lets the bus know who is there, for as long as the token lives.
pub(crate) fn announce(bus: &Bus, key: &str) -> Result<LivelinessToken> {
    let token = bus.session().liveliness().declare_token(bus.key(key));
    token
        .wait()
        .map_err(|error| BusError::failed(format!("announcing `{key}`"), error))
}

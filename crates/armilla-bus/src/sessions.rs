//! The sessions of a served environment: one simulator each, bounded in number, expiring when idle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use armilla_core::{Action, Environment, Info, Observation, Reset, Step};

use crate::environment_server::{EnvironmentFactory, SessionLimits};
use crate::error::{BusError, Result};
use crate::workers::{guard, lock};

/// Which step of which episode of which session a request means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepNumber {
    pub(crate) session: u64,
    pub(crate) episode: u64,
    pub(crate) step: u64,
}

/// Simulators by session.
pub(crate) struct Sessions {
    factory: EnvironmentFactory,
    limit: usize,
    idle_timeout: Duration,
    table: Mutex<BTreeMap<u64, Arc<Slot>>>,
}

struct Slot {
    last_used: Mutex<Instant>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    environment: Option<Box<dyn Environment>>,
    /// None before the first reset, and after one that failed.
    episode: Option<u64>,
    /// Steps done in the episode.
    steps: u64,
}

impl Sessions {
    pub(crate) fn new(factory: EnvironmentFactory, limits: &SessionLimits) -> Self {
        Self {
            factory,
            limit: limits.max_sessions,
            idle_timeout: limits.idle_timeout,
            table: Mutex::default(),
        }
    }

    /// Begins an episode, in a simulator of its own.
    pub(crate) fn reset(
        &self,
        session: u64,
        episode: u64,
        reset: &Reset,
    ) -> Result<(Observation, Info)> {
        let slot = self.open(session)?;
        let mut state = slot.take_turn()?;
        let result = guard("the environment", || {
            let environment = match &mut state.environment {
                Some(environment) => environment,
                empty => empty.insert((self.factory)()?),
            };
            Ok(environment.reset(reset)?)
        });
        state.episode = result.is_ok().then_some(episode);
        state.steps = 0;
        self.finish(session, &slot, state, result)
    }

    /// Carries out one action, once, and only in its turn.
    pub(crate) fn step(&self, number: StepNumber, action: &Action) -> Result<Step> {
        let slot = lock(&self.table).get(&number.session).map(Arc::clone);
        let slot = slot.ok_or_else(|| {
            BusError::Session(format!(
                "no session {:016x} here: it was never reset, sat idle for longer than {} s and made room, or its simulator failed; reset first",
                number.session,
                self.idle_timeout.as_secs_f64(),
            ))
        })?;
        let mut state = slot.take_turn()?;
        let steps = state.steps;
        if (Some(number.episode), number.step) != (state.episode, steps) {
            let expected = state.episode.map_or_else(
                || "a reset first".to_owned(),
                |episode| format!("step {steps} of episode {episode}"),
            );
            return Err(BusError::Session(format!(
                "step out of order: expected {expected}, found step {} of episode {}; reset to begin anew",
                number.step, number.episode,
            )));
        }
        let result = guard("the environment", || match &mut state.environment {
            Some(environment) => Ok(environment.step(action)?),
            None => Err(BusError::Session(
                "no simulator in this session; reset first".to_owned(),
            )),
        });
        if result.is_ok() {
            state.steps += 1;
        }
        self.finish(number.session, &slot, state, result)
    }

    /// Gives a session's simulator back.
    pub(crate) fn close(&self, session: u64) {
        let slot = lock(&self.table).remove(&session);
        drop(slot);
    }

    /// How many sessions are open.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        lock(&self.table).len()
    }

    /// The session's slot, a new one if it has none and there is room.
    fn open(&self, session: u64) -> Result<Arc<Slot>> {
        let mut table = lock(&self.table);
        if let Some(slot) = table.get(&session) {
            // Noted while nobody else can look for sessions that are idle.
            *lock(&slot.last_used) = Instant::now();
            return Ok(Arc::clone(slot));
        }
        // Only where room is needed: one client's later sessions must not cost it the earlier ones while they wait their turn.
        if table.len() >= self.limit {
            table.retain(|_, slot| !slot.is_expired(self.idle_timeout));
        }
        if table.len() >= self.limit {
            return Err(BusError::Session(format!(
                "all {} sessions are in use; close one, wait {} s for an idle one to expire, or serve with more (`--sessions`)",
                self.limit,
                self.idle_timeout.as_secs_f64(),
            )));
        }
        let slot = Arc::new(Slot {
            last_used: Mutex::new(Instant::now()),
            state: Mutex::default(),
        });
        table.insert(session, Arc::clone(&slot));
        Ok(slot)
    }

    /// Notes the time; a simulator that could not be made, or panicked, is not used again.
    fn finish<T>(
        &self,
        session: u64,
        slot: &Slot,
        state: MutexGuard<'_, State>,
        result: Result<T>,
    ) -> Result<T> {
        *lock(&slot.last_used) = Instant::now();
        let broken =
            state.environment.is_none() || matches!(result, Err(BusError::Panicked { .. }));
        drop(state);
        if broken {
            self.close(session);
        }
        result
    }
}

impl Slot {
    /// The session's state, unless another request of the session is being worked on: they come one at a time.
    fn take_turn(&self) -> Result<MutexGuard<'_, State>> {
        *lock(&self.last_used) = Instant::now();
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(BusError::Session(
                "the session is still working on its last request; send one at a time".to_owned(),
            )),
        }
    }

    fn is_expired(&self, idle_timeout: Duration) -> bool {
        let busy = matches!(self.state.try_lock(), Err(TryLockError::WouldBlock));
        !busy && lock(&self.last_used).elapsed() >= idle_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::counters;

    fn sessions(limit: usize, idle: Duration) -> Sessions {
        let limits = SessionLimits {
            max_sessions: limit,
            idle_timeout: idle,
            ..SessionLimits::default()
        };
        Sessions::new(counters(5), &limits)
    }

    fn number(session: u64, episode: u64, step: u64) -> StepNumber {
        StepNumber {
            session,
            episode,
            step,
        }
    }

    #[test]
    fn steps_happen_once_and_in_order() {
        let sessions = sessions(2, Duration::from_secs(60));
        let action = Action(vec![1.0, 0.0]);
        sessions.reset(7, 1, &Reset::default()).unwrap();
        sessions.step(number(7, 1, 0), &action).unwrap();
        for wrong in [number(7, 1, 0), number(7, 1, 2), number(7, 2, 1)] {
            let error = sessions.step(wrong, &action).unwrap_err().to_string();
            assert!(error.contains("expected step 1 of episode 1"), "{error}");
        }
        let error = sessions
            .step(number(8, 1, 0), &action)
            .unwrap_err()
            .to_string();
        assert!(error.contains("reset first"), "{error}");
        assert_eq!(
            sessions
                .step(number(7, 1, 1), &action)
                .unwrap()
                .observation
                .state[0],
            2.0
        );
    }

    #[test]
    fn a_refused_action_leaves_the_episode_as_it_was() {
        let sessions = sessions(2, Duration::from_secs(60));
        sessions.reset(7, 1, &Reset::default()).unwrap();
        assert!(sessions.step(number(7, 1, 0), &Action(vec![1.0])).is_err());
        assert!(
            sessions
                .step(number(7, 1, 0), &Action(vec![1.0, 0.0]))
                .is_ok()
        );
    }

    #[test]
    fn sessions_are_bounded_and_expire() {
        let kept = sessions(2, Duration::from_secs(60));
        for session in [1, 2] {
            kept.reset(session, 1, &Reset::default()).unwrap();
        }
        let error = kept.reset(3, 1, &Reset::default()).unwrap_err().to_string();
        assert!(error.contains("all 2 sessions"), "{error}");
        kept.close(1);
        kept.reset(3, 1, &Reset::default()).unwrap();

        let expiring = sessions(2, Duration::ZERO);
        for session in 1..9 {
            expiring.reset(session, 1, &Reset::default()).unwrap();
            assert!(expiring.count() <= 2);
        }
    }

    #[test]
    fn an_idle_session_stays_while_there_is_room() {
        let sessions = sessions(2, Duration::ZERO);
        for session in [1, 2] {
            sessions.reset(session, 1, &Reset::default()).unwrap();
        }
        for session in [1, 2] {
            let action = Action(vec![1.0, 0.0]);
            sessions.step(number(session, 1, 0), &action).unwrap();
        }
    }

    #[test]
    fn a_panic_costs_only_its_session() {
        let sessions = sessions(2, Duration::from_secs(60));
        for session in [1, 2] {
            sessions.reset(session, 1, &Reset::default()).unwrap();
        }
        let error = sessions
            .step(number(1, 1, 0), &Action(vec![666.0, 0.0]))
            .unwrap_err();
        assert!(matches!(error, BusError::Panicked { .. }), "{error}");
        assert_eq!(sessions.count(), 1);
        assert!(
            sessions
                .step(number(2, 1, 0), &Action(vec![1.0, 0.0]))
                .is_ok()
        );
    }
}

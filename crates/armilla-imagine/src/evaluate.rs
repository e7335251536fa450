//! Closed-loop episodes of any policy in any environment, several at once.
//!
//! Sessions advance in step: those for which it is time ask the policy together (one batch through the model), then each
//! carries out one action, in parallel. Episode `i` always has seed `first_seed + i` and that seed is its identity at the
//! policy, so neither the number of sessions nor their order changes an episode.

use std::collections::VecDeque;

use armilla_core::{
    Action, ActionChunk, Environment, EpisodeOutcome, Error, Observation, Policy, PolicyRequest,
    Reset, Result,
};
use rayon::prelude::*;

use crate::execution::{ActionQueue, Begins, Execution, Hold};

/// What the policy is told instead of the episode's instruction, to see whether it listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstructionControl {
    /// The episode's own instruction.
    #[default]
    Own,
    /// No words at all.
    Blank,
    /// The instruction of another task that could be done in the same scene.
    Swapped,
}

/// Which episodes to run, and what to keep of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationConfig {
    /// Episodes to run.
    pub episodes: usize,
    /// Seed of the first episode; the others follow.
    pub first_seed: u64,
    /// What the policy is told.
    pub instruction: InstructionControl,
    /// Of how many episodes, from the first, observations and chunks are kept.
    pub traces: usize,
    /// How chunks become actions.
    pub execution: Execution,
    /// Steps that pass before a chunk arrives that was asked for.
    pub delay_steps: usize,
}

/// One episode, step by step, for people to look at.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Seed of the episode.
    pub seed: u64,
    /// Observation before each action, then the last one.
    pub observations: Vec<Observation>,
    /// Action carried out at each step.
    pub actions: Vec<Action>,
    /// Chunks with the step at which each was given.
    pub chunks: Vec<(usize, ActionChunk)>,
    /// Whether the goal held at each observation.
    pub success: Vec<bool>,
}

/// All episodes of an evaluation, in the order of their seeds.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// One outcome an episode.
    pub outcomes: Vec<EpisodeOutcome>,
    /// The first episodes, step by step.
    pub traces: Vec<Trace>,
}

/// Runs episodes until all are done; `progress` hears how many are.
///
/// # Errors
///
/// What an environment or the policy returns; [`Error::OutOfOrder`] when there is no session to run in.
pub fn evaluate(
    sessions: Vec<Box<dyn Environment>>,
    policy: &mut dyn Policy,
    config: &EvaluationConfig,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    if sessions.is_empty() {
        return Err(Error::OutOfOrder(
            "an evaluation needs at least one session of its environment".into(),
        ));
    }
    config.execution.validate()?;
    if matches!(config.execution, Execution::RealTime { .. }) && !policy.continues() {
        let expected = "a policy that continues a chunk";
        return Err(Error::invalid(
            "real-time chunking",
            expected,
            policy.name(),
        ));
    }
    let mut seeds: VecDeque<u64> = (0..config.episodes as u64)
        .map(|i| config.first_seed + i)
        .collect();
    let mut slots: Vec<_> = sessions
        .into_iter()
        .take(config.episodes.max(1))
        .map(Slot::new)
        .collect();
    let mut evaluation = Evaluation::default();
    loop {
        begin_episodes(&mut slots, &mut seeds, policy, config)?;
        ask_policy(&mut slots, policy, config.delay_steps)?;
        if slots.iter().all(|slot| slot.episode.is_none()) {
            break;
        }
        let history = policy.history();
        slots
            .par_iter_mut()
            .try_for_each(|slot| slot.advance(history))?;
        collect_finished(&mut slots, &mut evaluation, progress);
    }
    evaluation.outcomes.sort_by_key(|outcome| outcome.seed);
    evaluation.traces.sort_by_key(|trace| trace.seed);
    Ok(evaluation)
}

/// One session and the episode it runs.
struct Slot {
    environment: Box<dyn Environment>,
    episode: Option<Episode>,
}

/// An episode under way.
struct Episode {
    outcome: EpisodeOutcome,
    observation: Observation,
    /// Those just before, the oldest first, as many as the policy wants to see.
    earlier: VecDeque<Observation>,
    /// What was carried out at these steps.
    done: VecDeque<Action>,
    queue: ActionQueue,
    trace: Option<Trace>,
    finished: bool,
}

impl Slot {
    fn new(environment: Box<dyn Environment>) -> Self {
        Self {
            environment,
            episode: None,
        }
    }

    /// Resets to the episode of a seed.
    fn begin(&mut self, seed: u64, config: &EvaluationConfig) -> Result<()> {
        let (mut observation, info) = self.environment.reset(&Reset {
            seed,
            instruction: None,
        })?;
        let replaced = match config.instruction {
            InstructionControl::Own => None,
            InstructionControl::Blank => Some(String::new()),
            InstructionControl::Swapped => {
                Some(info.labels.get("swapped").cloned().ok_or_else(|| {
                    Error::invalid(
                        "environment's labels",
                        "`swapped`, another instruction of the scene",
                        "none",
                    )
                })?)
            }
        };
        if let Some(instruction) = replaced {
            let reset = Reset {
                seed,
                instruction: Some(instruction),
            };
            (observation, _) = self.environment.reset(&reset)?;
        }
        let outcome = EpisodeOutcome::begin(seed, &info);
        let keep = seed < config.first_seed + config.traces as u64;
        let trace = keep.then(|| Trace {
            seed,
            observations: vec![observation.clone()],
            success: vec![info.success],
            ..Trace::default()
        });
        let hold = Hold::new(self.environment.spec(), &observation.state);
        self.episode = Some(Episode {
            outcome,
            observation,
            earlier: VecDeque::new(),
            done: VecDeque::new(),
            queue: ActionQueue::new(config.execution, hold),
            trace,
            finished: false,
        });
        Ok(())
    }

    /// Carries out the next pending action.
    fn advance(&mut self, history: usize) -> Result<()> {
        let Some(episode) = &mut self.episode else {
            return Ok(());
        };
        let action = episode.queue.next();
        let step = self.environment.step(&action)?;
        episode.outcome.steps += 1;
        episode.outcome.note(&step.info);
        episode.finished = step.terminated || step.truncated;
        if let Some(trace) = &mut episode.trace {
            trace.observations.push(step.observation.clone());
            trace.actions.push(action.clone());
            trace.success.push(step.info.success);
        }
        let mut before = std::mem::replace(&mut episode.observation, step.observation);
        before.goal = None;
        episode.earlier.push_back(before);
        episode.done.push_back(action);
        while episode.earlier.len() >= history.max(1) {
            episode.earlier.pop_front();
            episode.done.pop_front();
        }
        Ok(())
    }
}

/// Gives each free session the next seed.
fn begin_episodes(
    slots: &mut [Slot],
    seeds: &mut VecDeque<u64>,
    policy: &mut dyn Policy,
    config: &EvaluationConfig,
) -> Result<()> {
    let mut begun = Vec::new();
    for slot in slots.iter_mut().filter(|slot| slot.episode.is_none()) {
        let Some(seed) = seeds.pop_front() else { break };
        policy.reset(seed)?;
        begun.push((slot, seed));
    }
    begun
        .into_par_iter()
        .try_for_each(|(slot, seed)| slot.begin(seed, config))
}

/// Asks for a chunk for every episode where it is time.
fn ask_policy(slots: &mut [Slot], policy: &mut dyn Policy, delay_steps: usize) -> Result<()> {
    let mut waiting: Vec<_> = slots
        .iter_mut()
        .filter_map(|slot| slot.episode.as_mut())
        .filter(|episode| episode.queue.wants())
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let wants_actions = policy.wants_actions();
    let begins = match wants_actions {
        true => Begins::OnArrival,
        false => Begins::WhenAsked,
    };
    let requests: Vec<_> = waiting
        .iter()
        .map(|episode| {
            let (done, coming) = match wants_actions {
                true => (
                    episode.done.iter().cloned().collect(),
                    episode.queue.coming(delay_steps),
                ),
                false => Default::default(),
            };
            PolicyRequest {
                episode: episode.outcome.seed,
                step: episode.outcome.steps as u64,
                observation: episode.observation.clone(),
                earlier: episode.earlier.iter().cloned().collect(),
                done,
                coming,
                leftover: episode.queue.leftover(delay_steps),
            }
        })
        .collect();
    let chunks = policy.act(&requests)?;
    if chunks.len() != requests.len() {
        return Err(Error::invalid(
            "policy's answer",
            format!("{} action chunks", requests.len()),
            chunks.len(),
        ));
    }
    for (episode, chunk) in waiting.iter_mut().zip(chunks) {
        if let Some(trace) = &mut episode.trace {
            trace.chunks.push((episode.outcome.steps, chunk.clone()));
        }
        episode.queue.answer(chunk, delay_steps, begins);
    }
    Ok(())
}

/// Takes finished episodes out of their sessions.
fn collect_finished(
    slots: &mut [Slot],
    evaluation: &mut Evaluation,
    progress: &mut dyn FnMut(usize),
) {
    for slot in slots {
        if slot
            .episode
            .as_ref()
            .is_some_and(|episode| episode.finished)
            && let Some(episode) = slot.episode.take()
        {
            evaluation.outcomes.push(episode.outcome);
            evaluation.traces.extend(episode.trace);
            progress(evaluation.outcomes.len());
        }
    }
}

#[cfg(test)]
mod tests;

//! What is asked, told and kept of each episode.

use super::*;
use armilla_core::{EnvironmentSpec, EpisodeId, Features, Image, Info, Step};

/// Counts up to its seed's length; succeeds if every action was the seed.
struct Counter {
    spec: EnvironmentSpec,
    seed: u64,
    step: usize,
    right: bool,
}

fn counter() -> Box<dyn Environment> {
    let spec = EnvironmentSpec {
        name: "counter".into(),
        protocol: "any".into(),
        features: Features::default(),
        rate_hz: 10.0,
        max_steps: 9,
        action_low: vec![0.0],
        action_high: vec![99.0],
    };
    Box::new(Counter {
        spec,
        seed: 0,
        step: 0,
        right: true,
    })
}

impl Environment for Counter {
    fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }

    fn reset(&mut self, reset: &Reset) -> Result<(Observation, Info)> {
        (self.seed, self.step, self.right) = (reset.seed, 0, true);
        let info = Info {
            labels: [("swapped".into(), "other".into())].into(),
            ..Info::default()
        };
        let instruction = reset.instruction.clone().or(Some("own".into()));
        Ok((
            Observation {
                state: vec![self.seed as f32],
                instruction,
                ..Observation::default()
            },
            info,
        ))
    }

    fn step(&mut self, action: &Action) -> Result<Step> {
        self.step += 1;
        self.right &= action.0 == [self.seed as f32];
        let truncated = self.step as u64 == 3 + self.seed % 4;
        Ok(Step {
            observation: Observation {
                state: vec![self.seed as f32],
                images: [("step".into(), Image::filled(1, 1, [self.step as u8; 3]))].into(),
                ..Observation::default()
            },
            reward: 0.0,
            terminated: false,
            truncated,
            info: Info {
                success: truncated && self.right,
                ..Info::default()
            },
        })
    }
}

/// Answers each episode with its own state, two steps a chunk.
#[derive(Default)]
struct Echo {
    instructions: Vec<Option<String>>,
    asked: Vec<PolicyRequest>,
    /// Whether its actions differ from step to step.
    counts: bool,
}

impl Policy for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn history(&self) -> usize {
        3
    }

    fn wants_actions(&self) -> bool {
        true
    }

    fn reset(&mut self, _: EpisodeId) -> Result<()> {
        Ok(())
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>> {
        self.instructions.extend(
            requests
                .iter()
                .filter(|r| r.step == 0)
                .map(|r| r.observation.instruction.clone()),
        );
        self.asked.extend_from_slice(requests);
        let counts = f32::from(u8::from(self.counts));
        let chunk = |request: &PolicyRequest| ActionChunk {
            actions: [0.25, 0.5]
                .map(|rest| counts * (3.0 * request.step as f32 + rest))
                .map(|more| Action(vec![request.observation.state[0] + more]))
                .to_vec(),
            starts_at_secs: 0.0,
            period_secs: 0.1,
        };
        Ok(requests.iter().map(chunk).collect())
    }
}

fn run(sessions: usize, instruction: InstructionControl) -> (Evaluation, Echo) {
    let config = EvaluationConfig {
        episodes: 11,
        first_seed: 5,
        instruction,
        traces: 2,
        ..EvaluationConfig::default()
    };
    let mut policy = Echo::default();
    let mut seen = 0;
    let sessions = (0..sessions).map(|_| counter()).collect();
    let result = evaluate(sessions, &mut policy, &config, &mut |done| seen = done).unwrap();
    assert_eq!(seen, 11);
    (result, policy)
}

#[test]
fn every_episode_runs_once_whatever_the_number_of_sessions() {
    let (one, _) = run(1, InstructionControl::Own);
    let (many, _) = run(4, InstructionControl::Own);
    assert_eq!(one.outcomes, many.outcomes);
    assert!(
        one.outcomes
            .iter()
            .all(|o| o.success && o.steps == 3 + (o.seed % 4) as usize)
    );
    assert_eq!(
        one.outcomes.iter().map(|o| o.seed).collect::<Vec<_>>(),
        (5..16).collect::<Vec<_>>()
    );
    assert_eq!(many.traces.len(), 2);
    assert_eq!(
        many.traces[0].observations.len(),
        many.traces[0].actions.len() + 1
    );
}

#[test]
fn instructions_are_replaced() {
    let heard = |control| run(2, control).1.instructions;
    assert!(
        heard(InstructionControl::Own)
            .iter()
            .all(|i| i.as_deref() == Some("own"))
    );
    assert!(
        heard(InstructionControl::Blank)
            .iter()
            .all(|i| i.as_deref() == Some(""))
    );
    assert!(
        heard(InstructionControl::Swapped)
            .iter()
            .all(|i| i.as_deref() == Some("other"))
    );
}

#[test]
fn a_policy_sees_as_far_back_as_it_wants() {
    let asked = run(2, InstructionControl::Own).1.asked.into_iter();
    let asked: Vec<_> = asked.map(|r| (r.step, r.earlier.len())).collect();
    assert!(asked.iter().any(|&(step, _)| step == 4));
    // Every step between two questions counts, and no more than the history holds.
    assert!(
        asked
            .iter()
            .all(|&(step, earlier)| earlier == 2.min(step as usize)),
        "{asked:?}"
    );
}

#[test]
fn a_policy_is_told_what_was_done_and_what_is_coming() {
    for (execution, delay_steps) in [
        (Execution::Receding, 2),
        (
            Execution::Asynchronous {
                threshold: 0.5,
                aggregate: crate::execution::Aggregate::LatestOnly,
            },
            1,
        ),
        (Execution::Ensemble { coefficient: 0.01 }, 3),
    ] {
        let config = EvaluationConfig {
            episodes: 4,
            first_seed: 5,
            traces: 4,
            execution,
            delay_steps,
            ..EvaluationConfig::default()
        };
        let mut policy = Echo {
            counts: true,
            ..Echo::default()
        };
        let sessions = (0..2).map(|_| counter()).collect();
        let found = evaluate(sessions, &mut policy, &config, &mut |_| ()).unwrap();
        for asked in &policy.asked {
            let mut traces = found.traces.iter();
            let trace = traces.find(|trace| trace.seed == asked.episode).unwrap();
            let step = asked.step as usize;
            let earlier = step - asked.earlier.len();
            assert_eq!(
                asked.done,
                trace.actions[earlier..step],
                "{execution} {step}"
            );
            assert_eq!(asked.earlier, trace.observations[earlier..step]);
            assert_eq!(asked.coming.len(), delay_steps, "{execution} {step}");
            let end = trace.actions.len().min(step + delay_steps);
            assert_eq!(asked.coming[..end - step], trace.actions[step..end]);
        }
    }
}

#[test]
fn no_session_is_an_error() {
    let config = EvaluationConfig {
        episodes: 1,
        ..EvaluationConfig::default()
    };
    assert!(evaluate(Vec::new(), &mut Echo::default(), &config, &mut |_| ()).is_err());
}

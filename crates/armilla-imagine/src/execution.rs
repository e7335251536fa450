//! From action chunks to one action a step, while the next chunk may be under way.

use std::collections::VecDeque;
use std::fmt;

use armilla_core::{Action, ActionChunk, EnvironmentSpec, Error, Leftover, Result};

/// When the next chunk is asked for, and what becomes of actions that overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Execution {
    /// A chunk is carried out to its end before the next is asked for; the robot holds still while it waits.
    #[default]
    Receding,
    /// A chunk is asked for at every step, and all predictions of a step are averaged with weights `exp(-coefficient * age)`, the oldest
    /// prediction being the first: ACT's temporal ensembling, whose coefficient is 0.01.
    Ensemble {
        /// Above 0, old predictions weigh more; below, new ones.
        coefficient: f64,
    },
    /// The next chunk is asked for while this one is carried out, as LeRobot's asynchronous inference does.
    Asynchronous {
        /// The next is asked for when this share of a chunk is left, in [0, 1]; LeRobot's `chunk_size_threshold`, 0.5 there.
        threshold: f64,
        /// What becomes of actions that both chunks have.
        aggregate: Aggregate,
    },
    /// The same, but the policy is told what is left of this chunk and how much of it will have been carried out when the next arrives, which
    /// continues it and takes its place: real-time chunking ([Black et al.](https://arxiv.org/abs/2506.07339)).
    RealTime {
        /// As for `Asynchronous`.
        threshold: f64,
    },
}

/// LeRobot's functions for two predictions of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// 0.3 of the old and 0.7 of the new one.
    #[default]
    WeightedAverage,
    /// The new one.
    LatestOnly,
    /// Half of each.
    Average,
    /// 0.7 of the old and 0.3 of the new one.
    Conservative,
}

impl Aggregate {
    /// The new prediction's share.
    #[must_use]
    pub fn share(self) -> f32 {
        match self {
            Self::WeightedAverage => 0.7,
            Self::LatestOnly => 1.0,
            Self::Average => 0.5,
            Self::Conservative => 0.3,
        }
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WeightedAverage => "weighted_average",
            Self::LatestOnly => "latest_only",
            Self::Average => "average",
            Self::Conservative => "conservative",
        })
    }
}

impl fmt::Display for Execution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receding => formatter.write_str("receding"),
            Self::Ensemble { coefficient } => write!(formatter, "ensemble {coefficient}"),
            Self::Asynchronous {
                threshold,
                aggregate,
            } => write!(formatter, "asynchronous {threshold} {aggregate}"),
            Self::RealTime { threshold } => write!(formatter, "real-time {threshold}"),
        }
    }
}

impl Execution {
    /// Checks its numbers.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the one that is out of range.
    pub fn validate(self) -> Result<()> {
        let (what, expected, found, holds) = match self {
            Self::Receding => return Ok(()),
            Self::Ensemble { coefficient } => {
                ("ensemble", "a number", coefficient, coefficient.is_finite())
            }
            Self::Asynchronous { threshold, .. } | Self::RealTime { threshold } => (
                "threshold",
                "0 to 1",
                threshold,
                (0.0..=1.0).contains(&threshold),
            ),
        };
        match holds {
            true => Ok(()),
            false => Err(Error::invalid(what, expected, found)),
        }
    }
}

/// What a robot is sent while it waits: no move where actions are moves, else its last action again, and before the first one the place where
/// it is.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    is_move: bool,
    last: Option<Action>,
    rest: Action,
}

impl Hold {
    /// For an environment whose actions are moves if 0 lies within the bounds of each. Where none is a move, `state` tells where the robot is if
    /// it is as wide as they are; else it is sent to the middle of the bounds.
    pub(crate) fn new(spec: &EnvironmentSpec, state: &[f32]) -> Self {
        let bounds = || spec.action_low.iter().zip(&spec.action_high);
        let middle = bounds().map(|(low, high)| (low + high) / 2.0);
        let is_move = |(&low, &high): (&f32, &f32)| low < 0.0 && high > 0.0;
        let are_places = state.len() == spec.action_low.len() && !bounds().any(is_move);
        let here = bounds()
            .zip(state)
            .map(|((&low, &high), place)| place.max(low).min(high));
        Self {
            is_move: bounds().all(is_move),
            last: None,
            rest: Action(match are_places {
                true => here.collect(),
                false => middle.collect(),
            }),
        }
    }

    fn action(&self) -> Action {
        let still = || Action(vec![0.0; self.rest.0.len()]);
        match &self.last {
            _ if self.is_move => still(),
            Some(last) => last.clone(),
            None => self.rest.clone(),
        }
    }
}

/// The actions of an episode that are still to be carried out.
#[derive(Clone, Debug)]
pub(crate) struct ActionQueue {
    execution: Execution,
    hold: Hold,
    /// Step of the first action.
    step: usize,
    planned: VecDeque<Planned>,
    /// Actions of the last chunk.
    chunk: usize,
    /// Planned actions that were carried out since the chunk under way was asked for.
    carried_out: usize,
    /// What that chunk's first action is for.
    begins: Begins,
    /// A chunk that is under way: the step at which it arrives, and what it holds.
    coming: Option<(usize, ActionChunk)>,
}

/// What a chunk's first action is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Begins {
    /// The step at which it was asked for: what was carried out meanwhile has had its time.
    #[default]
    WhenAsked,
    /// The step at which it arrives, of a policy that knew what would be carried out until then.
    OnArrival,
}

/// An action and how many predictions it is made of.
#[derive(Clone, Debug)]
struct Planned {
    action: Action,
    weight: f64,
    predictions: u32,
}

impl ActionQueue {
    pub(crate) fn new(execution: Execution, hold: Hold) -> Self {
        Self {
            execution,
            hold,
            step: 0,
            planned: VecDeque::new(),
            chunk: 0,
            carried_out: 0,
            begins: Begins::default(),
            coming: None,
        }
    }

    /// Whether it is time to ask for a chunk.
    pub(crate) fn wants(&self) -> bool {
        let left = self.planned.len();
        self.coming.is_none()
            && match self.execution {
                Execution::Receding => left == 0,
                Execution::Ensemble { .. } => true,
                Execution::Asynchronous { threshold, .. } | Execution::RealTime { threshold } => {
                    left == 0 || left as f64 <= threshold * self.chunk as f64
                }
            }
    }

    /// What the policy is told of the chunk that is carried out while it answers, which takes so many steps.
    pub(crate) fn leftover(&self, delay_steps: usize) -> Option<Leftover> {
        let continued = matches!(self.execution, Execution::RealTime { .. });
        (continued && !self.planned.is_empty()).then(|| Leftover {
            actions: self
                .planned
                .iter()
                .map(|planned| planned.action.clone())
                .collect(),
            delay_steps,
        })
    }

    /// What is carried out until an answer to what is asked now, which takes so many steps.
    pub(crate) fn coming(&self, delay_steps: usize) -> Vec<Action> {
        let mut waiting = self.clone();
        (0..delay_steps).map(|_| waiting.next()).collect()
    }

    /// Takes the answer to what was asked at this step; it arrives so many steps later.
    pub(crate) fn answer(&mut self, chunk: ActionChunk, delay: usize, begins: Begins) {
        self.coming = Some((self.step + delay, chunk));
        self.carried_out = 0;
        self.begins = begins;
        self.deliver();
    }

    /// The action of this step.
    pub(crate) fn next(&mut self) -> Action {
        let planned = self.planned.pop_front();
        self.carried_out += usize::from(planned.is_some());
        let action = planned.map_or_else(|| self.hold.action(), |planned| planned.action);
        self.hold.last = Some(action.clone());
        self.step += 1;
        self.deliver();
        action
    }

    /// Joins a chunk that has arrived to what is planned.
    fn deliver(&mut self) {
        let Some((_, chunk)) = self.coming.take_if(|(arrives, _)| *arrives <= self.step) else {
            return;
        };
        self.chunk = chunk.actions.len();
        // Who waits has not moved: only what was carried out meanwhile has had its time.
        let passed = match self.begins {
            Begins::WhenAsked => self.carried_out,
            Begins::OnArrival => 0,
        };
        if matches!(self.execution, Execution::RealTime { .. }) {
            self.planned.clear();
        }
        for (place, action) in chunk.actions.into_iter().skip(passed).enumerate() {
            match self.planned.get_mut(place) {
                Some(planned) => planned.join(&action, self.execution),
                None => self.planned.push_back(Planned {
                    action,
                    weight: 1.0,
                    predictions: 1,
                }),
            }
        }
    }
}

impl Planned {
    fn join(&mut self, new: &Action, execution: Execution) {
        let share = match execution {
            Execution::Receding | Execution::RealTime { .. } => 1.0,
            Execution::Asynchronous { aggregate, .. } => aggregate.share(),
            Execution::Ensemble { coefficient } => {
                let weight = (-coefficient * f64::from(self.predictions)).exp();
                self.weight += weight;
                (weight / self.weight) as f32
            }
        };
        self.predictions += 1;
        for (old, new) in self.action.0.iter_mut().zip(&new.0) {
            *old = *old * (1.0 - share) + new * share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use armilla_core::Features;

    fn spec(low: f32) -> EnvironmentSpec {
        EnvironmentSpec {
            name: "line".into(),
            protocol: "any".into(),
            features: Features::default(),
            rate_hz: 10.0,
            max_steps: 9,
            action_low: vec![low],
            action_high: vec![99.0],
        }
    }

    fn chunk(values: &[f32]) -> ActionChunk {
        ActionChunk {
            actions: values.iter().map(|&value| Action(vec![value])).collect(),
            starts_at_secs: 0.0,
            period_secs: 0.1,
        }
    }

    /// Carries out steps, asking where it is time: the chunk of step `s` is `100 s, 100 s + 1, ...`.
    fn carried_out(execution: Execution, delay: usize, low: f32) -> Vec<f32> {
        let mut queue = ActionQueue::new(execution, Hold::new(&spec(low), &[]));
        let step = |step: usize| {
            if queue.wants() {
                let first = 100.0 * step as f32;
                queue.answer(
                    chunk(&[first, first + 1.0, first + 2.0, first + 3.0]),
                    delay,
                    Begins::WhenAsked,
                );
            }
            queue.next().0[0]
        };
        (0..7).map(step).collect()
    }

    #[test]
    fn receding_carries_out_a_chunk_and_waits_for_the_next() {
        let receding = |delay, low| carried_out(Execution::Receding, delay, low);
        assert_eq!(receding(0, -1.0), [0.0, 1.0, 2.0, 3.0, 400.0, 401.0, 402.0]);
        // Two steps without a move, then the whole chunk.
        assert_eq!(receding(2, -1.0), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0]);
        // Where actions are places, the middle and then the last place.
        assert_eq!(receding(1, 1.0), [50.0, 0.0, 1.0, 2.0, 3.0, 3.0, 500.0]);
    }

    #[test]
    fn a_robot_that_goes_to_places_stays_where_it_is_until_the_first_comes() {
        let waits = |low, state: &[f32]| Hold::new(&spec(low), state).action().0[0];
        assert_eq!(waits(1.0, &[12.0]), 12.0);
        assert_eq!(waits(1.0, &[0.5]), 1.0, "within the bounds");
        assert_eq!(waits(1.0, &[12.0, 7.0]), 50.0, "a state of something else");
        assert_eq!(waits(-1.0, &[12.0]), 0.0, "a move");
        let mixed = EnvironmentSpec {
            action_low: vec![-1.0, 0.0],
            action_high: vec![1.0, 1.0],
            ..spec(0.0)
        };
        let waits = Hold::new(&mixed, &[12.0, 1.0]).action();
        assert_eq!(waits.0, [0.0, 0.5], "moves beside a place");
    }

    #[test]
    fn ensembling_averages_all_that_was_said_of_a_step() {
        let equal = carried_out(Execution::Ensemble { coefficient: 0.0 }, 0, -1.0);
        // Step 2: 2 of step 0, 101 of step 1, 200 of step 2. Step 4 no longer hears step 0.
        assert_eq!(equal[..3], [0.0, 50.5, 101.0]);
        assert_eq!(equal[4], (103.0 + 202.0 + 301.0 + 400.0) / 4.0);
        let old = carried_out(Execution::Ensemble { coefficient: 1.0 }, 0, -1.0);
        let weight = (-1.0_f32).exp();
        assert!(
            (old[1] - (1.0 + 100.0 * weight) / (1.0 + weight)).abs() < 1e-4,
            "{old:?}"
        );
    }

    #[test]
    fn a_chunk_that_begins_on_arrival_loses_nothing() {
        let execution = Execution::Asynchronous {
            threshold: 0.5,
            aggregate: Aggregate::LatestOnly,
        };
        let mut queue = ActionQueue::new(execution, Hold::new(&spec(-1.0), &[]));
        queue.answer(chunk(&[1.0, 2.0, 3.0]), 0, Begins::OnArrival);
        queue.next();
        queue.next();
        assert!(queue.wants());
        // One more is carried out, then the robot holds still for a step.
        let coming = queue.coming(2);
        assert_eq!(coming, chunk(&[3.0, 0.0]).actions);
        queue.answer(chunk(&[11.0, 12.0]), 2, Begins::OnArrival);
        let carried_out: Vec<_> = (0..4).map(|_| queue.next()).collect();
        assert_eq!(carried_out, chunk(&[3.0, 0.0, 11.0, 12.0]).actions);
    }

    #[test]
    fn asynchronous_chunks_meet_where_they_overlap() {
        let with = |aggregate, delay| {
            let execution = Execution::Asynchronous {
                threshold: 0.5,
                aggregate,
            };
            carried_out(execution, delay, -1.0)
        };
        // Asked again at step 2, when two of four actions are left.
        let aggregated = |aggregate: Aggregate| with(aggregate, 0)[2..4].to_vec();
        assert_eq!(aggregated(Aggregate::LatestOnly), [200.0, 201.0]);
        assert_eq!(aggregated(Aggregate::Average), [101.0, 102.0]);
        let near = |found: &[f32], expected: f32| (found[0] - expected).abs() < 1e-3;
        assert!(near(
            &aggregated(Aggregate::WeightedAverage),
            0.3 * 2.0 + 0.7 * 200.0
        ));
        assert!(near(
            &aggregated(Aggregate::Conservative),
            0.7 * 2.0 + 0.3 * 200.0
        ));
        // A step late: the old chunk goes on meanwhile, and what is past is dropped.
        assert_eq!(
            with(Aggregate::LatestOnly, 1),
            [0.0, 0.0, 1.0, 2.0, 301.0, 302.0, 501.0]
        );
    }

    #[test]
    fn a_chunk_that_continues_another_takes_its_place() {
        let execution = Execution::RealTime { threshold: 0.5 };
        let late = carried_out(execution, 1, -1.0);
        // Asked at step 3, when two of four actions are left; the first of them is carried out meanwhile.
        assert_eq!(late, [0.0, 0.0, 1.0, 2.0, 301.0, 302.0, 501.0]);
        let mut queue = ActionQueue::new(execution, Hold::new(&spec(-1.0), &[]));
        assert_eq!(queue.leftover(1), None);
        queue.answer(chunk(&[1.0, 2.0, 3.0]), 0, Begins::WhenAsked);
        queue.next();
        let leftover = queue.leftover(1).unwrap();
        assert_eq!(leftover.actions, chunk(&[2.0, 3.0]).actions);
        assert_eq!(leftover.delay_steps, 1);
        let receding = ActionQueue::new(Execution::Receding, Hold::new(&spec(-1.0), &[]));
        assert_eq!(receding.leftover(1), None);
    }

    #[test]
    fn what_was_waited_for_loses_nothing() {
        let executions = [
            Execution::Ensemble { coefficient: 0.0 },
            Execution::Asynchronous {
                threshold: 0.5,
                aggregate: Aggregate::LatestOnly,
            },
            Execution::RealTime { threshold: 0.5 },
        ];
        for execution in executions {
            let mut queue = ActionQueue::new(execution, Hold::new(&spec(-1.0), &[]));
            queue.answer(chunk(&[5.0, 6.0]), 3, Begins::WhenAsked);
            let steps: Vec<_> = (0..5).map(|_| queue.next().0[0]).collect();
            assert_eq!(steps, [0.0, 0.0, 0.0, 5.0, 6.0], "{execution}");
            // Two actions are left, the answer takes three steps.
            queue.answer(chunk(&[1.0, 2.0]), 0, Begins::WhenAsked);
            queue.answer(chunk(&[11.0, 12.0, 13.0]), 3, Begins::WhenAsked);
            let steps: Vec<_> = (0..4).map(|_| queue.next().0[0]).collect();
            assert_eq!(steps, [1.0, 2.0, 0.0, 13.0], "{execution}");
        }
    }

    #[test]
    fn wrong_numbers_are_named() {
        let aggregate = Aggregate::Average;
        let error = Execution::Asynchronous {
            threshold: 2.0,
            aggregate,
        }
        .validate();
        assert!(error.unwrap_err().to_string().contains("threshold"));
        let error = Execution::Ensemble {
            coefficient: f64::NAN,
        }
        .validate();
        assert!(error.unwrap_err().to_string().contains("ensemble"));
    }
}

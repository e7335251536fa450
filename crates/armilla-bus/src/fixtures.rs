//! A small environment, a small policy and a bus of their own, for the tests.

use std::sync::{Arc, Mutex};

use armilla_core::features::STATE;
use armilla_core::{
    Action, ActionChunk, Environment, EnvironmentSpec, Error, Feature, Features, Image, Info,
    Observation, Policy, PolicyRequest, Reset, Step,
};

use crate::{Bus, BusConfig, EnvironmentFactory};

/// A bus on a free port.
pub(crate) fn server() -> Bus {
    Bus::serve(&BusConfig::default()).unwrap()
}

/// A client of it.
pub(crate) fn client(bus: &Bus) -> Bus {
    Bus::connect(&BusConfig::at(bus.endpoint())).unwrap()
}

/// A picture that no other shade shares.
pub(crate) fn picture(shade: u8) -> Image {
    let pixels = (0..8 * 8 * 3).map(|at| shade.wrapping_add(at as u8));
    Image::new(8, 8, pixels.collect()).unwrap()
}

/// An environment that adds up its actions; the seed is where it starts.
pub(crate) struct Counter {
    spec: EnvironmentSpec,
    total: f32,
    steps: usize,
}

impl Counter {
    pub(crate) fn new(max_steps: usize) -> Self {
        let spec = EnvironmentSpec {
            name: "counter".to_owned(),
            protocol: "test".to_owned(),
            features: Features::robot(
                ("top", Feature::camera(8, 8)),
                Feature::vector(&["total"]),
                Feature::vector(&["add", "ignored"]),
            ),
            rate_hz: 10.0,
            max_steps,
            action_low: vec![-1.0; 2],
            action_high: vec![1.0; 2],
        };
        assert_eq!(spec.features.width(STATE), 1);
        Self {
            spec,
            total: 0.0,
            steps: 0,
        }
    }

    fn observation(&self) -> Observation {
        Observation {
            images: [("top".to_owned(), picture(self.total as u8))].into(),
            state: vec![self.total],
            captured_at_secs: self.steps as f64 / self.spec.rate_hz,
            ..Observation::default()
        }
    }

    fn info(&self) -> Info {
        Info {
            success: self.total > 3.0,
            figures: [("total".to_owned(), f64::from(self.total))].into(),
            labels: [("family".to_owned(), "count".to_owned())].into(),
        }
    }
}

impl Environment for Counter {
    fn spec(&self) -> &EnvironmentSpec {
        &self.spec
    }

    fn reset(&mut self, reset: &Reset) -> armilla_core::Result<(Observation, Info)> {
        (self.total, self.steps) = (reset.seed as f32, 0);
        let instruction = reset.instruction.clone();
        Ok((
            Observation {
                instruction,
                ..self.observation()
            },
            self.info(),
        ))
    }

    fn step(&mut self, action: &Action) -> armilla_core::Result<Step> {
        action.check(2)?;
        assert!(action.0[0] != 666.0, "number of the beast");
        if action.0[0] == 77.0 {
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        self.total += action.0[0];
        self.steps += 1;
        Ok(Step {
            observation: self.observation(),
            reward: action.0[0],
            terminated: false,
            truncated: self.steps >= self.spec.max_steps,
            info: self.info(),
        })
    }
}

/// Makes counters.
pub(crate) fn counters(max_steps: usize) -> EnvironmentFactory {
    Arc::new(move || Ok(Box::new(Counter::new(max_steps))))
}

/// One question, without pictures.
pub(crate) fn question(episode: u64, step: u64) -> PolicyRequest {
    PolicyRequest {
        episode,
        step,
        ..PolicyRequest::default()
    }
}

/// A policy whose action is the question.
#[derive(Default)]
pub(crate) struct Echo {
    pub(crate) largest_batch: Arc<Mutex<usize>>,
    pub(crate) most_earlier: Arc<Mutex<usize>>,
    /// How often it was asked.
    pub(crate) calls: Arc<Mutex<usize>>,
}

impl Policy for Echo {
    fn name(&self) -> &str {
        "echo"
    }

    fn history(&self) -> usize {
        3
    }

    fn wants_actions(&self) -> bool {
        true
    }

    fn continues(&self) -> bool {
        true
    }

    fn reset(&mut self, _episode: u64) -> armilla_core::Result<()> {
        Ok(())
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> armilla_core::Result<Vec<ActionChunk>> {
        *self.calls.lock().unwrap() += 1;
        let mut largest = self.largest_batch.lock().unwrap();
        *largest = requests.len().max(*largest);
        drop(largest);
        let mut earlier = self.most_earlier.lock().unwrap();
        let seen = requests.iter().map(|request| request.earlier.len()).max();
        *earlier = seen.unwrap_or(0).max(*earlier);
        drop(earlier);
        let answer = |request: &PolicyRequest| {
            let (episode, step) = (request.episode as f32, request.step as f32);
            match request.step {
                13 => return Err(Error::OutOfOrder("unlucky".to_owned())),
                666 => panic!("number of the beast"),
                _ => {}
            }
            let step = if request.step == 14 { f32::NAN } else { step };
            let told = request.done.iter().chain(&request.coming).cloned();
            let own = || {
                [Action(vec![episode, step])]
                    .into_iter()
                    .chain(told)
                    .collect()
            };
            let leftover = request.leftover.clone();
            Ok(ActionChunk {
                actions: leftover.map_or_else(own, |leftover| leftover.actions),
                starts_at_secs: 0.0,
                period_secs: 0.1,
            })
        };
        requests.iter().map(answer).collect()
    }
}

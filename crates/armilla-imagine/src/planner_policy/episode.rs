//! What a planner keeps of an episode from one plan to the next.

use armilla_world::Plan;

/// When a planner is asked, and how far back its model looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// Environment steps a model step.
    pub(super) action_repeat: usize,
    /// Model steps that are carried out of a plan.
    pub(super) receding_horizon: usize,
    /// Latents that the model looks back on.
    pub(super) history: usize,
}

/// What is kept of an episode between two plans.
#[derive(Debug, Default)]
pub(super) struct Episode {
    /// Latents a model step apart, the newest last.
    pub(super) latents: Vec<Vec<f32>>,
    /// The actions between them, those of a model step one after the other.
    pub(super) past: Vec<Vec<f32>>,
    /// The goal's latent, encoded once.
    pub(super) goal: Option<Vec<f32>>,
    /// When it was last begun or asked for, counted over all episodes.
    pub(super) touched: u64,
    planned: Option<Planned>,
}

/// What is kept of the last plan.
#[derive(Debug)]
struct Planned {
    /// The environment step at which it began.
    begun: u64,
    /// The plan without its latents.
    plan: Plan,
    /// Of its latents, those of frames that nobody sees.
    predicted: Vec<Vec<f32>>,
}

impl Episode {
    /// Takes in what is seen at an environment step, and says what is left of the last plan.
    ///
    /// The model looks back on latents a model step apart, but of a plan's steps that are carried out together only the last shows a
    /// frame. What the plan predicted stands for the others. Who asks at any other time than that of a step's end has left the rhythm:
    /// the past is forgotten.
    pub(super) fn see(&mut self, step: u64, latent: Vec<f32>, rhythm: Rhythm) -> Vec<Vec<f32>> {
        let repeat = rhythm.action_repeat as u64;
        let planned = self.planned.take();
        let passed = planned.and_then(|planned| Some((step.checked_sub(planned.begun)?, planned)));
        let left = match passed {
            Some((passed, planned)) => {
                let steps = usize::try_from(passed / repeat).unwrap_or(usize::MAX);
                let in_rhythm =
                    passed.is_multiple_of(repeat) && (1..=rhythm.receding_horizon).contains(&steps);
                if in_rhythm {
                    let unseen = planned.predicted.into_iter().take(steps - 1);
                    self.latents.extend(unseen);
                    self.past.extend(done(&planned.plan, steps, rhythm));
                } else {
                    self.forget();
                }
                planned.plan.shifted(steps)
            }
            None => {
                self.forget();
                Vec::new()
            }
        };
        self.latents.push(latent);
        let surplus = self.latents.len().saturating_sub(rhythm.history);
        self.latents.drain(..surplus);
        let surplus = (self.past.len() + 1).saturating_sub(self.latents.len());
        self.past.drain(..surplus);
        left
    }

    fn forget(&mut self) {
        self.latents.clear();
        self.past.clear();
    }

    /// Keeps of a plan what the next needs.
    pub(super) fn plan(&mut self, step: u64, mut plan: Plan, rhythm: Rhythm) {
        let looked_at = match rhythm.history {
            1 => 0,
            _ => rhythm.receding_horizon - 1,
        };
        let predicted = plan.predicted(looked_at).map(<[f32]>::to_vec).collect();
        plan.latents = Vec::new();
        self.planned = Some(Planned {
            begun: step,
            plan,
            predicted,
        });
    }
}

/// The actions of a plan's first model steps, those of each one after the other.
fn done(plan: &Plan, steps: usize, rhythm: Rhythm) -> Vec<Vec<f32>> {
    let actions: Vec<_> = plan.environment_actions(rhythm.action_repeat).collect();
    let blocks = actions.chunks(rhythm.action_repeat).take(steps);
    let joined = blocks.map(|block| {
        let values = block.iter().flat_map(|action| action.iter());
        values.copied().collect()
    });
    joined.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm {
        action_repeat: 5,
        receding_horizon: 3,
        history: 4,
    };

    /// Four model steps of one action each, whose latents are one number.
    fn plan() -> Plan {
        Plan {
            actions: [1.0, 2.0, 3.0, 4.0].map(|value| vec![value]).to_vec(),
            cost: 0.0,
            step_costs: vec![0.0; 4],
            latents: vec![10.0, 20.0, 30.0, 40.0],
            iterations: 1,
        }
    }

    #[test]
    fn predictions_stand_for_frames_that_nobody_saw() {
        let mut episode = Episode::default();
        assert!(episode.see(0, vec![1.0], RHYTHM).is_empty());
        episode.plan(0, plan(), RHYTHM);
        assert_eq!(episode.see(15, vec![31.0], RHYTHM), [[4.0]]);
        assert_eq!(episode.latents, [[1.0], [10.0], [20.0], [31.0]]);
        assert_eq!(episode.past, [[1.0; 5], [2.0; 5], [3.0; 5]]);
        // Two of the three steps, and the oldest latents go.
        episode.plan(15, plan(), RHYTHM);
        assert_eq!(episode.see(25, vec![22.0], RHYTHM), [[3.0], [4.0]]);
        assert_eq!(episode.latents, [[20.0], [31.0], [10.0], [22.0]]);
        assert_eq!(episode.past, [[3.0; 5], [1.0; 5], [2.0; 5]]);
    }

    #[test]
    fn frames_out_of_rhythm_begin_a_new_past() {
        for (asked, left) in [(7, 3), (20, 0), (3, 4), (u64::MAX, 0)] {
            let mut episode = Episode::default();
            episode.see(0, vec![1.0], RHYTHM);
            episode.plan(0, plan(), RHYTHM);
            assert_eq!(episode.see(asked, vec![5.0], RHYTHM).len(), left, "{asked}");
            assert_eq!(episode.latents, [[5.0]], "{asked}");
            assert!(episode.past.is_empty(), "{asked}");
        }
        let mut episode = Episode::default();
        episode.plan(10, plan(), RHYTHM);
        assert!(episode.see(5, vec![5.0], RHYTHM).is_empty());
    }
}

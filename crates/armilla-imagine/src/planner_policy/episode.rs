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
    /// The goal's latent, encoded once.
    pub(super) goal: Option<Vec<f32>>,
    /// When it was last begun or asked for, counted over all episodes.
    pub(super) touched: u64,
    planned: Option<Planned>,
}

/// What a plan is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Latents a model step apart, the newest last.
    pub(super) latents: Vec<Vec<f32>>,
    /// The actions between them, those of a model step one after the other.
    pub(super) past: Vec<Vec<f32>>,
    /// What is left of the last plan.
    pub(super) warm_start: Vec<Vec<f32>>,
}

/// What is kept of the last plan.
#[derive(Debug)]
struct Planned {
    /// The environment step at which it began.
    begun: u64,
    /// What it was made from.
    from: Seen,
    /// The plan without its latents.
    plan: Plan,
    /// Of its latents, those of frames that nobody sees.
    predicted: Vec<Vec<f32>>,
}

impl Episode {
    /// What to plan from when this latent is seen at an environment step. Nothing is kept of it before there is a plan: a search that fails
    /// leaves the episode as it was, and who asks again at the same step plans from the same.
    ///
    /// The model looks back on latents a model step apart, but of a plan's steps that are carried out together only the last shows a
    /// frame. What the plan predicted stands for the others. Who asks at any other time than that of a step's end has left the rhythm:
    /// the past is forgotten.
    pub(super) fn see(&self, step: u64, latent: Vec<f32>, rhythm: Rhythm) -> Seen {
        let planned = self.planned.as_ref();
        let passed = planned.and_then(|planned| Some((step.checked_sub(planned.begun)?, planned)));
        let mut seen = match passed {
            Some((0, planned)) => {
                let mut again = planned.from.clone();
                again.latents.pop();
                again
            }
            Some((passed, planned)) => planned.seen_after(passed, rhythm),
            None => Seen::default(),
        };
        seen.latents.push(latent);
        let surplus = seen.latents.len().saturating_sub(rhythm.history);
        seen.latents.drain(..surplus);
        let surplus = (seen.past.len() + 1).saturating_sub(seen.latents.len());
        seen.past.drain(..surplus);
        seen
    }

    /// Keeps of a plan what the next needs.
    pub(super) fn plan(&mut self, step: u64, from: Seen, mut plan: Plan, rhythm: Rhythm) {
        let looked_at = match rhythm.history {
            1 => 0,
            _ => rhythm.receding_horizon - 1,
        };
        let predicted = plan.predicted(looked_at).map(<[f32]>::to_vec).collect();
        plan.latents = Vec::new();
        self.planned = Some(Planned {
            begun: step,
            from,
            plan,
            predicted,
        });
    }
}

impl Planned {
    /// What is known before the frame that is seen so many environment steps later.
    fn seen_after(&self, passed: u64, rhythm: Rhythm) -> Seen {
        let repeat = rhythm.action_repeat as u64;
        let steps = usize::try_from(passed / repeat).unwrap_or(usize::MAX);
        let in_rhythm =
            passed.is_multiple_of(repeat) && (1..=rhythm.receding_horizon).contains(&steps);
        // Who is asked later has waited: no more was carried out than a chunk holds.
        let carried_out = steps.min(rhythm.receding_horizon);
        let mut seen = match in_rhythm {
            true => self.from.clone(),
            false => Seen::default(),
        };
        if in_rhythm {
            let unseen = self.predicted.iter().take(steps - 1);
            seen.latents.extend(unseen.cloned());
            seen.past.extend(done(&self.plan, steps, rhythm));
        }
        seen.warm_start = self.plan.shifted(carried_out);
        seen
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
        let first = episode.see(0, vec![1.0], RHYTHM);
        assert!(first.warm_start.is_empty());
        episode.plan(0, first, plan(), RHYTHM);
        let second = episode.see(15, vec![31.0], RHYTHM);
        assert_eq!(second.warm_start, [[4.0]]);
        assert_eq!(second.latents, [[1.0], [10.0], [20.0], [31.0]]);
        assert_eq!(second.past, [[1.0; 5], [2.0; 5], [3.0; 5]]);
        // Two of the three steps, and the oldest latents go.
        episode.plan(15, second, plan(), RHYTHM);
        let third = episode.see(25, vec![22.0], RHYTHM);
        assert_eq!(third.warm_start, [[3.0], [4.0]]);
        assert_eq!(third.latents, [[20.0], [31.0], [10.0], [22.0]]);
        assert_eq!(third.past, [[3.0; 5], [1.0; 5], [2.0; 5]]);
    }

    #[test]
    fn frames_out_of_rhythm_begin_a_new_past() {
        let begun = |step| {
            let mut episode = Episode::default();
            let seen = episode.see(step, vec![1.0], RHYTHM);
            episode.plan(step, seen, plan(), RHYTHM);
            episode
        };
        // Of four steps three are carried out, however long after the question the next one comes.
        for (asked, left) in [(7, 3), (20, 1), (3, 4), (u64::MAX, 1)] {
            let seen = begun(0).see(asked, vec![5.0], RHYTHM);
            assert_eq!(seen.warm_start.len(), left, "{asked}");
            assert_eq!(seen.latents, [[5.0]], "{asked}");
            assert!(seen.past.is_empty(), "{asked}");
        }
        let before = begun(10).see(5, vec![5.0], RHYTHM);
        assert_eq!(before.latents, [[5.0]]);
        assert!(before.warm_start.is_empty());
    }

    #[test]
    fn who_asks_again_is_answered_from_the_same_past() {
        let mut episode = Episode::default();
        for step in [0, 15] {
            let seen = episode.see(step, vec![step as f32], RHYTHM);
            assert_eq!(episode.see(step, vec![step as f32], RHYTHM), seen);
            episode.plan(step, seen.clone(), plan(), RHYTHM);
            assert_eq!(episode.see(step, vec![step as f32], RHYTHM), seen);
        }
    }
}

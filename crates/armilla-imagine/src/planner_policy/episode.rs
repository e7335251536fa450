//! What a planner keeps of an episode from one plan to the next.

use armilla_world::Plan;

/// What is kept of an episode between two plans.
#[derive(Debug, Default)]
pub(super) struct Episode {
    /// The goal's latent, encoded once.
    pub(super) goal: Option<Vec<f32>>,
    /// When it was last begun or asked for, counted over all episodes.
    pub(super) touched: u64,
    planned: Option<Planned>,
}

/// What is kept of the last plan.
#[derive(Debug)]
pub(super) struct Planned {
    /// The environment step at which it was asked for.
    pub(super) asked: u64,
    /// The environment step at which it begins.
    pub(super) begins: u64,
    /// What its search began with.
    pub(super) warm_start: Vec<Vec<f32>>,
    /// The plan without its latents.
    pub(super) plan: Plan,
}

/// How much of a plan is carried out before the next is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// Environment steps a model step.
    pub(super) action_repeat: usize,
    /// Model steps of a plan that are carried out at most.
    pub(super) answered: usize,
}

impl Episode {
    /// What is left of the last plan for one that is asked for at an environment step and begins at another; asked for again at the same, it is the
    /// same.
    pub(super) fn warm_start(&self, (asked, begins): (u64, u64), rhythm: Rhythm) -> Vec<Vec<f32>> {
        let Some(planned) = &self.planned else {
            return Vec::new();
        };
        if asked == planned.asked {
            return planned.warm_start.clone();
        }
        let Some(passed) = begins.checked_sub(planned.begins) else {
            return Vec::new();
        };
        // Where more has passed, the robot waited: no more was carried out than a chunk holds.
        let most = rhythm.answered.saturating_mul(rhythm.action_repeat);
        let passed = usize::try_from(passed).unwrap_or(usize::MAX).min(most);
        planned.plan.shifted(passed, rhythm.action_repeat)
    }

    /// Keeps of a plan what the next needs.
    pub(super) fn plan(&mut self, planned: Planned) {
        let plan = Plan {
            latents: Vec::new(),
            ..planned.plan
        };
        self.planned = Some(Planned { plan, ..planned });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm {
        action_repeat: 5,
        answered: 3,
    };

    /// An episode with a plan of four model steps of one action each, asked for at a step and begun two later.
    fn planned(asked: u64) -> Episode {
        let mut episode = Episode::default();
        episode.plan(Planned {
            asked,
            begins: asked + 2,
            warm_start: vec![vec![9.0]],
            plan: Plan {
                actions: [1.0, 2.0, 3.0, 4.0].map(|value| vec![value]).to_vec(),
                cost: 0.0,
                step_costs: vec![0.0; 4],
                latents: vec![10.0, 20.0, 30.0, 40.0],
                iterations: 1,
            },
        });
        episode
    }

    #[test]
    fn a_search_begins_with_what_was_not_carried_out() {
        // Of four steps three are carried out, however long after the plan the next question comes.
        for (begins, left) in [
            (2, 4),
            (4, 4),
            (5, 3),
            (9, 3),
            (10, 2),
            (17, 1),
            (22, 1),
            (u64::MAX, 1),
        ] {
            let found = planned(0).warm_start((1, begins), RHYTHM);
            assert_eq!(found.len(), left, "{begins}");
            assert_eq!(found.last(), Some(&vec![4.0]));
        }
        assert!(Episode::default().warm_start((0, 0), RHYTHM).is_empty());
        assert!(planned(10).warm_start((5, 5), RHYTHM).is_empty());
    }

    #[test]
    fn what_passes_until_a_plan_begins_is_carried_out_of_the_last() {
        // Both plans begin two steps after they are asked for: from 12 to 22 are two model steps, from 12 to 27 three.
        assert_eq!(planned(10).warm_start((20, 22), RHYTHM), [[3.0], [4.0]]);
        assert_eq!(planned(10).warm_start((25, 27), RHYTHM), [[4.0]]);
    }

    #[test]
    fn who_asks_again_is_answered_from_the_same() {
        assert_eq!(planned(10).warm_start((10, 12), RHYTHM), [[9.0]]);
    }
}

//! Problems that go through the model together.

use std::time::Instant;

use crate::candidates::Candidates;
use crate::error::Result;
use crate::evaluation::{Cost, Dynamics, Evaluation};
use crate::plan_config::{Method, PlanConfig};

use super::{Plan, Planner, Problem};

/// The searches of problems that go through the model together.
pub(super) struct Group<'a> {
    evaluation: Evaluation<'a>,
    searches: Vec<Candidates<'a>>,
    iterations: usize,
}

impl<'a> Group<'a> {
    pub(super) fn new(
        planner: &'a Planner,
        dynamics: &'a dyn Dynamics,
        cost: &'a dyn Cost,
        problems: &[Problem],
    ) -> Self {
        let searches = problems.iter();
        Self {
            evaluation: Evaluation::new(planner, dynamics, cost, problems),
            searches: searches
                .map(|problem| Candidates::new(planner, problem))
                .collect(),
            iterations: 0,
        }
    }

    /// Draws, evaluates and learns once.
    fn advance(&mut self) -> Result<()> {
        let config = self.evaluation.planner.config();
        let iteration = self.iterations;
        let plans: Vec<_> = self
            .searches
            .iter_mut()
            .map(|search| search.draw(iteration))
            .collect();
        // After the last iteration no step is taken.
        let wanted = config.method == Method::Gradient && iteration + 1 < config.iterations;
        let found = self
            .evaluation
            .evaluate(&plans, config.num_samples, wanted)?;
        for ((search, plans), found) in self.searches.iter_mut().zip(&plans).zip(&found) {
            search.update(plans, found);
        }
        self.iterations += 1;
        Ok(())
    }

    fn plans(self) -> Vec<Plan> {
        let cut_short = self.iterations < self.evaluation.planner.config().iterations;
        let searches = self.searches.into_iter();
        let results: Vec<_> = searches.map(|search| search.result(cut_short)).collect();
        let mut plans = self.evaluation.plans(&results);
        for plan in &mut plans {
            plan.iterations = self.iterations;
        }
        plans
    }
}

/// Searches iteration by iteration, each over all groups, so that a deadline cuts all of them alike.
pub(super) fn search(
    mut groups: Vec<Group<'_>>,
    config: &PlanConfig,
    until: Option<Instant>,
) -> Result<Vec<Plan>> {
    'iterations: for iteration in 0..config.iterations {
        for group in &mut groups {
            if iteration > 0 && until.is_some_and(|until| Instant::now() >= until) {
                break 'iterations;
            }
            group.advance()?;
        }
    }
    Ok(groups.into_iter().flat_map(Group::plans).collect())
}

//! What a plan is made from: frames a model step apart, what was done between them, and what will be done until the plan begins.

use armilla_core::{Action, Observation, PolicyRequest};

/// Frames and actions on the grid of model steps that leads to a plan's begin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Past<'a> {
    /// Frames a model step apart, the newest last; at most as many as the model looks back on.
    pub(super) frames: Vec<&'a Observation>,
    /// The actions between them, those of a model step one after the other.
    pub(super) done: Vec<Vec<f32>>,
    /// The actions from the newest frame to the plan's begin, in the same way; none where the plan begins with it.
    pub(super) lead: Vec<Vec<f32>>,
}

impl<'a> Past<'a> {
    /// What a question tells, with so many control steps a model step, of which the model looks back on so many latents.
    ///
    /// The plan begins when what is coming is done; frames are taken whole model steps before that. A younger episode's first frame stands for
    /// those before it, as if its first action had been held longer. Who does not tell what was done at every step has told nothing of the past.
    pub(super) fn of(request: &'a PolicyRequest, repeat: usize, history: usize) -> Self {
        let all = request.earlier.len();
        let known = if request.done.len() == all { all } else { 0 };
        let frames: Vec<_> = request.earlier[all - known..]
            .iter()
            .chain([&request.observation])
            .collect();
        let done = &request.done[request.done.len() - known..];
        let actions: Vec<&Action> = done.iter().chain(&request.coming).collect();
        let steps = request.coming.len().div_ceil(repeat);
        let (newest, missing) = match actions.len().checked_sub(steps * repeat) {
            Some(newest) => (newest, 0),
            None => (0, steps * repeat - actions.len()),
        };
        let count = (newest / repeat + 1).min(history);
        let oldest = newest - (count - 1) * repeat;
        let held = actions.first().into_iter().copied().cycle().take(missing);
        let carried_out: Vec<_> = held.chain(actions[oldest..].iter().copied()).collect();
        let mut done: Vec<_> = carried_out.chunks(repeat).map(joined).collect();
        let lead = done.split_off((count - 1).min(done.len()));
        Self {
            frames: (0..count).map(|at| frames[oldest + at * repeat]).collect(),
            done,
            lead,
        }
    }
}

/// The values of some actions, one after the other.
fn joined(actions: &[&Action]) -> Vec<f32> {
    let values = actions.iter().flat_map(|action| &action.0);
    values.copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPEAT: usize = 3;

    /// An episode whose frame and action at each step tell the step; of what is coming, so much is known.
    fn asked(step: usize, earlier: usize, coming: usize) -> PolicyRequest {
        let first = step - earlier.min(step);
        let frame = |step: usize| Observation {
            state: vec![step as f32],
            ..Observation::default()
        };
        let action = |step: usize| Action(vec![step as f32]);
        PolicyRequest {
            step: step as u64,
            observation: frame(step),
            earlier: (first..step).map(frame).collect(),
            done: (first..step).map(action).collect(),
            coming: (step..step + coming).map(action).collect(),
            ..PolicyRequest::default()
        }
    }

    /// Steps of the frames, and the actions of each block and of the lead.
    fn found(request: &PolicyRequest, history: usize) -> (Vec<f32>, Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let past = Past::of(request, REPEAT, history);
        let frames = past.frames.iter().map(|frame| frame.state[0]);
        (frames.collect(), past.done, past.lead)
    }

    #[test]
    fn frames_lie_whole_model_steps_before_the_plan_begins() {
        let block = |first: u8| vec![first.into(), f32::from(first) + 1.0, f32::from(first) + 2.0];
        let (at_once, late) = (asked(9, 8, 0), asked(9, 8, 2));
        assert_eq!(
            found(&at_once, 3),
            (vec![3.0, 6.0, 9.0], vec![block(3), block(6)], vec![])
        );
        assert_eq!(found(&at_once, 1), (vec![9.0], vec![], vec![]));
        // It begins at step 11.
        assert_eq!(
            found(&late, 3),
            (
                vec![2.0, 5.0, 8.0],
                vec![block(2), block(5)],
                vec![block(8)]
            )
        );
        assert_eq!(found(&late, 1), (vec![8.0], vec![], vec![block(8)]));
        // Step 13: two model steps from the frame of step 7.
        let later = asked(9, 8, 4);
        assert_eq!(
            found(&later, 2),
            (vec![4.0, 7.0], vec![block(4)], vec![block(7), block(10)])
        );
        // A whole model step: from what is seen now.
        assert_eq!(
            found(&asked(9, 8, 3), 2),
            (vec![6.0, 9.0], vec![block(6)], vec![block(9)])
        );
    }

    #[test]
    fn young_episodes_begin_with_what_there_is() {
        assert_eq!(found(&asked(0, 8, 0), 3), (vec![0.0], vec![], vec![]));
        assert_eq!(found(&asked(2, 8, 0), 3), (vec![2.0], vec![], vec![]));
        assert_eq!(
            found(&asked(4, 8, 0), 3),
            (vec![1.0, 4.0], vec![vec![1.0, 2.0, 3.0]], vec![])
        );
        assert_eq!(
            found(&asked(0, 8, 2), 3),
            (vec![0.0], vec![], vec![vec![0.0, 0.0, 1.0]])
        );
        assert_eq!(
            found(&asked(1, 8, 4), 3),
            (
                vec![0.0],
                vec![],
                vec![vec![0.0, 0.0, 1.0], vec![2.0, 3.0, 4.0]]
            )
        );
    }

    #[test]
    fn frames_without_what_was_done_are_no_past() {
        let mut asked = asked(9, 8, 0);
        asked.done.pop();
        assert_eq!(found(&asked, 3), (vec![9.0], vec![], vec![]));
    }
}

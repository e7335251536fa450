//! What a plan is made from: frames a model step apart, what was done between them, and what will be done until the plan begins.

use armilla_core::{Action, Observation, PolicyRequest};

/// Frames and actions, in whole model steps before and after what is seen now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Past<'a> {
    /// Frames a model step apart, the newest last; at most as many as the search looks back on.
    pub(super) frames: Vec<&'a Observation>,
    /// The actions between them, those of a model step one after the other.
    pub(super) done: Vec<Vec<f32>>,
    /// The actions from now on until the plan begins, in the same way; none where that is less than a model step.
    pub(super) lead: Vec<Vec<f32>>,
}

impl<'a> Past<'a> {
    /// What a question tells, with so many control steps a model step, of which the search looks back on so many latents.
    ///
    /// Of what is coming whole model steps count. What is left is less than the model can tell, and the frame that is seen now is nearer to it
    /// than a prediction from an older one. Who does not tell what was done at every step has told nothing of the past.
    pub(super) fn of(request: &'a PolicyRequest, repeat: usize, history: usize) -> Self {
        let PolicyRequest {
            observation,
            earlier,
            done,
            coming,
            ..
        } = request;
        let known = if done.len() == earlier.len() {
            earlier.len()
        } else {
            0
        };
        let count = (known / repeat).min(history - 1);
        let first = known - count * repeat;
        let before = (0..count).map(|at| &earlier[first + at * repeat]);
        let blocks = |actions: &[Action]| actions.chunks_exact(repeat).map(joined).collect();
        Self {
            frames: before.chain([observation]).collect(),
            done: blocks(&done[first..known]),
            lead: blocks(coming),
        }
    }
}

/// The values of some actions, one after the other.
fn joined(actions: &[Action]) -> Vec<f32> {
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
    fn frames_lie_whole_model_steps_before_what_is_seen() {
        let block = |first: u8| vec![first.into(), f32::from(first) + 1.0, f32::from(first) + 2.0];
        let past = || (vec![3.0, 6.0, 9.0], vec![block(3), block(6)]);
        // Of what is coming whole model steps count.
        for (coming, lead) in [
            (0, vec![]),
            (2, vec![]),
            (3, vec![block(9)]),
            (7, vec![block(9), block(12)]),
        ] {
            let (frames, done) = past();
            assert_eq!(found(&asked(9, 8, coming), 3), (frames, done, lead.clone()));
            assert_eq!(found(&asked(9, 8, coming), 1), (vec![9.0], vec![], lead));
        }
    }

    #[test]
    fn young_episodes_begin_with_what_there_is() {
        assert_eq!(found(&asked(0, 8, 0), 3), (vec![0.0], vec![], vec![]));
        assert_eq!(found(&asked(2, 8, 1), 3), (vec![2.0], vec![], vec![]));
        let block = vec![vec![1.0, 2.0, 3.0]];
        assert_eq!(found(&asked(4, 8, 0), 3), (vec![1.0, 4.0], block, vec![]));
        let block = vec![vec![0.0, 1.0, 2.0]];
        assert_eq!(found(&asked(0, 8, 4), 3), (vec![0.0], vec![], block));
    }

    #[test]
    fn frames_without_what_was_done_are_no_past() {
        let mut asked = asked(9, 8, 0);
        asked.done.pop();
        assert_eq!(found(&asked, 3), (vec![9.0], vec![], vec![]));
    }
}

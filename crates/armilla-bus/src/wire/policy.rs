//! Questions to a policy and its chunks, to and from the wire.

use armilla_core::{Action, ActionChunk, Leftover, PolicyRequest};

use super::{ChunkBody, LeftoverBody, PolicyRequestBody, action, check_elements, check_secs};
use crate::error::{BusError, Result};

/// Actions as they come in.
fn actions(bodies: Vec<Vec<f32>>) -> Result<Vec<Action>> {
    check_elements(bodies.len())?;
    bodies.into_iter().map(action).collect()
}

impl From<&PolicyRequest> for PolicyRequestBody {
    fn from(request: &PolicyRequest) -> Self {
        Self {
            episode: request.episode,
            step: request.step,
            observation: request.observation.clone().into(),
            earlier: request.earlier.iter().cloned().map(Into::into).collect(),
            done: request.done.iter().map(|action| action.0.clone()).collect(),
            coming: request
                .coming
                .iter()
                .map(|action| action.0.clone())
                .collect(),
            leftover: request.leftover.clone().map(Into::into),
        }
    }
}

impl TryFrom<PolicyRequestBody> for PolicyRequest {
    type Error = BusError;

    fn try_from(body: PolicyRequestBody) -> Result<Self> {
        check_elements(body.earlier.len())?;
        let earlier = body.earlier.into_iter().map(TryInto::try_into);
        Ok(Self {
            episode: body.episode,
            step: body.step,
            observation: body.observation.try_into()?,
            earlier: earlier.collect::<Result<_>>()?,
            done: actions(body.done)?,
            coming: actions(body.coming)?,
            leftover: body.leftover.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<Leftover> for LeftoverBody {
    fn from(leftover: Leftover) -> Self {
        Self {
            actions: leftover
                .actions
                .into_iter()
                .map(|action| action.0)
                .collect(),
            delay_steps: leftover.delay_steps as u64,
        }
    }
}

impl TryFrom<LeftoverBody> for Leftover {
    type Error = BusError;

    fn try_from(body: LeftoverBody) -> Result<Self> {
        Ok(Self {
            actions: actions(body.actions)?,
            delay_steps: usize::try_from(body.delay_steps).unwrap_or(usize::MAX),
        })
    }
}

impl From<ActionChunk> for ChunkBody {
    fn from(chunk: ActionChunk) -> Self {
        Self {
            actions: chunk.actions.into_iter().map(|action| action.0).collect(),
            starts_at_secs: chunk.starts_at_secs,
            period_secs: chunk.period_secs,
        }
    }
}

impl TryFrom<ChunkBody> for ActionChunk {
    type Error = BusError;

    fn try_from(body: ChunkBody) -> Result<Self> {
        check_elements(body.actions.len())?;
        check_secs("starts_at_secs", body.starts_at_secs)?;
        check_secs("period_secs", body.period_secs)?;
        let chunk = Self {
            actions: body.actions.into_iter().map(Action).collect(),
            starts_at_secs: body.starts_at_secs,
            period_secs: body.period_secs,
        };
        chunk.check(chunk.actions.first().map_or(0, |action| action.0.len()))?;
        Ok(chunk)
    }
}

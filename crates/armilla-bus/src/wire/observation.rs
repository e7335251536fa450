//! What a robot senses and what a step led to, to and from the wire.

use std::collections::BTreeMap;

use armilla_core::error::check_finite;
use armilla_core::{Goal, Image, Info, Observation, Step};

use super::{
    GoalBody, ImageBody, InfoBody, MAX_SIDE, ObservationBody, StepReply, check_elements, check_secs,
};
use crate::error::{BusError, Result};
use crate::message::check_limit;

impl From<Image> for ImageBody {
    fn from(image: Image) -> Self {
        Self {
            height: image.height() as u32,
            width: image.width() as u32,
            rgb: image.into_data(),
        }
    }
}

impl TryFrom<ImageBody> for Image {
    type Error = BusError;

    fn try_from(body: ImageBody) -> Result<Self> {
        let (height, width) = (body.height as usize, body.width as usize);
        check_limit("a picture's longer side", height.max(width), MAX_SIDE)?;
        Ok(Self::new(height, width, body.rgb)?)
    }
}

impl From<Goal> for GoalBody {
    fn from(goal: Goal) -> Self {
        Self {
            images: image_bodies(goal.images),
            state: goal.state,
        }
    }
}

impl TryFrom<GoalBody> for Goal {
    type Error = BusError;

    fn try_from(body: GoalBody) -> Result<Self> {
        check_elements(body.state.len())?;
        check_finite("the goal's state", &body.state)?;
        Ok(Self {
            images: images(body.images)?,
            state: body.state,
        })
    }
}

fn image_bodies(images: BTreeMap<String, Image>) -> BTreeMap<String, ImageBody> {
    let images = images.into_iter();
    images.map(|(name, image)| (name, image.into())).collect()
}

fn images(bodies: BTreeMap<String, ImageBody>) -> Result<BTreeMap<String, Image>> {
    check_elements(bodies.len())?;
    let bodies = bodies.into_iter();
    let images = bodies.map(|(name, body)| Ok((name, body.try_into()?)));
    images.collect()
}

impl From<Observation> for ObservationBody {
    fn from(observation: Observation) -> Self {
        Self {
            images: image_bodies(observation.images),
            state: observation.state,
            instruction: observation.instruction,
            goal: observation.goal.map(Into::into),
            captured_at_secs: observation.captured_at_secs,
        }
    }
}

impl TryFrom<ObservationBody> for Observation {
    type Error = BusError;

    fn try_from(body: ObservationBody) -> Result<Self> {
        check_elements(body.state.len())?;
        check_elements(body.instruction.as_ref().map_or(0, String::len))?;
        check_finite("observation.state", &body.state)?;
        check_secs("captured_at_secs", body.captured_at_secs)?;
        Ok(Self {
            images: images(body.images)?,
            state: body.state,
            instruction: body.instruction,
            goal: body.goal.map(TryInto::try_into).transpose()?,
            captured_at_secs: body.captured_at_secs,
        })
    }
}

impl From<Info> for InfoBody {
    fn from(info: Info) -> Self {
        let Info {
            success,
            figures,
            labels,
        } = info;
        Self {
            success,
            figures,
            labels,
        }
    }
}

impl TryFrom<InfoBody> for Info {
    type Error = BusError;

    fn try_from(body: InfoBody) -> Result<Self> {
        check_elements(body.figures.len())?;
        check_elements(body.labels.len())?;
        Ok(Self {
            success: body.success,
            figures: body.figures,
            labels: body.labels,
        })
    }
}

impl From<Step> for StepReply {
    fn from(step: Step) -> Self {
        Self {
            observation: step.observation.into(),
            reward: step.reward,
            terminated: step.terminated,
            truncated: step.truncated,
            info: step.info.into(),
        }
    }
}

impl TryFrom<StepReply> for Step {
    type Error = BusError;

    fn try_from(body: StepReply) -> Result<Self> {
        check_finite("reward", &[body.reward])?;
        Ok(Self {
            observation: body.observation.try_into()?,
            reward: body.reward,
            terminated: body.terminated,
            truncated: body.truncated,
            info: body.info.try_into()?,
        })
    }
}

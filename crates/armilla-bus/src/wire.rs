//! The messages' bodies, and the ways between them and the vocabulary of `armilla-core`.
//!
//! Everything that comes in is checked here once: sizes against limits, numbers for finiteness.

use std::collections::BTreeMap;

use armilla_core::{
    Action, ActionChunk, DataType, EnvironmentSpec, Feature, Features, Goal, Image, Info, Leftover,
    Observation, PolicyRequest, Step,
};
use serde::{Deserialize, Serialize};

use crate::error::{BusError, Result};
use crate::message::{Message, check_limit};

/// Longest side of a picture, in pixels.
const MAX_SIDE: usize = 4096;
/// Most elements of any list, characters of any text and entries of any map.
const MAX_ELEMENTS: usize = 65_536;

/// Declares a wire type: the derives that all share, and its kind where it is a message of its own.
macro_rules! wire {
    ($(#[$doc:meta])* $name:ident $(= $kind:literal)? { $($(#[$field_attribute:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $($(#[$field_attribute])* pub(crate) $field: $type,)* }
        $(impl Message for $name { const KIND: &'static str = $kind; })?
    };
}

wire! {
    /// A picture, `[height, width, 3]`.
    ImageBody { height: u32, width: u32, #[serde(with = "serde_bytes")] rgb: Vec<u8>, }
}
wire! {
    /// What a robot senses when its task is done.
    GoalBody { images: BTreeMap<String, ImageBody>, state: Vec<f32>, }
}
wire! {
    /// What a robot senses.
    ObservationBody {
        images: BTreeMap<String, ImageBody>,
        state: Vec<f32>,
        #[serde(default)] instruction: Option<String>,
        #[serde(default)] goal: Option<GoalBody>,
        captured_at_secs: f64,
    }
}
wire! {
    /// Facts for evaluation.
    InfoBody { success: bool, figures: BTreeMap<String, f64>, labels: BTreeMap<String, String>, }
}
wire! {
    /// One feature; the data type is spelled as in LeRobot's `meta/info.json`.
    FeatureBody { dtype: String, shape: Vec<u32>, names: Vec<String>, }
}
wire! {
    /// What an environment is.
    SpecReply = "spec" {
        name: String,
        protocol: String,
        features: BTreeMap<String, FeatureBody>,
        rate_hz: f64,
        max_steps: u64,
        action_low: Vec<f32>,
        action_high: Vec<f32>,
    }
}
wire! {
    /// Asks for a spec.
    SpecRequest = "spec_request" {}
}
wire! {
    /// Begins an episode in a session. The client chooses the session's number at random and counts its episodes.
    ResetRequest = "reset_request" {
        session: u64,
        episode: u64,
        seed: u64,
        #[serde(default)] instruction: Option<String>,
    }
}
wire! {
    /// How the episode begins.
    ResetReply = "reset_reply" { observation: ObservationBody, info: InfoBody, }
}
wire! {
    /// One action. `step` is the number of steps done before it in the episode.
    StepRequest = "step_request" { session: u64, episode: u64, step: u64, action: Vec<f32>, }
}
wire! {
    /// What a step led to.
    StepReply = "step_reply" {
        observation: ObservationBody,
        reward: f32,
        terminated: bool,
        truncated: bool,
        info: InfoBody,
    }
}
wire! {
    /// Gives a session's simulator back.
    CloseRequest = "close_request" { session: u64, }
}
wire! {
    /// Done; nothing more to say.
    Done = "done" {}
}
wire! {
    /// One question to a policy.
    PolicyRequestBody {
        episode: u64,
        step: u64,
        observation: ObservationBody,
        #[serde(default, skip_serializing_if = "Vec::is_empty")] earlier: Vec<ObservationBody>,
        #[serde(default, skip_serializing_if = "Option::is_none")] leftover: Option<LeftoverBody>,
    }
}
wire! {
    /// What is left of the chunk that is carried out while a question is answered.
    LeftoverBody { actions: Vec<Vec<f32>>, delay_steps: u64, }
}
wire! {
    /// Questions to a policy.
    ActRequest = "act_request" { requests: Vec<PolicyRequestBody>, }
}
wire! {
    /// Commands for the steps to come.
    ChunkBody { actions: Vec<Vec<f32>>, starts_at_secs: f64, period_secs: f64, }
}
wire! {
    /// One chunk a question, in the order of the questions.
    ActReply = "act_reply" { chunks: Vec<ChunkBody>, }
}
wire! {
    /// Asks what a policy is.
    PolicySpecRequest = "policy_spec_request" {}
}
wire! {
    /// What a policy is. `history` is the number of observations, the present one included, that its questions should hold; `continues`
    /// says whether it heeds what is left over of a chunk.
    PolicySpecReply = "policy_spec" { name: String, history: u64, #[serde(default, skip_serializing_if = "std::ops::Not::not")] continues: bool, }
}
wire! {
    /// Begins an episode at a policy.
    PolicyResetRequest = "policy_reset_request" { episode: u64, }
}
wire! {
    /// Why a request was not carried out.
    ErrorReply = "error" { text: String, }
}

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
        armilla_core::error::check_finite("the goal's state", &body.state)?;
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
        armilla_core::error::check_finite("observation.state", &body.state)?;
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
        armilla_core::error::check_finite("reward", &[body.reward])?;
        Ok(Self {
            observation: body.observation.try_into()?,
            reward: body.reward,
            terminated: body.terminated,
            truncated: body.truncated,
            info: body.info.try_into()?,
        })
    }
}

impl From<&Feature> for FeatureBody {
    fn from(feature: &Feature) -> Self {
        Self {
            dtype: feature.data_type.name().to_owned(),
            shape: feature.shape.iter().map(|&size| size as u32).collect(),
            names: feature.names.clone(),
        }
    }
}

impl TryFrom<FeatureBody> for Feature {
    type Error = BusError;

    fn try_from(body: FeatureBody) -> Result<Self> {
        let data_type = DataType::named(&body.dtype).ok_or_else(|| BusError::Malformed {
            expected: "a data type of LeRobot",
            found: format!("`{}`", body.dtype),
        })?;
        check_limit("a shape's axes", body.shape.len(), 8)?;
        check_elements(body.names.len())?;
        Ok(Self {
            data_type,
            shape: body.shape.iter().map(|&size| size as usize).collect(),
            names: body.names,
        })
    }
}

impl From<&EnvironmentSpec> for SpecReply {
    fn from(spec: &EnvironmentSpec) -> Self {
        let features = spec.features.0.iter();
        Self {
            name: spec.name.clone(),
            protocol: spec.protocol.clone(),
            features: features
                .map(|(key, feature)| (key.clone(), feature.into()))
                .collect(),
            rate_hz: spec.rate_hz,
            max_steps: spec.max_steps as u64,
            action_low: spec.action_low.clone(),
            action_high: spec.action_high.clone(),
        }
    }
}

impl TryFrom<SpecReply> for EnvironmentSpec {
    type Error = BusError;

    fn try_from(body: SpecReply) -> Result<Self> {
        check_elements(body.features.len())?;
        check_elements(body.action_low.len().max(body.action_high.len()))?;
        check_secs("rate_hz", body.rate_hz)?;
        let features = body.features.into_iter();
        Ok(Self {
            name: body.name,
            protocol: body.protocol,
            features: Features(
                features
                    .map(|(key, feature)| Ok((key, feature.try_into()?)))
                    .collect::<Result<_>>()?,
            ),
            rate_hz: body.rate_hz,
            max_steps: usize::try_from(body.max_steps).unwrap_or(usize::MAX),
            action_low: body.action_low,
            action_high: body.action_high,
        })
    }
}

impl From<&PolicyRequest> for PolicyRequestBody {
    fn from(request: &PolicyRequest) -> Self {
        Self {
            episode: request.episode,
            step: request.step,
            observation: request.observation.clone().into(),
            earlier: request.earlier.iter().cloned().map(Into::into).collect(),
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
        check_elements(body.actions.len())?;
        let actions = body.actions.into_iter().map(action);
        Ok(Self {
            actions: actions.collect::<Result<_>>()?,
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

/// An action as it comes in.
pub(crate) fn action(values: Vec<f32>) -> Result<Action> {
    check_elements(values.len())?;
    armilla_core::error::check_finite("action", &values)?;
    Ok(Action(values))
}

/// Refuses a list, a text or a map beyond the limit.
pub(crate) fn check_elements(count: usize) -> Result<()> {
    check_limit("the number of elements", count, MAX_ELEMENTS)
}

fn check_secs(what: &'static str, value: f64) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    Err(BusError::Malformed {
        expected: what,
        found: format!("{value}, which is not a finite number"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Counter, picture};
    use crate::message::{decode, encode};
    use armilla_core::Environment as _;

    fn observation() -> Observation {
        Observation {
            images: BTreeMap::from([("top".to_owned(), picture(3))]),
            state: vec![0.5, -1.0],
            instruction: Some("push the red cube".to_owned()),
            goal: Some(Goal {
                state: vec![2.0, 3.0],
                ..Goal::picture("top", picture(9))
            }),
            captured_at_secs: 0.1,
        }
    }

    #[test]
    fn a_step_comes_back_as_it_went() {
        let step = Step {
            observation: observation(),
            reward: 0.25,
            terminated: true,
            truncated: false,
            info: Info {
                success: true,
                figures: BTreeMap::from([("distance_px".to_owned(), 3.5)]),
                labels: BTreeMap::from([("family".to_owned(), "push".to_owned())]),
            },
        };
        let bytes = encode(&StepReply::from(step.clone())).unwrap();
        let back: Step = decode::<StepReply>(&bytes).unwrap().try_into().unwrap();
        assert_eq!(back, step);
    }

    #[test]
    fn pictures_travel_as_raw_bytes() {
        let bytes = encode(&ResetReply {
            observation: observation().into(),
            info: Info::default().into(),
        })
        .unwrap();
        let pixels = picture(3);
        assert!(
            bytes
                .windows(pixels.data().len())
                .any(|window| window == pixels.data())
        );
    }

    #[test]
    fn a_spec_comes_back_as_it_went() {
        let spec = Counter::new(5).spec().clone();
        let bytes = encode(&SpecReply::from(&spec)).unwrap();
        let back: EnvironmentSpec = decode::<SpecReply>(&bytes).unwrap().try_into().unwrap();
        assert_eq!(back, spec);
    }

    #[test]
    fn what_is_too_large_or_not_finite_is_refused() {
        let body = ObservationBody::from(observation());
        let refusal = |body: ObservationBody| Observation::try_from(body).unwrap_err().to_string();

        let goal = |height: u32, width: u32, bytes: usize| {
            let picture = ImageBody {
                height,
                width,
                rgb: vec![0; bytes],
            };
            Some(GoalBody {
                images: [("top".to_owned(), picture)].into(),
                state: Vec::new(),
            })
        };
        let mut wide = body.clone();
        wide.goal = goal(1, 5000, 15_000);
        assert!(refusal(wide).contains("limit is 4096"));
        let mut short = body.clone();
        short.goal = goal(2, 2, 3);
        assert!(refusal(short).contains("found 3 bytes"));
        let mut long = body.clone();
        long.state = vec![0.0; MAX_ELEMENTS + 1];
        assert!(refusal(long).contains("limit is 65536"));
        let mut unknown = body.clone();
        unknown.goal.as_mut().unwrap().state[0] = f32::INFINITY;
        assert!(refusal(unknown).contains("goal"));
        let mut nan = body;
        nan.state[1] = f32::NAN;
        assert!(refusal(nan).contains("value 1 is not a finite number"));
    }

    #[test]
    fn an_empty_or_ragged_chunk_is_refused() {
        for actions in [
            vec![],
            vec![vec![0.0], vec![0.0, 1.0]],
            vec![vec![f32::INFINITY]],
        ] {
            let body = ChunkBody {
                actions,
                starts_at_secs: 0.0,
                period_secs: 0.1,
            };
            assert!(ActionChunk::try_from(body).is_err());
        }
    }
}

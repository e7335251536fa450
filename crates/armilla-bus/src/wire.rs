//! The messages' bodies, and, by file, the ways between them and the vocabulary of `armilla-core`.
//!
//! Everything that comes in is checked here once: sizes against limits, numbers for finiteness.

mod observation;
mod policy;
mod spec;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use armilla_core::Action;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{BusError, Result};
use crate::message::{Message, check_limit};
use crate::policy_server::ServedChunks;

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
    FeatureBody { dtype: String, shape: Vec<u32>, #[serde(deserialize_with = "bounded")] names: Vec<String>, }
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
        #[serde(default, deserialize_with = "bounded", skip_serializing_if = "Vec::is_empty")] earlier: Vec<ObservationBody>,
        #[serde(default, deserialize_with = "bounded", skip_serializing_if = "Vec::is_empty")] done: Vec<Vec<f32>>,
        #[serde(default, deserialize_with = "bounded", skip_serializing_if = "Vec::is_empty")] coming: Vec<Vec<f32>>,
        #[serde(default, skip_serializing_if = "Option::is_none")] leftover: Option<LeftoverBody>,
    }
}
wire! {
    /// What is left of the chunk that is carried out while a question is answered.
    LeftoverBody { #[serde(deserialize_with = "bounded")] actions: Vec<Vec<f32>>, delay_steps: u64, }
}
wire! {
    /// Questions to a policy.
    ActRequest = "act_request" { #[serde(deserialize_with = "bounded")] requests: Vec<PolicyRequestBody>, }
}
wire! {
    /// Commands for the steps to come.
    ChunkBody { #[serde(deserialize_with = "bounded")] actions: Vec<Vec<f32>>, starts_at_secs: f64, period_secs: f64, }
}
wire! {
    /// One chunk a question, in the order of the questions.
    ActReply = "act_reply" { #[serde(deserialize_with = "bounded")] chunks: Vec<ChunkBody>, }
}
wire! {
    /// Asks what a policy is.
    PolicySpecRequest = "policy_spec_request" {}
}
wire! {
    /// What a policy is. `history` is the number of observations, the present one included, that its questions should hold; `wants_actions`
    /// says whether these should tell what was done and what is coming, `continues` whether it heeds what is left over of a chunk.
    PolicySpecReply = "policy_spec" {
        name: String,
        history: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")] wants_actions: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")] continues: bool,
        #[serde(default, skip_serializing_if = "ServedChunks::tells_nothing")] chunks: ServedChunks,
    }
}
wire! {
    /// Begins an episode at a policy.
    PolicyResetRequest = "policy_reset_request" { episode: u64, }
}
wire! {
    /// Why a request was not carried out.
    ErrorReply = "error" { text: String, }
}

/// An action as it comes in.
pub(crate) fn action(values: Vec<f32>) -> Result<Action> {
    check_elements(values.len())?;
    armilla_core::error::check_finite("action", &values)?;
    Ok(Action(values))
}

/// Reads a list of what takes more in memory than on the wire, as lists and texts do that are empty, and refuses it at the limit.
fn bounded<'de, D, T>(deserializer: D) -> std::result::Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list of at most {MAX_ELEMENTS}")
        }

        fn visit_seq<A: SeqAccess<'de>>(
            self,
            mut elements: A,
        ) -> std::result::Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                if list.len() == MAX_ELEMENTS {
                    return Err(A::Error::invalid_length(MAX_ELEMENTS + 1, &self));
                }
                list.push(element);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(Bounded(PhantomData))
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
    use crate::fixtures::{Counter, picture, question};
    use crate::message::{decode, encode};
    use armilla_core::{
        ActionChunk, Environment as _, EnvironmentSpec, Goal, Info, Observation, Step,
    };

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
    fn a_list_beyond_the_limit_is_refused_while_it_is_read() {
        let read = |count: usize| {
            let mut asked = PolicyRequestBody::from(&question(0, 3));
            asked.done = vec![Vec::new(); count];
            let requests = vec![asked];
            decode::<ActRequest>(&encode(&ActRequest { requests }).unwrap())
        };
        let body = read(MAX_ELEMENTS).unwrap();
        assert_eq!(body.requests[0].done.len(), MAX_ELEMENTS);
        let error = read(MAX_ELEMENTS + 1).unwrap_err().to_string();
        let expected = "invalid length 65537, expected a list of at most 65536";
        assert!(error.contains(expected), "{error}");
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

//! A policy that lives on the bus.

use armilla_core::{ActionChunk, EpisodeId, Error, Image, Policy, PolicyRequest};

use crate::bus::Bus;
use crate::config::check_name;
use crate::environment_client::require_served;
use crate::error::Result;
use crate::message::check_limit;
use crate::policy_server::ServedChunks;
use crate::wire::{
    ActReply, ActRequest, ChunkBody, Done, PolicyResetRequest, PolicySpecReply, PolicySpecRequest,
};

/// Picture bytes that go into one query; more requests than fit go in several, one after the other.
const QUERY_BYTES: usize = 32 << 20;

/// Observations of one question, at most.
pub(crate) const MAX_HISTORY: usize = 256;

/// A served policy: a [`Policy`] like any other.
///
/// All requests of one call travel in one query as long as their pictures fit, so that the policy sees the same batch
/// as it would without a bus.
#[derive(Clone, Debug)]
pub struct RemotePolicy {
    bus: Bus,
    name: String,
    history: usize,
    wants_actions: bool,
    continues: bool,
    chunks: ServedChunks,
    /// Actions that are kept of an answer.
    most: usize,
}

impl RemotePolicy {
    /// Finds `policy/{name}`.
    ///
    /// # Errors
    ///
    /// [`Absent`](crate::BusError::Absent) when nobody serves it.
    pub fn connect(bus: &Bus, name: &str) -> Result<Self> {
        check_name(name)?;
        require_served(bus, &format!("policy/{name}"))?;
        let spec: PolicySpecReply =
            bus.ask(&format!("policy/{name}/spec"), &PolicySpecRequest {})?;
        let history = usize::try_from(spec.history).unwrap_or(usize::MAX);
        check_limit("the policy's history in observations", history, MAX_HISTORY)?;
        Ok(Self {
            bus: bus.clone(),
            name: name.to_owned(),
            history,
            wants_actions: spec.wants_actions,
            continues: spec.continues,
            chunks: spec.chunks,
            most: usize::MAX,
        })
    }

    /// What the server tells of its chunks.
    #[must_use]
    pub fn chunks(&self) -> ServedChunks {
        self.chunks
    }

    /// Gives of whole chunks the actions that are to be carried out before the next is asked for, as the policy would by itself.
    #[must_use]
    pub fn with_receding_chunks(self) -> Self {
        Self {
            most: self.chunks.receding.unwrap_or(usize::MAX).max(1),
            ..self
        }
    }

    fn ask(&self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>> {
        let request = ActRequest {
            requests: requests.iter().map(Into::into).collect(),
        };
        let reply: ActReply = self
            .bus
            .ask(&format!("policy/{}/act", self.name), &request)?;
        if reply.chunks.len() != requests.len() {
            let what = format!("policy `{}` on the bus", self.name);
            let expected = format!("{} chunks", requests.len());
            return Err(Error::invalid(what, expected, reply.chunks.len()).into());
        }
        let chunks = reply.chunks.into_iter();
        let shortened = |body: ChunkBody| {
            let mut chunk = ActionChunk::try_from(body)?;
            chunk.actions.truncate(self.most);
            Ok(chunk)
        };
        chunks.map(shortened).collect()
    }
}

impl Policy for RemotePolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn history(&self) -> usize {
        self.history
    }

    fn wants_actions(&self) -> bool {
        self.wants_actions
    }

    fn continues(&self) -> bool {
        self.continues
    }

    fn reset(&mut self, episode: EpisodeId) -> armilla_core::Result<()> {
        let key = format!("policy/{}/reset", self.name);
        let done: Result<Done> = self.bus.ask(&key, &PolicyResetRequest { episode });
        done.map(|_done| ())
            .map_err(|error| error.into_core("policy on the bus"))
    }

    fn act(&mut self, requests: &[PolicyRequest]) -> armilla_core::Result<Vec<ActionChunk>> {
        let mut chunks = Vec::with_capacity(requests.len());
        let mut rest = requests;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            let answered = self.ask(now);
            chunks.extend(answered.map_err(|error| error.into_core("policy on the bus"))?);
            rest = later;
        }
        Ok(chunks)
    }
}

/// How many of the first requests fit into one query; at least one.
fn fitting(requests: &[PolicyRequest]) -> usize {
    let mut bytes = 0;
    let fits = requests.iter().take_while(|request| {
        let all = request.earlier.iter().chain([&request.observation]);
        let pictures = all.flat_map(|observation| {
            let goals = observation.goal.iter().map(|goal| &goal.images);
            let images = std::iter::once(&observation.images).chain(goals);
            images.flat_map(|images| images.values())
        });
        bytes += pictures
            .map(|image: &Image| image.data().len())
            .sum::<usize>();
        bytes <= QUERY_BYTES
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{client, question, server};
    use armilla_core::Goal;

    #[test]
    fn large_batches_are_split_between_requests() {
        let mut large = question(0, 0);
        let goal = Image::filled(2048, 2048, [0; 3]);
        large.observation.goal = Some(Goal::picture("top", goal));
        let requests = vec![large; 5];
        assert_eq!(fitting(&requests), 2);
        assert_eq!(fitting(&requests[..1]), 1);
        assert_eq!(fitting(&vec![question(0, 0); 100]), 100);
    }

    #[test]
    fn an_absent_policy_is_named_with_what_is_there() {
        let bus = server();
        let error = RemotePolicy::connect(&client(&bus), "planner")
            .unwrap_err()
            .to_string();
        assert!(error.contains("`policy/planner` is not served"), "{error}");
    }
}

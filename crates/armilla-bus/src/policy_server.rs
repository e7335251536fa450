//! Serves a policy: requests that arrive together are answered by one call of it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use armilla_core::{ActionChunk, Policy, PolicyRequest};
use serde::{Deserialize, Serialize};
use zenoh::liveliness::LivelinessToken;
use zenoh::query::{Query, Queryable};

use crate::bus::Bus;
use crate::config::check_name;
use crate::environment_server::{announce, refuse_taken};
use crate::error::Result;
use crate::latency::{Latencies, Latency};
use crate::message::{MAX_PAYLOAD, check_limit};
use crate::policy_client::MAX_HISTORY;
use crate::wire::{
    self, ActReply, ActRequest, Done, PolicyResetRequest, PolicySpecReply, PolicySpecRequest,
};
use crate::workers::{Job, SMALL_PAYLOAD, Waiting, declare, guard, reply, request, spawn};

/// How a served policy is driven.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyOptions {
    /// Values an action has; chunks of another width never leave the server.
    pub action_width: usize,
    /// Requests after which a batch waits no longer. A client's own requests are never split.
    pub max_batch: usize,
    /// How long the first request of a batch waits for others.
    pub window: Duration,
    /// Queries that may wait; more are refused at once.
    pub queue: usize,
    /// Told to clients.
    pub chunks: ServedChunks,
}

/// What a server tells of a policy's chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServedChunks {
    /// Actions that are carried out before the next chunk is asked for, unless one is asked for earlier; none if that is not known.
    pub receding: Option<usize>,
    /// Whether answers hold all actions that are predicted, not those alone.
    pub whole: bool,
    /// If the checkpoint asks for it, all predictions of a step are averaged with weights `exp(-this * age)`.
    pub ensemble: Option<f64>,
}

impl ServedChunks {
    pub(crate) fn tells_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl PolicyOptions {
    /// The defaults, for actions of a width.
    #[must_use]
    pub fn new(action_width: usize) -> Self {
        Self {
            action_width,
            max_batch: 64,
            window: Duration::from_millis(1),
            queue: 256,
            chunks: ServedChunks::default(),
        }
    }
}

/// A policy on the bus, until it is dropped. The drop waits for the batch under way.
pub struct PolicyServer {
    token: Option<LivelinessToken>,
    keys: Vec<Queryable<()>>,
    queue: SyncSender<Job<Key>>,
    thread: Option<JoinHandle<()>>,
    latencies: Latencies,
}

#[derive(Clone, Copy)]
enum Key {
    Act,
    Reset,
    Spec,
}

impl PolicyServer {
    /// Serves a policy as `policy/{name}`.
    ///
    /// Episodes are told apart by the number that the client gives them, as in the policy itself, so clients of one
    /// policy have to choose different numbers.
    ///
    /// # Errors
    ///
    /// When the name is taken or cannot be part of a key, or the policy looks back on more observations than a question may hold.
    pub fn start(
        bus: &Bus,
        name: &str,
        policy: Box<dyn Policy>,
        options: PolicyOptions,
    ) -> Result<Self> {
        check_name(name)?;
        let history = policy.history();
        check_limit("the policy's history in observations", history, MAX_HISTORY)?;
        let root = format!("policy/{name}");
        refuse_taken(bus, &root)?;
        let (queue, jobs) = sync_channel(options.queue.max(1));
        let latencies = Latencies::default();
        let driver = Driver {
            policy,
            options,
            latencies: latencies.clone(),
        };
        let thread = spawn(&format!("policy-{name}"), move || driver.run(&jobs))?;
        // From here on a failure drops the server, which ends the thread.
        let mut server = Self {
            token: None,
            keys: Vec::new(),
            queue,
            thread: Some(thread),
            latencies,
        };
        for (last, key) in [
            ("act", (Key::Act, MAX_PAYLOAD)),
            ("reset", (Key::Reset, SMALL_PAYLOAD)),
            ("spec", (Key::Spec, SMALL_PAYLOAD)),
        ] {
            let declared = declare(bus, &format!("{root}/{last}"), key, server.queue.clone());
            server.keys.push(declared?);
        }
        server.token = Some(announce(bus, &root)?);
        Ok(server)
    }

    /// How long those who ask have waited; none before the first answer.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.latencies.summary()
    }
}

impl Drop for PolicyServer {
    fn drop(&mut self) {
        self.token = None;
        self.keys.clear();
        // Fails only when the thread is gone already.
        self.queue.send(None).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The thread's own: the policy, and the batches it is asked.
struct Driver {
    policy: Box<dyn Policy>,
    options: PolicyOptions,
    latencies: Latencies,
}

/// A query and what it asks.
struct Asked {
    job: Waiting<Key>,
    requests: Vec<PolicyRequest>,
}

impl Driver {
    fn run(mut self, jobs: &Receiver<Job<Key>>) {
        while let Ok(Some(first)) = jobs.recv() {
            let mut batch = Vec::new();
            let mut requests = self.take(first, &mut batch);
            let deadline = Instant::now() + self.options.window;
            let mut stop = false;
            while !batch.is_empty() && requests < self.options.max_batch && !stop {
                let left = deadline.saturating_duration_since(Instant::now());
                match jobs.recv_timeout(left) {
                    Ok(Some(job)) => requests += self.take(job, &mut batch),
                    Ok(None) => stop = true,
                    Err(_elapsed) => break,
                }
            }
            self.answer(batch);
            if stop {
                return;
            }
        }
    }

    /// Carries out a reset, or adds a question to the batch. Returns how many requests were added.
    fn take(&mut self, job: Waiting<Key>, batch: &mut Vec<Asked>) -> usize {
        let query = &job.query;
        match job.kind {
            Key::Reset => {
                reply(query, self.reset(query));
                0
            }
            Key::Spec => {
                let spec = PolicySpecReply {
                    name: self.policy.name().to_owned(),
                    history: self.policy.history() as u64,
                    wants_actions: self.policy.wants_actions(),
                    continues: self.policy.continues(),
                    chunks: self.options.chunks,
                };
                reply(query, request(query).map(|PolicySpecRequest {}| spec));
                0
            }
            Key::Act => match read(query) {
                Ok(requests) => {
                    let count = requests.len();
                    batch.push(Asked { job, requests });
                    count
                }
                Err(error) => {
                    reply::<ActReply>(query, Err(error));
                    0
                }
            },
        }
    }

    fn reset(&mut self, query: &Query) -> Result<Done> {
        let PolicyResetRequest { episode } = request(query)?;
        guard("the policy", || Ok(self.policy.reset(episode)?))?;
        Ok(Done {})
    }

    fn answer(&mut self, mut batch: Vec<Asked>) {
        if batch.is_empty() {
            return;
        }
        let counts: Vec<_> = batch.iter().map(|asked| asked.requests.len()).collect();
        let requests = batch.iter_mut();
        let requests: Vec<_> = requests
            .flat_map(|asked| asked.requests.drain(..))
            .collect();
        self.answer_each(&batch, &counts, &requests);
    }

    /// Answers queries of so many requests each together. One client's bad request is no other client's failure, nor may it cost the others
    /// much: where it fails halves are asked by themselves, down to the query that it was.
    fn answer_each(&mut self, batch: &[Asked], counts: &[usize], requests: &[PolicyRequest]) {
        match self.act(requests) {
            Ok(chunks) => {
                let mut chunks = chunks.into_iter();
                for (asked, &count) in batch.iter().zip(counts) {
                    respond(&asked.job.query, Ok(chunks.by_ref().take(count).collect()));
                }
                self.latencies
                    .note(batch.iter().map(|asked| asked.job.since.elapsed()));
            }
            Err(error) if batch.len() == 1 => {
                self.latencies.refuse(error.to_string());
                respond(&batch[0].job.query, Err(error));
            }
            Err(_) => {
                let half = batch.len() / 2;
                let (first, second) = counts.split_at(half);
                let (requests, rest) = requests.split_at(first.iter().sum());
                self.answer_each(&batch[..half], first, requests);
                self.answer_each(&batch[half..], second, rest);
            }
        }
    }

    /// Asks the policy, and lets nothing through that could not be sent to a robot.
    fn act(&mut self, requests: &[PolicyRequest]) -> Result<Vec<ActionChunk>> {
        let chunks = guard("the policy", || Ok(self.policy.act(requests)?))?;
        if chunks.len() != requests.len() {
            let what = format!("policy `{}`", self.policy.name());
            let expected = format!("{} chunks", requests.len());
            return Err(armilla_core::Error::invalid(what, expected, chunks.len()).into());
        }
        for chunk in &chunks {
            chunk.check(self.options.action_width)?;
        }
        Ok(chunks)
    }
}

fn read(query: &Query) -> Result<Vec<PolicyRequest>> {
    let ActRequest { requests } = request(query)?;
    wire::check_elements(requests.len())?;
    requests.into_iter().map(TryInto::try_into).collect()
}

fn respond(query: &Query, result: Result<Vec<ActionChunk>>) {
    let body = |chunks: Vec<ActionChunk>| ActReply {
        chunks: chunks.into_iter().map(Into::into).collect(),
    };
    reply(query, result.map(body));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RemotePolicy;
    use crate::fixtures::{Echo, client, question, server};
    use armilla_core::{Action, Leftover};
    use std::thread;
    use zenoh::Wait as _;

    #[test]
    fn chunks_come_back_in_the_order_of_the_requests() {
        let bus = server();
        let policy = Box::new(Echo::default());
        let largest = policy.largest_batch.clone();
        let seen = policy.most_earlier.clone();
        let chunks = ServedChunks {
            receding: Some(1),
            whole: true,
            ensemble: Some(0.01),
        };
        let options = PolicyOptions {
            chunks,
            ..PolicyOptions::new(2)
        };
        let server = PolicyServer::start(&bus, "echo", policy, options).unwrap();
        let mut remote = RemotePolicy::connect(&client(&bus), "echo").unwrap();
        assert_eq!(remote.chunks(), chunks);
        remote.reset(1).unwrap();
        let requests: Vec<_> = (0..40).map(|episode| question(episode, 3)).collect();
        let chunks = remote.act(&requests).unwrap();
        assert_eq!(chunks, Echo::default().act(&requests).unwrap());
        assert_eq!(chunks[17].actions[0].0, [17.0, 3.0]);
        assert_eq!(*largest.lock().unwrap(), 40);
        // The note follows the answer.
        thread::sleep(Duration::from_millis(50));
        let latency = server.latency().unwrap();
        assert_eq!((latency.answers, latency.batch_percent), (1, 100));
        assert!(latency.p50 > Duration::ZERO && latency.p50 <= latency.p99);
        let mut receding = remote.clone().with_receding_chunks();
        let short = receding.act(&requests[..1]).unwrap();
        assert_eq!(short[0].actions, chunks[0].actions[..1]);
        assert_eq!(remote.act(&[]).unwrap(), []);
        assert_eq!((remote.history(), remote.continues()), (3, true));
        assert!(remote.wants_actions());
        let mut asked = question(0, 3);
        asked.earlier = vec![asked.observation.clone(); 2];
        let action = |value: f32| Action(vec![value, -value]);
        (asked.done, asked.coming) = (vec![action(1.0), action(2.0)], vec![action(3.0)]);
        assert_eq!(*seen.lock().unwrap(), 0);
        let told = remote.act(std::slice::from_ref(&asked)).unwrap().remove(0);
        assert_eq!(told.actions[1..], [1.0, 2.0, 3.0].map(action));
        asked.leftover = Some(Leftover {
            actions: vec![Action(vec![7.0, 8.0])],
            delay_steps: 1,
        });
        let chunk = remote.act(&[asked]).unwrap().remove(0);
        assert_eq!(*seen.lock().unwrap(), 2, "what was before travels too");
        assert_eq!(
            chunk.actions[0].0,
            [7.0, 8.0],
            "and what is left of a chunk"
        );
    }

    #[test]
    fn clients_share_a_batch_and_no_failure() {
        let bus = server();
        let policy = Box::new(Echo::default());
        let (largest, calls) = (policy.largest_batch.clone(), policy.calls.clone());
        // All of them come within the window, which ends with the last.
        let options = PolicyOptions {
            window: Duration::from_secs(5),
            max_batch: 32,
            ..PolicyOptions::new(2)
        };
        let server = PolicyServer::start(&bus, "echo", policy, options).unwrap();
        let client = client(&bus);
        thread::scope(|scope| {
            for episode in 0..32 {
                let mut remote = RemotePolicy::connect(&client, "echo").unwrap();
                scope.spawn(move || {
                    // The policy refuses step 13 and makes NaN of step 14, for the one who asks only.
                    let step = [3, 13, 14].get(episode as usize).copied().unwrap_or(5);
                    let result = remote.act(&[question(episode, step)]);
                    match step {
                        13 => assert!(result.unwrap_err().to_string().contains("unlucky")),
                        14 => assert!(
                            result
                                .unwrap_err()
                                .to_string()
                                .contains("not a finite number")
                        ),
                        _ => assert_eq!(
                            result.unwrap()[0].actions[0].0,
                            [episode as f32, step as f32]
                        ),
                    }
                });
            }
        });
        assert_eq!(*largest.lock().unwrap(), 32);
        // All together, and two at most a halving for each of the two who fail; to ask each alone would be 33.
        let calls = *calls.lock().unwrap();
        assert!((11..=19).contains(&calls), "{calls}");
        // The note follows the answer.
        thread::sleep(Duration::from_millis(50));
        let latency = server.latency().unwrap();
        assert_eq!((latency.answers, latency.refused), (30, 2));
        assert!(latency.last_error.is_some());
    }

    #[test]
    fn a_wrong_width_and_a_panic_are_refused() {
        let bus = server();
        let policy = Box::new(Echo::default());
        let _server = PolicyServer::start(&bus, "echo", policy, PolicyOptions::new(3)).unwrap();
        let mut remote = RemotePolicy::connect(&client(&bus), "echo").unwrap();
        let error = remote.act(&[question(1, 1)]).unwrap_err().to_string();
        assert!(error.contains("expected 3 values, found 2"), "{error}");
        let error = remote.act(&[question(1, 666)]).unwrap_err().to_string();
        assert!(error.contains("panicked: number of the beast"), "{error}");
        assert!(remote.reset(2).is_ok());
    }

    #[test]
    fn a_message_beyond_all_limits_is_not_put_together_and_harms_nobody_else() {
        let bus = server();
        let policy = Box::new(Echo::default());
        let _server = PolicyServer::start(&bus, "echo", policy, PolicyOptions::new(2)).unwrap();
        let mut other = RemotePolicy::connect(&client(&bus), "echo").unwrap();
        let sender = client(&bus);
        let query = sender.session().get(sender.key("policy/echo/act"));
        let query = query.payload(vec![0; 2 * MAX_PAYLOAD]);
        let replies = query.timeout(Duration::from_secs(5)).wait().unwrap();
        // Who looks at a message says how large it was; here it never comes so far, and nobody answers.
        let answer = replies.recv().map(|reply| match reply.result() {
            Ok(_) => "an answer".to_owned(),
            Err(error) => String::from_utf8_lossy(&error.payload().to_bytes()).into_owned(),
        });
        let nobody = answer.as_ref().map_or(true, |text| text == "Timeout");
        assert!(nobody, "{answer:?}");
        assert_eq!(other.act(&[question(0, 3)]).unwrap().len(), 1);
    }

    #[test]
    fn a_name_is_served_once() {
        let bus = server();
        let start = || {
            PolicyServer::start(
                &bus,
                "echo",
                Box::new(Echo::default()),
                PolicyOptions::new(2),
            )
        };
        let first = start().unwrap();
        let error = start().err().unwrap().to_string();
        assert!(error.contains("`policy/echo` is served already"), "{error}");
        drop(first);
        assert!(start().is_ok());
    }
}

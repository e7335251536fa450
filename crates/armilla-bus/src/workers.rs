//! Named threads that answer queries from one bounded queue, so that zenoh's own threads never wait.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use zenoh::Wait as _;
use zenoh::query::{Query, Queryable};

use crate::bus::Bus;
use crate::error::{BusError, Result};
use crate::message::{Message, check_limit, decode, encode};
use crate::wire::ErrorReply;

/// Largest payload of a key that takes no pictures, in bytes.
pub(crate) const SMALL_PAYLOAD: usize = 1 << 20;
/// Bytes of all payloads of a key that wait for their answer.
const WAITING: usize = 1 << 30;

/// A query that waits. None asks one thread to end.
pub(crate) type Job<K> = Option<Waiting<K>>;

/// A query, which of a server's keys it came to, and when.
pub(crate) struct Waiting<K> {
    pub(crate) kind: K,
    pub(crate) query: Query,
    pub(crate) since: Instant,
    _held: Held,
}

/// A payload's share of the bytes that a key may hold, until it is dropped.
struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    fn new(all: &Arc<AtomicUsize>, bytes: usize) -> Result<Self> {
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        let held = Self {
            all: Arc::clone(all),
            bytes,
        };
        // Where it is too much, this gives it back.
        check_limit(
            "the bytes that wait for an answer",
            before.saturating_add(bytes),
            WAITING,
        )?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Declares a key whose queries, of so many bytes at most, go into a queue; what is larger, and what a full queue does not take, is answered at once.
pub(crate) fn declare<K: Copy + Send + Sync + 'static>(
    bus: &Bus,
    key: &str,
    (kind, largest): (K, usize),
    queue: SyncSender<Job<K>>,
) -> Result<Queryable<()>> {
    let all = Arc::new(AtomicUsize::new(0));
    let held = move |query: &Query| {
        let bytes = query.payload().map_or(0, |payload| payload.len());
        check_limit("the payload in bytes", bytes, largest)?;
        Held::new(&all, bytes)
    };
    let enqueue = move |query: Query| {
        let since = Instant::now();
        let _held = match held(&query) {
            Ok(held) => held,
            Err(error) => return reply::<ErrorReply>(&query, Err(error)),
        };
        let waiting = Waiting {
            kind,
            query,
            since,
            _held,
        };
        match queue.try_send(Some(waiting)) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => refuse(job, "the server is busy: its queue is full"),
            Err(TrySendError::Disconnected(job)) => refuse(job, "the server is stopping"),
        }
    };
    let declared = bus
        .session()
        .declare_queryable(bus.key(key))
        .callback(enqueue);
    declared
        .wait()
        .map_err(|error| BusError::failed(format!("serving `{key}`"), error))
}

fn refuse<K>(job: Job<K>, text: &str) {
    if let Some(Waiting { query, .. }) = job {
        reply::<ErrorReply>(&query, Err(BusError::Session(text.to_owned())));
    }
}

/// Threads that handle jobs in parallel until they are dropped; the drop waits for the jobs under way.
pub(crate) struct Workers<K> {
    queue: SyncSender<Job<K>>,
    threads: Vec<JoinHandle<()>>,
}

impl<K: Send + 'static> Workers<K> {
    /// Starts `count` threads behind a queue of `bound` jobs.
    pub(crate) fn start(
        name: &str,
        count: usize,
        bound: usize,
        handle: impl Fn(K, &Query) + Send + Sync + 'static,
    ) -> Result<Self> {
        let (queue, jobs) = sync_channel(bound);
        let jobs = Arc::new(Mutex::new(jobs));
        let handle = Arc::new(handle);
        let mut workers = Self {
            queue,
            threads: Vec::new(),
        };
        for index in 0..count.max(1) {
            let (jobs, handle) = (Arc::clone(&jobs), Arc::clone(&handle));
            let run = move || {
                while let Some(job) = next(&jobs) {
                    handle(job.kind, &job.query);
                }
            };
            workers
                .threads
                .push(spawn(&format!("{name}-{index}"), run)?);
        }
        Ok(workers)
    }

    /// Where jobs go in.
    pub(crate) fn queue(&self) -> SyncSender<Job<K>> {
        self.queue.clone()
    }
}

impl<K> Drop for Workers<K> {
    fn drop(&mut self) {
        for _ in &self.threads {
            // Fails only when every thread is gone already.
            self.queue.send(None).ok();
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn next<K>(jobs: &Mutex<Receiver<Job<K>>>) -> Job<K> {
    lock(jobs).recv().ok().flatten()
}

/// Starts a named thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| BusError::failed(format!("starting thread `{name}`"), error))
}

/// Reads the request of a query.
pub(crate) fn request<T: Message>(query: &Query) -> Result<T> {
    let payload = query.payload().map(|payload| payload.to_bytes());
    decode(payload.as_deref().unwrap_or_default())
}

/// Answers a query. A client that left is no failure of ours.
pub(crate) fn reply<T: Message>(query: &Query, result: Result<T>) {
    let sent = match result.and_then(|body| encode(&body)) {
        Ok(bytes) => query.reply(query.key_expr(), bytes).wait(),
        Err(error) => {
            let text = error.to_string();
            let bytes = encode(&ErrorReply { text }).unwrap_or_default();
            query.reply_err(bytes).wait()
        }
    };
    if let Err(error) = sent {
        tracing::debug!("answering `{}`: {error}", query.key_expr());
    }
}

/// Runs what may panic, and makes an error of the panic.
pub(crate) fn guard<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Err(BusError::Panicked {
            what: what.to_owned(),
            message: panic_message(panic.as_ref()),
        })
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Locks; a panic elsewhere is no reason to stop serving.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_beyond_what_may_wait_are_refused_until_others_are_answered() {
        let all = Arc::new(AtomicUsize::new(0));
        let most = Held::new(&all, WAITING - 1).unwrap();
        let rest = Held::new(&all, 1).unwrap();
        let error = Held::new(&all, 1).err().unwrap().to_string();
        let expected = format!(
            "the bytes that wait for an answer is {}, the limit is {WAITING}",
            WAITING + 1
        );
        assert!(error.contains(&expected), "{error}");
        // Nothing is held of what was refused.
        assert_eq!(all.load(Ordering::Relaxed), WAITING);
        drop(most);
        assert!(Held::new(&all, WAITING - 1).is_ok());
        drop(rest);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}

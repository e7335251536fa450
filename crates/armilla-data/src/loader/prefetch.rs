//! Batches ahead of their use.

use std::iter::FusedIterator;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use armilla_core::WindowBatch;

use super::WindowLoader;
use crate::error::{Error, Result};

/// The batches of a loader in order, computed ahead on threads of their own. It never ends by itself: an epoch follows the
/// other.
///
/// Dropping it stops the threads.
pub struct Batches {
    workers: Vec<Worker>,
    next: usize,
    /// Whether an error came, after which there is nothing.
    ended: bool,
    stop: Arc<AtomicBool>,
}

struct Worker {
    batches: Receiver<Result<WindowBatch>>,
    thread: JoinHandle<()>,
}

impl WindowLoader {
    /// Batches from a step on. `workers` threads compute one each, and each keeps one more ready, so that at most twice as many
    /// are in memory.
    ///
    /// # Errors
    ///
    /// When there is no worker, or no thread for one.
    pub fn batches(self: &Arc<Self>, from: u64, workers: usize) -> Result<Batches> {
        if workers == 0 {
            return Err(Error::invalid("workers", "at least one", workers));
        }
        let mut batches = Batches {
            workers: Vec::new(),
            next: 0,
            ended: false,
            stop: Arc::new(AtomicBool::new(false)),
        };
        for worker in 0..workers as u64 {
            let (loader, stop) = (Arc::clone(self), Arc::clone(&batches.stop));
            let (sender, receiver) = sync_channel(0);
            let steps = (from + worker..).step_by(workers);
            let run = move || loader.send_batches(steps, &sender, &stop);
            let thread = std::thread::Builder::new().name(format!("loader-{worker}"));
            let thread = thread
                .spawn(run)
                .map_err(|error| Error::invalid("loader", format!("{workers} threads"), error))?;
            batches.workers.push(Worker {
                batches: receiver,
                thread,
            });
        }
        Ok(batches)
    }

    /// Sends the batches of some steps until nobody takes them or one fails.
    fn send_batches(
        &self,
        steps: impl Iterator<Item = u64> + Send,
        sender: &SyncSender<Result<WindowBatch>>,
        stop: &AtomicBool,
    ) {
        // One window after the other within a batch: the batches are what is side by side.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build();
        for step in steps.take_while(|_| !stop.load(Ordering::Relaxed)) {
            let batch = match &pool {
                Ok(pool) => pool.install(|| self.batch(step)),
                Err(_) => self.batch(step),
            };
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }
}

impl Iterator for Batches {
    type Item = Result<WindowBatch>;

    /// The next batch, or why there is none; after an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let worker = &self.workers[self.next % self.workers.len()];
        // A worker goes before its loader does only by a panic, which has told of itself.
        let lost = |_| {
            Err(Error::OutOfOrder(
                "a loader's thread ended by a panic".to_owned(),
            ))
        };
        let batch = worker.batches.recv().unwrap_or_else(lost);
        self.next += 1;
        self.ended = batch.is_err();
        Some(batch)
    }
}

impl FusedIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for Worker { batches, thread } in self.workers.drain(..) {
            drop(batches);
            // A worker that panicked has said so.
            if thread.join().is_err() {
                tracing::error!("a loader's thread ended by a panic");
            }
        }
    }
}

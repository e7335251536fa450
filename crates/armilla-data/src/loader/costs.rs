//! Where a loader's time goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::WindowLoader;
use crate::dataset::Dataset;
use crate::video::costs::DecodingCosts;

/// What batches cost so far, in the time of the threads that computed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderCosts {
    /// Batches.
    pub batches: u64,
    /// All of it.
    pub total: Duration,
    /// What the frames of the datasets' videos cost, of whoever reads them.
    pub video: DecodingCosts,
}

/// Batches so far, and their nanoseconds.
#[derive(Default)]
pub(super) struct BatchCounters([AtomicU64; 2]);

impl BatchCounters {
    pub(super) fn add(&self, begin: Instant) {
        let nanoseconds = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0[0].fetch_add(1, Ordering::Relaxed);
        self.0[1].fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl WindowLoader {
    /// What batches cost so far.
    #[must_use]
    pub fn costs(&self) -> LoaderCosts {
        let [batches, nanoseconds] = [0, 1].map(|i| self.batch_costs.0[i].load(Ordering::Relaxed));
        let mut counted: Vec<&Arc<Dataset>> = Vec::new();
        let mut video = DecodingCosts::default();
        for source in &self.sources {
            // Several sources may be of one dataset.
            if counted
                .iter()
                .all(|known| !Arc::ptr_eq(known, &source.dataset))
            {
                counted.push(&source.dataset);
                video = video.plus(source.dataset.reader().decoders.costs.so_far());
            }
        }
        LoaderCosts {
            batches,
            total: Duration::from_nanos(nanoseconds),
            video,
        }
    }
}

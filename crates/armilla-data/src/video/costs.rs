//! Where the time of decoding goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the frames of videos cost so far, in the time of the threads that decoded them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodingCosts {
    /// Frames that were decoded, those too that others were built upon and nobody asked for.
    pub frames: u64,
    /// Reading them from files.
    pub reading: Duration,
    /// The decoder itself.
    pub decoding: Duration,
    /// Turning its planes into RGB.
    pub colors: Duration,
    /// Resizing and keeping the pictures.
    pub keeping: Duration,
}

impl DecodingCosts {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.reading + self.decoding + self.colors + self.keeping
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            reading: self.reading + other.reading,
            decoding: self.decoding + other.decoding,
            colors: self.colors + other.colors,
            keeping: self.keeping + other.keeping,
        }
    }
}

/// Costs that several threads add to, in nanoseconds.
#[derive(Default)]
pub(crate) struct Counters {
    frames: AtomicU64,
    reading: AtomicU64,
    decoding: AtomicU64,
    colors: AtomicU64,
    keeping: AtomicU64,
}

impl Counters {
    pub(crate) fn add(&self, costs: &DecodingCosts) {
        let add = |counter: &AtomicU64, time: Duration| {
            let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            counter.fetch_add(nanoseconds, Ordering::Relaxed);
        };
        self.frames.fetch_add(costs.frames, Ordering::Relaxed);
        add(&self.reading, costs.reading);
        add(&self.decoding, costs.decoding);
        add(&self.colors, costs.colors);
        add(&self.keeping, costs.keeping);
    }

    pub(crate) fn so_far(&self) -> DecodingCosts {
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        DecodingCosts {
            frames: self.frames.load(Ordering::Relaxed),
            reading: time(&self.reading),
            decoding: time(&self.decoding),
            colors: time(&self.colors),
            keeping: time(&self.keeping),
        }
    }
}

//! How long those who ask a server wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Answers that are remembered, the latest.
const REMEMBERED: usize = 10_000;

/// What is known of a server's latest answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Answers so far.
    pub answers: u64,
    /// Questions answered by one call, the mean over all calls, in hundredths.
    pub batch_percent: u64,
    /// From a question's arrival to its answer: half of the latest answers took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// Queries that were answered with an error so far; no answers in the sense of the others.
    pub refused: u64,
    /// The last of these errors.
    pub last_error: Option<String>,
}

/// Remembers how long answers took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    latest: VecDeque<Duration>,
    answers: u64,
    calls: u64,
    refused: u64,
    last_error: Option<String>,
}

impl Latencies {
    /// Notes what each of the questions took that were answered by one call.
    pub(crate) fn note(&self, took: impl IntoIterator<Item = Duration>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.calls += 1;
        for took in took {
            kept.answers += 1;
            kept.latest.push_back(took);
        }
        while kept.latest.len() > REMEMBERED {
            kept.latest.pop_front();
        }
    }

    /// Notes a query that got an error.
    pub(crate) fn refuse(&self, error: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.refused += 1;
        kept.last_error = Some(error);
    }

    /// None before the first answer or error. Where there were errors alone, nothing took any time.
    pub(crate) fn summary(&self) -> Option<Latency> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<Duration> = kept.latest.iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied()
        };
        let [p50, p99] = [50, 99].map(|percent| at(percent).unwrap_or_default());
        let any = kept.answers > 0 || kept.refused > 0;
        any.then(|| Latency {
            answers: kept.answers,
            batch_percent: 100 * kept.answers / kept.calls.max(1),
            p50,
            p99,
            refused: kept.refused,
            last_error: kept.last_error.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_latest_answers() {
        let latencies = Latencies::default();
        assert_eq!(latencies.summary(), None);
        latencies.note([Duration::from_secs(9); 100]);
        for batch in 0..REMEMBERED as u64 / 100 {
            let took = (1..=100).map(|step| Duration::from_millis(100 * batch + step));
            latencies.note(took);
        }
        let found = latencies.summary().unwrap();
        assert_eq!(found.answers, 10_100);
        assert_eq!(found.batch_percent, 10_000);
        assert_eq!(found.p50, Duration::from_millis(5000));
        assert_eq!(found.p99, Duration::from_millis(9900));
    }

    #[test]
    fn errors_are_no_answers() {
        let latencies = Latencies::default();
        latencies.refuse("first".to_owned());
        latencies.refuse("second".to_owned());
        let found = latencies.summary().unwrap();
        assert_eq!((found.answers, found.batch_percent), (0, 0));
        assert_eq!((found.refused, found.p99), (2, Duration::ZERO));
        assert_eq!(found.last_error.as_deref(), Some("second"));
    }
}

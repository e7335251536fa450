//! Parts of a batch side by side on the CPU's cores, each with threads of its own.
//!
//! Where all cores share every operation, they wake and wait for each other many times a layer. Parts of a batch that have a core
//! each meet once, at the end.

use std::ops::Range;
use std::sync::OnceLock;

use burn::tensor::Device;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::fused;

/// Pools of threads that share the cores evenly.
#[derive(Debug)]
pub struct Lanes(Vec<ThreadPool>);

impl Lanes {
    /// At most so many as are asked for, and at most one a core.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn new(count: usize) -> Result<Self, ThreadPoolBuildError> {
        let cores = rayon::current_num_threads();
        let lanes = count.clamp(1, cores);
        let pool = |lane| {
            ThreadPoolBuilder::new()
                .num_threads(cores / lanes)
                .thread_name(move |thread| format!("lane-{lane}-{thread}"))
                .build()
        };
        (0..lanes).map(pool).collect::<Result<_, _>>().map(Self)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What each piece of work finds, in their order; as many run at once as there are lanes.
    pub fn run<T: Send>(
        &self,
        works: impl IntoIterator<Item = impl FnOnce() -> T + Send>,
    ) -> Vec<T> {
        let mut works = works.into_iter().peekable();
        let mut found = Vec::new();
        while works.peek().is_some() {
            let mut group: Vec<_> = self.0.iter().map(|_| None).collect();
            let slots = self.0.iter().zip(works.by_ref()).zip(&mut group);
            together(&mut slots.map(|((lane, work), slot)| (lane, work, slot)));
            found.extend(group.into_iter().flatten());
        }
        found
    }
}

/// Starts each piece of work in its lane, and waits for all.
fn together<'a, T: Send + 'a>(
    works: &mut dyn Iterator<Item = (&'a ThreadPool, impl FnOnce() -> T + Send, &'a mut Option<T>)>,
) {
    if let Some((lane, work, slot)) = works.next() {
        lane.in_place_scope(|scope| {
            scope.spawn(|_| *slot = Some(work()));
            together(works);
        });
    }
}

/// What is found for parts of `0..rows`, in order: on the CPU one part a core side by side, each of at least `least` rows, or else a
/// single part. Within a part nothing is divided further.
pub fn side_by_side<T: Send>(
    device: &Device,
    rows: usize,
    least: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    static LANES: OnceLock<Option<Lanes>> = OnceLock::new();
    let most = rows / least.max(1);
    // Precision and the choice of operations are this thread's own, so work in another than f32 stays on it.
    let divided = most > 1 && fused::multiplies_on(device) && rayon::current_num_threads() > 1;
    // Where the system gives no more threads, all is done in one part.
    let lanes = divided
        .then(|| LANES.get_or_init(|| Lanes::new(usize::MAX).ok()).as_ref())
        .flatten();
    let Some(lanes) = lanes else {
        return vec![work(0..rows)];
    };
    let parts = lanes.count().min(most);
    let bound = |part: usize| rows * part / parts;
    let work = &work;
    lanes.run((0..parts).map(|part| move || work(bound(part)..bound(part + 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_rows_in_order() {
        let device = Device::flex();
        for (rows, least) in [(0, 1), (1, 1), (7, 2), (100, 1), (5, 10)] {
            let parts = side_by_side(&device, rows, least, |part| part.collect::<Vec<_>>());
            assert!(parts.len() == 1 || parts.iter().all(|part| part.len() >= least));
            assert_eq!(parts.concat(), (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn parts_are_not_divided_further() {
        let device = Device::flex();
        let parts = side_by_side(&device, 8, 1, |_| rayon::current_num_threads());
        assert!(parts.len() == 1 || parts.iter().all(|threads| *threads == 1));
    }

    #[test]
    fn more_works_than_lanes() {
        let lanes = Lanes::new(2).unwrap();
        let found = lanes.run((0..5).map(|work| move || work * work));
        assert_eq!(found, [0, 1, 4, 9, 16]);
    }
}

//! Vectors that the threads which fill them also clear, chunk by chunk, while the cache holds the chunk, or do not clear at all.
//!
//! `vec![0.0; length]` clears all of a vector on one thread before the work begins, and large results then travel to memory
//! and back once more than they need to.
#![allow(
    unsafe_code,
    reason = "the length of a vector is set once every chunk of it has been written"
)]

use std::cell::RefCell;
use std::mem::MaybeUninit;

use rayon::prelude::*;

/// How long a vector is, and how long a task's chunk of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) length: usize,
    pub(crate) chunk: usize,
}

/// A chunk that nobody has written to yet.
pub(crate) struct Blank<'a>(&'a mut [MaybeUninit<f32>]);

impl<'a> Blank<'a> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The chunk, all 0.
    pub(crate) fn cleared(self) -> &'a mut [f32] {
        self.0.fill(MaybeUninit::new(0.0));
        // SAFETY: each value was written just now.
        unsafe { self.0.assume_init_mut() }
    }

    /// The chunk with the values of a slice of its length.
    pub(crate) fn copied(self, from: &[f32]) -> &'a mut [f32] {
        self.0.write_copy_of_slice(from)
    }

    /// The chunk for a writer that says it writes every value.
    pub(crate) fn into_inner(self) -> &'a mut [MaybeUninit<f32>] {
        self.0
    }
}

/// Vectors of the given sizes, which divide into equally many chunks. `write` gets the blank chunks of a task and its number,
/// and gives them back written.
pub(crate) fn written<const N: usize, T: Send>(
    sizes: [Size; N],
    write: impl for<'a> Fn(usize, [Blank<'a>; N]) -> ([&'a mut [f32]; N], T) + Sync,
) -> ([Vec<f32>; N], Vec<T>) {
    let mut vectors = sizes.map(|size| Vec::with_capacity(size.length));
    let mut rests: [&mut [MaybeUninit<f32>]; N] = vectors.each_mut().map(Vec::spare_capacity_mut);
    let tasks = sizes
        .iter()
        .map(|size| size.length.div_ceil(size.chunk))
        .max()
        .unwrap_or(0);
    let mut chunks = Vec::with_capacity(tasks);
    for task in 0..tasks {
        chunks.push(std::array::from_fn(|vector| {
            let Size { length, chunk } = sizes[vector];
            let mine = chunk.min(length.saturating_sub(task * chunk));
            let (first, rest) = std::mem::take(&mut rests[vector]).split_at_mut(mine);
            rests[vector] = rest;
            Blank(first)
        }));
    }
    let found = chunks
        .into_par_iter()
        .enumerate()
        .map(|(task, chunks): (_, [Blank<'_>; N])| {
            let given = chunks
                .each_ref()
                .map(|chunk| (chunk.0.as_ptr().cast(), chunk.len()));
            let (written, found) = write(task, chunks);
            let same = written.map(|chunk| (chunk.as_ptr(), chunk.len())) == given;
            assert!(same, "a task gives back the chunks that it was given");
            found
        })
        .collect();
    for (vector, size) in vectors.iter_mut().zip(sizes) {
        // SAFETY: the chunks cover the first `length` values, and every task ran and gave its chunks back as written values:
        // `collect` waits for all and passes panics on.
        unsafe { vector.set_len(size.length) };
    }
    (vectors, found)
}

/// [`written`], the chunks cleared before.
pub(crate) fn fresh<const N: usize, T: Send>(
    sizes: [Size; N],
    write: impl Fn(usize, [&mut [f32]; N]) -> T + Sync,
) -> ([Vec<f32>; N], Vec<T>) {
    written(sizes, |task, chunks| {
        let mut chunks = chunks.map(Blank::cleared);
        let found = write(task, chunks.each_mut().map(|chunk| &mut **chunk));
        (chunks, found)
    })
}

/// One vector, in chunks of a given length, cleared before.
pub(crate) fn filled(
    length: usize,
    chunk: usize,
    write: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let ([vector], _) = fresh([Size { length, chunk }], |task, [chunk]| write(task, chunk));
    vector
}

/// Lends values that hold whatever the thread left in them, so that a block's values stay in the cache.
pub(crate) fn with_scratch<T>(length: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    // Taken, so that work which the thread begins while it waits for this one finds none and makes its own.
    let mut scratch = SCRATCH.take();
    if scratch.len() < length {
        scratch.resize(length, 0.0);
    }
    let found = work(&mut scratch[..length]);
    SCRATCH.set(scratch);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_cleared_and_cover_the_vectors() {
        let sizes = [(10, 4), (5, 2)].map(|(length, chunk)| Size { length, chunk });
        let ([first, second], sums) = fresh(sizes, |task, [first, second]| {
            assert!(first.iter().chain(&*second).all(|value| *value == 0.0));
            first.fill(task as f32);
            second.fill(10.0 * task as f32);
            first.len() + second.len()
        });
        assert_eq!(first, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(second, [0.0, 0.0, 10.0, 10.0, 20.0]);
        assert_eq!(sums, [6, 6, 3]);
        assert!(filled(0, 3, |_, _| panic!("no chunk")).is_empty());
    }

    #[test]
    #[should_panic(expected = "gives back the chunks")]
    fn chunks_must_be_written_whole() {
        let size = Size {
            length: 4,
            chunk: 4,
        };
        let _ = written([size], |_, [chunk]| ([&mut chunk.cleared()[1..]], ()));
    }
}

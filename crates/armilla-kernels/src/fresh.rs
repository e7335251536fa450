//! Vectors that the threads which fill them also clear, chunk by chunk, while the cache holds the chunk.
//!
//! `vec![0.0; length]` clears all of a vector on one thread before the work begins, and large results then travel to memory
//! and back once more than they need to.
#![allow(
    unsafe_code,
    reason = "the length of a vector is set once every chunk of it has been written"
)]

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// How long a vector is, and how long a task's chunk of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) length: usize,
    pub(crate) chunk: usize,
}

/// Vectors of the given sizes, which divide into equally many chunks. `write` gets the chunks of a task, cleared, and its number.
pub(crate) fn fresh<const N: usize, T: Send>(
    sizes: [Size; N],
    write: impl Fn(usize, [&mut [f32]; N]) -> T + Sync,
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
            first
        }));
    }
    let found = chunks
        .into_par_iter()
        .enumerate()
        .map(|(task, chunks): (_, [&mut [MaybeUninit<f32>]; N])| write(task, chunks.map(cleared)))
        .collect();
    for (vector, size) in vectors.iter_mut().zip(sizes) {
        // SAFETY: the chunks cover the first `length` values, and every task ran: `collect` waits for all and passes panics on.
        unsafe { vector.set_len(size.length) };
    }
    (vectors, found)
}

/// One vector, in chunks of a given length.
pub(crate) fn filled(
    length: usize,
    chunk: usize,
    write: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let ([vector], _) = fresh([Size { length, chunk }], |task, [chunk]| write(task, chunk));
    vector
}

fn cleared(chunk: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    chunk.fill(MaybeUninit::new(0.0));
    // SAFETY: each value was written just now.
    unsafe { chunk.assume_init_mut() }
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
}

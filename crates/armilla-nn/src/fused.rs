//! Where the CPU's fused operations are taken.

use std::cell::Cell;

use burn::tensor::Device;

use crate::precision::Precision;

thread_local! {
    static PLAIN: Cell<bool> = const { Cell::new(false) };
}

/// Runs something on this thread by burn's own operations, on the CPU too: what the fused ones are checked against.
pub fn plain<T>(work: impl FnOnce() -> T) -> T {
    let _before = Restore(PLAIN.replace(true));
    work()
}

/// Sets a thread back, also when the work panics.
struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        PLAIN.set(self.0);
    }
}

/// Whether fused operations run on a device and are wanted.
pub(crate) fn runs_on(device: &Device) -> bool {
    !PLAIN.get() && armilla_kernels::runs_on(device)
}

/// The same of matrix products and convolutions: the fused ones know f32 alone.
pub(crate) fn multiplies_on(device: &Device) -> bool {
    Precision::current() == Precision::F32 && runs_on(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burns_operations_are_taken_where_they_are_wanted() {
        let device = Device::flex();
        assert!(runs_on(&device) && multiplies_on(&device));
        assert!(!plain(|| runs_on(&device)) && runs_on(&device));
        let narrow = Precision::Bf16.scope(|| (runs_on(&device), multiplies_on(&device)));
        assert_eq!(narrow, (true, false));
    }
}

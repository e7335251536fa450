//! Loops in the vector instructions that the processor has.

/// Spent by the closure of [`vectorized`].
pub(crate) struct Spent;

impl Spent {
    #[inline(always)]
    pub(crate) fn spend(self) {}
}

/// Compiles an expression for the processors that `pulp` knows and runs the best that this one can.
///
/// The instructions reach the expression only if it is inlined. A closure that could be called again is called through a shim that
/// the compiler often does not inline, and then nothing is gained; one that spends what it holds has no shim.
macro_rules! vectorized {
    ($body:expr) => {{
        let spent = $crate::vector::Spent;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                spent.spend();
                $body
            },
        )
    }};
}
pub(crate) use vectorized;

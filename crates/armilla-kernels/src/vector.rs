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
/// the compiler often does not inline, and then nothing is gained; one that spends what it holds has no shim. For the same reason
/// loops inside are `for` loops: `Iterator::fold`, which `for_each` is, may stay a function of its own, for the oldest processor.
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

/// The sum of the lanes of a register, in pairs.
#[inline(always)]
pub(crate) fn sum_of_lanes<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The larger of two; NaN where the second is, so that it spreads.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The largest of the lanes of a register, in pairs.
#[inline(always)]
pub(crate) fn largest_lane<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = larger(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

//! Bounds of sizes: settings come from files that anyone can have written.

use crate::error::{Result, ensure};

/// No width, side or count is larger.
pub(crate) const LARGEST: usize = 1 << 16;
/// No stack of layers is deeper.
const DEEPEST: usize = 1 << 10;
/// No picture is halved or doubled more often.
pub(crate) const MOST_DOUBLINGS: usize = 8;
/// No plan is longer, in model steps.
pub(crate) const LONGEST_PLAN: usize = 1 << 12;
/// No plan with colored noise has more actions: its waves are a matrix of as many rows and columns.
pub(crate) const MOST_COLORED: usize = 1 << 10;
/// No problem's candidates are of more numbers in all: a gibibyte.
pub(crate) const MOST_DRAWN: usize = 1 << 28;

/// Fails with the first size that nothing can have.
pub(crate) fn sizes(found: &[(&str, usize)]) -> Result<()> {
    for &(key, value) in found {
        let expected = format!("at least 1, at most {LARGEST}");
        ensure((1..=LARGEST).contains(&value), key, expected, value)?;
    }
    Ok(())
}

/// Fails if a stack of layers is deeper than any.
pub(crate) fn depth(key: &str, value: usize) -> Result<()> {
    ensure(value <= DEEPEST, key, format!("up to {DEEPEST}"), value)
}

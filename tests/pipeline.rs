//! The stages, end to end.

//! TwoRoom

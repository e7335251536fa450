//! armilla-imagine

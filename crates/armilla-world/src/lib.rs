//! armilla-world

//! armilla-bus

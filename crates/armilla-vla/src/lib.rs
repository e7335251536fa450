//! armilla-vla

//! armilla-train

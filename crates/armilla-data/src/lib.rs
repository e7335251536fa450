//! armilla-data

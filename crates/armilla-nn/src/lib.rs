//! armilla-nn

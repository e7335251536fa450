//! armilla-envs

//! armilla-viz

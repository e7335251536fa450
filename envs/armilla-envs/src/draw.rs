//! The camera: a thin layer over `tiny-skia`.

//! Tabletop

//! Environments and their protocols by name.

use armilla_core::{Error, Result};

use crate::simulator::Simulator;
use crate::{push_t, tabletop, two_room, variation};

/// Which environment, which episodes, which camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentConfig {
    /// `two-room`, `push-t`, `push-t-moves` or `tabletop`.
    pub name: String,
    /// One of the environment's protocols, such as `crossing`; with a [`Variation`](crate::Variation), `crossing:colors`.
    pub protocol: String,
    /// Side of the square camera picture in pixels: 64, 96 or 224.
    pub image_size: usize,
}

/// Names of the environments and the protocols each knows.
pub const PROTOCOLS: [(&str, &[&str]); 4] = [
    ("two-room", two_room::PROTOCOLS),
    ("push-t", push_t::PROTOCOLS),
    ("push-t-moves", push_t::PROTOCOLS),
    ("tabletop", tabletop::PROTOCOLS),
];

/// Makes the simulator that a configuration names.
///
/// # Errors
///
/// [`Error::Invalid`] for an unknown name, protocol or picture size, listing what there is.
pub fn make(config: &EnvironmentConfig) -> Result<Box<dyn Simulator>> {
    let Some((_, protocols)) = PROTOCOLS.iter().find(|(name, _)| *name == config.name) else {
        return Err(Error::invalid(
            "environment",
            format!("one of {:?}", PROTOCOLS.map(|p| p.0)),
            &config.name,
        ));
    };
    let (base, _) = variation::split(&config.protocol)?;
    if !protocols.contains(&base) {
        return Err(Error::invalid(
            format!("protocol of environment {}", config.name),
            format!("one of {protocols:?}"),
            base,
        ));
    }
    if ![64, 96, 224].contains(&config.image_size) {
        return Err(Error::invalid(
            "image_size",
            "64, 96 or 224 pixels",
            config.image_size,
        ));
    }
    let push_t = |actions| push_t::PushT::new(actions, &config.protocol, config.image_size);
    Ok(match config.name.as_str() {
        "push-t" => Box::new(push_t(push_t::Actions::Places)?),
        "push-t-moves" => Box::new(push_t(push_t::Actions::Moves)?),
        "tabletop" => Box::new(tabletop::Tabletop::new(
            &config.protocol,
            config.image_size,
        )?),
        _ => Box::new(two_room::TwoRoom::new(&config.protocol, config.image_size)?),
    })
}

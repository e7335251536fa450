//! Settings of the bus.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{BusError, Result};

/// Where the bus is and how long to wait on it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusConfig {
    /// `tcp/HOST:PORT`. Without one, who serves picks a free port of `127.0.0.1`; who connects needs one.
    pub endpoint: Option<String>,
    /// First part of every key; processes with different prefixes do not see each other.
    pub prefix: String,
    /// How long to try to connect, in seconds.
    pub connect_timeout_secs: f64,
    /// How long to wait for a reply, in seconds.
    pub query_timeout_secs: f64,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            prefix: "armilla".to_owned(),
            // With the program's own start it stays below five seconds until a person is told.
            connect_timeout_secs: 4.0,
            query_timeout_secs: 10.0,
        }
    }
}

impl BusConfig {
    /// The defaults, at an endpoint.
    #[must_use]
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: Some(endpoint.into()),
            ..Self::default()
        }
    }

    /// Checks what can be checked without opening anything.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.prefix.split('/').all(is_name) {
            return Err(BusError::Config {
                key: "prefix",
                expected: NAME_RULE,
                found: self.prefix.clone(),
            });
        }
        self.connect_timeout()?;
        self.query_timeout()?;
        self.endpoint.as_deref().map_or(Ok(()), |endpoint| {
            socket_address(endpoint).map(|_address| ())
        })
    }

    pub(crate) fn connect_timeout(&self) -> Result<Duration> {
        duration("connect_timeout_secs", self.connect_timeout_secs)
    }

    pub(crate) fn query_timeout(&self) -> Result<Duration> {
        duration("query_timeout_secs", self.query_timeout_secs)
    }
}

const NAME_RULE: &str = "letters, digits, `-`, `_` and `.`";

/// Checks a served name: one part of a key.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(BusError::Config {
        key: "name",
        expected: NAME_RULE,
        found: name.to_owned(),
    })
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(fits)
}

/// `HOST:PORT` of `tcp/HOST:PORT`, with a port that can be named to others.
pub(crate) fn socket_address(endpoint: &str) -> Result<&str> {
    endpoint
        .strip_prefix("tcp/")
        .filter(|address| match address.rsplit_once(':') {
            Some((host, port)) => {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            }
            None => false,
        })
        .ok_or_else(|| BusError::Config {
            key: "endpoint",
            expected: "tcp/HOST:PORT with a port above 0, such as tcp/127.0.0.1:7447",
            found: endpoint.to_owned(),
        })
}

/// Zero would mean for ever to zenoh, so it is refused.
fn duration(key: &'static str, secs: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(secs)
        .ok()
        .filter(|duration| *duration >= Duration::from_millis(1) && secs <= 86_400.0)
        .ok_or_else(|| BusError::Config {
            key,
            expected: "seconds, from 0.001 to 86400",
            found: secs.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_name_their_key() {
        let faulty = [
            BusConfig::at("udp/127.0.0.1:7447"),
            BusConfig::at("tcp/127.0.0.1:0"),
            BusConfig {
                prefix: "a/*".to_owned(),
                ..BusConfig::default()
            },
            BusConfig {
                query_timeout_secs: 0.0,
                ..BusConfig::default()
            },
            BusConfig {
                connect_timeout_secs: f64::NAN,
                ..BusConfig::default()
            },
        ];
        let keys = [
            "endpoint",
            "endpoint",
            "prefix",
            "query_timeout_secs",
            "connect_timeout_secs",
        ];
        for (config, key) in faulty.iter().zip(keys) {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        assert!(BusConfig::at("tcp/[::1]:7447").check().is_ok());
    }
}

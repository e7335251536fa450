//! An open connection to the bus, as its router or as a client of it.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zenoh::Wait as _;
use zenoh::handlers::FifoChannelHandler;
use zenoh::query::{ConsolidationMode, Reply};
use zenoh::session::Session;

use crate::config::{BusConfig, socket_address};
use crate::error::{BusError, Result};
use crate::message::{MAX_PAYLOAD, Message, decode, encode};
use crate::wire::ErrorReply;

/// How often to pick another free port when somebody takes the picked one first.
const PORT_ATTEMPTS: usize = 10;
/// What zenoh adds to a payload, at most, in bytes: keys and headers.
const OVERHEAD: usize = 1 << 20;

/// An open connection to the bus. Clones share it; the last one closes it.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Open>);

#[derive(Debug)]
struct Open {
    session: Session,
    endpoint: String,
    prefix: String,
    query_timeout: Duration,
    environment_sessions: AtomicU64,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Err(error) = self.session.close().wait() {
            tracing::debug!("closing the bus at {}: {error}", self.endpoint);
        }
    }
}

impl Bus {
    /// Opens the bus's router on the configured endpoint, or on a free port of `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// [`BusError::Occupied`] at once when the endpoint cannot be listened on, [`BusError::Config`] for a setting that
    /// cannot be used.
    pub fn serve(config: &BusConfig) -> Result<Self> {
        config.check()?;
        if let Some(endpoint) = &config.endpoint {
            return Self::serve_at(config, endpoint);
        }
        // Port 0 cannot be read back from zenoh, so a free port is picked first, and again if it is lost meanwhile.
        let mut attempt = 1;
        loop {
            match Self::serve_at(config, &free_endpoint()?) {
                Err(BusError::Occupied { .. }) if attempt < PORT_ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn serve_at(config: &BusConfig, endpoint: &str) -> Result<Self> {
        let occupied = |reason: String| BusError::Occupied {
            endpoint: endpoint.to_owned(),
            reason,
        };
        // The system's own words are clearer than zenoh's, and come at once.
        TcpListener::bind(socket_address(endpoint)?)
            .map_err(|error| occupied(error.to_string()))?;
        let settings = [
            ("mode", r#""router""#.to_owned()),
            ("listen/endpoints", format!("[{endpoint:?}]")),
            ("listen/timeout_ms", "0".to_owned()),
            ("listen/exit_on_failure", "true".to_owned()),
            ("connect/endpoints", "[]".to_owned()),
            // A router waits for that long at its start, for scouting that is off.
            ("scouting/delay", "0".to_owned()),
        ];
        Self::open(config, endpoint, &settings).map_err(|error| occupied(error.to_string()))
    }

    /// Connects to the bus's router at the configured endpoint, and keeps trying until `connect_timeout_secs` are over.
    ///
    /// # Errors
    ///
    /// [`BusError::Unreachable`] when nobody answers, [`BusError::Config`] for a setting that cannot be used.
    pub fn connect(config: &BusConfig) -> Result<Self> {
        config.check()?;
        let endpoint = config.endpoint.as_deref().ok_or(BusError::Config {
            key: "endpoint",
            expected: "the endpoint that the serving process printed, tcp/HOST:PORT",
            found: String::new(),
        })?;
        let settings = [
            ("mode", r#""client""#.to_owned()),
            ("listen/endpoints", "[]".to_owned()),
            ("connect/endpoints", format!("[{endpoint:?}]")),
            (
                "connect/timeout_ms",
                config.connect_timeout()?.as_millis().to_string(),
            ),
            ("connect/exit_on_failure", "true".to_owned()),
            (
                "connect/retry",
                "{ period_init_ms: 50, period_max_ms: 500, period_increase_factor: 2 }".to_owned(),
            ),
        ];
        Self::open(config, endpoint, &settings).map_err(|error| BusError::Unreachable {
            endpoint: endpoint.to_owned(),
            timeout_secs: config.connect_timeout_secs,
            reason: error.to_string(),
        })
    }

    fn open(config: &BusConfig, endpoint: &str, settings: &[(&str, String)]) -> Result<Self> {
        let mut zenoh_config = zenoh::Config::default();
        let most = MAX_PAYLOAD + OVERHEAD;
        let common = [
            ("scouting/multicast/enabled", "false".to_owned()),
            ("scouting/gossip/enabled", "false".to_owned()),
            // zenoh's own limit is a gibibyte, and it puts a message together before anyone can look at it.
            ("transport/link/rx/max_message_size", most.to_string()),
        ];
        for (key, value) in settings.iter().chain(&common) {
            let set = zenoh_config.insert_json5(key, value);
            set.map_err(|error| BusError::failed(format!("setting {key} to {value}"), error))?;
        }
        let session = zenoh::open(zenoh_config).wait();
        Ok(Self(Arc::new(Open {
            session: session.map_err(|error| BusError::failed("opening zenoh", error))?,
            endpoint: endpoint.to_owned(),
            prefix: config.prefix.clone(),
            query_timeout: config.query_timeout()?,
            environment_sessions: AtomicU64::new(0),
        })))
    }

    /// Where the bus is, for others to connect to.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// Who is served on the bus at this moment: `robot/NAME` and `policy/NAME`, sorted.
    ///
    /// # Errors
    ///
    /// When the bus does not answer.
    pub fn list(&self) -> Result<Vec<String>> {
        self.alive("*/*")
    }

    /// The liveliness tokens that match a key, without the prefix, sorted.
    pub(crate) fn alive(&self, key: &str) -> Result<Vec<String>> {
        let failed = |error| BusError::failed(format!("listing `{key}`"), error);
        let liveliness = self.session().liveliness();
        let query = liveliness.get(self.key(key)).timeout(self.0.query_timeout);
        let replies = query.wait().map_err(failed)?;
        let mut found = Vec::new();
        while let Ok(reply) = replies.recv() {
            let sample = reply
                .into_result()
                .map_err(|error| self.reply_error(key, &error))?;
            let alive = sample.key_expr().as_str();
            let name = alive.strip_prefix(&self.0.prefix).unwrap_or(alive);
            found.push(name.trim_start_matches('/').to_owned());
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask<Q: Message, R: Message>(&self, key: &str, request: &Q) -> Result<R> {
        let replies = self.send(key, request)?;
        // One reply, or an error, or the end of the replies without any.
        let Ok(reply) = replies.recv() else {
            return Err(BusError::Gone {
                key: key.to_owned(),
                endpoint: self.0.endpoint.clone(),
            });
        };
        match reply.result() {
            Ok(sample) => decode(&sample.payload().to_bytes()),
            Err(error) => Err(self.reply_error(key, error)),
        }
    }

    fn send<Q: Message>(&self, key: &str, request: &Q) -> Result<FifoChannelHandler<Reply>> {
        let query = self.session().get(self.key(key)).payload(encode(request)?);
        query
            .consolidation(ConsolidationMode::None)
            .timeout(self.0.query_timeout)
            .wait()
            .map_err(|error| BusError::failed(format!("asking `{key}`"), error))
    }

    /// Sends a request whose reply nobody needs.
    pub(crate) fn tell<Q: Message>(&self, key: &str, request: &Q) -> Result<()> {
        let query = self.session().get(self.key(key)).payload(encode(request)?);
        query
            .callback(|_reply| {})
            .wait()
            .map_err(|error| BusError::failed(format!("telling `{key}`"), error))
    }

    fn reply_error(&self, key: &str, error: &zenoh::query::ReplyError) -> BusError {
        let bytes = error.payload().to_bytes();
        // zenoh's own words, when it gives up waiting.
        if bytes.as_ref() == b"Timeout" {
            return BusError::Timeout {
                key: key.to_owned(),
                endpoint: self.0.endpoint.clone(),
                timeout_secs: self.0.query_timeout.as_secs_f64(),
            };
        }
        match decode::<ErrorReply>(&bytes) {
            Ok(ErrorReply { text }) => BusError::Remote {
                key: key.to_owned(),
                text,
            },
            Err(error) => error,
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.0.session
    }

    /// A key with the prefix before it.
    pub(crate) fn key(&self, rest: &str) -> String {
        format!("{}/{rest}", self.0.prefix)
    }

    /// A number that no other session of an environment has: zenoh's identity is random, the count is ours.
    pub(crate) fn next_environment_session(&self) -> u64 {
        let count = self.0.environment_sessions.fetch_add(1, Ordering::Relaxed);
        let mut key = self.session().zid().to_le_bytes().to_vec();
        key.extend(count.to_le_bytes());
        armilla_core::random::fnv1a(&key)
    }
}

fn free_endpoint() -> Result<String> {
    let failed = |error| BusError::failed("looking for a free port", error);
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(format!("tcp/{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn an_occupied_endpoint_says_so_at_once() {
        let bus = Bus::serve(&BusConfig::default()).unwrap();
        let start = Instant::now();
        let error = Bus::serve(&BusConfig::at(bus.endpoint())).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(matches!(error, BusError::Occupied { .. }));
        let text = error.to_string();
        assert!(
            text.contains(bus.endpoint()) && text.contains("in use"),
            "{text}"
        );
    }

    #[test]
    fn an_unreachable_endpoint_says_so_in_time() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mute = format!("tcp/{}", silent.local_addr().unwrap());
        for endpoint in [free_endpoint().unwrap(), mute] {
            let config = BusConfig {
                connect_timeout_secs: 0.4,
                ..BusConfig::at(&endpoint)
            };
            let start = Instant::now();
            let error = Bus::connect(&config).unwrap_err();
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "{:?}",
                start.elapsed()
            );
            assert!(matches!(error, BusError::Unreachable { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&endpoint) && text.contains("0.4 s"), "{text}");
        }
    }

    #[test]
    fn a_client_needs_an_endpoint() {
        let error = Bus::connect(&BusConfig::default()).unwrap_err().to_string();
        assert!(error.contains("endpoint"), "{error}");
    }
}

//! What can go wrong on the bus.

/// A failure on the bus, or on the other side of it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// A setting, an endpoint or a name that cannot be used.
    #[error("bus {key}: expected {expected}, found `{found}`")]
    Config {
        /// Which setting.
        key: &'static str,
        /// What would have been right.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// The endpoint to serve on cannot be listened on.
    #[error(
        "bus endpoint {endpoint} cannot be served on: {reason}; stop what listens there, or choose another endpoint \
         (without one a free port is picked)"
    )]
    Occupied {
        /// The endpoint.
        endpoint: String,
        /// What the system says.
        reason: String,
    },
    /// No router answered at the endpoint.
    #[error(
        "nothing on the bus answers at {endpoint} within {timeout_secs} s ({reason}); start the serving process first, \
         or give the endpoint that it printed"
    )]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// How long was tried, in seconds.
        timeout_secs: f64,
        /// What zenoh says.
        reason: String,
    },
    /// Nobody serves under this name.
    #[error("`{key}` is not served on the bus at {endpoint}; served there: {served:?}")]
    Absent {
        /// `robot/NAME` or `policy/NAME`.
        key: String,
        /// The endpoint.
        endpoint: String,
        /// What is served instead.
        served: Vec<String>,
    },
    /// Somebody else serves under this name.
    #[error(
        "`{key}` is served already on the bus at {endpoint}; choose another name or stop the other server"
    )]
    Taken {
        /// `robot/NAME` or `policy/NAME`.
        key: String,
        /// The endpoint.
        endpoint: String,
    },
    /// No reply in time.
    #[error(
        "`{key}` on the bus at {endpoint} did not answer within {timeout_secs} s; its server hangs, or needs longer than \
         `query_timeout_secs` (`armilla eval --reply-timeout SECONDS`)"
    )]
    Timeout {
        /// The key that was asked.
        key: String,
        /// The endpoint.
        endpoint: String,
        /// How long was waited, in seconds.
        timeout_secs: f64,
    },
    /// The server went away, before the request or during it.
    #[error(
        "`{key}` on the bus at {endpoint} is gone: its server has stopped or died; start it again"
    )]
    Gone {
        /// The key that was asked.
        key: String,
        /// The endpoint.
        endpoint: String,
    },
    /// The server answered that it could not.
    #[error("`{key}` on the bus: {text}")]
    Remote {
        /// The key that was asked.
        key: String,
        /// The server's words.
        text: String,
    },
    /// The peer speaks another version of the messages.
    #[error(
        "bus message `{kind}` has version {found}, this program speaks version {expected}; run the same release on both sides"
    )]
    Version {
        /// Kind of the message, as far as it could be read.
        kind: String,
        /// Version of the message.
        found: u16,
        /// Our version.
        expected: u16,
    },
    /// A message that cannot be read as what it should be.
    #[error("bus message: expected `{expected}`, found {found}")]
    Malformed {
        /// The message that was expected.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// A message, or a part of it, beyond its limit.
    #[error("bus message: {what} is {found}, the limit is {limit}")]
    TooLarge {
        /// Which size.
        what: &'static str,
        /// The size.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A session whose state does not fit the request.
    #[error("{0}")]
    Session(String),
    /// What stands behind a server failed.
    #[error(transparent)]
    Core(#[from] armilla_core::Error),
    /// A panic of what stands behind a server.
    #[error("{what} panicked: {message}")]
    Panicked {
        /// Whose panic.
        what: String,
        /// Its message.
        message: String,
    },
    /// zenoh or the system failed.
    #[error("bus: {doing}: {reason}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What zenoh or the system says.
        reason: String,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, BusError>;

impl BusError {
    /// A [`BusError::Failed`] from what zenoh or the system says.
    pub(crate) fn failed(doing: impl Into<String>, reason: impl ToString) -> Self {
        Self::Failed {
            doing: doing.into(),
            reason: without_source_places(&reason.to_string()),
        }
    }

    /// Whether the server read the request and refused it, so that its state is known.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Self::Remote { .. })
    }

    /// As the error of the traits in `armilla-core`.
    pub(crate) fn into_core(self, doing: &str) -> armilla_core::Error {
        match self {
            Self::Core(error) => error,
            error => armilla_core::Error::behind(doing, error),
        }
    }
}

/// Leaves out the `at FILE.rs:LINE.` that zenoh puts behind its messages: it names folders of the machine that built it.
fn without_source_places(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        if word.contains(".rs:") && kept.last() == Some(&"at") {
            kept.pop();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_sources_are_left_out() {
        let text =
            "Unable to connect. Timeout! at /home/me/zenoh-1.10.2/src/net/orchestrator.rs:388.";
        assert_eq!(without_source_places(text), "Unable to connect. Timeout!");
        let text = "nothing at tcp/127.0.0.1:7 answers";
        assert_eq!(without_source_places(text), text);
    }
}

//! Requests to the hub: who asks, how long to wait, and what a refusal means.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

use crate::error::{Error, Result};
use crate::hub::Settings;

/// Bytes of an answer that is read whole, at most.
const LARGEST_ANSWER: u64 = 64 << 20;
/// Bytes of a refusal's text that are shown, at most.
const LARGEST_PROBLEM: usize = 300;
/// A connection that says nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts that get nowhere before giving up.
pub(crate) const ATTEMPTS: u32 = 5;

/// Speaks to one hub.
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    pause: Duration,
}

impl Client {
    pub(crate) fn new(settings: &Settings) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A download is redirected to a store elsewhere, which must not see the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("armilla/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_per_write(Some(PATIENCE))
            .build();
        Self {
            agent: config.into(),
            endpoint: settings.endpoint.trim_end_matches('/').to_owned(),
            token: settings.token.clone(),
            pause: settings.retry_pause,
        }
    }

    /// An address of the hub.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// An agent without the token, for stores that the hub names.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Adds the token, if there is one and the hub itself is asked: a store that it names must not see it.
    pub(crate) fn signed<B>(&self, url: &str, request: RequestBuilder<B>) -> RequestBuilder<B> {
        let rest = url.strip_prefix(&self.endpoint);
        let own = rest.is_some_and(|rest| rest.starts_with('/'));
        match self.token.as_ref().filter(|_| own) {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// Waits before the next of several attempts, longer each time.
    pub(crate) fn wait(&self, attempt: u32) {
        std::thread::sleep(self.pause * 2_u32.saturating_pow(attempt.min(5)));
    }

    /// Does something again while the network fails or the hub is busy.
    pub(crate) fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let mut failures = 0;
        loop {
            match attempt() {
                Err(error) if is_passing(&error) && failures + 1 < ATTEMPTS => {
                    say_again(&error);
                    self.wait(failures);
                    failures += 1;
                }
                found => return found,
            }
        }
    }

    /// Asks for JSON.
    pub(crate) fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        self.retry(|| {
            let sent = self.signed(url, self.agent.get(url)).call();
            read_json(url, accepted(url, sent)?)
        })
    }

    /// Posts JSON, and reads the answer.
    pub(crate) fn post_json<T: DeserializeOwned>(
        &self,
        url: &str,
        body: &impl Serialize,
        media_type: &str,
    ) -> Result<T> {
        let text = serde_json::to_vec(body).map_err(|error| Error::Answer {
            url: url.to_owned(),
            expected: "a body for it",
            found: error.to_string(),
        })?;
        self.post(url, &text, media_type)
    }

    /// Posts bytes, and reads the answer as JSON.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        body: &[u8],
        media_type: &str,
    ) -> Result<T> {
        self.retry(|| read_json(url, self.post_once(url, body, media_type)?))
    }

    /// Posts bytes whose answer says no more than that they were taken.
    pub(crate) fn post_accepted(&self, url: &str, body: &[u8], media_type: &str) -> Result<()> {
        self.retry(|| self.post_once(url, body, media_type).map(drop))
    }

    fn post_once(&self, url: &str, body: &[u8], media_type: &str) -> Result<Response<Body>> {
        let request = self.signed(url, self.agent.post(url));
        let answer = if media_type == NDJSON {
            JSON
        } else {
            media_type
        };
        let request = request
            .header("content-type", media_type)
            .header("accept", answer);
        accepted(url, request.send(body))
    }

    /// Deletes what is at an address.
    pub(crate) fn delete(&self, url: &str) -> Result<()> {
        self.retry(|| accepted(url, self.signed(url, self.agent.delete(url)).call()).map(drop))
    }
}

/// What lines of JSON are called.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// What JSON is called.
pub(crate) const JSON: &str = "application/json";

/// An answer that is no refusal.
pub(crate) fn accepted(
    url: &str,
    sent: std::result::Result<Response<Body>, ureq::Error>,
) -> Result<Response<Body>> {
    let mut response = sent.map_err(|error| unreachable(url, error))?;
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(response);
    }
    let header = response.headers().get("x-error-message");
    let header = header
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let text = header.unwrap_or_else(|| {
        let body = response.body_mut().with_config().limit(1 << 16);
        let text = body.read_to_string().unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let known = value["error"].as_str().or(value["message"].as_str());
        known.map_or(text.clone(), str::to_owned)
    });
    let text: String = text
        .trim()
        .trim_end_matches('.')
        .chars()
        .take(LARGEST_PROBLEM)
        .collect();
    Err(Error::Refused {
        url: url.to_owned(),
        status,
        problem: if text.is_empty() {
            text
        } else {
            format!(": {text}")
        },
        advice: advice(status),
    })
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => {
            "check the name and --type, for the hub says the same of a repository that does not exist; a private one needs a token in \
             HF_TOKEN that may read it, a push one that may write"
        }
        403 => {
            "give a token that may do this in HF_TOKEN, and accept the conditions of a gated repository on its page"
        }
        404 => {
            "check the name, --type and --revision; a private repository needs a token in HF_TOKEN"
        }
        413 => "the hub takes no file of this size",
        429 | 500.. => "try again later",
        _ => "this is not expected: tell Armilla's developers",
    }
}

/// A connection's failure as an error.
pub(crate) fn unreachable(url: &str, problem: impl ToString) -> Error {
    Error::Unreachable {
        url: url.to_owned(),
        problem: problem.to_string(),
    }
}

/// Says why nothing goes on for a while.
pub(crate) fn say_again(error: &Error) {
    match error {
        // What to do comes when nothing is tried any more.
        Error::Unreachable { url, problem } => tracing::warn!("{url}: {problem}; trying again"),
        error => tracing::warn!("{error}; trying again"),
    }
}

/// Whether it may be otherwise in a moment.
pub(crate) fn is_passing(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Refused { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
        _ => false,
    }
}

fn read_json<T: DeserializeOwned>(url: &str, mut response: Response<Body>) -> Result<T> {
    let body = response.body_mut().with_config().limit(LARGEST_ANSWER);
    let bytes = body
        .read_to_vec()
        .map_err(|error| unreachable(url, error))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Answer {
        url: url.to_owned(),
        expected: "JSON of the hub's interface",
        found: error.to_string(),
    })
}

//! Requests to a provider: bounded in time and size, without redirects. No message quotes an address with a query, a header or
//! a body.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Map, Value};

use crate::outbound::{BodyError, read_body, root_cause};

/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit of a whole request. A person waits for it.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept, so that userinfo is read on the token request's. Servers close such connections after
/// a few seconds, Node's after five: a request that is sent at that moment fails, and a code cannot be sent twice.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest response that the gateway reads, in bytes.
const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// The reason why a request to a provider gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No response in time.
    #[error("no response in time")]
    TimedOut,
    /// The connection failed.
    #[error("{0}")]
    Unreachable(String),
    /// The response has another status than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The response is larger than the gateway reads.
    #[error("the response has more than {MAX_RESPONSE_BYTES} bytes")]
    TooLarge,
    /// The response is not a JSON object.
    #[error("the response is not a JSON object")]
    NotJson,
    /// The response lacks a member, or its type is wrong.
    #[error("the response lacks {0}, or it has the wrong type")]
    Missing(&'static str),
}

/// Creates the client of one provider. With `allows_http` false, it sends nothing over plain http.
///
/// # Errors
/// The HTTP client's error, if TLS cannot be set up.
pub(super) fn client(allows_http: bool) -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // Codes, secrets and tokens must not follow a redirect.
        .redirect(reqwest::redirect::Policy::none())
        .https_only(!allows_http)
        .user_agent(concat!("scangate/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Sends a request and reads the JSON object of its response, which must have the status 200.
///
/// # Errors
/// [`CallError`].
pub(super) async fn send(request: RequestBuilder) -> Result<Map<String, Value>, CallError> {
    let response = request.header("accept", "application/json").send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(CallError::Status(response.status().as_u16()));
    }
    let body = match read_body(response, MAX_RESPONSE_BYTES).await {
        Ok(body) => body,
        Err(BodyError::Http(error)) => return Err(failed(error)),
        Err(BodyError::TooLarge) => return Err(CallError::TooLarge),
    };
    // serde's message may quote the response.
    serde_json::from_slice(&body).map_err(|_error| CallError::NotJson)
}

fn failed(error: reqwest::Error) -> CallError {
    if error.is_timeout() { CallError::TimedOut } else { CallError::Unreachable(root_cause(&error.without_url())) }
}

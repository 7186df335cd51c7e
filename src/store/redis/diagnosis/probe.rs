//! Asking one server, and what came of it.

use std::collections::HashMap;

use redis::RedisError;

use crate::store::redis::address::Address;
use crate::store::redis::settings::RedisSettings;

/// Somebody who was asked.
#[derive(Debug)]
pub struct Probe<T> {
    /// Where.
    pub address: String,
    /// The answer.
    pub answer: Result<T, Unanswered>,
}

/// Why somebody told nothing. No message holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// There is no connection, or no answer in time.
    #[error("{0}")]
    Silent(String),
    /// The login is missing or wrong.
    #[error("{0}")]
    Login(String),
    /// The user may not ask this.
    #[error("{0}")]
    Forbidden(String),
    /// It is another kind of server than the URL says.
    #[error("{0}")]
    OtherKind(String),
    /// The Sentinel watches no primary of that name, but these.
    #[error("it watches {0:?}")]
    UnknownName(Vec<String>),
    /// Anything else that it answered.
    #[error("{0}")]
    Refused(String),
}

impl From<RedisError> for Unanswered {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Self::Login(text),
            _ if error.kind() == redis::ErrorKind::AuthenticationFailed => Self::Login(text),
            Some("NOPERM") => Self::Forbidden(text),
            Some(_) if text.contains("unknown command") || text.contains("cluster support disabled") => {
                Self::OtherKind(text)
            }
            Some(_) => Self::Refused(text),
            None => Self::Silent(text),
        }
    }
}

/// Asks somebody who knows where primaries are, for as long as one may take.
pub(super) async fn ask<T>(
    settings: &RedisSettings,
    address: &Address,
    questions: impl AsyncFnOnce(redis::aio::MultiplexedConnection) -> Result<T, Unanswered>,
) -> Probe<T> {
    // Connecting takes as long as several questions, so it has a time of its own.
    let asked = async {
        let connection = settings.topology.informant(address, settings.timeout).await?;
        in_time(settings.timeout, questions(connection)).await
    };
    Probe { address: address.to_string(), answer: asked.await }
}

pub(super) async fn in_time<T>(
    timeout: std::time::Duration,
    answer: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    let late = |_elapsed| Err(Unanswered::Silent(format!("no answer within {timeout:?}")));
    tokio::time::timeout(timeout, answer).await.unwrap_or_else(late)
}

/// Reads lines of `name:value`, as `INFO` and `CLUSTER INFO` have them.
pub(super) fn lines(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.trim().split_once(':')).collect()
}

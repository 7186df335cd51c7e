//! One server that was asked, and its answer.

use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use crate::store::redis::address::Address;
use crate::store::redis::settings::RedisSettings;

/// A server that was asked.
#[derive(Debug)]
pub struct Probe<T> {
    /// Its address.
    pub address: String,
    /// Its answer.
    pub answer: Result<T, Unanswered>,
}

/// The reason why a server gave no answer. No message contains a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// There is no connection, or no reply in time.
    #[error("{0}")]
    Silent(String),
    /// The login is missing or wrong.
    #[error("{0}")]
    Login(String),
    /// This user may not ask.
    #[error("{0}")]
    Forbidden(String),
    /// The server is of another kind than the URL says.
    #[error("{0}")]
    OtherKind(String),
    /// The Sentinel watches no primary of this name, but these primaries.
    #[error("it watches {0:?}")]
    UnknownName(Vec<String>),
    /// The server returned another error.
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

/// Asks a server that knows the primaries: a Sentinel, or a node of a Cluster.
pub(super) async fn ask<T>(
    settings: &RedisSettings,
    address: &Address,
    questions: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, Unanswered>,
) -> Probe<T> {
    // Connecting takes several round trips, so it has a separate limit.
    let answer = async {
        let connection = settings.topology.open_for_discovery(address, settings.timeout).await?;
        in_time(settings.timeout, questions(connection)).await
    };
    Probe { address: address.to_string(), answer: answer.await }
}

/// Limits the time of an answer.
pub(super) async fn in_time<T>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    let late = |_elapsed| Err(Unanswered::Silent(format!("no reply within {timeout:?}")));
    tokio::time::timeout(timeout, answer).await.unwrap_or_else(late)
}

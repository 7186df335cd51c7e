//! What can be learnt about a Redis installation from outside, for `scangate doctor`: what its Sentinels or the nodes of its
//! Cluster say of it, and what each node that keeps tickets says of itself.
//!
//! It judges nothing and changes nothing but, as a start of the gateway would, missing notification flags of primaries.
//! Nodes are asked at the same time, and each has [`RedisSettings::timeout`] to let itself be connected to, and again to answer:
//! how long it takes does not depend on how many are gone.

mod cluster;
mod node;
mod sentinel;

use std::collections::HashMap;

use redis::RedisError;

pub use cluster::ClusterView;
pub use node::{Facts, Info, Limits, ReplicaLink, RoundTrip};
pub use sentinel::SentinelView;

use super::RedisSettings;
use super::topology::{Address, Kind};

/// What was learnt.
#[derive(Debug)]
pub struct Diagnosis {
    /// What kind of installation the URL names, and what is said of it.
    pub installation: Installation,
    /// What each primary says of itself; none if nobody tells where they are.
    pub primaries: Vec<Asked<Facts>>,
    /// What each replica that could take over says of itself.
    pub replicas: Vec<Asked<Facts>>,
}

/// What those say that know where primaries are.
#[derive(Debug)]
pub enum Installation {
    /// One server.
    Standalone,
    /// A primary watched by Sentinels.
    Sentinel {
        /// The primary's name.
        name: String,
        /// What each Sentinel of the URL says.
        sentinels: Vec<Asked<SentinelView>>,
    },
    /// Primaries that share the slots.
    Cluster {
        /// The addresses that the URL names.
        seeds: Vec<String>,
        /// What those, and the nodes that they name, say.
        nodes: Vec<Asked<ClusterView>>,
        /// The first and last of each run of slots that nobody keeps.
        unkept_slots: Vec<(u16, u16)>,
    },
}

/// Somebody who was asked.
#[derive(Debug)]
pub struct Asked<T> {
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

/// Asks the installation about itself.
pub async fn diagnose(settings: &RedisSettings) -> Diagnosis {
    match settings.topology.kind() {
        Kind::Standalone => Diagnosis {
            installation: Installation::Standalone,
            primaries: node::ask_all(settings, settings.topology.seeds(), true).await,
            replicas: Vec::new(),
        },
        Kind::Sentinel { name, .. } => sentinel::diagnose(settings, name).await,
        Kind::Cluster => cluster::diagnose(settings).await,
    }
}

/// Asks somebody who knows where primaries are, for as long as one may take.
async fn ask<T>(
    settings: &RedisSettings,
    address: &Address,
    questions: impl AsyncFnOnce(redis::aio::MultiplexedConnection) -> Result<T, Unanswered>,
) -> Asked<T> {
    // Connecting takes as long as several questions, so it has a time of its own.
    let asked = async {
        let connection = settings.topology.informant(address, settings.timeout).await?;
        in_time(settings.timeout, questions(connection)).await
    };
    Asked { address: address.to_string(), answer: asked.await }
}

async fn in_time<T>(
    timeout: std::time::Duration,
    answer: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    let late = |_elapsed| Err(Unanswered::Silent(format!("no answer within {timeout:?}")));
    tokio::time::timeout(timeout, answer).await.unwrap_or_else(late)
}

/// Reads lines of `name:value`, as `INFO` and `CLUSTER INFO` have them.
fn lines(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.trim().split_once(':')).collect()
}

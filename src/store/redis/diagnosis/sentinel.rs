//! What Sentinels say.

use std::collections::HashMap;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use super::probe::{Probe, Unanswered, ask};
use crate::store::redis::address::Address;
use crate::store::redis::settings::RedisSettings;

/// What one Sentinel says of the primary.
#[derive(Debug)]
pub struct SentinelView {
    /// Where it is.
    pub primary: String,
    /// Which failover made it the primary: of two that disagree, the one with the higher number is right.
    pub epoch: u64,
    /// Whether this Sentinel itself holds the primary to be down.
    pub is_down: bool,
    /// How many Sentinels watch this primary, itself included.
    pub sentinels: usize,
    /// How many have to agree that it is down.
    pub quorum: Option<usize>,
    /// Whether enough of them are there for a failover; what it says if not.
    pub can_fail_over: Result<(), Unanswered>,
    pub(super) address: Address,
    pub(super) replicas: Vec<Address>,
}

impl SentinelView {
    /// Returns what keeps a failover from working, as the Sentinel says it.
    #[must_use]
    pub fn hindrance(&self) -> Option<&str> {
        match &self.can_fail_over {
            Err(Unanswered::Refused(why)) => Some(why),
            // It may not be asked, or an old one does not know the question.
            _ => None,
        }
    }
}

type Fields = HashMap<String, String>;

pub(super) async fn ask_all(settings: &RedisSettings, sentinels: &[Address], name: &str) -> Vec<Probe<SentinelView>> {
    let asked = sentinels.iter().map(|one| ask(settings, one, async |connection| view(connection, name).await));
    join_all(asked).await
}

async fn view(mut connection: MultiplexedConnection, name: &str) -> Result<SentinelView, Unanswered> {
    let fields: Fields = match sentinel("MASTER", Some(name)).query_async(&mut connection).await {
        Ok(fields) => fields,
        Err(error) if error.to_string().contains("No such master") => {
            let watched: Vec<Fields> = sentinel("MASTERS", None).query_async(&mut connection).await.unwrap_or_default();
            return Err(Unanswered::UnknownName(
                watched.into_iter().filter_map(|mut one| one.remove("name")).collect(),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    // The fields have the old address until the last replica follows the new primary.
    let place: Option<(String, u16)> =
        sentinel("GET-MASTER-ADDR-BY-NAME", Some(name)).query_async(&mut connection).await.unwrap_or_default();
    let unreadable = || Unanswered::Refused("it does not say where the primary is".to_owned());
    let address = place.map(|(host, port)| Address::new(&host, port)).or_else(|| address(&fields));
    let address = address.ok_or_else(unreadable)?;
    let number = |name: &str| fields.get(name).and_then(|value| value.parse::<usize>().ok());
    let can_fail_over: Result<String, RedisError> = sentinel("CKQUORUM", Some(name)).query_async(&mut connection).await;
    // Without them there is less to look at, but nothing wrong.
    let replicas: Vec<Fields> = sentinel("REPLICAS", Some(name)).query_async(&mut connection).await.unwrap_or_default();
    Ok(SentinelView {
        primary: address.to_string(),
        epoch: fields.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        is_down: fields
            .get("flags")
            .is_some_and(|flags| flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down"))),
        sentinels: 1 + number("num-other-sentinels").unwrap_or(0),
        quorum: number("quorum"),
        can_fail_over: can_fail_over.map(drop).map_err(Unanswered::from),
        address,
        replicas: replicas.iter().filter_map(self::address).collect(),
    })
}

fn sentinel(what: &str, name: Option<&str>) -> Cmd {
    let mut cmd = redis::cmd("SENTINEL");
    cmd.arg(what).arg(name);
    cmd
}

fn address(fields: &Fields) -> Option<Address> {
    Some(Address::new(fields.get("ip")?, fields.get("port")?.parse().ok()?))
}

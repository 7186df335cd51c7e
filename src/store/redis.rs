//! The Redis engine: one hash per ticket, a few small Lua scripts, keyspace notifications for changes.
//!
//! A ticket's key is `<prefix>{<id>}`; the braces keep it in one Cluster slot with its notification channel. Fields and
//! expiry are written together, on Redis's own clock, so gateways with wrong clocks agree. This file speaks commands;
//! `router` sends them to the primary that keeps the ticket, `subscriber` turns a primary's notifications into changes.

mod address;
mod command;
mod connections;
pub mod diagnosis;
mod discovery;
mod endpoint;
mod error;
mod keys;
mod node;
mod notify_flags;
mod redirect;
mod redis_url;
mod replication;
mod router;
mod scripts;
mod settings;
mod slots;
mod subscriber;
mod subscriptions;
mod timeout;
mod topology;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use redis::Script;
use tokio::sync::Notify;

use super::contract::{Changes, Put, Reading, Replaced, Store, StoreError};
use crate::metrics::Metrics;
use crate::store::key::StoreKey;
use crate::ticket::{NewTicket, State, Ticket, TicketId, TicketRequest, Timestamp, millis};

use command::{Command, Failure};
use error::unavailable;
pub use error::{FlagsError, OpenError};
use keys::Keys;
use node::Node;
pub use notify_flags::reports_changes;
pub use redis_url::TopologyError;
use router::Router;
use scripts::{Row, Scripts, decode, decode_stamp, encode};
pub use settings::RedisSettings;
use settings::Reports;
pub use topology::Topology;

/// The engine. Dropping it ends its subscribers.
pub struct RedisStore {
    fleet: Router,
    keys: Keys,
    scripts: Scripts,
    /// Whether changes wait for replicas.
    is_waiting: bool,
}

impl RedisStore {
    /// Finds the primaries, makes sure that they report what happens to keys, and starts a subscriber for each.
    ///
    /// # Errors
    /// [`OpenError`]. Where there are several primaries, less than half of them may be unreachable.
    pub async fn open(
        settings: &RedisSettings,
        changes: Arc<dyn Changes>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let reports = Reports { changes, metrics, look_again: Arc::new(Notify::new()) };
        let fleet =
            Router::start(settings.clone(), reports).await.map_err(|error| OpenError::from(error::failed(&error)))?;
        let is_alone = !settings.topology.has_replicas();
        let prepare = async |node: Arc<Node>| {
            if is_alone && node.endpoint.is_in_a_cluster().await {
                return Err(TopologyError::Node.into());
            }
            trial::may_work(&node.endpoint, settings.wait_replicas > 0).await?;
            notify_flags::ensure(&node.endpoint).await?;
            Ok(())
        };
        let prepared: Vec<Result<(), OpenError>> = join_all(fleet.primaries().into_iter().map(prepare)).await;
        let (may_pass, fatal): (Vec<_>, Vec<_>) =
            prepared.into_iter().partition(|result| matches!(result, Ok(()) | Err(OpenError::Unreachable(_))));
        fatal.into_iter().collect::<Result<(), _>>()?;
        enough(may_pass)?;
        let keys = Keys::new(&settings.prefix, settings.topology.database());
        let scripts = Scripts::new(settings.topology.refuses_readers());
        Ok(Self { fleet, keys, scripts, is_waiting: settings.wait_replicas > 0 })
    }

    fn on<'a>(&self, script: &'a Script, id: &TicketId) -> Command<'a> {
        Command::script(script, &self.keys.key(id))
    }
}

/// Fails with the last error if half of the results or more are failures: the primaries of a Cluster keep tickets each for
/// itself, so one that is lost must not stop the others.
fn enough<E>(results: Vec<Result<(), E>>) -> Result<(), E> {
    let count = results.len();
    let mut errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    match errors.pop() {
        Some(error) if (errors.len() + 1) * 2 >= count => Err(error),
        _ => Ok(()),
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError> {
        let create = self.on(&self.scripts.create, &new.id);
        let create = create.arg(millis(new.ttl)).arg(encode(&new.request)?).arg(encode(&State::Pending)?);
        let now = Timestamp(self.fleet.run(&StoreKey::Ticket(new.id), &create).await?);
        Ok(Reading { ticket: new.at(now), now })
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        let (now, revision, stamp, created_at, deadline, request, state): Row =
            self.fleet.run(&StoreKey::Ticket(*id), &self.on(&self.scripts.get, id)).await?;
        let (Some(revision), Some(created_at), Some(deadline), Some(request), Some(state)) =
            (revision, created_at, deadline, request, state)
        else {
            return Ok(None);
        };
        let now = Timestamp(now);
        let ticket = Ticket {
            id: *id,
            revision,
            stamp: stamp.map(|stamp| decode_stamp(&stamp)).transpose()?.unwrap_or_default(),
            created_at: Timestamp(created_at),
            deadline: Timestamp(deadline),
            request: decode::<TicketRequest>(&request)?,
            state: decode::<State>(&state)?,
        };
        Ok((now < ticket.deadline).then_some(Reading { ticket, now }))
    }

    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError> {
        let replace = self.on(&self.scripts.replace, &next.id).arg(current.revision).arg(current.stamp.to_string());
        let replace = replace.arg(next.revision).arg(next.stamp.to_string());
        let replace = replace.arg(next.deadline.0).arg(encode(&next.state)?);
        let outcome: i64 = self.fleet.run(&StoreKey::Ticket(next.id), &replace.waiting()).await?;
        Ok(match outcome {
            1 => Replaced::Done,
            0 => Replaced::Conflict,
            _ => Replaced::Gone,
        })
    }

    async fn confirm_replicated(&self, ticket: &Ticket) -> Result<bool, StoreError> {
        if !self.is_waiting {
            return Ok(true);
        }
        let confirm =
            self.on(&self.scripts.confirm_replicated, &ticket.id).arg(ticket.revision).arg(ticket.stamp.to_string());
        let outcome: i64 = self.fleet.run(&StoreKey::Ticket(ticket.id), &confirm.waiting()).await?;
        match outcome {
            1 => Ok(true),
            2 => Ok(false),
            // It was read at a primary that is none any more, and is lost.
            _ => Err(unavailable("the ticket has been set back")),
        }
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.fleet.watch(id).await
    }

    fn unwatch(&self, id: &TicketId) {
        self.fleet.unwatch(id);
    }

    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        let key = StoreKey::of_name(name);
        let command = self.scripts.values.put(&self.keys.value_key(&key), value, ttl, put)?;
        Ok(self.fleet.run::<i64>(&key, &command.waiting()).await? == 1)
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        let key = StoreKey::of_name(name);
        self.fleet.run(&key, &self.scripts.values.get(&self.keys.value_key(&key))).await
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        let key = StoreKey::of_name(name);
        self.fleet.run::<i64>(&key, &scripts::remove(&self.keys.value_key(&key))).await.map(drop)
    }

    async fn check(&self) -> Result<(), StoreError> {
        let check = async |node: Arc<Node>| {
            node.subscriber.check()?;
            let mut write = redis::cmd("PEXPIREAT");
            write.arg(format!("{}{{check}}", self.keys.prefix)).arg(1);
            let write = Command::plain(write);
            let answer = tokio::time::timeout(node.endpoint.timeout, node.send(&write, false));
            match answer.await.map_err(|_elapsed| unavailable("no answer in time"))? {
                // A write, though to a key that is never there: a replica answers reads and can serve nobody.
                Ok(_) => Ok(()),
                // That it knows who keeps the key says that it is well.
                Err(Failure::Redis(error)) if error.redirect_node().is_some() => Ok(()),
                Err(failure) => Err(unavailable(failure)),
            }
        };
        enough(join_all(self.fleet.primaries().into_iter().map(check)).await)
    }
}

//! The Redis engine: one hash per ticket, a few small Lua scripts, and keyspace notifications for changes.
//!
//! A ticket's key is `<prefix>{<id>}`. A script writes fields and expiry together, on Redis's own clock, so gateways with
//! wrong clocks agree. This file maps the store contract to commands. `router` sends a command to the primary that owns
//! the key, and `subscriber` turns a primary's notifications into changes.

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
mod notify_probe;
mod queries;
mod redirect;
mod redis_url;
mod replication;
mod reports;
mod router;
mod scripts;
mod settings;
mod slots;
mod subscriber;
mod subscriptions;
mod timeout;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use redis::FromRedisValue;
use tokio::sync::Notify;

use super::contract::{Changes, Put, Reading, Replaced, Store, StoreError};
use crate::metrics::Metrics;
use crate::ticket::{NewTicket, Ticket, TicketId, Timestamp};

use command::{Command, CommandError};
use error::unavailable;
pub use error::{FlagsError, OpenError};
use keys::Keys;
use node::Node;
pub use notify_flags::reports_changes;
pub use redis_url::TopologyError;
use reports::Reports;
use router::Router;
use scripts::{Row, Scripts, read_row};
pub use settings::RedisSettings;
pub use topology::Topology;

/// The Redis engine. Dropping it ends its subscribers.
pub struct RedisStore {
    router: Router,
    keys: Keys,
    scripts: Scripts,
    /// Whether changes wait for replicas.
    is_replicated: bool,
}

impl RedisStore {
    /// Finds the primaries, makes sure that they report changes of keys, and starts a subscriber for each.
    ///
    /// # Errors
    /// [`OpenError`]. Of several primaries, fewer than half may be unreachable.
    pub async fn open(
        settings: &RedisSettings,
        changes: Arc<dyn Changes>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let reports = Reports { changes, metrics, refresh_requested: Arc::new(Notify::new()) };
        let router = Router::start(settings.clone(), reports).await;
        let router = router.map_err(|error| OpenError::from(FlagsError::from(&error)))?;
        let is_standalone = !settings.topology.has_replicas();
        let is_replicated = settings.wait_replicas > 0;
        let prepare = async |node: Arc<Node>| {
            if is_standalone && notify_probe::is_in_a_cluster(&node.endpoint).await {
                return Err(TopologyError::Node.into());
            }
            notify_probe::check_rights(&node.endpoint, is_replicated).await?;
            notify_flags::ensure(&node.endpoint).await?;
            Ok(())
        };
        let prepared: Vec<Result<(), OpenError>> = join_all(router.primaries().into_iter().map(prepare)).await;
        let (tolerable, fatal): (Vec<_>, Vec<_>) =
            prepared.into_iter().partition(|result| matches!(result, Ok(()) | Err(OpenError::Unreachable(_))));
        fatal.into_iter().collect::<Result<(), _>>()?;
        require_majority(tolerable)?;
        let keys = Keys::new(&settings.prefix, settings.topology.database());
        let scripts = Scripts::new(settings.topology.replicas_refuse_reads());
        Ok(Self { router, keys, scripts, is_replicated })
    }

    /// Runs a command that reads a record, and parses its reply.
    ///
    /// A former primary does not have the records that were created at its successor. If there is no record, the command
    /// is repeated in the way of a change: then only the primary's reply is valid, and `router` finds the primary.
    async fn read<R: FromRedisValue, T>(
        &self,
        command: Command<'_>,
        parse: impl Fn(R) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let found = parse(self.router.run(&command).await?)?;
        if found.is_some() || !self.is_replicated {
            return Ok(found);
        }
        parse(self.router.run(&command.replicated()).await?)
    }
}

/// Fails with the last error if at least half of the results are errors. The primaries of a Cluster store tickets
/// independently, so the loss of one must not stop the others.
fn require_majority<E>(results: Vec<Result<(), E>>) -> Result<(), E> {
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
        let create = self.scripts.create(&self.keys.ticket(&new.id), &new)?;
        let now = Timestamp(self.router.run(&create).await?);
        Ok(Reading { ticket: new.at(now), now })
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        self.read(self.scripts.get(&self.keys.ticket(id)), |row: Row| read_row(id, row)).await
    }

    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError> {
        let replace = self.scripts.replace(&self.keys.ticket(&next.id), current, next)?;
        let outcome: i64 = self.router.run(&replace.replicated()).await?;
        Ok(match outcome {
            1 => Replaced::Done,
            0 => Replaced::Conflict,
            _ => Replaced::Gone,
        })
    }

    async fn confirm_replicated(&self, ticket: &Ticket) -> Result<bool, StoreError> {
        if !self.is_replicated {
            return Ok(true);
        }
        let confirm = self.scripts.confirm_replicated(&self.keys.ticket(&ticket.id), ticket);
        let outcome: i64 = self.router.run(&confirm.replicated()).await?;
        match outcome {
            1 => Ok(true),
            2 => Ok(false),
            // A former primary served the read, and its successor does not have the change.
            _ => Err(unavailable("a failover has undone the last change of the ticket")),
        }
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.router.watch(id).await
    }

    fn unwatch(&self, id: &TicketId) {
        self.router.unwatch(id);
    }

    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        let put = self.scripts.put_value(&self.keys.value(name), value, ttl, put)?;
        Ok(self.router.run::<i64>(&put.replicated()).await? == 1)
    }

    async fn replace_value(&self, name: &str, expected: &str, next: &str, ttl: Duration) -> Result<bool, StoreError> {
        let replace = self.scripts.replace_value(&self.keys.value(name), expected, next, ttl)?;
        Ok(self.router.run::<i64>(&replace.replicated()).await? == 1)
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read(self.scripts.get_value(&self.keys.value(name)), Ok::<Option<String>, _>).await
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        let remove = Command::plain("DEL", &self.keys.value(name));
        self.router.run::<i64>(&remove.replicated()).await.map(drop)
    }

    async fn check(&self) -> Result<(), StoreError> {
        let check = async |node: Arc<Node>| {
            node.subscriber.check()?;
            // The check writes, to a key that never exists, because a replica answers reads but cannot serve sign-ins.
            let write = Command::plain("PEXPIREAT", &self.keys.check()).arg(1);
            let reply = tokio::time::timeout(node.endpoint.timeout, node.send(&write, false));
            match reply.await.map_err(|_elapsed| unavailable("no reply in time"))? {
                Ok(_) => Ok(()),
                // A node that redirects to the owner is healthy.
                Err(CommandError::Redis(error)) if error.redirect_node().is_some() => Ok(()),
                Err(error) => Err(unavailable(error)),
            }
        };
        require_majority(join_all(self.router.primaries().into_iter().map(check)).await)
    }
}

//! The in-process engine: tickets in a map, their deadlines in a queue, and one task that expires them.
//!
//! It is the default engine, for one process and for evaluation. Nothing survives a restart. The engine holds at most
//! `max_tickets` (see [`MemoryStore::open`]), and nothing of a ticket after its deadline. `values` keeps the named
//! values.

mod values;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::contract::{Changes, Put, Reading, Replaced, Store, StoreError};
use super::key::StoreKey;
use crate::ticket::{NewTicket, Ticket, TicketId, Timestamp};
use values::Values;

/// The maximum sleep of the expiry task. A timer does not notice that the wall clock was set, or that the machine
/// slept.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The in-process engine. Dropping it ends its task.
pub struct MemoryStore {
    shared: Arc<Shared>,
    values: Mutex<Values>,
    expiry: tokio::task::JoinHandle<()>,
}

struct Shared {
    tickets: Mutex<Tickets>,
    max_tickets: usize,
    changes: Arc<dyn Changes>,
    /// Wakes the expiry task when a new deadline is earlier than all others.
    earlier_deadline: Notify,
}

#[derive(Default)]
struct Tickets {
    by_id: HashMap<TicketId, Ticket>,
    by_deadline: BTreeSet<(Timestamp, TicketId)>,
    watched: HashSet<TicketId>,
}

impl MemoryStore {
    /// Opens an empty store for at most `max_tickets` and starts its expiry task on the current runtime.
    #[must_use]
    pub fn open(max_tickets: usize, changes: Arc<dyn Changes>) -> Self {
        let shared =
            Arc::new(Shared { tickets: Mutex::default(), max_tickets, changes, earlier_deadline: Notify::new() });
        let expiry = crate::task::spawn("memory-expiry", expire(Arc::clone(&shared)));
        Self { shared, values: Mutex::default(), expiry }
    }

    /// Returns the number of tickets, including expired ones that the expiry task has not dropped yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.tickets.lock().by_id.len()
    }

    /// Returns whether the store holds no ticket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError> {
        let now = now();
        let ticket = new.at(now);
        let mut tickets = self.shared.tickets.lock();
        if tickets.by_id.len() >= self.shared.max_tickets {
            return Err(StoreError::Full(format!(
                "it holds {} tickets; raise --memory-max-tickets or use Redis",
                self.shared.max_tickets
            )));
        }
        self.shared.insert(&mut tickets, ticket.clone());
        Ok(Reading { ticket, now })
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        let now = now();
        let tickets = self.shared.tickets.lock();
        let ticket = tickets.by_id.get(id).filter(|ticket| now < ticket.deadline).cloned();
        Ok(ticket.map(|ticket| Reading { ticket, now }))
    }

    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError> {
        let now = now();
        let mut tickets = self.shared.tickets.lock();
        let Some(stored) = tickets.by_id.get(&next.id).filter(|ticket| now < ticket.deadline) else {
            return Ok(Replaced::Gone);
        };
        if (stored.revision, stored.stamp) != (current.revision, current.stamp) {
            return Ok(Replaced::Conflict);
        }
        let outdated = (stored.deadline, next.id);
        tickets.by_deadline.remove(&outdated);
        self.shared.insert(&mut tickets, next.clone());
        let watched = tickets.watched.contains(&next.id);
        drop(tickets);
        if watched {
            self.shared.changes.changed(&next.id);
        }
        Ok(Replaced::Done)
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.shared.tickets.lock().watched.insert(*id);
        Ok(())
    }

    fn unwatch(&self, id: &TicketId) {
        self.shared.tickets.lock().watched.remove(id);
    }

    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        self.values.lock().put(StoreKey::of_name(name), value, ttl, put, now())
    }

    async fn replace_value(&self, name: &str, expected: &str, next: &str, ttl: Duration) -> Result<bool, StoreError> {
        self.values.lock().replace(StoreKey::of_name(name), expected, next, ttl, now())
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.values.lock().get(&StoreKey::of_name(name), now()).map(str::to_owned))
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.values.lock().remove(&StoreKey::of_name(name));
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Shared {
    fn insert(&self, tickets: &mut Tickets, ticket: Ticket) {
        let deadline = (ticket.deadline, ticket.id);
        tickets.by_deadline.insert(deadline);
        if tickets.by_deadline.first() == Some(&deadline) {
            self.earlier_deadline.notify_one();
        }
        tickets.by_id.insert(ticket.id, ticket);
    }
}

/// Drops every ticket at its deadline and reports the watched ones.
async fn expire(shared: Arc<Shared>) {
    loop {
        let (expired, next_deadline) = drop_expired(&shared);
        for id in &expired {
            shared.changes.changed(id);
        }
        let next_deadline = async {
            match next_deadline {
                Some(deadline) => tokio::time::sleep(deadline.since(now()).min(MAX_SLEEP)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next_deadline => {}
            () = shared.earlier_deadline.notified() => {}
        }
    }
}

/// Drops the expired tickets; returns the watched ones among them, and the next deadline.
fn drop_expired(shared: &Shared) -> (Vec<TicketId>, Option<Timestamp>) {
    let now = now();
    let mut tickets = shared.tickets.lock();
    let mut watched = Vec::new();
    while let Some(&(deadline, id)) = tickets.by_deadline.first() {
        if now < deadline {
            return (watched, Some(deadline));
        }
        tickets.by_deadline.pop_first();
        tickets.by_id.remove(&id);
        if tickets.watched.contains(&id) {
            watched.push(id);
        }
    }
    (watched, None)
}

/// Returns the store's time: the wall clock, as in Redis. Setting the clock therefore moves deadlines, but JWTs have
/// the same time as on other machines.
fn now() -> Timestamp {
    Timestamp(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

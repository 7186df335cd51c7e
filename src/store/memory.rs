//! The in-process engine: tickets in a map, their deadlines in a queue, one task that lets them expire.
//!
//! It is the default, for one process and for trying things out; nothing survives a restart. It is bounded by
//! [`MemoryStore::open`]'s `max_tickets`, and keeps nothing of a ticket after its deadline. `values` keeps what is no ticket.

mod values;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::contract::{Changes, Put, Reading, Replaced, Store, StoreError};
use crate::store::key::StoreKey;
use crate::ticket::{NewTicket, Ticket, TicketId, Timestamp};
use values::Values;

/// How long the expiry task sleeps at most: timers do not see the wall clock being set, or a machine having slept.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The engine. Dropping it ends its task.
pub struct MemoryStore {
    shared: Arc<Shared>,
    values: Mutex<Values>,
    expiry: tokio::task::JoinHandle<()>,
}

struct Shared {
    tickets: Mutex<Tickets>,
    max_tickets: usize,
    changes: Arc<dyn Changes>,
    /// Told whenever a deadline came to stand before all others.
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

    /// Returns how many tickets are held, expired ones not yet dropped included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().by_id.len()
    }

    /// Returns whether no ticket is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        // Nor is anything left half-done under this one.
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut tickets = self.shared.lock();
        if tickets.by_id.len() >= self.shared.max_tickets {
            return Err(StoreError::Full(format!(
                "{} tickets are held; raise --memory-max-tickets or use Redis",
                self.shared.max_tickets
            )));
        }
        self.shared.keep(&mut tickets, ticket.clone());
        Ok(Reading { ticket, now })
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        let now = now();
        let tickets = self.shared.lock();
        let ticket = tickets.by_id.get(id).filter(|ticket| now < ticket.deadline).cloned();
        Ok(ticket.map(|ticket| Reading { ticket, now }))
    }

    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError> {
        let now = now();
        let mut tickets = self.shared.lock();
        let Some(stored) = tickets.by_id.get(&next.id).filter(|ticket| now < ticket.deadline) else {
            return Ok(Replaced::Gone);
        };
        if (stored.revision, stored.stamp) != (current.revision, current.stamp) {
            return Ok(Replaced::Conflict);
        }
        let outdated = (stored.deadline, next.id);
        tickets.by_deadline.remove(&outdated);
        self.shared.keep(&mut tickets, next.clone());
        let watched = tickets.watched.contains(&next.id);
        drop(tickets);
        if watched {
            self.shared.changes.changed(&next.id);
        }
        Ok(Replaced::Done)
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.shared.lock().watched.insert(*id);
        Ok(())
    }

    fn unwatch(&self, id: &TicketId) {
        self.shared.lock().watched.remove(id);
    }

    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        self.values().put(StoreKey::of_name(name), value, ttl, put, now())
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.values().get(&StoreKey::of_name(name), now()).map(str::to_owned))
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.values().remove(&StoreKey::of_name(name));
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tickets> {
        // Nothing is left half-done where a panic could happen under this lock.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, tickets: &mut Tickets, ticket: Ticket) {
        let deadline = (ticket.deadline, ticket.id);
        tickets.by_deadline.insert(deadline);
        if tickets.by_deadline.first() == Some(&deadline) {
            self.earlier_deadline.notify_one();
        }
        tickets.by_id.insert(ticket.id, ticket);
    }
}

/// Drops every ticket at its deadline and reports those that are watched.
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

fn drop_expired(shared: &Shared) -> (Vec<TicketId>, Option<Timestamp>) {
    let now = now();
    let mut tickets = shared.lock();
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

/// Returns the store's time: the wall clock, as Redis's is. A clock that is set moves deadlines with it, and JWTs say the
/// time that everybody else has.
fn now() -> Timestamp {
    Timestamp(0) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

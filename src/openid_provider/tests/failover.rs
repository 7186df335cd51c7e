//! A store that loses its primary, with the writes that no replica has: an answer that a retry got must hold
//! afterwards.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::openid_provider::grants::GrantEnd;
use crate::store::{Put, Reading, Replaced, StoreError};
use crate::ticket::{NewTicket, Ticket};

/// A write that a replica has not received.
#[derive(Clone)]
enum Write {
    Put(String, String, Duration),
    Remove(String),
}

/// A primary and its replica. A write is acknowledged when the replica has received it and everything before.
struct Replicated {
    primary: Arc<dyn Store>,
    replica: Arc<dyn Store>,
    unreplicated: Mutex<Vec<Write>>,
    is_replica_silent: Mutex<bool>,
    is_failed_over: Mutex<bool>,
}

impl Replicated {
    fn new() -> Self {
        let (primary, replica) = (memory(), memory());
        let (unreplicated, no) = (Mutex::default(), || Mutex::new(false));
        Self { primary, replica, unreplicated, is_replica_silent: no(), is_failed_over: no() }
    }

    fn current(&self) -> &Arc<dyn Store> {
        if *self.is_failed_over.lock().unwrap() { &self.replica } else { &self.primary }
    }

    /// Waits for the replica after a write.
    async fn acknowledge(&self, write: Write) -> Result<(), StoreError> {
        if *self.is_failed_over.lock().unwrap() {
            return Ok(());
        }
        self.unreplicated.lock().unwrap().push(write);
        if *self.is_replica_silent.lock().unwrap() {
            return Err(StoreError::Unavailable("too few replicas have it".to_owned()));
        }
        let writes = std::mem::take(&mut *self.unreplicated.lock().unwrap());
        for write in writes {
            match write {
                Write::Put(name, value, ttl) => drop(self.replica.put_value(&name, &value, ttl, Put::Always).await?),
                Write::Remove(name) => self.replica.remove_value(&name).await?,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Replicated {
    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        let is_there = self.current().put_value(name, value, ttl, put).await?;
        if is_there {
            self.acknowledge(Write::Put(name.to_owned(), value.to_owned(), ttl)).await?;
        }
        Ok(is_there)
    }

    async fn replace_value(&self, name: &str, expected: &str, next: &str, ttl: Duration) -> Result<bool, StoreError> {
        let is_there = self.current().replace_value(name, expected, next, ttl).await?;
        if is_there {
            self.acknowledge(Write::Put(name.to_owned(), next.to_owned(), ttl)).await?;
        }
        Ok(is_there)
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.current().value(name).await
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.current().remove_value(name).await?;
        self.acknowledge(Write::Remove(name.to_owned())).await
    }

    async fn create(&self, _new: NewTicket) -> Result<Reading, StoreError> {
        unreachable!("no tickets here")
    }

    async fn get(&self, _id: &TicketId) -> Result<Option<Reading>, StoreError> {
        unreachable!("no tickets here")
    }

    async fn replace(&self, _current: &Ticket, _next: &Ticket) -> Result<Replaced, StoreError> {
        unreachable!("no tickets here")
    }

    async fn watch(&self, _id: &TicketId) -> Result<(), StoreError> {
        Ok(())
    }

    fn unwatch(&self, _id: &TicketId) {}

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_rotation_that_a_retry_was_told_of_is_not_lost() {
    let store = Arc::new(Replicated::new());
    let provider = open(Arc::clone(&store) as _, "ES256");
    let (app, first) = (client(&provider, "app"), exchanged(&provider).await.refresh_token.unwrap());
    *store.is_replica_silent.lock().unwrap() = true;
    for _ in 0..2 {
        // The rotation, and a retry: both get an error, because no replica has the write.
        let unanswered = provider.refresh(&app, &first, None).await;
        assert!(matches!(unanswered, Err(ExchangeError::Store(StoreError::Unavailable(_)))));
    }
    *store.is_replica_silent.lock().unwrap() = false;
    let second = provider.refresh(&app, &first, None).await.unwrap().refresh_token.unwrap();
    *store.is_failed_over.lock().unwrap() = true;
    provider.refresh(&app, &second, None).await.unwrap();
}

#[tokio::test]
async fn an_end_that_a_retry_was_told_of_is_not_lost() {
    let store = Arc::new(Replicated::new());
    let provider = open(Arc::clone(&store) as _, "ES256");
    let (app, tokens) = (client(&provider, "app"), exchanged(&provider).await);
    let (id, app_id) = (provider.verify_access_token(&tokens.access_token).unwrap().grant_id, &app.client().id);
    *store.is_replica_silent.lock().unwrap() = true;
    for _ in 0..2 {
        assert!(provider.end_grant(&id, app_id, GrantEnd::Revoked).await.is_err(), "told before a replica has it");
    }
    *store.is_replica_silent.lock().unwrap() = false;
    // Either token may be revoked.
    provider.revoke(&app, tokens.refresh_token.as_deref().unwrap()).await.unwrap();
    *store.is_failed_over.lock().unwrap() = true;
    assert!(!is_alive(&provider, &tokens).await);
}

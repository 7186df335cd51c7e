//! Wraps any engine; records the duration and counts the failures of its operations in the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::contract::{Put, Reading, Replaced, Store, StoreError};
use crate::metrics::Metrics;
use crate::ticket::{NewTicket, Ticket, TicketId};

/// An engine with metrics. It delegates every operation.
pub struct Instrumented<S> {
    store: S,
    metrics: Arc<Metrics>,
}

impl<S: Store> Instrumented<S> {
    /// Wraps `store`.
    pub fn new(store: S, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    async fn measure<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = call.await;
        self.metrics.store_operation(operation, started.elapsed(), result.is_err());
        result
    }
}

#[async_trait]
impl<S: Store> Store for Instrumented<S> {
    async fn create(&self, new: NewTicket) -> Result<Reading, StoreError> {
        self.measure("create", self.store.create(new)).await
    }

    async fn get(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        self.measure("get", self.store.get(id)).await
    }

    async fn replace(&self, current: &Ticket, next: &Ticket) -> Result<Replaced, StoreError> {
        self.measure("replace", self.store.replace(current, next)).await
    }

    async fn confirm_replicated(&self, ticket: &Ticket) -> Result<bool, StoreError> {
        // The label keeps the operation's earlier name, because dashboards use it.
        self.measure("persist", self.store.confirm_replicated(ticket)).await
    }

    async fn watch(&self, id: &TicketId) -> Result<(), StoreError> {
        self.measure("watch", self.store.watch(id)).await
    }

    fn unwatch(&self, id: &TicketId) {
        self.store.unwatch(id);
    }

    async fn put_value(&self, name: &str, value: &str, ttl: Duration, put: Put) -> Result<bool, StoreError> {
        self.measure("put_value", self.store.put_value(name, value, ttl, put)).await
    }

    async fn replace_value(&self, name: &str, expected: &str, next: &str, ttl: Duration) -> Result<bool, StoreError> {
        self.measure("replace_value", self.store.replace_value(name, expected, next, ttl)).await
    }

    async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.measure("value", self.store.value(name)).await
    }

    async fn remove_value(&self, name: &str) -> Result<(), StoreError> {
        self.measure("remove_value", self.store.remove_value(name)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.measure("check", self.store.check()).await
    }
}

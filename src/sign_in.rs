//! The use cases of a sign-in: create, open, scan, confirm, cancel, claim and expire a ticket.
//!
//! Each use case applies a transition of [`crate::ticket`], and stores, counts and logs it. Handlers and connectors call these
//! functions and never store a transition themselves, so no caller can forget the metric or the log line. A test in this file
//! enforces that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::log_limit::LogLimiter;
use crate::metrics::Metrics;
use crate::signer::Signer;
use crate::store::{self, Reading, Store, StoreError, Transition, TransitionError};
use crate::ticket::{
    CancelReason, Claims, Decision, NewTicket, Party, Person, Refusal, Scanner, State, Subject, Ticket, TicketId,
};

/// The lifetimes of tickets and tokens.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// How long a ticket stays pending.
    pub ticket: Duration,
    /// How long an opened ticket lives after its creation, at least: the time to sign in on the phone.
    pub sign_in: Duration,
    /// The minimum time that a scan leaves for the decision.
    pub decision: Duration,
    /// How long the recipient may fetch the JWT after the confirmation.
    pub redeem: Duration,
    /// How long the JWT itself is valid.
    pub token: Duration,
}

/// Runs the use cases. Clones share everything.
#[derive(Clone)]
pub struct SignIns {
    store: Arc<dyn Store>,
    signer: Signer,
    metrics: Arc<Metrics>,
    log_limiter: Arc<LogLimiter>,
    lifetimes: Lifetimes,
}

impl SignIns {
    /// Creates the use cases.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        signer: Signer,
        metrics: Arc<Metrics>,
        log_limiter: Arc<LogLimiter>,
        lifetimes: Lifetimes,
    ) -> Self {
        Self { store, signer, metrics, log_limiter, lifetimes }
    }

    /// Returns the configured lifetimes.
    #[must_use]
    pub fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// Creates a ticket.
    ///
    /// # Errors
    /// As [`Store::create`].
    pub async fn create(&self, new: NewTicket) -> Result<Reading, StoreError> {
        let created = self.store.create(new).await?;
        self.metrics.ticket("created");
        // Anyone can create tickets, so these lines are limited.
        if self.log_limiter.should_log("created", None) {
            let Ticket { id, request, .. } = &created.ticket;
            tracing::info!(ticket = %id, client = %request.client_id, "created");
        }
        Ok(created)
    }

    /// Opens the ticket for a phone that begins to sign in, and returns it if this call opened it. Returns `None` for a ticket
    /// that is already opened, that cannot be opened, or that does not exist: anyone may call this, and a caller must not learn
    /// which it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(&self, id: &TicketId) -> Result<Option<Reading>, StoreError> {
        let step = |ticket: &Ticket, now| ticket.open(now, self.lifetimes.sign_in);
        let reading = match store::transition(&self.store, id, step).await {
            Ok(Transition { reading, changed: true }) => reading,
            Ok(Transition { changed: false, .. }) | Err(TransitionError::NoTicket | TransitionError::Refused(_)) => {
                return Ok(None);
            }
            Err(TransitionError::Store(error)) => return Err(error),
        };
        self.metrics.ticket("opened");
        // Anyone who creates tickets can open them, so these lines are limited.
        if self.log_limiter.should_log("opened", None) {
            tracing::info!(ticket = %id, client = %reading.ticket.request.client_id, "opened");
        }
        Ok(Some(reading))
    }

    /// Binds the ticket to its scanner, whose identity provider states `claims`.
    ///
    /// # Errors
    /// As [`store::transition`], with the refusals of [`Ticket::check_scanner`] and [`Ticket::scan`].
    pub async fn scan(&self, id: &TicketId, scanner: &Scanner, claims: &Claims) -> Result<Reading, TransitionError> {
        let reading = self.store.get(id).await?.ok_or(TransitionError::NoTicket)?;
        self.scan_from(reading, scanner, claims).await
    }

    /// Like [`SignIns::scan`], starting from a ticket that the caller has just read.
    ///
    /// # Errors
    /// As [`SignIns::scan`].
    pub async fn scan_from(
        &self,
        reading: Reading,
        scanner: &Scanner,
        claims: &Claims,
    ) -> Result<Reading, TransitionError> {
        let step = |ticket: &Ticket, now| {
            let outcome = ticket.scan(scanner, now, self.lifetimes.decision)?;
            ticket.check_scanner(claims, now)?;
            Ok(outcome)
        };
        let Transition { reading, changed } = store::transition_from(&self.store, reading, step).await?;
        if changed {
            self.metrics.ticket("scanned");
            let Ticket { id, request, .. } = &reading.ticket;
            let subject = self.pseudonym_of(&scanner.party);
            tracing::info!(ticket = %id, client = %request.client_id, subject, "scanned");
        }
        Ok(reading)
    }

    /// Confirms the ticket for its approver.
    ///
    /// # Errors
    /// As [`store::transition`], with the refusals of [`Ticket::confirm`]. A wrong number cancels the ticket and is
    /// [`Refusal::Mismatch`].
    pub async fn confirm(
        &self,
        id: &TicketId,
        approver: &Person,
        decision: Decision<'_>,
    ) -> Result<Reading, TransitionError> {
        let step = |ticket: &Ticket, now| ticket.confirm(approver, decision, now, self.lifetimes.redeem);
        let Transition { reading, changed } = store::transition(&self.store, id, step).await?;
        let client = &reading.ticket.request.client_id;
        let subject = self.pseudonym(&approver.subject);
        if matches!(reading.ticket.state, State::Cancelled { .. }) {
            // This attempt cancelled the ticket: a ticket that was cancelled before refuses the transition.
            self.metrics.ticket("cancelled");
            tracing::info!(ticket = %id, %client, subject, reason = CancelReason::Mismatch.as_str(), "cancelled");
            return Err(Refusal::Mismatch.into());
        }
        if changed {
            self.metrics.ticket("confirmed");
            tracing::info!(ticket = %id, %client, subject, "confirmed");
        }
        Ok(reading)
    }

    /// Cancels the ticket for one of its parties. `reason` returns the reason, from the ticket as stored, or `None` if
    /// the party may not cancel it.
    ///
    /// # Errors
    /// As [`store::transition`], with the refusals of [`Ticket::cancel`].
    pub async fn cancel(
        &self,
        id: &TicketId,
        party: &Party,
        reason: impl Fn(&Ticket) -> Option<CancelReason> + Send + Sync,
    ) -> Result<Reading, TransitionError> {
        let step = |ticket: &Ticket, now| ticket.cancel(party, reason(ticket).ok_or(Refusal::NotPermitted)?, now);
        let Transition { reading, changed } = store::transition(&self.store, id, step).await?;
        if changed && let State::Cancelled { reason, .. } = &reading.ticket.state {
            self.metrics.ticket("cancelled");
            let (client, reason) = (&reading.ticket.request.client_id, reason.as_str());
            let subject = self.pseudonym_of(party);
            // Anyone can create tickets and close them, so those lines are limited. Lines about verified people are not.
            if subject.is_some() || self.log_limiter.should_log("cancelled", Some(reason)) {
                tracing::info!(ticket = %id, %client, subject, reason, "cancelled");
            }
        }
        Ok(reading)
    }

    /// Claims a confirmed ticket for its recipient, under the JWT id `jti`.
    ///
    /// # Errors
    /// As [`store::transition`], with the refusals of [`Ticket::claim`].
    pub async fn claim(&self, reading: Reading, recipient: &Party, jti: &str) -> Result<Reading, TransitionError> {
        let started = Instant::now();
        let step = |ticket: &Ticket, now| ticket.claim(recipient, jti, self.lifetimes.token, now);
        let Transition { reading, changed } = store::transition_from(&self.store, reading, step).await?;
        if changed {
            self.metrics.ticket("claimed");
            if let State::Claimed { grant, .. } = &reading.ticket.state {
                let Ticket { id, request, .. } = &reading.ticket;
                let subject = self.pseudonym(&grant.subject);
                tracing::info!(ticket = %id, client = %request.client_id, subject, jti, "claimed");
                // The reading's time is from before the claim.
                self.metrics.confirm_to_event(reading.now.since(grant.confirmed_at) + started.elapsed());
            }
        }
        Ok(reading)
    }

    /// Records that a waiting party was told that its ticket expired. `late` is the time since the deadline, if known.
    pub fn expire(&self, id: &TicketId, late: Option<Duration>) {
        if let Some(late) = late {
            self.metrics.expiry_lag(late);
        }
        self.metrics.ticket("expired");
        if self.log_limiter.should_log("expired", None) {
            tracing::info!(ticket = %id, "expired");
        }
    }

    /// Returns the pseudonym of a person in the log; `None` for a browser.
    fn pseudonym_of(&self, party: &Party) -> Option<String> {
        match party {
            Party::Person(person) => Some(self.pseudonym(&person.subject)),
            Party::Browser(_) => None,
        }
    }

    /// Returns a name that is always the same for this person and does not reveal the subject.
    fn pseudonym(&self, subject: &Subject) -> String {
        self.signer.log_pseudonym(subject)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn no_other_module_stores_or_counts_a_transition() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        // The functions that store or count, by path or as methods. `str::replace` takes no reference to a variable here.
        let names = regex::Regex::new(
            r"\btransition(_from)?\(|\.ticket\(\x22|\bStore::(create|replace)\b|store\s*\.\s*(create|replace)\(|\.replace\(\s*&\w+\s*[,.]",
        )
        .unwrap();
        for forbidden in [
            "store::transition(&store, id, step)",
            "transition_from(&store, reading, step)",
            "metrics.ticket(\"scanned\")",
            "gateway.store.create(new)",
            "self.store\n    .replace(one, other)",
            "engine.replace(&current, &next)",
            "engine.replace(&reading.ticket, &next)",
            "engine.replace(\n    &ticket,\n    &next,\n)",
            "Store::replace(&*engine, current, next)",
        ] {
            assert!(names.is_match(forbidden), "{forbidden}");
        }
        let uses = |path: &Path| names.is_match(&std::fs::read_to_string(path).unwrap());
        assert!(uses(&root.join("sign_in.rs")));
        for path in sources(&root) {
            let inside = path.strip_prefix(&root).unwrap();
            let is_owner =
                inside.starts_with("store") || inside == Path::new("store.rs") || inside == Path::new("sign_in.rs");
            let is_test = inside.ends_with("tests.rs");
            assert!(
                is_owner || is_test || !uses(&path),
                "{} stores or counts a transition without `sign_in`",
                inside.display()
            );
        }
    }
}

//! Limits per caller, on what can be guessed, piled up or costs much: creating, drawing, scanning, deciding.
//!
//! Good and bad attempts are counted apart, so that neither uses up the other's allowance: whoever guesses behind a shared
//! address takes nothing from the others there, and is told no more than that it was too often. Who counts as one caller
//! is told in `callers`. `limits/tickets` counts what each of them has waiting.

pub(super) mod tickets;

use std::net::IpAddr;
use std::sync::Arc;

use super::bounds::{self, Names};
use super::problem::Problem;
use crate::callers::Caller;
use crate::callers::allowance::Allowances;
use crate::metrics::Metrics;
use tickets::Waiting;

/// What one client address may do: attempts per minute, and tickets at the same time. The networks that it is in have as many
/// more as `callers` says.
#[derive(Debug, Clone, Copy)]
pub struct RateLimits {
    /// New tickets.
    pub create: u32,
    /// Those of them whose code is another service's.
    pub connector: u32,
    /// Scans with a good token.
    pub scan: u32,
    /// Confirms and declines with a good token.
    pub confirm: u32,
    /// Scans without one, or of a ticket that is not there.
    pub invalid_scan: u32,
    /// Confirms and declines of that kind.
    pub invalid_confirm: u32,
    /// QR codes that are drawn.
    pub draw: u32,
    /// Tickets that wait to be scanned at the same time.
    pub tickets: usize,
}

/// The limits of all callers.
pub struct Limits {
    pub(super) create: Limit,
    pub(super) connector: Limit,
    pub(super) draw: Limit,
    pub(super) scan: Limit,
    /// Scans by whoever proves to be no person, which may be anybody's.
    pub(super) guest_scan: Limit,
    pub(super) confirm: Limit,
    pub(super) invalid_scan: Limit,
    pub(super) invalid_confirm: Limit,
    /// The tickets that wait.
    pub(super) tickets: Waiting,
}

/// An allowance per caller: so many at once, refilled over a minute.
pub(super) struct Limit {
    names: Names,
    allowances: Allowances,
    metrics: Arc<Metrics>,
}

impl Limits {
    /// Makes full allowances.
    #[must_use]
    pub fn new(limits: RateLimits, metrics: &Arc<Metrics>) -> Self {
        let limit = |names, per_minute| Limit {
            names,
            allowances: Allowances::per_minute(per_minute),
            metrics: Arc::clone(metrics),
        };
        Self {
            create: limit(bounds::CREATE, limits.create),
            connector: limit(bounds::CONNECTOR, limits.connector),
            draw: limit(bounds::DRAW, limits.draw),
            scan: limit(bounds::SCAN, limits.scan),
            guest_scan: limit(bounds::GUEST_SCAN, limits.scan),
            confirm: limit(bounds::CONFIRM, limits.confirm),
            invalid_scan: limit(bounds::INVALID_SCAN, limits.invalid_scan),
            invalid_confirm: limit(bounds::INVALID_CONFIRM, limits.invalid_confirm),
            tickets: Waiting::new(limits.tickets, Arc::clone(metrics)),
        }
    }

    /// Forgets callers whose allowances have refilled, and tickets that are over.
    pub(super) fn tidy(&self) {
        let Self { create, connector, draw, scan, guest_scan, confirm, invalid_scan, invalid_confirm, tickets } = self;
        for limit in [create, connector, draw, scan, guest_scan, confirm, invalid_scan, invalid_confirm] {
            limit.allowances.tidy();
        }
        tickets.tidy();
    }
}

impl Limit {
    /// Uses up one attempt of `address`.
    ///
    /// # Errors
    /// [`super::problem::RATE_LIMITED`] with the time to wait if none is left, of it or of a network that it is in.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Problem> {
        let on_full_table = || self.metrics.refused("rate_table_full");
        self.allowances
            .take(Caller::of(address), on_full_table)
            .map_err(|used_up| Problem::rate_limited(used_up, self.names))
    }

    /// Counts what looks like guessing: no good token, not the caller's ticket, no ticket at all.
    ///
    /// # Errors
    /// The result's own, or [`super::problem::RATE_LIMITED`] instead of it.
    pub(super) fn charge_failures<T>(&self, address: IpAddr, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(|problem| match problem.kind().status.as_u16() {
            401 | 403 | 404 => self.check(address).err().unwrap_or(problem),
            _ => problem,
        })
    }
}

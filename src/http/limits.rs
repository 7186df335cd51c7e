//! Limits per caller, on what can be guessed, piled up or costs much: creating, drawing, scanning, deciding.
//!
//! Good and bad attempts are counted apart, so that neither uses up the other's allowance: whoever guesses behind a shared
//! address takes nothing from the others there, and is told no more than that it was too often. Who counts as one caller
//! is told in `callers`. `limits/tickets` counts what each of them has waiting.

pub(super) mod tickets;

use std::net::IpAddr;
use std::sync::Arc;

use super::error::{self, Problem};
use crate::callers::allowance::{Allowances, UsedUp};
use crate::callers::{Caller, Tier};
use crate::config::CallerLimits;
use crate::metrics::Metrics;
use tickets::Waiting;

/// The names of a bound in the metrics, by [`Tier`].
pub type Names = [&'static str; Tier::ALL.len()];

macro_rules! names {
    ($name:literal) => {
        [$name, concat!($name, "_site"), concat!($name, "_network")]
    };
}

const CREATE: Names = names!("rate_create");
const CONNECTOR: Names = names!("rate_connector");
const DRAW: Names = names!("rate_draw");
const SCAN: Names = names!("rate_scan");
const GUEST_SCAN: Names = names!("rate_guest_scan");
const CONFIRM: Names = names!("rate_confirm");
const INVALID_SCAN: Names = names!("rate_invalid_scan");
const INVALID_CONFIRM: Names = names!("rate_invalid_confirm");
/// A caller's share of the tickets that wait.
pub(super) const TICKETS: Names = names!("tickets_per_address");
/// A caller's share of the streams.
pub(super) const STREAMS: Names = names!("streams_per_address");
/// A caller's share of what another service gives in a day.
pub(super) const CONNECTOR_DAY: Names = names!("connector_day");

/// A caller's share of the connections.
pub const CONNECTIONS: Names = names!("connections_per_address");

/// Every bound that is counted at each tier.
pub const TIERED: [Names; 12] = [
    CREATE,
    CONNECTOR,
    DRAW,
    SCAN,
    GUEST_SCAN,
    CONFIRM,
    INVALID_SCAN,
    INVALID_CONFIRM,
    TICKETS,
    STREAMS,
    CONNECTIONS,
    CONNECTOR_DAY,
];

pub(super) struct Limits {
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
    pub(super) fn new(limits: CallerLimits, metrics: &Arc<Metrics>) -> Self {
        let limit = |names, per_minute| Limit {
            names,
            allowances: Allowances::per_minute(per_minute),
            metrics: Arc::clone(metrics),
        };
        Self {
            create: limit(CREATE, limits.create),
            connector: limit(CONNECTOR, limits.connector),
            draw: limit(DRAW, limits.draw),
            scan: limit(SCAN, limits.scan),
            guest_scan: limit(GUEST_SCAN, limits.scan),
            confirm: limit(CONFIRM, limits.confirm),
            invalid_scan: limit(INVALID_SCAN, limits.invalid_scan),
            invalid_confirm: limit(INVALID_CONFIRM, limits.invalid_confirm),
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
    /// [`error::RATE_LIMITED`] with the time to wait if none is left, of it or of a network that it is in.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Problem> {
        let on_full_table = || self.metrics.refused("rate_table_full");
        self.allowances.take(Caller::of(address), on_full_table).map_err(|used_up| refusal(used_up, self.names))
    }

    /// Counts what looks like guessing: no good token, not the caller's ticket, no ticket at all.
    ///
    /// # Errors
    /// The result's own, or [`error::RATE_LIMITED`] instead of it.
    pub(super) fn judge<T>(&self, address: IpAddr, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(|problem| match problem.kind().status.as_u16() {
            401 | 403 | 404 => self.check(address).err().unwrap_or(problem),
            _ => problem,
        })
    }
}

/// Returns what a caller is told whose allowance is used up.
pub(super) fn refusal(UsedUp { tier, wait }: UsedUp, names: Names) -> Problem {
    of_tier(Problem::from(&error::RATE_LIMITED), tier, names).retry_after(wait)
}

/// Says whose bound it was that was reached.
pub(super) fn of_tier(problem: Problem, tier: Tier, names: Names) -> Problem {
    let problem = problem.counted_as(names[tier as usize]);
    let advice = problem.kind().advice;
    match tier {
        Tier::Address => problem,
        Tier::Site | Tier::Network => {
            problem.detail(format!("Other addresses of your network are counted together with yours. {advice}"))
        }
    }
}

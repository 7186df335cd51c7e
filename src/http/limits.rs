//! Limits per caller on operations that can be guessed, accumulated, or are expensive: creating, drawing, scanning, deciding.
//!
//! Valid and invalid attempts are counted separately, so that neither uses up the other's allowance. A guesser behind a shared
//! address does not use up the others' allowance. The response to it says only that there were too many attempts. `callers`
//! defines a caller. `limits/tickets` counts each caller's pending tickets.

pub(super) mod tickets;

use std::net::IpAddr;
use std::sync::Arc;

use super::bounds::{self, BoundNames};
use super::problem::{Problem, ProblemType, SIGN_IN_TOO_OLD, STRONGER_SIGN_IN_NEEDED};
use crate::callers::Caller;
use crate::callers::allowance::{Allowances, Exhausted};
use crate::metrics::Metrics;
use crate::openid_provider::failure::TokenError;
use tickets::PendingTickets;

/// The limits of one address: attempts per minute, and tickets at the same time. Wider networks get a multiple,
/// [`Tier::factor`](crate::callers::Tier::factor).
#[derive(Debug, Clone, Copy)]
pub struct RateLimits {
    /// New tickets.
    pub create: u32,
    /// New tickets whose code a connector creates.
    pub connector: u32,
    /// Scans with a valid token. Scans without one, and openings, may be as many, each counted separately.
    pub scan: u32,
    /// Confirms and declines with a valid token.
    pub confirm: u32,
    /// Scans without a valid token, or of an unknown ticket.
    pub invalid_scan: u32,
    /// Confirms and declines without a valid token, or of an unknown ticket.
    pub invalid_confirm: u32,
    /// Sign-ins that begin at an identity provider; answers that fit none have a separate limit of the same size.
    pub sign_in: u32,
    /// Authorization requests of OpenID clients, and requests to sign out. Answers to authorization requests have a separate limit
    /// of the same size.
    pub authorize: u32,
    /// Token requests of OpenID clients. The servers of an app send them for all its people. Userinfo requests have a separate limit
    /// of the same size.
    pub token: u32,
    /// Requests of clients that are unknown or have a wrong secret, and requests with a text that is no access token.
    pub invalid_client: u32,
    /// QR codes drawn.
    pub draw: u32,
    /// Tickets that wait to be scanned at the same time.
    pub tickets: usize,
}

/// The limits of all callers.
pub struct Limits {
    pub(super) create: Limit,
    pub(super) connector: Limit,
    pub(super) draw: Limit,
    /// Openings, which anyone can send.
    pub(super) open: Limit,
    pub(super) scan: Limit,
    /// Scans without a verified person, which anyone can send.
    pub(super) anonymous_scan: Limit,
    pub(super) confirm: Limit,
    pub(super) invalid_scan: Limit,
    pub(super) invalid_confirm: Limit,
    pub(super) sign_in: Limit,
    pub(super) invalid_answer: Limit,
    pub(super) authorize: Limit,
    /// Answers to authorization requests: the requests of others must not use up the attempts of a person who has
    /// confirmed.
    pub(super) done: Limit,
    pub(super) token: Limit,
    /// Userinfo requests: an app that asks often must still be able to refresh its tokens.
    pub(super) userinfo: Limit,
    pub(super) invalid_client: Limit,
    /// The pending tickets.
    pub(super) tickets: PendingTickets,
}

/// An allowance per caller: a burst of attempts, refilled over a minute.
pub(super) struct Limit {
    names: BoundNames,
    allowances: Allowances,
    metrics: Arc<Metrics>,
}

impl Limits {
    /// Creates full allowances.
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
            open: limit(bounds::OPEN, limits.scan),
            scan: limit(bounds::SCAN, limits.scan),
            anonymous_scan: limit(bounds::ANONYMOUS_SCAN, limits.scan),
            confirm: limit(bounds::CONFIRM, limits.confirm),
            invalid_scan: limit(bounds::INVALID_SCAN, limits.invalid_scan),
            invalid_confirm: limit(bounds::INVALID_CONFIRM, limits.invalid_confirm),
            sign_in: limit(bounds::SIGN_IN, limits.sign_in),
            invalid_answer: limit(bounds::INVALID_ANSWER, limits.sign_in),
            authorize: limit(bounds::AUTHORIZE, limits.authorize),
            done: limit(bounds::DONE, limits.authorize),
            token: limit(bounds::TOKEN, limits.token),
            userinfo: limit(bounds::USERINFO, limits.token),
            invalid_client: limit(bounds::INVALID_CLIENT, limits.invalid_client),
            tickets: PendingTickets::new(limits.tickets, Arc::clone(metrics)),
        }
    }

    /// Removes callers whose allowances have refilled, and tickets that can no longer be scanned.
    pub(super) fn prune(&self) {
        let Self {
            create,
            connector,
            draw,
            open,
            scan,
            anonymous_scan,
            confirm,
            invalid_scan,
            invalid_confirm,
            sign_in,
            invalid_answer,
            authorize,
            done,
            token,
            userinfo,
            invalid_client,
            tickets,
        } = self;
        let of_attempts = [create, connector, draw, open, scan, anonymous_scan, confirm, invalid_scan, invalid_confirm];
        let of_openid = [authorize, done, token, userinfo, invalid_client];
        for limit in of_attempts.into_iter().chain([sign_in, invalid_answer]).chain(of_openid) {
            limit.allowances.prune();
        }
        tickets.prune();
    }
}

impl Limit {
    /// Takes one attempt of `address`.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait, if the address or a network around it has none left.
    pub(super) fn take_or_problem(&self, address: IpAddr) -> Result<(), Problem> {
        self.take(address).map_err(|used_up| Problem::rate_limited(used_up, self.names))
    }

    /// Takes one attempt of `address`, for an endpoint whose errors are OAuth's. Counts the refusal.
    ///
    /// # Errors
    /// [`TokenError::TemporarilyUnavailable`], if the address or a network around it has none left.
    pub(super) fn take_or_oauth_error(&self, address: IpAddr) -> Result<(), TokenError> {
        self.take(address).map_err(|used_up| {
            self.metrics.refused(self.names[used_up.tier as usize]);
            TokenError::TemporarilyUnavailable { is_limited: true, retry_after: used_up.wait }
        })
    }

    fn take(&self, address: IpAddr) -> Result<(), Exhausted> {
        let on_full_table = || self.metrics.refused("rate_table_full");
        self.allowances.take(Caller::of(address), on_full_table)
    }

    /// Takes one attempt if the result looks like guessing: an invalid token, a ticket of other parties, an unknown ticket.
    ///
    /// # Errors
    /// The result's own, or `rate_limited` instead of it.
    pub(super) fn charge_failures<T>(&self, address: IpAddr, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(|problem| {
            if looks_like_guessing(problem.problem_type()) {
                self.take_or_problem(address).err().unwrap_or(problem)
            } else {
                problem
            }
        })
    }
}

/// Returns whether a guesser gets this problem. The people who must sign in again are known, and may be many at one address.
fn looks_like_guessing(problem_type: &ProblemType) -> bool {
    let is_known_person = [SIGN_IN_TOO_OLD.code, STRONGER_SIGN_IN_NEEDED.code].contains(&problem_type.code);
    matches!(problem_type.status.as_u16(), 401 | 403 | 404) && !is_known_person
}

#[cfg(test)]
mod tests {
    use super::super::problem;
    use super::*;

    #[test]
    fn a_known_person_who_must_sign_in_again_is_no_guesser() {
        let guesses: Vec<&str> =
            problem::ALL.iter().filter(|row| looks_like_guessing(row)).map(|row| row.code).collect();
        for code in ["invalid_token", "not_permitted", "ticket_not_found"] {
            assert!(guesses.contains(&code), "{code}");
        }
        for code in ["sign_in_too_old", "stronger_sign_in_needed", "already_scanned", "rate_limited", "unavailable"] {
            assert!(!guesses.contains(&code), "{code}");
        }
    }
}

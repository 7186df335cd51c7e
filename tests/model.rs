//! A model of the protocol, explored whole: every order in which the steps of gateways, browsers, people and Redis can
//! follow one another, within bounds that each test names. `stateright` does the exploring.
//!
//! Modelled: one ticket, the real [`scangate::ticket::Ticket`] with its real transitions; Redis as two scripts,
//! notifications and replication (`model/store.rs`, `model/bus.rs`); gateways command by command (`model/transition.rs`,
//! `model/streams.rs`), which restates `http/wait.rs` and `http/snapshot.rs` and is to be kept in step with them.
//! Not modelled: bounds on streams, heartbeats, drains, long polls, readings that fail, clocks that disagree, Redis's own
//! sweep of expired keys (it only tells earlier).
//!
//! Invariants (`model/properties.rs`): there is one JWT, for the recipient alone; an acknowledged confirmation stands; and
//! whenever nothing is left to do but for people, time and misfortune, every stream has told, or ended with, the ticket's
//! last state. That the model can fail is tested too: without any one of its rules it finds what goes wrong.

mod bus;
mod cast;
mod properties;
mod protocol;
mod store;
mod streams;
mod transition;
mod world;

use scangate::ticket::Flow;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use cast::{Deed, Who};
use properties::{LAST_STATE, MEANT, NO_STRANGERS, ONE_JWT, PROMISE};
use protocol::{Plan, Protocol};
use world::{Follows, Layout, Misfortune, Rules, Setting, Waits};

const THREADS: usize = 2;
const SCAN: &[Deed] = &[Deed::Scan];
const CONFIRM: &[Deed] = &[Deed::Confirm];
const CANCEL: &[Deed] = &[Deed::Cancel];
const DECIDE: &[Deed] = &[Deed::Confirm, Deed::Cancel];
const LUCK: Misfortune = Misfortune { cuts: 0, crashes: 0, breaks: 0, losses: 0, moves: 0, failovers: 0 };

/// One Redis, one page, from the fresh ticket to its end; the subscriber's connection breaks twice.
fn lost_notifications() -> Protocol {
    Protocol {
        flow: Flow::Login,
        setting: Setting { layout: Layout::Single, rules: Rules::ALL },
        before: &[],
        behind: 0,
        people: &[Plan(Who::Ada, &[SCAN, DECIDE])],
        browsers: &[Who::Recipient],
        ahead: Misfortune { cuts: 2, breaks: 1, ..LUCK },
        ticks: true,
        wonders: || vec![properties::lost_and_yet(), properties::expired()],
    }
}

/// Two people scan the same code, and a stranger knows it.
fn two_scanners() -> Protocol {
    Protocol {
        people: &[Plan(Who::Ada, &[SCAN, DECIDE]), Plan(Who::Bob, &[SCAN, DECIDE])],
        browsers: &[Who::Recipient, Who::Stranger],
        ahead: LUCK,
        ticks: false,
        wonders: || vec![properties::handed_over()],
        ..lost_notifications()
    }
}

/// The other flow: the presenter approves, and has a stream of its own; the scanner receives.
fn both_parties() -> Protocol {
    Protocol {
        flow: Flow::Share,
        before: &[(Who::Recipient, Deed::Scan)],
        people: &[Plan(Who::Ada, &[DECIDE])],
        browsers: &[Who::Recipient, Who::Ada],
        ahead: Misfortune { cuts: 1, ..LUCK },
        ticks: false,
        wonders: || vec![properties::handed_over()],
        ..lost_notifications()
    }
}

/// Two tabs of the recipient claim at once, and an answer of Redis is lost.
fn two_tabs() -> Protocol {
    Protocol {
        before: &[(Who::Ada, Deed::Scan)],
        people: &[Plan(Who::Ada, &[CONFIRM])],
        browsers: &[Who::Recipient, Who::Recipient],
        ahead: Misfortune { losses: 1, ..LUCK },
        wonders: || vec![properties::two_tabs(), properties::too_late()],
        ..lost_notifications()
    }
}

/// The JWT does not arrive: the gateway crashes, the browser's connection breaks, an answer of Redis is lost.
fn lost_jwt() -> Protocol {
    Protocol {
        browsers: &[Who::Recipient],
        ahead: Misfortune { losses: 1, crashes: 1, breaks: 1, ..LUCK },
        wonders: || vec![properties::redelivered(), properties::too_late(), properties::claimed_unheard()],
        ..two_tabs()
    }
}

/// The replica becomes the primary, while a gateway that has not heard of it goes on with the old one.
fn failover() -> Protocol {
    Protocol {
        setting: Setting { layout: Layout::Replicated, rules: Rules::ALL },
        browsers: &[Who::Recipient],
        ahead: Misfortune { failovers: 1, ..LUCK },
        ticks: false,
        wonders: || vec![properties::failed_over()],
        ..two_tabs()
    }
}

/// The same when two tabs claim.
fn failover_of_claims() -> Protocol {
    Protocol {
        before: &[(Who::Ada, Deed::Scan), (Who::Ada, Deed::Confirm)],
        people: &[],
        browsers: &[Who::Recipient, Who::Recipient],
        ..failover()
    }
}

/// The same when the recipient cancels, and that or the scan may be lost with the old primary.
fn failover_of_cancellation() -> Protocol {
    Protocol {
        behind: 1,
        people: &[Plan(Who::Recipient, &[CANCEL])],
        wonders: || vec![properties::ended_after_failover()],
        ..failover()
    }
}

/// A share whose scan is lost with the old primary, and somebody else scans; the presenter grants what the recipient was
/// seen to wait for.
fn swapped_scanner() -> Protocol {
    Protocol {
        flow: Flow::Share,
        before: &[(Who::Recipient, Deed::Scan)],
        behind: 1,
        people: &[Plan(Who::Bob, &[SCAN]), Plan(Who::Ada, &[CONFIRM])],
        wonders: || vec![properties::swapped()],
        ..failover()
    }
}

/// The ticket's slot moves to another node; the subscriber's connection breaks, and so does the browser's.
fn slot_move() -> Protocol {
    Protocol {
        setting: Setting { layout: Layout::Cluster, rules: Rules::ALL },
        people: &[Plan(Who::Ada, &[DECIDE])],
        browsers: &[Who::Recipient],
        ahead: Misfortune { moves: 1, cuts: 1, breaks: 1, ..LUCK },
        wonders: || vec![properties::moved()],
        ..two_tabs()
    }
}

/// Explores all of it.
fn holds(protocol: Protocol) {
    let checker = protocol.checker().threads(THREADS).spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

/// Explores until `property` is found broken.
fn is_missed(property: &'static str, protocol: Protocol) {
    let found = HasDiscoveries::AllOf([property].into());
    let checker = protocol.checker().threads(THREADS).finish_when(found).spawn_bfs().join();
    println!("{property}: broken, found after {} states by this way:", checker.unique_state_count());
    let found = checker.assert_any_discovery(property);
    for (world, action) in found.into_vec() {
        println!("{:?} at {} of {:?}, then {action:?}", world.nodes, world.primary, world.browsers);
    }
}

#[test]
fn no_lost_notification_is_missed() {
    holds(lost_notifications());
}

#[test]
fn two_scanners_and_a_stranger_make_one_jwt() {
    holds(two_scanners());
}

#[test]
fn both_parties_learn_the_end() {
    holds(both_parties());
}

#[test]
fn two_tabs_are_handed_the_same_jwt() {
    holds(two_tabs());
}

#[test]
fn a_jwt_that_did_not_arrive_is_handed_over_again() {
    holds(lost_jwt());
}

#[test]
fn a_failover_takes_back_no_confirmation() {
    holds(failover());
}

#[test]
fn a_failover_makes_no_second_jwt() {
    holds(failover_of_claims());
}

#[test]
fn a_failover_leaves_no_stream_with_what_it_took_back() {
    holds(failover_of_cancellation());
}

#[test]
fn a_failover_leads_no_grant_to_another_scanner() {
    holds(swapped_scanner());
}

#[test]
fn granting_to_whoever_is_there_is_found_out() {
    is_missed(MEANT, swapped_scanner().with(|rules| rules.names_scanner = false));
}

#[test]
fn a_stream_follows_its_slot() {
    holds(slot_move());
}

#[test]
fn showing_a_ticket_to_anybody_is_found_out() {
    is_missed(NO_STRANGERS, two_scanners().with(|rules| rules.asks_who = false));
}

#[test]
fn not_reading_after_the_watch_is_found_out() {
    is_missed(LAST_STATE, lost_notifications().with(|rules| rules.reads_after_watch = false));
}

#[test]
fn not_reading_after_a_gap_is_found_out() {
    is_missed(LAST_STATE, lost_notifications().with(|rules| rules.reads_after_gap = false));
}

#[test]
fn not_looking_at_the_deadline_is_found_out() {
    is_missed(LAST_STATE, lost_notifications().with(|rules| rules.looks_at_deadline = false));
}

#[test]
fn claiming_without_comparing_revisions_is_found_out() {
    is_missed(ONE_JWT, two_tabs().with(|rules| rules.compares_revisions = false));
}

#[test]
fn not_following_the_slot_is_found_out() {
    is_missed(LAST_STATE, slot_move().with(|rules| rules.follows = Follows::Nothing));
}

#[test]
fn following_only_redirects_of_the_ticket_itself_is_found_out() {
    is_missed(LAST_STATE, slot_move().with(|rules| rules.follows = Follows::OwnRedirects));
}

#[test]
fn not_waiting_for_the_replica_is_found_out() {
    is_missed(PROMISE, failover().with(|rules| rules.waits = Waits::Never));
    is_missed(ONE_JWT, failover_of_claims().with(|rules| rules.waits = Waits::Never));
}

#[test]
fn waiting_only_for_a_replica_that_is_connected_is_found_out() {
    is_missed(PROMISE, failover().with(|rules| rules.waits = Waits::Connected));
    is_missed(ONE_JWT, failover_of_claims().with(|rules| rules.waits = Waits::Connected));
}

#[test]
fn repeating_what_the_replica_does_not_have_is_found_out() {
    is_missed(PROMISE, failover().with(|rules| rules.persists = false));
    is_missed(ONE_JWT, failover_of_claims().with(|rules| rules.persists = false));
}

#[test]
fn telling_what_the_replica_does_not_have_is_found_out() {
    is_missed(LAST_STATE, failover_of_cancellation().with(|rules| rules.persists_told = false));
}

#[test]
fn refusing_a_stream_whose_confirmation_was_taken_back_is_found_out() {
    is_missed(LAST_STATE, failover().with(|rules| rules.forgives = false));
}

//! A model of the protocol. `stateright` explores every order of the steps of gateways, browsers, people and Redis,
//! within the bounds of each test.
//!
//! The model contains one ticket, the real [`scangate::ticket::Ticket`] with its real transitions; Redis as two scripts,
//! notifications and replication (`model/store.rs`, `model/subscriber.rs`); and gateways command by command
//! (`model/transition.rs`, `model/streams.rs`). The last two restate `http/wait.rs` and `http/snapshot.rs`: change them
//! together. The model omits bounds on streams, heartbeats, drains, long polls, failing reads, clocks that disagree, and
//! Redis's own sweep of expired keys, which only reports an expiry earlier.
//!
//! Invariants (`model/properties.rs`): there is one JWT, only for the recipient; an acknowledged confirmation is not
//! lost; and when only people, time and faults can change anything, every stream has sent, or ended with, the ticket's
//! last state. Further tests remove one rule each and expect the explorer to find a violation.

mod actors;
mod properties;
mod protocol;
mod store;
mod streams;
mod subscriber;
mod transition;
mod world;

use scangate::ticket::Flow;
use stateright::{Checker as _, HasDiscoveries, Model as _};

use actors::{Actor, Operation};
use properties::{ACKNOWLEDGED, GRANTED_TO_RECIPIENT, LAST_STATE, NO_STRANGERS, ONE_JWT};
use protocol::{Plan, Protocol};
use world::{Faults, Follows, Layout, Rules, Setting, Waits};

const THREADS: usize = 2;
const OPEN: &[Operation] = &[Operation::Open];
const SCAN: &[Operation] = &[Operation::Scan];
const CONFIRM: &[Operation] = &[Operation::Confirm];
const CANCEL: &[Operation] = &[Operation::Cancel];
const DECIDE: &[Operation] = &[Operation::Confirm, Operation::Cancel];
const NO_FAULTS: Faults = Faults { cuts: 0, crashes: 0, breaks: 0, losses: 0, moves: 0, failovers: 0 };

/// One Redis, one page, from the new ticket to its end; the subscriber's connection breaks twice.
fn lost_notifications() -> Protocol {
    Protocol {
        flow: Flow::Login,
        setting: Setting { layout: Layout::Single, rules: Rules::ALL },
        before: &[],
        unreplicated: 0,
        people: &[Plan(Actor::Ada, &[SCAN, DECIDE])],
        browsers: &[Actor::Recipient],
        faults: Faults { cuts: 2, breaks: 1, ..NO_FAULTS },
        ticks: true,
        reachable: || vec![properties::delivered_after_lost_notification(), properties::expired()],
    }
}

/// Ada's phone opens the ticket while she signs in, a stranger who knows the id opens it as well, and the subscriber's
/// connection breaks.
fn opened() -> Protocol {
    Protocol {
        people: &[Plan(Actor::Ada, &[OPEN, SCAN, CONFIRM]), Plan(Actor::Stranger, &[OPEN])],
        browsers: &[Actor::Recipient, Actor::Stranger],
        faults: Faults { cuts: 1, ..NO_FAULTS },
        reachable: || vec![properties::opening_shown(), properties::delivered_after_opening(), properties::expired()],
        ..lost_notifications()
    }
}

/// A failover while the ticket is opened: the opening may be lost with the old primary, and the scan follows it.
fn failover_of_opening() -> Protocol {
    Protocol {
        before: &[],
        people: &[Plan(Actor::Ada, &[OPEN, SCAN, CONFIRM])],
        reachable: || vec![properties::failed_over(), properties::opening_shown()],
        ..failover()
    }
}

/// Two people scan the same code, and a stranger knows the ticket id.
fn two_scanners() -> Protocol {
    Protocol {
        people: &[Plan(Actor::Ada, &[SCAN, DECIDE]), Plan(Actor::Bob, &[SCAN, DECIDE])],
        browsers: &[Actor::Recipient, Actor::Stranger],
        faults: NO_FAULTS,
        ticks: false,
        reachable: || vec![properties::delivered()],
        ..lost_notifications()
    }
}

/// The flow `share`: the presenter approves and has its own stream; the scanner receives.
fn both_parties() -> Protocol {
    Protocol {
        flow: Flow::Share,
        before: &[(Actor::Recipient, Operation::Scan)],
        people: &[Plan(Actor::Ada, &[DECIDE])],
        browsers: &[Actor::Recipient, Actor::Ada],
        faults: Faults { cuts: 1, ..NO_FAULTS },
        ticks: false,
        reachable: || vec![properties::delivered()],
        ..lost_notifications()
    }
}

/// Two tabs of the recipient claim at the same time, and one reply of Redis is lost.
fn two_tabs() -> Protocol {
    Protocol {
        before: &[(Actor::Ada, Operation::Scan)],
        people: &[Plan(Actor::Ada, &[CONFIRM])],
        browsers: &[Actor::Recipient, Actor::Recipient],
        faults: Faults { losses: 1, ..NO_FAULTS },
        reachable: || vec![properties::two_tabs(), properties::too_late()],
        ..lost_notifications()
    }
}

/// The JWT does not arrive: the gateway crashes, the browser's connection breaks, or a reply of Redis is lost.
fn lost_jwt() -> Protocol {
    Protocol {
        browsers: &[Actor::Recipient],
        faults: Faults { losses: 1, crashes: 1, breaks: 1, ..NO_FAULTS },
        reachable: || vec![properties::redelivered(), properties::too_late(), properties::claimed_without_reply()],
        ..two_tabs()
    }
}

/// The replica becomes the primary, while a gateway that does not know it yet continues with the old one.
fn failover() -> Protocol {
    Protocol {
        setting: Setting { layout: Layout::Replicated, rules: Rules::ALL },
        browsers: &[Actor::Recipient],
        faults: Faults { failovers: 1, ..NO_FAULTS },
        ticks: false,
        reachable: || vec![properties::failed_over()],
        ..two_tabs()
    }
}

/// A failover while two tabs claim.
fn failover_of_claims() -> Protocol {
    Protocol {
        before: &[(Actor::Ada, Operation::Scan), (Actor::Ada, Operation::Confirm)],
        people: &[],
        browsers: &[Actor::Recipient, Actor::Recipient],
        ..failover()
    }
}

/// A failover while the recipient cancels; the cancellation or the scan may be lost with the old primary.
fn failover_of_cancellation() -> Protocol {
    Protocol {
        unreplicated: 1,
        people: &[Plan(Actor::Recipient, &[CANCEL])],
        reachable: || vec![properties::ended_after_failover()],
        ..failover()
    }
}

/// A share whose scan is lost with the old primary; another person scans. The presenter confirms for the recipient that
/// it saw.
fn swapped_scanner() -> Protocol {
    Protocol {
        flow: Flow::Share,
        before: &[(Actor::Recipient, Operation::Scan)],
        unreplicated: 1,
        people: &[Plan(Actor::Bob, &[SCAN]), Plan(Actor::Ada, &[CONFIRM])],
        reachable: || vec![properties::another_scanner()],
        ..failover()
    }
}

/// The ticket's slot moves to another node; the subscriber's connection breaks, and so does the browser's.
fn slot_move() -> Protocol {
    Protocol {
        setting: Setting { layout: Layout::Cluster, rules: Rules::ALL },
        people: &[Plan(Actor::Ada, &[DECIDE])],
        browsers: &[Actor::Recipient],
        faults: Faults { moves: 1, cuts: 1, breaks: 1, ..NO_FAULTS },
        reachable: || vec![properties::moved()],
        ..two_tabs()
    }
}

/// Explores every state, and checks all properties.
fn holds(protocol: Protocol) {
    let checker = protocol.checker().threads(THREADS).spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

/// Explores until a state violates `property`.
fn finds_violation(property: &'static str, protocol: Protocol) {
    let found = HasDiscoveries::AllOf([property].into());
    let checker = protocol.checker().threads(THREADS).finish_when(found).spawn_bfs().join();
    println!("{property}: violated, found after {} states by these steps:", checker.unique_state_count());
    let found = checker.assert_any_discovery(property);
    for (world, action) in found.into_vec() {
        println!("{:?} at {} of {:?}, then {action:?}", world.nodes, world.primary, world.browsers);
    }
}

#[test]
fn no_stream_misses_a_lost_notification() {
    holds(lost_notifications());
}

#[test]
fn a_stranger_gains_nothing_by_opening() {
    holds(opened());
}

#[test]
fn a_failover_loses_an_opening_but_no_confirmation() {
    holds(failover_of_opening());
}

#[test]
fn not_reading_after_the_watch_of_an_opened_ticket_is_detected() {
    finds_violation(LAST_STATE, opened().with(|rules| rules.reads_after_watch = false));
}

#[test]
fn two_scanners_and_a_stranger_make_one_jwt() {
    holds(two_scanners());
}

#[test]
fn both_parties_receive_the_end() {
    holds(both_parties());
}

#[test]
fn two_tabs_receive_the_same_jwt() {
    holds(two_tabs());
}

#[test]
fn a_lost_jwt_is_delivered_again() {
    holds(lost_jwt());
}

#[test]
fn a_failover_loses_no_confirmation() {
    holds(failover());
}

#[test]
fn a_failover_causes_no_second_jwt() {
    holds(failover_of_claims());
}

#[test]
fn a_failover_leaves_no_stream_with_a_lost_state() {
    holds(failover_of_cancellation());
}

#[test]
fn a_failover_grants_nothing_to_another_scanner() {
    holds(swapped_scanner());
}

#[test]
fn granting_to_any_scanner_is_detected() {
    finds_violation(GRANTED_TO_RECIPIENT, swapped_scanner().with(|rules| rules.names_scanner = false));
}

#[test]
fn a_stream_follows_its_slot() {
    holds(slot_move());
}

#[test]
fn sending_a_ticket_to_a_stranger_is_detected() {
    finds_violation(NO_STRANGERS, two_scanners().with(|rules| rules.checks_party = false));
}

#[test]
fn not_reading_after_the_watch_is_detected() {
    finds_violation(LAST_STATE, lost_notifications().with(|rules| rules.reads_after_watch = false));
}

#[test]
fn not_reading_after_a_gap_is_detected() {
    finds_violation(LAST_STATE, lost_notifications().with(|rules| rules.reads_after_gap = false));
}

#[test]
fn not_reading_at_the_deadline_is_detected() {
    finds_violation(LAST_STATE, lost_notifications().with(|rules| rules.reads_at_deadline = false));
}

#[test]
fn claiming_without_comparing_revisions_is_detected() {
    finds_violation(ONE_JWT, two_tabs().with(|rules| rules.compares_revisions = false));
}

#[test]
fn not_following_the_slot_is_detected() {
    finds_violation(LAST_STATE, slot_move().with(|rules| rules.follows = Follows::Nothing));
}

#[test]
fn following_only_redirects_of_the_ticket_itself_is_detected() {
    finds_violation(LAST_STATE, slot_move().with(|rules| rules.follows = Follows::OwnRedirects));
}

#[test]
fn not_waiting_for_the_replica_is_detected() {
    finds_violation(ACKNOWLEDGED, failover().with(|rules| rules.waits = Waits::Never));
    finds_violation(ONE_JWT, failover_of_claims().with(|rules| rules.waits = Waits::Never));
}

#[test]
fn waiting_only_for_a_connected_replica_is_detected() {
    finds_violation(ACKNOWLEDGED, failover().with(|rules| rules.waits = Waits::Connected));
    finds_violation(ONE_JWT, failover_of_claims().with(|rules| rules.waits = Waits::Connected));
}

#[test]
fn acknowledging_an_unreplicated_repetition_is_detected() {
    finds_violation(ACKNOWLEDGED, failover().with(|rules| rules.confirms_repeated = false));
    finds_violation(ONE_JWT, failover_of_claims().with(|rules| rules.confirms_repeated = false));
}

#[test]
fn sending_an_unreplicated_state_is_detected() {
    finds_violation(LAST_STATE, failover_of_cancellation().with(|rules| rules.confirms_sent = false));
}

#[test]
fn refusing_a_claim_of_a_lost_confirmation_is_detected() {
    finds_violation(LAST_STATE, failover().with(|rules| rules.retries_refused_claims = false));
}

//! The complete table of states, actions and parties.

use super::Actor::{Presenter, Scanner, Stranger};
use super::Refusal::{
    AlreadyCancelled, AlreadyConfirmed, AlreadyScanned, NotConfirmed, NotPermitted, NotScanned, OwnTicket,
};
use super::Verdict::{No, To, Unchanged};
use super::*;

/// The row of an action that a party may do in no state.
const NEVER: [Verdict; 6] =
    [No(NotPermitted), No(NotPermitted), No(NotPermitted), No(NotPermitted), No(NotPermitted), No(NotPermitted)];

#[test]
fn login_follows_the_table_in_every_state_for_every_party() {
    let parties = Parties::new(Flow::Login);
    let states = [
        ("pending", parties.pending()),
        ("opened", parties.opened()),
        ("scanned", parties.scanned()),
        ("confirmed", parties.confirmed()),
        ("claimed", parties.claimed()),
        ("cancelled", parties.cancelled()),
    ];
    // One row for each action and party; one column for each state, in the order above.
    let table = [
        (
            "open",
            Presenter,
            [To("opened"), Unchanged, No(AlreadyScanned), No(AlreadyScanned), No(AlreadyScanned), No(AlreadyCancelled)],
        ),
        (
            "open",
            Scanner,
            [To("opened"), Unchanged, No(AlreadyScanned), No(AlreadyScanned), No(AlreadyScanned), No(AlreadyCancelled)],
        ),
        (
            "open",
            Stranger,
            [To("opened"), Unchanged, No(AlreadyScanned), No(AlreadyScanned), No(AlreadyScanned), No(AlreadyCancelled)],
        ),
        ("scan", Presenter, [No(OwnTicket), No(OwnTicket), No(OwnTicket), No(OwnTicket), No(OwnTicket), No(OwnTicket)]),
        (
            "scan",
            Scanner,
            [To("scanned"), To("scanned"), Unchanged, No(AlreadyConfirmed), No(AlreadyConfirmed), No(AlreadyCancelled)],
        ),
        (
            "scan",
            Stranger,
            [
                To("scanned"),
                To("scanned"),
                No(AlreadyScanned),
                No(AlreadyScanned),
                No(AlreadyScanned),
                No(AlreadyCancelled),
            ],
        ),
        (
            "confirm",
            Presenter,
            [No(NotScanned), No(NotScanned), No(NotPermitted), No(NotPermitted), No(NotPermitted), No(NotPermitted)],
        ),
        (
            "confirm",
            Scanner,
            [No(NotScanned), No(NotScanned), To("confirmed"), Unchanged, Unchanged, No(AlreadyCancelled)],
        ),
        (
            "confirm",
            Stranger,
            [No(NotScanned), No(NotScanned), No(NotPermitted), No(NotPermitted), No(NotPermitted), No(NotPermitted)],
        ),
        (
            "cancel",
            Presenter,
            [To("cancelled"), To("cancelled"), To("cancelled"), No(AlreadyConfirmed), No(AlreadyConfirmed), Unchanged],
        ),
        (
            "cancel",
            Scanner,
            [
                No(NotPermitted),
                No(NotPermitted),
                To("cancelled"),
                No(AlreadyConfirmed),
                No(AlreadyConfirmed),
                Unchanged,
            ],
        ),
        ("cancel", Stranger, NEVER),
        (
            "claim",
            Presenter,
            [No(NotConfirmed), No(NotConfirmed), No(NotConfirmed), To("claimed"), Unchanged, No(AlreadyCancelled)],
        ),
        ("claim", Scanner, NEVER),
        ("claim", Stranger, NEVER),
    ];
    check(&parties, &states, table);
}

#[test]
fn share_follows_the_table_in_every_state_for_every_party() {
    let parties = Parties::new(Flow::Share);
    let states = [
        ("pending", parties.pending()),
        ("opened", parties.opened()),
        ("scanned", parties.scanned()),
        ("confirmed", parties.confirmed()),
        ("claimed", parties.claimed()),
        ("cancelled", parties.cancelled()),
    ];
    let table = [
        ("open", Presenter, NEVER),
        ("open", Scanner, NEVER),
        ("open", Stranger, NEVER),
        ("scan", Presenter, [No(OwnTicket), No(OwnTicket), No(OwnTicket), No(OwnTicket), No(OwnTicket), No(OwnTicket)]),
        (
            "scan",
            Scanner,
            [To("scanned"), To("scanned"), Unchanged, No(AlreadyConfirmed), No(AlreadyConfirmed), No(AlreadyCancelled)],
        ),
        (
            "scan",
            Stranger,
            [
                To("scanned"),
                To("scanned"),
                No(AlreadyScanned),
                No(AlreadyScanned),
                No(AlreadyScanned),
                No(AlreadyCancelled),
            ],
        ),
        (
            "confirm",
            Presenter,
            [No(NotScanned), No(NotScanned), To("confirmed"), Unchanged, Unchanged, No(AlreadyCancelled)],
        ),
        (
            "confirm",
            Scanner,
            [No(NotScanned), No(NotScanned), No(NotPermitted), No(NotPermitted), No(NotPermitted), No(NotPermitted)],
        ),
        (
            "confirm",
            Stranger,
            [No(NotScanned), No(NotScanned), No(NotPermitted), No(NotPermitted), No(NotPermitted), No(NotPermitted)],
        ),
        (
            "cancel",
            Presenter,
            [To("cancelled"), To("cancelled"), To("cancelled"), No(AlreadyConfirmed), No(AlreadyConfirmed), Unchanged],
        ),
        (
            "cancel",
            Scanner,
            [
                No(NotPermitted),
                No(NotPermitted),
                To("cancelled"),
                No(AlreadyConfirmed),
                No(AlreadyConfirmed),
                Unchanged,
            ],
        ),
        ("cancel", Stranger, NEVER),
        ("claim", Presenter, NEVER),
        (
            "claim",
            Scanner,
            [No(NotPermitted), No(NotPermitted), No(NotConfirmed), To("claimed"), Unchanged, No(AlreadyCancelled)],
        ),
        ("claim", Stranger, NEVER),
    ];
    check(&parties, &states, table);
}

fn check<const N: usize>(parties: &Parties, states: &[(&str, Ticket); 6], table: [(&str, Actor, [Verdict; 6]); N]) {
    for (action, actor, expected) in table {
        for ((state, ticket), expected) in states.iter().zip(expected) {
            let result = act(parties, ticket, action, actor, T0);
            if let Ok(Outcome::Changed(next)) = &result {
                assert_eq!(next.revision, ticket.revision + 1, "{action} by {actor:?} on {state}");
                assert!(next.deadline > T0);
            }
            assert_eq!(verdict(result), expected, "{action} by {actor:?} on {state}");
            let late = act(parties, ticket, action, actor, ticket.deadline);
            assert_eq!(verdict(late), Verdict::No(Refusal::Expired), "{action} by {actor:?} on {state}, too late");
        }
    }
}

//! The properties that hold in every state, and those that some state must have.

use stateright::Property;

use super::actors::{self, Actor};
use super::protocol::Protocol;
use super::world::{Browser, Connection, End, Event, Phase, Stream, World};

pub const ONLY_RECIPIENT: &str = "a JWT reaches only the recipient";
pub const NO_STRANGERS: &str = "a stranger receives nothing";
pub const BOUND_BY_SCAN: &str = "only a scan binds a person";
pub const ONE_JWT: &str = "every delivery is of the same JWT";
pub const GRANTED_TO_RECIPIENT: &str = "only the recipient is granted claims";
pub const LAST_STATE: &str = "at rest every stream has sent, or ended with, the ticket's last state";
pub const ACKNOWLEDGED: &str = "an acknowledged confirmation is not lost";

pub fn always() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONLY_RECIPIENT, |_, world: &World| {
            world.delivered.iter().all(|(actor, _)| *actor == Actor::Recipient)
        }),
        Property::always(GRANTED_TO_RECIPIENT, |_, world: &World| {
            let mut granted = world.nodes.iter().flatten().filter(|row| row.is_confirmed());
            granted.all(|row| row.is_recipient(Actor::Recipient.party()))
        }),
        Property::always(NO_STRANGERS, |_, world: &World| {
            let mut strangers = world.browsers.iter().filter(|browser| browser.actor == Actor::Stranger);
            strangers.all(|stranger| match &stranger.connection {
                Connection::Closed | Connection::Finished(End::NotFound) => true,
                Connection::Open(stream) => !stream.is_registered() && stream.sent.is_none(),
                Connection::Finished(_) => false,
            })
        }),
        Property::always(BOUND_BY_SCAN, |_, world: &World| {
            let mut opened = world.nodes.iter().flatten().filter(|row| row.is_opened());
            opened.all(|row| [Actor::Ada, Actor::Bob, Actor::Stranger].iter().all(|actor| !row.is_party(actor.party())))
        }),
        Property::always(ONE_JWT, |_, world: &World| world.delivered.windows(2).all(|two| two[0].1 == two[1].1)),
        Property::always(LAST_STATE, |protocol: &Protocol, world: &World| {
            world.browsers.iter().all(|browser| knows_the_last_state(world, browser))
                || !protocol.inner(world).is_empty()
        }),
        Property::always(ACKNOWLEDGED, |_, world: &World| {
            world.acknowledged_until.is_none_or(|until| {
                world.now >= until
                    || world.current().is_some_and(|row| row.is_confirmed() || row.redeemable().is_some())
            })
        }),
    ]
}

pub fn delivered() -> Property<Protocol> {
    Property::sometimes("the JWT is delivered", |_, world: &World| world.browsers.iter().any(has_the_jwt))
}

pub fn ended_after_failover() -> Property<Protocol> {
    Property::sometimes("the primary fails, and the stream ends", |_, world: &World| {
        world.primary == 1
            && world.browsers.iter().all(|browser| matches!(browser.connection, Connection::Finished(End::Received(_))))
    })
}

/// A person needs longer to sign in than the ticket would have lived without an opening.
pub fn delivered_after_opening() -> Property<Protocol> {
    Property::sometimes("a ticket is opened, and the JWT is delivered after its first deadline", |_, world: &World| {
        world.now >= actors::TTL.as_secs() && world.browsers.iter().any(has_the_jwt)
    })
}

/// The page shows that a phone is signing in.
pub fn opening_shown() -> Property<Protocol> {
    Property::sometimes("the recipient's stream has sent that the ticket is opened", |_, world: &World| {
        world.browsers.iter().any(|browser| browser.seen.as_ref().is_some_and(|row| row.is_opened()))
    })
}

/// A notification is lost, but the waiting stream still ends with the JWT.
pub fn delivered_after_lost_notification() -> Property<Protocol> {
    Property::sometimes("a notification is lost, and the JWT is delivered", |_, world: &World| {
        world.has_lost_notification && world.browsers.iter().any(has_the_jwt)
    })
}

pub fn two_tabs() -> Property<Protocol> {
    Property::sometimes("two tabs have the JWT", |_, world: &World| {
        world.browsers.iter().filter(|browser| has_the_jwt(browser)).count() == 2
    })
}

pub fn expired() -> Property<Protocol> {
    Property::sometimes("a stream ends with the expiry", |_, world: &World| {
        world
            .browsers
            .iter()
            .any(|browser| browser.connection == Connection::Finished(End::Received(Event::Expired(None))))
    })
}

pub fn too_late() -> Property<Protocol> {
    Property::sometimes("the recipient reconnects after the redeem time", |_, world: &World| {
        let is_late = |browser: &Browser| {
            matches!(browser.connection, Connection::Finished(End::Received(Event::Expired(Some(_)))))
        };
        world.browsers.iter().any(is_late)
    })
}

pub fn redelivered() -> Property<Protocol> {
    Property::sometimes("a browser that lost the JWT in transit receives it again", |_, world: &World| {
        world.delivered.len() > 1 && world.browsers.len() == 1 && world.browsers.iter().all(has_the_jwt)
    })
}

pub fn claimed_without_reply() -> Property<Protocol> {
    Property::sometimes("a claim whose reply was lost is executed", |protocol: &Protocol, world: &World| {
        let is_again = world.faults_left.losses < protocol.faults.losses && world.delivered.len() == 1;
        is_again && world.browsers.iter().any(has_the_jwt)
    })
}

pub fn moved() -> Property<Protocol> {
    Property::sometimes("the slot moves under a waiting stream, which ends with the JWT", |_, world: &World| {
        world.primary == 1 && world.browsers.iter().all(has_the_jwt)
    })
}

pub fn failed_over() -> Property<Protocol> {
    Property::sometimes("the primary fails, and the JWT is delivered", |_, world: &World| {
        world.primary == 1 && world.has_replica && world.browsers.iter().any(has_the_jwt)
    })
}

pub fn another_scanner() -> Property<Protocol> {
    Property::sometimes("the scan is lost with its primary, and another person scans", |_, world: &World| {
        world.primary == 1
            && world.current().is_some_and(|row| row.scanner().is_some_and(|scanner| scanner.is(Actor::Bob.party())))
    })
}

fn has_the_jwt(browser: &Browser) -> bool {
    matches!(browser.connection, Connection::Finished(End::Received(Event::Token(_))))
}

fn knows_the_last_state(world: &World, browser: &Browser) -> bool {
    let current = world.current();
    match &browser.connection {
        Connection::Closed => false,
        Connection::Open(Stream { phase: Phase::Idle, sent: Some(Event::State(sent)), .. }) => current == Some(sent),
        Connection::Open(_) => false,
        Connection::Finished(end) => match end {
            // The ticket may have expired since, or the recipient may have claimed it after the approver received
            // `confirmed`.
            End::Received(Event::State(sent)) => {
                current.is_none_or(|row| row == sent || (sent.is_confirmed() && row.redeemable().is_some()))
            }
            End::Received(Event::Token(sent)) => current.is_none_or(|row| row == sent),
            End::Received(Event::Expired(None)) => current.is_none(),
            End::Received(Event::Expired(Some(sent))) => current.is_none_or(|row| row == sent),
            End::Seen => current.is_none_or(|row| browser.seen.as_ref() == Some(row)),
            End::NotFound => current.is_none_or(|row| !row.is_party(browser.actor.party())),
            End::Refused => false,
        },
    }
}

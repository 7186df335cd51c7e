//! What must be true in every state, and what must be possible.

use stateright::Property;

use super::cast::Who;
use super::protocol::Protocol;
use super::world::{Browser, End, Event, Phase, Place, Stream, World};

pub const RECIPIENT_ALONE: &str = "a JWT reaches the recipient alone";
pub const NO_STRANGERS: &str = "a stranger is told nothing";
pub const ONE_JWT: &str = "there is one JWT, however often it is handed over";
pub const MEANT: &str = "what is granted is for the recipient";
pub const LAST_STATE: &str = "at rest every stream has told, or ended with, the ticket's last state";
pub const PROMISE: &str = "a confirmation that was acknowledged stands";

pub fn always() -> Vec<Property<Protocol>> {
    vec![
        Property::always(RECIPIENT_ALONE, |_, world: &World| {
            world.handed_over.iter().all(|(who, _)| *who == Who::Recipient)
        }),
        Property::always(MEANT, |_, world: &World| {
            let mut granted = world.nodes.iter().flatten().filter(|row| row.is_confirmed());
            granted.all(|row| row.is_recipient(Who::Recipient.party()))
        }),
        Property::always(NO_STRANGERS, |_, world: &World| {
            let mut strangers = world.browsers.iter().filter(|browser| browser.who == Who::Stranger);
            strangers.all(|stranger| match &stranger.at {
                Place::Away | Place::Over(End::NotFound) => true,
                Place::At(stream) => !stream.has_seat() && stream.told.is_none(),
                Place::Over(_) => false,
            })
        }),
        Property::always(ONE_JWT, |_, world: &World| world.handed_over.windows(2).all(|two| two[0].1 == two[1].1)),
        Property::always(LAST_STATE, |protocol: &Protocol, world: &World| {
            world.browsers.iter().all(|browser| knows_the_last_state(world, browser))
                || !protocol.inner(world).is_empty()
        }),
        Property::always(PROMISE, |_, world: &World| {
            world.promised.is_none_or(|until| {
                world.now >= until || world.truth().is_some_and(|row| row.is_confirmed() || row.redeemable().is_some())
            })
        }),
    ]
}

pub fn handed_over() -> Property<Protocol> {
    Property::sometimes("the JWT is handed over", |_, world: &World| world.browsers.iter().any(has_the_jwt))
}

pub fn ended_after_failover() -> Property<Protocol> {
    Property::sometimes("the primary fails, and the stream ends", |_, world: &World| {
        world.primary == 1 && world.browsers.iter().all(|browser| matches!(browser.at, Place::Over(End::Told(_))))
    })
}

/// A notification is lost, and yet a stream that had waited ends with the JWT.
pub fn lost_and_yet() -> Property<Protocol> {
    Property::sometimes("a notification is lost, and the JWT handed over", |_, world: &World| {
        world.has_lost && world.browsers.iter().any(has_the_jwt)
    })
}

pub fn two_tabs() -> Property<Protocol> {
    Property::sometimes("two tabs have the JWT", |_, world: &World| {
        world.browsers.iter().filter(|browser| has_the_jwt(browser)).count() == 2
    })
}

pub fn expired() -> Property<Protocol> {
    Property::sometimes("a stream ends with the expiry", |_, world: &World| {
        world.browsers.iter().any(|browser| browser.at == Place::Over(End::Told(Event::Expired(None))))
    })
}

pub fn too_late() -> Property<Protocol> {
    Property::sometimes("the recipient comes back after the redeem time", |_, world: &World| {
        let is_late = |browser: &Browser| matches!(browser.at, Place::Over(End::Told(Event::Expired(Some(_)))));
        world.browsers.iter().any(is_late)
    })
}

pub fn redelivered() -> Property<Protocol> {
    Property::sometimes("a browser that lost the JWT on its way is handed it again", |_, world: &World| {
        world.handed_over.len() > 1 && world.browsers.len() == 1 && world.browsers.iter().all(has_the_jwt)
    })
}

pub fn claimed_unheard() -> Property<Protocol> {
    Property::sometimes("a claim is executed whose answer was lost", |protocol: &Protocol, world: &World| {
        let is_again = world.ahead.losses < protocol.ahead.losses && world.handed_over.len() == 1;
        is_again && world.browsers.iter().any(has_the_jwt)
    })
}

pub fn moved() -> Property<Protocol> {
    Property::sometimes("the slot moves under a waiting stream, which ends with the JWT", |_, world: &World| {
        world.primary == 1 && world.browsers.iter().all(has_the_jwt)
    })
}

pub fn failed_over() -> Property<Protocol> {
    Property::sometimes("the primary fails, and the JWT is handed over", |_, world: &World| {
        world.primary == 1 && world.has_replica && world.browsers.iter().any(has_the_jwt)
    })
}

pub fn swapped() -> Property<Protocol> {
    Property::sometimes("the scan is lost with its primary, and somebody else scans", |_, world: &World| {
        world.primary == 1
            && world.truth().is_some_and(|row| row.scanner().is_some_and(|scanner| scanner.is(Who::Bob.party())))
    })
}

fn has_the_jwt(browser: &Browser) -> bool {
    matches!(browser.at, Place::Over(End::Told(Event::Token(_))))
}

fn knows_the_last_state(world: &World, browser: &Browser) -> bool {
    let truth = world.truth();
    match &browser.at {
        Place::Away => false,
        Place::At(Stream { phase: Phase::Idle, told: Some(Event::State(told)), .. }) => truth == Some(told),
        Place::At(_) => false,
        Place::Over(end) => match end {
            // The ticket may have been forgotten since, or claimed after the approver was told that it is confirmed.
            End::Told(Event::State(told)) => {
                truth.is_none_or(|row| row == told || (told.is_confirmed() && row.redeemable().is_some()))
            }
            End::Told(Event::Token(told)) => truth.is_none_or(|row| row == told),
            End::Told(Event::Expired(None)) => truth.is_none(),
            End::Told(Event::Expired(Some(told))) => truth.is_none_or(|row| row == told),
            End::Seen => truth.is_none_or(|row| browser.seen.as_ref() == Some(row)),
            End::NotFound => truth.is_none_or(|row| !row.is_party(browser.who.party())),
            End::Refused => false,
        },
    }
}

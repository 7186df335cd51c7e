//! The state of the model: what the store holds, what each gateway knows, where each browser and each person stands.
//!
//! Data and the questions that several parts ask of it. How it moves on is told by the other files: `store`, `bus`,
//! `transition`, `streams`; which moves there are, by `protocol`.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::cast::{Deed, Row, Who};

pub const GATEWAYS: usize = 2;

/// What the gateways are held to. [`Rules::ALL`] is the protocol; a test takes one away to see that it is missed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What is read is shown to the ticket's parties alone.
    pub asks_who: bool,
    /// A stream reads again once its watch is acknowledged.
    pub reads_after_watch: bool,
    /// After a gap every stream reads again.
    pub reads_after_gap: bool,
    /// `replace` compares what is stored with what was read, by revision and stamp.
    pub compares_revisions: bool,
    /// A stream reads again when the ticket's time is over.
    pub looks_at_deadline: bool,
    /// What makes a gateway subscribe at the ticket's new place.
    pub follows: Follows,
    /// When `replace` is answered.
    pub waits: Waits,
    /// What had been done before is answered, and a claimed ticket's JWT handed out, as late as `replace` would be.
    pub persists: bool,
    /// So is everything told that is newer than the fresh ticket. What is told is then never taken back, and a revision names
    /// a state: a stream, and a browser's `Last-Event-ID`, need to know no more.
    pub persists_told: bool,
    /// A grant names the scanner that the presenter saw.
    pub names_scanner: bool,
    /// A claim that is refused, since the confirmation it had read is gone with its primary, sends the stream away to come
    /// back rather than for good.
    pub forgives: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Waits {
    /// Once the primary has it.
    Never,
    /// Once the replica has it, if one is connected (`WAIT` for as many as there are, at once).
    Connected,
    /// Once the replica has it. That a primary which has lost its replica is asked about, and goes on without if it is still
    /// the primary, is not modelled.
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Follows {
    Nothing,
    /// A redirected reading of the ticket itself.
    OwnRedirects,
    /// Whatever tells that the slot has moved, another ticket's redirect too.
    EveryRedirect,
}

impl Rules {
    pub const ALL: Self = Self {
        asks_who: true,
        reads_after_watch: true,
        reads_after_gap: true,
        compares_revisions: true,
        looks_at_deadline: true,
        follows: Follows::EveryRedirect,
        waits: Waits::Always,
        persists: true,
        persists_told: true,
        names_scanner: true,
        forgives: true,
    };
}

/// Where the store is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// One Redis.
    Single,
    /// A primary and a replica of it.
    Replicated,
    /// Two primaries, between which slots move.
    Cluster,
}

/// What does not change while the model runs.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub layout: Layout,
    pub rules: Rules,
}

impl Setting {
    /// Whether writes wait for a replica.
    pub fn waits(self) -> bool {
        self.rules.waits != Waits::Never && self.layout == Layout::Replicated
    }
}

/// What may still go wrong, and how often. It bounds the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Hash)]
pub struct Misfortune {
    /// A subscriber's connection breaks.
    pub cuts: u8,
    /// A gateway crashes, and is started again.
    pub crashes: u8,
    /// A browser's connection breaks.
    pub breaks: u8,
    /// The answer to a command does not come.
    pub losses: u8,
    /// The ticket's slot moves to the other node.
    pub moves: u8,
    /// The replica becomes the primary.
    pub failovers: u8,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World {
    /// Seconds since the ticket was made.
    pub now: u64,
    pub nodes: [Option<Row>; 2],
    /// Which node is the ticket's primary.
    pub primary: usize,
    /// Whether the other node is a replica of it.
    pub has_replica: bool,
    pub gateways: [Gateway; GATEWAYS],
    pub browsers: Vec<Browser>,
    pub people: Vec<Person>,
    /// Commands that nobody waits for any more, and that a node may still execute: `replace` with this, and where.
    pub strays: Vec<(usize, Write)>,
    pub ahead: Misfortune,
    /// Every handing over of a JWT: to whom, and its `jti`.
    pub handed_over: Vec<(Who, String)>,
    /// When the time is over of the confirmation that the approver was told of.
    pub promised: Option<u64>,
    /// Whether a notification was lost.
    pub has_lost: bool,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Gateway {
    /// Where its commands about the ticket go.
    pub route: usize,
    /// Where it subscribes.
    pub home: usize,
    pub link: Link,
    pub subscription: Subscription,
    /// Whether a notification is on its way. Two are as good as one: each comes after both changes.
    pub is_notified: bool,
    /// Whether something may have gone unreported since the last connection was lost.
    pub has_gap: bool,
}

/// The subscriber's connection.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Link {
    Up,
    /// It is broken, which the gateway does not know yet.
    Broken,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Subscription {
    None,
    /// The node has it; the acknowledgement is on its way.
    Made,
    Acknowledged,
}

/// Somebody who scans and decides.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Person {
    pub who: Who,
    /// How much of their plan is done.
    pub done: usize,
    pub doing: Option<Transition>,
}

/// A transition under way in a gateway: read, step, replace, and the wait until it is durable.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Transition {
    pub deed: Deed,
    pub gateway: usize,
    pub stage: Stage,
}

/// Whose transition it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    Person(usize),
    Browser(usize),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Stage {
    /// Somebody was faster; it is read again.
    Read,
    /// `replace` was sent, made from what was read at this time.
    Replace(Write, u64),
    /// It waits for the replica of this node.
    Persist(Row, u64, usize),
}

/// What `replace` is sent with.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Write {
    pub current: Row,
    pub next: Row,
}

/// A page that waits for the ticket.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Browser {
    pub who: Who,
    pub at: Place,
    /// The last event with an id that it has seen: its `Last-Event-ID`.
    pub seen: Option<Row>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Place {
    /// Not connected, and about to be.
    Away,
    At(Stream),
    Over(End),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Stream {
    pub gateway: usize,
    pub phase: Phase,
    /// What it was told, and has received unless it is the last.
    pub told: Option<Event>,
    /// Whether it is to look again.
    pub is_woken: bool,
    /// When it looks again by itself.
    pub alarm: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Phase {
    /// It is a party, has a seat, and waits for the watch to be acknowledged. With what was read before.
    Watching(Row),
    /// Watched, and about to read what it is told first.
    Second,
    /// Waits to be woken.
    Idle,
    /// Claims the ticket, or waits to hand a claimed one's JWT out.
    Claiming(Transition),
    /// The last event is on its way to the browser. The seat is given back.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Event {
    State(Row),
    Token(Row),
    /// The time is over. With the ticket if only the redeem time is.
    Expired(Option<Row>),
}

/// How it ended for a browser.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum End {
    Told(Event),
    /// 204: it had seen the last event.
    Seen,
    /// 404.
    NotFound,
    /// Refused otherwise, which `EventSource` takes for the end as well.
    Refused,
}

impl Event {
    pub fn is_last(&self) -> bool {
        match self {
            Self::State(row) => row.is_final(),
            Self::Token(_) | Self::Expired(_) => true,
        }
    }
}

impl Stream {
    pub fn new(gateway: usize, row: Row) -> Self {
        Self { gateway, phase: Phase::Watching(row), told: None, is_woken: false, alarm: None }
    }

    pub fn has_seat(&self) -> bool {
        self.phase != Phase::Ended
    }
}

impl Browser {
    fn claim(&self) -> Option<&Transition> {
        match &self.at {
            Place::At(Stream { phase: Phase::Claiming(transition), .. }) => Some(transition),
            _ => None,
        }
    }
}

impl Transition {
    fn row(&self) -> Option<&Row> {
        match &self.stage {
            Stage::Replace(write, _) => Some(&write.next),
            Stage::Persist(row, ..) => Some(row),
            Stage::Read => None,
        }
    }
}

impl Gateway {
    /// A gateway that has just started.
    pub fn new(node: usize) -> Self {
        Self {
            route: node,
            home: node,
            link: Link::Up,
            subscription: Subscription::None,
            is_notified: false,
            has_gap: false,
        }
    }
}

impl World {
    /// The ticket as it is, for whoever reads it where it is served.
    pub fn truth(&self) -> Option<&Row> {
        self.nodes[self.primary].as_ref().filter(|row| self.now < row.ends())
    }

    /// Whether no gateway has seen anybody yet.
    pub fn is_untouched(&self) -> bool {
        self.gateways[0] == self.gateways[1]
            && self.under_way().is_empty()
            && self.streams(0).chain(self.streams(1)).next().is_none()
    }

    pub fn streams(&self, gateway: usize) -> impl Iterator<Item = &Stream> {
        self.browsers.iter().filter_map(move |browser| match &browser.at {
            Place::At(stream) if stream.gateway == gateway => Some(stream),
            _ => None,
        })
    }

    pub fn has_seats(&self, gateway: usize) -> bool {
        self.streams(gateway).any(Stream::has_seat)
    }

    /// A `jti` that is known nowhere. The real one is random; here it is the first that is free, lest states differ by name.
    pub fn fresh_jti(&self) -> u8 {
        let mut known: Vec<&str> = self.handed_over.iter().map(|(_, jti)| jti.as_str()).collect();
        let sent = self.under_way().into_iter().filter_map(|(.., transition)| transition.row());
        let rows = self.nodes.iter().flatten().chain(self.strays.iter().map(|(_, write)| &write.next)).chain(sent);
        known.extend(rows.filter_map(|row| Some(row.redeemable()?.1)));
        (1..).find(|jti| !known.contains(&jti.to_string().as_str())).expect("there are few")
    }

    /// The transitions that are under way, and whose they are.
    pub fn under_way(&self) -> Vec<(By, Who, &Transition)> {
        let people = self.people.iter().enumerate();
        let people = people.filter_map(|(index, one)| Some((By::Person(index), one.who, one.doing.as_ref()?)));
        let browsers = self.browsers.iter().enumerate();
        let browsers = browsers.filter_map(|(index, one)| Some((By::Browser(index), one.who, one.claim()?)));
        people.chain(browsers).collect()
    }

    /// Two tabs of one browser are told apart by nothing but where they stand: worlds that differ in their order alone are one.
    pub fn order_tabs(&mut self) {
        let key = |browser: &Browser| {
            let mut hasher = DefaultHasher::new();
            browser.hash(&mut hasher);
            hasher.finish()
        };
        if self.browsers.windows(2).all(|two| two[0].who == two[1].who) {
            self.browsers.sort_by_cached_key(key);
        }
    }

    /// Has every seat of a gateway look again.
    pub fn wake(&mut self, gateway: usize) {
        for browser in &mut self.browsers {
            if let Place::At(stream) = &mut browser.at
                && stream.gateway == gateway
                && stream.has_seat()
            {
                stream.is_woken = true;
            }
        }
    }
}

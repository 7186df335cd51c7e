//! The state of the model: of the store, of each gateway, of each browser and of each person.
//!
//! Data, and the queries that several files use. `store`, `subscriber`, `transition` and `streams` change it;
//! `protocol` lists the actions.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::actors::{Actor, Operation, Row};

pub const GATEWAYS: usize = 2;

/// The rules that gateways follow. [`Rules::ALL`] is the protocol; a test removes one and expects a violation.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Only the ticket's parties receive it.
    pub checks_party: bool,
    /// A stream reads again once its watch is acknowledged.
    pub reads_after_watch: bool,
    /// After a gap, every stream reads again.
    pub reads_after_gap: bool,
    /// `replace` compares the stored ticket with the one that was read, by revision and stamp.
    pub compares_revisions: bool,
    /// A stream reads again at the ticket's deadline.
    pub reads_at_deadline: bool,
    /// The events that make a gateway subscribe at the ticket's new node.
    pub follows: Follows,
    /// The condition under which `replace` succeeds.
    pub waits: Waits,
    /// A repeated operation, and the delivery of a claimed ticket's JWT, wait for the replica like `replace`.
    pub confirms_repeated: bool,
    /// So does every event after the first revision. Then no failover revokes a sent state, and a revision identifies a
    /// state: a stream and a browser's `Last-Event-ID` need only the revision.
    pub confirms_sent: bool,
    /// A grant names the scanner that the presenter saw.
    pub names_scanner: bool,
    /// A claim may be refused because its confirmation was lost with the primary. Then the gateway asks the browser to
    /// reconnect, instead of refusing it permanently.
    pub retries_refused_claims: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Waits {
    /// Once the primary has it.
    Never,
    /// Once the replica has it, if one is connected (`WAIT` for as many as there are, at once).
    Connected,
    /// Once the replica has it. The model omits that a primary without its replica continues if it is confirmed to be
    /// the primary.
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Follows {
    Nothing,
    /// A redirected read of the ticket itself.
    OwnRedirects,
    /// Every redirect that shows that the slot has moved, also that of another ticket.
    EveryRedirect,
}

impl Rules {
    pub const ALL: Self = Self {
        checks_party: true,
        reads_after_watch: true,
        reads_after_gap: true,
        compares_revisions: true,
        reads_at_deadline: true,
        follows: Follows::EveryRedirect,
        waits: Waits::Always,
        confirms_repeated: true,
        confirms_sent: true,
        names_scanner: true,
        retries_refused_claims: true,
    };
}

/// The installation of Redis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// One Redis.
    Single,
    /// A primary and a replica of it.
    Replicated,
    /// Two primaries, between which slots move.
    Cluster,
}

/// The constants of a run.
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

/// The number of faults of each kind that may still happen. It bounds the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Hash)]
pub struct Faults {
    /// A subscriber's connection breaks.
    pub cuts: u8,
    /// A gateway crashes and restarts.
    pub crashes: u8,
    /// A browser's connection breaks.
    pub breaks: u8,
    /// The reply to a command is lost.
    pub losses: u8,
    /// The ticket's slot moves to the other node.
    pub moves: u8,
    /// The replica becomes the primary.
    pub failovers: u8,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World {
    /// Seconds since the creation of the ticket.
    pub now: u64,
    pub nodes: [Option<Row>; 2],
    /// The ticket's primary.
    pub primary: usize,
    /// Whether the other node is a replica of it.
    pub has_replica: bool,
    pub gateways: [Gateway; GATEWAYS],
    pub browsers: Vec<Browser>,
    pub people: Vec<Person>,
    /// Commands that no caller waits for any more and that a node may still execute: the node, and the arguments of
    /// `replace`.
    pub late_commands: Vec<(usize, Write)>,
    pub faults_left: Faults,
    /// Every delivery of a JWT: the receiver, and the `jti`.
    pub delivered: Vec<(Actor, String)>,
    /// The deadline of the confirmation that was acknowledged to the approver.
    pub acknowledged_until: Option<u64>,
    /// Whether a notification was lost.
    pub has_lost_notification: bool,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Gateway {
    /// The node that it sends the ticket's commands to.
    pub route: usize,
    /// The node at which it subscribes.
    pub subscriber_node: usize,
    pub link: Link,
    pub subscription: Subscription,
    /// Whether a notification is in transit. Two have the same effect as one: both arrive after both changes.
    pub is_notified: bool,
    /// Whether changes may have been missed since the last connection was lost.
    pub has_gap: bool,
}

/// The subscriber's connection.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Link {
    Up,
    /// It is broken, and the gateway does not know yet.
    Broken,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Subscription {
    None,
    /// The node has it; the acknowledgement is in transit.
    Made,
    Acknowledged,
}

/// A person that scans and decides.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Person {
    pub actor: Actor,
    /// The number of finished operations of the plan.
    pub done: usize,
    pub ongoing: Option<Transition>,
}

/// A transition in progress in a gateway: read, apply, replace, and the wait until the change is replicated.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Transition {
    pub operation: Operation,
    pub gateway: usize,
    pub stage: Stage,
}

/// The owner of a transition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Owner {
    Person(usize),
    Browser(usize),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Stage {
    /// After a conflict, it reads the ticket again.
    Read,
    /// It has sent `replace`, based on a read at this time.
    Replace(Write, u64),
    /// It waits for the replica of this node.
    ConfirmReplicated(Row, u64, usize),
}

/// The arguments of `replace`.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Write {
    pub current: Row,
    pub next: Row,
}

/// A page that waits for the ticket.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Browser {
    pub actor: Actor,
    pub connection: Connection,
    /// The last event with an id that it received: its `Last-Event-ID`.
    pub seen: Option<Row>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Connection {
    /// Not connected, and about to be.
    Closed,
    Open(Stream),
    Finished(End),
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Stream {
    pub gateway: usize,
    pub phase: Phase,
    /// The last event. The browser has received it, unless it ends the stream.
    pub sent: Option<Event>,
    /// Whether it must read the ticket again.
    pub is_woken: bool,
    /// The time of its next read without a wake.
    pub timer: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Phase {
    /// It is a party, is registered, and waits for the acknowledgement of the watch. Contains the ticket that was read
    /// before.
    Watching(Row),
    /// Watched; the next read gives its first event.
    FirstRead,
    /// Waits to be woken.
    Idle,
    /// Claims the ticket, or waits until it may send a claimed ticket.
    Claiming(Transition),
    /// The last event is in transit to the browser. The stream is no longer registered.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Event {
    State(Row),
    Token(Row),
    /// The deadline has passed. Contains the ticket if only the redeem time has passed.
    Expired(Option<Row>),
}

/// The end of a browser's connection.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum End {
    Received(Event),
    /// 204: it had received the last event.
    Seen,
    /// 404.
    NotFound,
    /// Another refusal, after which `EventSource` does not reconnect either.
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
        Self { gateway, phase: Phase::Watching(row), sent: None, is_woken: false, timer: None }
    }

    pub fn is_registered(&self) -> bool {
        self.phase != Phase::Ended
    }
}

impl Browser {
    fn claim(&self) -> Option<&Transition> {
        match &self.connection {
            Connection::Open(Stream { phase: Phase::Claiming(transition), .. }) => Some(transition),
            _ => None,
        }
    }
}

impl Transition {
    fn row(&self) -> Option<&Row> {
        match &self.stage {
            Stage::Replace(write, _) => Some(&write.next),
            Stage::ConfirmReplicated(row, ..) => Some(row),
            Stage::Read => None,
        }
    }
}

impl Gateway {
    /// Returns a gateway that has just started.
    pub fn new(node: usize) -> Self {
        Self {
            route: node,
            subscriber_node: node,
            link: Link::Up,
            subscription: Subscription::None,
            is_notified: false,
            has_gap: false,
        }
    }
}

impl World {
    /// The ticket on its primary.
    pub fn current(&self) -> Option<&Row> {
        self.nodes[self.primary].as_ref().filter(|row| self.now < row.deadline_secs())
    }

    /// Whether the gateways are in the same state, with neither transitions nor streams.
    pub fn has_equal_gateways(&self) -> bool {
        self.gateways[0] == self.gateways[1]
            && self.ongoing_transitions().is_empty()
            && self.streams(0).chain(self.streams(1)).next().is_none()
    }

    pub fn streams(&self, gateway: usize) -> impl Iterator<Item = &Stream> {
        self.browsers.iter().filter_map(move |browser| match &browser.connection {
            Connection::Open(stream) if stream.gateway == gateway => Some(stream),
            _ => None,
        })
    }

    pub fn has_registrations(&self, gateway: usize) -> bool {
        self.streams(gateway).any(Stream::is_registered)
    }

    /// A `jti` that is not in use. The real one is random. The model takes the first free one, so that states do not
    /// differ only by names.
    pub fn unused_jti(&self) -> u8 {
        let mut known: Vec<&str> = self.delivered.iter().map(|(_, jti)| jti.as_str()).collect();
        let sent = self.ongoing_transitions().into_iter().filter_map(|(.., transition)| transition.row());
        let rows =
            self.nodes.iter().flatten().chain(self.late_commands.iter().map(|(_, write)| &write.next)).chain(sent);
        known.extend(rows.filter_map(|row| Some(row.redeemable()?.1)));
        (1..).find(|jti| !known.contains(&jti.to_string().as_str())).expect("there are few")
    }

    /// The transitions in progress, with their owners.
    pub fn ongoing_transitions(&self) -> Vec<(Owner, Actor, &Transition)> {
        let people = self.people.iter().enumerate();
        let people = people.filter_map(|(index, one)| Some((Owner::Person(index), one.actor, one.ongoing.as_ref()?)));
        let browsers = self.browsers.iter().enumerate();
        let browsers = browsers.filter_map(|(index, one)| Some((Owner::Browser(index), one.actor, one.claim()?)));
        people.chain(browsers).collect()
    }

    /// Sorts the tabs of one browser: states that differ only in their order are equivalent.
    pub fn sort_tabs(&mut self) {
        let key = |browser: &Browser| {
            let mut hasher = DefaultHasher::new();
            browser.hash(&mut hasher);
            hasher.finish()
        };
        if self.browsers.windows(2).all(|two| two[0].actor == two[1].actor) {
            self.browsers.sort_by_cached_key(key);
        }
    }

    /// Wakes every registered stream of a gateway.
    pub fn wake(&mut self, gateway: usize) {
        for browser in &mut self.browsers {
            if let Connection::Open(stream) = &mut browser.connection
                && stream.gateway == gateway
                && stream.is_registered()
            {
                stream.is_woken = true;
            }
        }
    }
}

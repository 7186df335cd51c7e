//! The actors, and their ticket: the real [`Ticket`] with its real transitions.
//!
//! Times are seconds since the creation of the ticket. They are chosen so that all relevant deadlines differ: an opening
//! and a scan prolong the ticket, and a claimed ticket is readable for longer than its JWT is redelivered.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use scangate::ticket::{
    BindingSecret, CancelReason, Claims, ClientId, Decision, Device, Flow, Freshness, NewTicket, Outcome, Party,
    Person, Refusal, Scanner, ScannerId, State, Subject, Ticket, TicketId, TicketRequest, Timestamp,
};

pub const TTL: Duration = Duration::from_secs(10);
const SIGN_IN: Duration = Duration::from_secs(15);
const DECISION: Duration = Duration::from_secs(20);
const REDEEM: Duration = Duration::from_secs(10);
const TOKEN: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The browser that the JWT is for.
    Recipient,
    /// The signed-in person who approves.
    Ada,
    /// Another signed-in person, who scans the same code.
    Bob,
    /// A browser that knows the ticket id and has its own binding.
    Stranger,
}

/// An operation on a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Open,
    Scan,
    Confirm,
    Cancel,
    /// A claim, with the number that becomes its `jti`.
    Claim(u8),
}

struct Parties {
    recipient: Party,
    ada: (Person, Party),
    bob: (Person, Party),
    stranger: Party,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let browser = |letter: &str| {
        let secret: BindingSecret = format!("{}A", letter.repeat(42)).parse().unwrap();
        Party::Browser(secret.hash())
    };
    let person = |name: &str| {
        let person = Person { subject: Subject(name.to_owned()), name: None, picture: None };
        (person.clone(), Party::Person(person))
    };
    Parties { recipient: browser("r"), ada: person("ada"), bob: person("bob"), stranger: browser("s") }
});

impl Actor {
    pub fn party(self) -> &'static Party {
        match self {
            Self::Recipient => &PARTIES.recipient,
            Self::Ada => &PARTIES.ada.1,
            Self::Bob => &PARTIES.bob.1,
            Self::Stranger => &PARTIES.stranger,
        }
    }

    /// The id is the same in every run: the states of the model must not depend on chance.
    fn scanner(self) -> Scanner {
        let id = [self as u8; 16];
        Scanner::with_id(self.party().clone(), ScannerId::from_bytes(id))
    }

    fn person(self) -> &'static Person {
        match self {
            Self::Bob => &PARTIES.bob.0,
            Self::Ada | Self::Recipient | Self::Stranger => &PARTIES.ada.0,
        }
    }
}

impl Operation {
    /// Applies the real transition. The approver of a share has seen the recipient scan. With `names_scanner` it
    /// confirms only for the recipient, otherwise for the present scanner.
    pub fn apply(self, actor: Actor, ticket: &Ticket, now: u64, names_scanner: bool) -> Result<Outcome, Refusal> {
        let now = timestamp(now);
        match self {
            Self::Open => ticket.open(now, SIGN_IN),
            Self::Scan => ticket.scan(&actor.scanner(), now, DECISION),
            Self::Confirm => {
                let state = State::Scanned { scanner: Actor::Recipient.scanner() };
                let seen = Ticket { state, ..ticket.clone() };
                let is_seen = names_scanner && ticket.request.flow == Flow::Share;
                let scanner = if is_seen { &seen } else { ticket }.scanner_id().map(|id| id.to_string());
                let claims = Claims::new();
                let decision = Decision { scanner: scanner.as_deref(), ..Decision::all(&claims) };
                ticket.confirm(actor.person(), decision, now, REDEEM)
            }
            Self::Cancel => ticket.cancel(actor.party(), CancelReason::Declined, now),
            Self::Claim(jti) => ticket.claim(actor.party(), &jti.to_string(), TOKEN, now),
        }
    }
}

/// A stored ticket. It is cheap to copy; comparisons and hashes use its stored form.
#[derive(Clone)]
pub struct Row {
    ticket: Arc<Ticket>,
    fingerprint: u64,
}

impl Row {
    pub fn new(ticket: Ticket) -> Self {
        let stored = serde_json::to_string(&(ticket.revision, ticket.deadline, &ticket.state)).unwrap();
        let mut hasher = DefaultHasher::new();
        stored.hash(&mut hasher);
        Self { ticket: Arc::new(ticket), fingerprint: hasher.finish() }
    }

    /// Returns the pending ticket after these operations.
    pub fn after(flow: Flow, operations: &[(Actor, Operation)]) -> Self {
        let presenter = if flow == Flow::Login { Actor::Recipient } else { Actor::Ada };
        let request = TicketRequest {
            flow,
            client_id: ClientId("web".to_owned()),
            presenter: presenter.party().clone(),
            requester: Device { ip: [192, 0, 2, 1].into(), browser: None, os: None },
            matching: None,
            release: Vec::new(),
            code: None,
            freshness: Freshness::default(),
            authorization: None,
        };
        let new = NewTicket { id: TicketId::from_bytes([0; 16]), request, ttl: TTL }.at(timestamp(0));
        let apply = |ticket: Ticket, (actor, operation): &(Actor, Operation)| {
            operation.apply(*actor, &ticket, 0, true).unwrap().into_ticket()
        };
        Self::new(operations.iter().fold(new, apply))
    }

    /// The time of its deadline.
    pub fn deadline_secs(&self) -> u64 {
        seconds(self.deadline)
    }

    /// The time until which its JWT may be delivered, and its `jti`.
    pub fn redeemable(&self) -> Option<(u64, &str)> {
        match &self.state {
            State::Claimed { receipt, .. } => Some((seconds(receipt.redeem_until), &receipt.jti)),
            _ => None,
        }
    }

    /// Whether a party that received this state receives nothing more.
    pub fn is_final(&self) -> bool {
        !matches!(self.state, State::Pending { .. } | State::Scanned { .. })
    }

    pub fn is_confirmed(&self) -> bool {
        matches!(self.state, State::Confirmed { .. })
    }
}

impl Deref for Row {
    type Target = Ticket;

    fn deref(&self) -> &Ticket {
        &self.ticket
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Pending { opened: false } => "pending",
            State::Pending { opened: true } => "opened",
            State::Scanned { .. } => "scanned",
            State::Confirmed { .. } => "confirmed",
            State::Claimed { .. } => "claimed",
            State::Cancelled { .. } => "cancelled",
        };
        write!(f, "{}:{state}<{}", self.revision, self.deadline_secs())?;
        self.redeemable().map_or(Ok(()), |(until, jti)| write!(f, " jti {jti}<{until}"))
    }
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn seconds(time: Timestamp) -> u64 {
    time.0 / 1000
}

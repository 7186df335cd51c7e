//! Who takes part, and the ticket they take part in: the real [`Ticket`] with its real transitions.
//!
//! Times are seconds since the ticket was made. They are chosen so that all deadlines differ where it matters: a scan
//! prolongs the ticket, and a claimed ticket is readable for longer than its JWT may be handed out again.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use scangate::ticket::{
    BindingSecret, CancelReason, Claims, ClientId, Decision, Flow, NewTicket, Outcome, Party, Person, Refusal,
    Device, Scanner, ScannerId, State, Subject, Ticket, TicketId, TicketRequest, Timestamp,
};

const TTL: Duration = Duration::from_secs(10);
const DECISION: Duration = Duration::from_secs(20);
const REDEEM: Duration = Duration::from_secs(10);
const TOKEN: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The browser that the JWT is for.
    Recipient,
    /// The signed-in person who approves.
    Ada,
    /// Another signed-in person, who scans the same code.
    Bob,
    /// A browser that has seen the ticket id and has a binding of its own.
    Stranger,
}

/// What somebody does to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    Scan,
    Confirm,
    Cancel,
    /// With which of the caller's `jti`s.
    Claim(u8),
}

struct Cast {
    recipient: Party,
    ada: (Person, Party),
    bob: (Person, Party),
    stranger: Party,
}

static CAST: LazyLock<Cast> = LazyLock::new(|| {
    let browser = |letter: &str| {
        let secret: BindingSecret = format!("{}A", letter.repeat(42)).parse().unwrap();
        Party::Browser(secret.hash())
    };
    let person = |name: &str| {
        let person = Person { subject: Subject(name.to_owned()), name: None, picture: None };
        (person.clone(), Party::Person(person))
    };
    Cast { recipient: browser("r"), ada: person("ada"), bob: person("bob"), stranger: browser("s") }
});

impl Who {
    pub fn party(self) -> &'static Party {
        match self {
            Self::Recipient => &CAST.recipient,
            Self::Ada => &CAST.ada.1,
            Self::Bob => &CAST.bob.1,
            Self::Stranger => &CAST.stranger,
        }
    }

    /// Each is called the same in every run: what the model visits must not depend on chance.
    fn scanner(self) -> Scanner {
        let id = [self as u8; 16];
        Scanner::with_id(self.party().clone(), ScannerId::from_bytes(id))
    }

    fn person(self) -> &'static Person {
        match self {
            Self::Bob => &CAST.bob.0,
            Self::Ada | Self::Recipient | Self::Stranger => &CAST.ada.0,
        }
    }
}

impl Deed {
    /// Applies the real transition. Who grants a share has seen the recipient scan; or does not care, and takes whoever is
    /// there.
    pub fn step(self, who: Who, ticket: &Ticket, now: u64, names_scanner: bool) -> Result<Outcome, Refusal> {
        let now = timestamp(now);
        match self {
            Self::Scan => ticket.scan(&who.scanner(), now, DECISION),
            Self::Confirm => {
                let state = State::Scanned { scanner: Who::Recipient.scanner() };
                let seen = Ticket { state, ..ticket.clone() };
                let is_seen = names_scanner && ticket.request.flow == Flow::Share;
                let scanner = if is_seen { &seen } else { ticket }.scanner_id().map(|id| id.to_string());
                let claims = Claims::new();
                let decision = Decision { scanner: scanner.as_deref(), ..Decision::all(&claims) };
                ticket.confirm(who.person(), decision, now, REDEEM)
            }
            Self::Cancel => ticket.cancel(who.party(), CancelReason::Declined, now),
            Self::Claim(jti) => ticket.claim(who.party(), &jti.to_string(), TOKEN, now),
        }
    }
}

/// A ticket as the store holds it: cheap to copy, compared and hashed by what is stored of it.
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

    /// The pending ticket, or one that has come as far as `deeds` by Ada, who scans, and the others.
    pub fn after(flow: Flow, deeds: &[(Who, Deed)]) -> Self {
        let presenter = if flow == Flow::Login { Who::Recipient } else { Who::Ada };
        let request = TicketRequest {
            flow,
            client_id: ClientId("web".to_owned()),
            presenter: presenter.party().clone(),
            requester: Device { ip: [192, 0, 2, 1].into(), browser: None, os: None },
            return_to: None,
            matching: None,
            release: Vec::new(),
            code: None,
        };
        let new = NewTicket { id: TicketId::from_bytes([0; 16]), request, ttl: TTL }.at(timestamp(0));
        let step = |ticket: Ticket, (who, deed): &(Who, Deed)| deed.step(*who, &ticket, 0, true).unwrap().into_ticket();
        Self::new(deeds.iter().fold(new, step))
    }

    /// When its time is over.
    pub fn ends(&self) -> u64 {
        seconds(self.deadline)
    }

    /// Until when its JWT may be handed out, with its `jti`.
    pub fn redeemable(&self) -> Option<(u64, &str)> {
        match &self.state {
            State::Claimed { receipt, .. } => Some((seconds(receipt.redeem_until), &receipt.jti)),
            _ => None,
        }
    }

    /// Whether nothing more comes for a party that was shown this.
    pub fn is_final(&self) -> bool {
        !matches!(self.state, State::Pending | State::Scanned { .. })
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
            State::Pending => "pending",
            State::Scanned { .. } => "scanned",
            State::Confirmed { .. } => "confirmed",
            State::Claimed { .. } => "claimed",
            State::Cancelled { .. } => "cancelled",
        };
        write!(f, "{}:{state}<{}", self.revision, self.ends())?;
        self.redeemable().map_or(Ok(()), |(until, jti)| write!(f, " jti {jti}<{until}"))
    }
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn seconds(time: Timestamp) -> u64 {
    time.0 / 1000
}

//! Who takes part in a ticket.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{BindingHash, ScannerId};
use super::matching::Matching;

/// The id of a registered client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ClientId(pub String);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A signed-in person, as their own identity provider names them (`sub`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(pub String);

/// Claims by name, as they stood in the approver's token.
pub type Claims = serde_json::Map<String, serde_json::Value>;

/// A verified person, and what the other screen may show of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Who it is.
    pub subject: Subject,
    /// The name to show, if their token has one.
    pub name: Option<String>,
    /// The address of a picture to show, if their token has one.
    pub picture: Option<String>,
}

/// One side of a ticket: a browser that holds a binding, or a signed-in person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// Whoever knows the secret with this hash.
    Browser(BindingHash),
    /// Whoever brings a token of this person.
    Person(Person),
}

impl Party {
    /// Returns whether both are the same party. Persons are told apart by subject alone: a name may change.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Browser(this), Self::Browser(that)) => this == that,
            (Self::Person(this), Self::Person(that)) => this.subject == that.subject,
            (Self::Browser(_), Self::Person(_)) | (Self::Person(_), Self::Browser(_)) => false,
        }
    }

    /// Returns whether this is the person called `subject`.
    #[must_use]
    pub fn is_subject(&self, subject: &Subject) -> bool {
        matches!(self, Self::Person(person) if person.subject == *subject)
    }

    /// Returns whether this is a signed-in person.
    #[must_use]
    pub fn is_person(&self) -> bool {
        matches!(self, Self::Person(_))
    }
}

/// Who asks, as the approver is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The address of the browser itself, not of a proxy.
    pub ip: IpAddr,
    /// The browser's name, if its `User-Agent` tells.
    pub browser: Option<String>,
    /// The operating system, if its `User-Agent` tells.
    pub os: Option<String>,
}

/// Who scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanner {
    /// The party that is bound to the ticket by it.
    pub party: Party,
    /// What it is called towards an approver who is another: in `share` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ScannerId>,
    /// The client that the JWT is to be for, where the scanner receives it and uses another than the presenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// Where it scanned from, where the approver is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Requester>,
}

impl Scanner {
    /// Returns the scanner that is this party and tells nothing else.
    #[must_use]
    pub fn of(party: Party) -> Self {
        Self { party, id: None, audience: None, from: None }
    }

    /// Returns the scanner that is this party and is called `id` towards the approver.
    #[must_use]
    pub fn called(party: Party, id: ScannerId) -> Self {
        Self { id: Some(id), ..Self::of(party) }
    }

    /// Returns whether this is that party.
    #[must_use]
    pub fn is(&self, party: &Party) -> bool {
        self.party.is(party)
    }
}

/// A client that a JWT is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    /// Which one.
    pub client_id: ClientId,
    /// The claims that its JWTs may carry.
    pub claims: Vec<String>,
    /// How the screens are compared, where it asks for more than the ticket's client does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<Matching>,
}

//! The parties of a ticket: browsers and native apps, persons, and registered clients. Data only; the rules are in
//! `transitions`.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::freshness::Freshness;
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

/// The subject (`sub`) that identifies a person at their identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(pub String);

/// Claims by name, unchanged from the approver's token.
pub type Claims = serde_json::Map<String, serde_json::Value>;

/// Removes the longest claim and returns its name, for a record that exceeds its bound; `None` if there is no claim.
pub fn remove_longest(claims: &mut Claims) -> Option<String> {
    let (name, _) = claims.iter().max_by_key(|(_, value)| value.to_string().len())?;
    let name = name.clone();
    claims.remove(&name);
    Some(name)
}

/// A verified person, with the details that the other screen may show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The person's subject.
    pub subject: Subject,
    /// The display name, if the token has one.
    pub name: Option<String>,
    /// The URL of a picture, if the token has one.
    pub picture: Option<String>,
}

/// One side of a ticket: a browser or native app that holds a binding, or a signed-in person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The browser or native app that holds the secret with this hash.
    Browser(BindingHash),
    /// A person, verified by a token.
    Person(Person),
}

impl Party {
    /// Returns whether both are the same party. Only the subject identifies a person, because a name may change.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Browser(this), Self::Browser(that)) => this == that,
            (Self::Person(this), Self::Person(that)) => this.subject == that.subject,
            (Self::Browser(_), Self::Person(_)) | (Self::Person(_), Self::Browser(_)) => false,
        }
    }

    /// Returns whether this is the person with `subject`.
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

/// A party's device, as the approver sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The browser's own address, not a proxy's.
    pub ip: IpAddr,
    /// The browser's name, if its `User-Agent` contains it.
    pub browser: Option<String>,
    /// The operating system, if the `User-Agent` contains it.
    pub os: Option<String>,
}

/// The party that scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanner {
    /// The party that the scan bound to the ticket.
    pub party: Party,
    /// The id that names the scanner to the approver; only in `share`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ScannerId>,
    /// The client that the JWT is for, if the scanner receives it and uses another client than the presenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// The scanner's device, if the approver sees it.
    #[serde(default, rename = "from", skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
}

impl Scanner {
    /// Creates a scanner that has only a party.
    #[must_use]
    pub fn of(party: Party) -> Self {
        Self { party, id: None, audience: None, device: None }
    }

    /// Creates a scanner that the approver sees as `id`, for tests.
    #[must_use]
    pub fn with_id(party: Party, id: ScannerId) -> Self {
        Self { id: Some(id), ..Self::of(party) }
    }

    /// Returns whether this scanner is `party`.
    #[must_use]
    pub fn is(&self, party: &Party) -> bool {
        self.party.is(party)
    }
}

/// A client that a JWT is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    /// The client.
    pub client_id: ClientId,
    /// The claims that its JWTs may contain.
    pub claims: Vec<String>,
    /// The number check, if this client requires a stronger one than the ticket's client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching: Option<Matching>,
    /// What this client requires of the approver's sign-in, besides the requirements of the ticket's client.
    #[serde(default, skip_serializing_if = "Freshness::is_empty")]
    pub freshness: Freshness,
}

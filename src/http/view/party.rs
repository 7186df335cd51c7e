//! People and devices, as the other screen may show them.

use serde::Serialize;
use utoipa::ToSchema;

use super::client::ClientView;
use crate::ticket::{Device, Party, Person};

/// A person, as the other screen may show them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PersonView {
    /// Their name, if their token has one.
    pub name: Option<String>,
    /// The address of their picture, if their token has one.
    pub picture: Option<String>,
}

/// The scanner, as the other screen may show it. A presenter that decides gets every known detail.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScannedBy {
    /// The person; without a name if the scanner is a browser without a signed-in person.
    #[serde(flatten)]
    pub person: PersonView,
    /// The id that `confirm` must send as `scanner`; for a presenter that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether the scanner is a verified person rather than a browser; for a presenter that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_in: Option<bool>,
    /// The scanner's device; for a presenter that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DeviceView>,
    /// The scanner's client, which becomes the JWT's audience; for a presenter that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientView>,
}

/// A device and its browser.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeviceView {
    /// Its address.
    pub ip: String,
    /// The browser's name, if known.
    pub browser: Option<String>,
    /// Its operating system, if known.
    pub os: Option<String>,
}

impl DeviceView {
    pub(super) fn new(requester: &Device) -> Self {
        Self { ip: requester.ip.to_string(), browser: requester.browser.clone(), os: requester.os.clone() }
    }
}

impl PersonView {
    pub(super) fn new(party: &Party) -> Self {
        match party {
            Party::Person(Person { name, picture, .. }) => Self { name: name.clone(), picture: picture.clone() },
            Party::Browser(_) => Self { name: None, picture: None },
        }
    }
}

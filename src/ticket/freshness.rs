//! How recently and how strongly the approver must have signed in to their identity provider, if a client asks for it. Data
//! only; `authentication` compares it with a sign-in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A client's requirements of the approver's sign-in at the identity provider. The default requires nothing.
///
/// A ticket stores them when it is created, so a change of the client's settings does not affect a started sign-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// The maximum age of the sign-in, in seconds: `max_age` in a request to the provider (OpenID Connect Core §3.1.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_auth_age_secs: Option<u32>,
    /// The accepted authentication context classes, the preferred one first; any class, or none, if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acr_values: Vec<String>,
    /// `max_age` of an authorization request, in seconds before the ticket's creation (OpenID Connect Core §3.1.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_max_age_secs: Option<u32>,
}

impl Freshness {
    /// Returns the requirements of a ticket that was created `age` ago, with one maximum age of the sign-in from now
    /// on, for a request to the provider.
    #[must_use]
    pub fn as_of(&self, age: Duration) -> Self {
        let age_secs = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let of_request = self.request_max_age_secs.map(|secs| secs.saturating_add(age_secs));
        let max_auth_age_secs = self.max_auth_age_secs.into_iter().chain(of_request).min();
        Self { max_auth_age_secs, acr_values: self.acr_values.clone(), request_max_age_secs: None }
    }

    /// Returns whether there are no requirements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

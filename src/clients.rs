//! The registered clients: the applications that sign people in through the gateway, with their settings.
//!
//! `tables` reads them from the `[[clients]]` tables of the TOML file. Without a file, the only client is `web`. The origin or the
//! redirect URI of a request must equal a registered one byte for byte.

mod color;
pub mod openid;
mod openid_tables;
pub mod scopes;
pub mod table;
pub mod tables;
mod theme;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::{Origin, Url};

use self::openid::OpenIdClient;
use crate::qr::Logo;
use crate::signer::keys::KeyAlgorithm;
use crate::ticket::{ClientId, Flow, Freshness, MatchPolicy};

pub use theme::Theme;

/// The bounds of a ticket's lifetime.
pub const TICKET_TTLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(30 * 60);
/// The bounds of the age of an approver's sign-in. A minute is the time that a person has to come back from the provider, read
/// who is asking, and confirm.
pub const MAX_AUTH_AGES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
/// The claims of the client `web`.
const DEFAULT_CLAIMS: [&str; 3] = ["name", "picture", "email"];

/// Another service whose QR code a client's sign-ins show instead of the gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connector {
    /// A WeChat official account.
    Wechat,
}

impl Connector {
    /// Returns its name in the TOML file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wechat => "wechat",
        }
    }

    /// Returns the claim that its service provides.
    fn claim(self) -> &'static str {
        match self {
            Self::Wechat => "unionid",
        }
    }
}

/// A registered application.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id: the `aud` of its JWTs.
    pub id: ClientId,
    /// Its name on pages and in messages.
    pub name: String,
    /// Web origins, besides the gateway's own, whose pages may call the API for it.
    pub origins: Vec<String>,
    /// How long its tickets stay pending; the gateway's setting if `None`.
    pub ticket_ttl: Option<Duration>,
    /// Its logo, for pages and codes.
    pub logo: Option<Logo>,
    /// Its colours, for pages.
    pub theme: Option<Theme>,
    /// The claims of the approver's token that it may have at most. Without a list in the file, an OpenID client may have all
    /// claims of its scopes, and another client none.
    pub claims: Vec<String>,
    /// How people compare the two screens in its sign-ins.
    pub match_policy: MatchPolicy,
    /// What it requires of the approver's sign-in at the identity provider.
    pub freshness: Freshness,
    /// The service whose QR code its sign-ins show; the gateway's own if `None`.
    pub connector: Option<Connector>,
    /// The flows that its tickets may use. A backend signs in anyone who presents a JWT. In `share`, that JWT names another
    /// person, the presenter, so a client gets `share` only if its settings ask for it.
    pub flows: Vec<Flow>,
    /// Its settings as an OpenID client, if it has redirect URIs.
    pub openid: Option<Arc<OpenIdClient>>,
}

impl Client {
    /// Returns whether its tickets may use this flow.
    #[must_use]
    pub fn allows(&self, flow: Flow) -> bool {
        self.flows.contains(&flow)
    }

    /// Returns whether its sign-ins start a session of the browser, and whether such a session may answer them.
    #[must_use]
    pub fn has_single_sign_on(&self) -> bool {
        self.openid.as_ref().is_some_and(|openid| openid.single_sign_on)
    }

    /// Returns whether `origin` belongs to it: its list has the origin, or a redirect URI of that origin.
    #[must_use]
    pub fn has_origin(&self, origin: &str) -> bool {
        // The origin of an app's own scheme is opaque: as text it is `null`, like that of every sandboxed page.
        let is_of = |url: &String| {
            let own = Url::parse(url).ok().map(|url| url.origin()).filter(Origin::is_tuple);
            own.is_some_and(|own| own.ascii_serialization() == origin)
        };
        let redirect_uris = self.openid.iter().flat_map(|openid| &openid.redirect_uris);
        self.origins.iter().any(|own| own == origin) || redirect_uris.into_iter().any(is_of)
    }
}

/// All clients; the first is the default.
#[derive(Debug, Clone)]
pub struct Clients {
    all: Vec<Arc<Client>>,
}

impl Clients {
    /// Returns only the client `web`, for a gateway without a file.
    #[must_use]
    pub fn web_only() -> Self {
        let web = Client {
            id: ClientId("web".to_owned()),
            name: "Web".to_owned(),
            origins: Vec::new(),
            ticket_ttl: None,
            logo: None,
            theme: None,
            claims: DEFAULT_CLAIMS.map(str::to_owned).to_vec(),
            match_policy: MatchPolicy::None,
            freshness: Freshness::default(),
            connector: None,
            flows: vec![Flow::Login, Flow::Share],
            openid: None,
        };
        Self { all: vec![Arc::new(web)] }
    }

    /// Returns these clients, for tests.
    #[cfg(test)]
    pub(crate) fn of(clients: Vec<Client>) -> Self {
        Self { all: clients.into_iter().map(Arc::new).collect() }
    }

    /// Returns the client with this id; without an id, the default client.
    #[must_use]
    pub fn find(&self, id: Option<&str>) -> Option<&Arc<Client>> {
        match id {
            Some(id) => self.all.iter().find(|client| client.id.0 == id),
            None => self.all.first(),
        }
    }

    /// Returns all clients, the default first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.all.iter()
    }

    /// Returns whether any client is an OpenID client.
    #[must_use]
    pub fn have_openid(&self) -> bool {
        self.iter().any(|client| client.openid.is_some())
    }

    /// Returns the algorithms that OpenID clients use, each once, in the order of the clients.
    #[must_use]
    pub fn algorithms(&self) -> Vec<KeyAlgorithm> {
        let mut found = Vec::new();
        for openid in self.iter().filter_map(|client| client.openid.as_ref()) {
            if !found.contains(&openid.signing_alg) {
                found.push(openid.signing_alg);
            }
        }
        found
    }

    /// Returns the first client whose tokens are signed by this algorithm.
    #[must_use]
    pub fn first_with(&self, algorithm: KeyAlgorithm) -> Option<&Arc<Client>> {
        self.iter().find(|client| client.openid.as_ref().is_some_and(|openid| openid.signing_alg == algorithm))
    }

    /// Returns whether pages of `origin` may call the API for any client.
    #[must_use]
    pub fn allow_origin(&self, origin: &str) -> bool {
        self.all.iter().any(|client| client.origins.iter().any(|allowed| allowed == origin))
    }
}

//! The registered clients: which applications and platforms may have people signed in, and each one's own settings.
//!
//! They come from the `[[clients]]` tables of the TOML file; without one there is a single client, `web`. What a request
//! may choose of a client's settings (`return_to`, origins) is compared exactly, here.

mod color;
pub mod tables;
mod theme;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::qr::Logo;
use crate::ticket::{ClientId, Flow, MatchPolicy};

pub use theme::Theme;

/// How long a ticket may be set to live.
pub const TICKET_TTLS: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(30 * 60);
/// What the client that is there without a file has released.
const DEFAULT_CLAIMS: [&str; 3] = ["name", "picture", "email"];

/// Another service whose code is shown in the place of the gateway's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connector {
    /// A WeChat official account.
    Wechat,
}

impl Connector {
    /// Returns its word in the TOML file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wechat => "wechat",
        }
    }

    /// Returns the claim that its service tells of a person.
    fn claim(self) -> &'static str {
        match self {
            Self::Wechat => "unionid",
        }
    }
}

/// One application or platform.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id: the `aud` of its JWTs.
    pub id: ClientId,
    /// What people are told it is called.
    pub name: String,
    /// Web origins other than the gateway's own that may call the API for it.
    pub origins: Vec<String>,
    /// Where its recipients may go on to.
    pub return_to: Vec<String>,
    /// How long its tickets stay pending; the gateway's default if not set.
    pub ticket_ttl: Option<Duration>,
    /// Its logo, for pages and codes.
    pub logo: Option<Logo>,
    /// Its colours, for pages.
    pub theme: Option<Theme>,
    /// Which claims of the approver's token its JWTs carry.
    pub claims: Vec<String>,
    /// How its screens are compared.
    pub match_policy: MatchPolicy,
    /// Whose code its sign-ins show, if not the gateway's own.
    pub connector: Option<Connector>,
    /// Which flows its tickets may be of. A JWT of either says that its `sub` is there, so a client that signs in whoever
    /// brings one is not to get those of `share` unasked.
    pub flows: Vec<Flow>,
}

impl Client {
    /// Returns whether its tickets may be of this flow.
    #[must_use]
    pub fn takes(&self, flow: Flow) -> bool {
        self.flows.contains(&flow)
    }

    /// Returns whether pages of `origin` are its own: it is on its list, or people return there.
    #[must_use]
    pub fn has_origin(&self, origin: &str) -> bool {
        let is_of = |url: &String| Url::parse(url).is_ok_and(|url| url.origin().ascii_serialization() == origin);
        self.origins.iter().any(|own| own == origin) || self.return_to.iter().any(is_of)
    }
}

/// All of them; the first is the default.
#[derive(Debug, Clone)]
pub struct Clients {
    all: Vec<Arc<Client>>,
}

impl Clients {
    /// Returns the one client that is there without a file.
    #[must_use]
    pub fn only_web() -> Self {
        let web = Client {
            id: ClientId("web".to_owned()),
            name: "Web".to_owned(),
            origins: Vec::new(),
            return_to: Vec::new(),
            ticket_ttl: None,
            logo: None,
            theme: None,
            claims: DEFAULT_CLAIMS.map(str::to_owned).to_vec(),
            match_policy: MatchPolicy::None,
            connector: None,
            flows: vec![Flow::Login, Flow::Share],
        };
        Self { all: vec![Arc::new(web)] }
    }

    /// Returns the client called `id`, or the default one.
    #[must_use]
    pub fn find(&self, id: Option<&str>) -> Option<&Arc<Client>> {
        match id {
            Some(id) => self.all.iter().find(|client| client.id.0 == id),
            None => self.all.first(),
        }
    }

    /// Returns all of them, the default first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.all.iter()
    }

    /// Returns whether any client's pages may call from `origin`.
    #[must_use]
    pub fn allow_origin(&self, origin: &str) -> bool {
        self.all.iter().any(|client| client.origins.iter().any(|allowed| allowed == origin))
    }
}

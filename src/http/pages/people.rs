//! The person who reads a page, and the ways to sign in that it offers.

use axum::http::HeaderMap;
use serde::Serialize;

use crate::clients::Client;
use crate::http::auth;
use crate::http::problem::Problem;
use crate::http::state::Gateway;
use crate::http::view::client::ClientView;
use crate::sessions::Session;
use crate::verifier::demo::{PROVIDER, PROVIDER_NAME};

/// How people sign in on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// By a name that they choose, in the demo.
    Demo,
    /// At an identity provider.
    Providers,
    /// Not in a browser: only apps that send tokens sign people in.
    Apps,
}

/// The person who reads a page, and how they can sign in.
#[derive(Debug, Clone, Serialize)]
pub(super) struct People {
    /// The person who is signed in in this browser.
    pub(super) person: Option<Reader>,
    /// How people sign in.
    pub(super) way: Way,
    /// The identity providers, for the buttons.
    pub(super) providers: Vec<ProviderButton>,
}

/// A signed-in person, as their own page shows them.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Reader {
    /// Their name; empty if the provider states none.
    pub(super) name: String,
    /// The id of the provider at which they signed in.
    pub(super) provider: String,
    /// That provider's name.
    pub(super) provider_name: String,
}

/// An identity provider, as its button shows it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ProviderButton {
    pub(super) id: String,
    pub(super) name: String,
    /// The path of its logo.
    pub(super) logo: Option<String>,
}

impl People {
    /// Returns the ways to sign in, and no person.
    pub(super) fn unknown(gateway: &Gateway) -> Self {
        let providers = gateway.relying_party.providers().iter().map(|provider| {
            let settings = &provider.settings;
            let logo = settings.logo.as_ref().map(|_logo| format!("/sign-in/{}/logo.png", settings.id));
            ProviderButton { id: settings.id.clone(), name: settings.name.clone(), logo }
        });
        let providers: Vec<_> = providers.collect();
        let way = match (&gateway.demo, providers.is_empty()) {
            (Some(_), _) => Way::Demo,
            (None, false) => Way::Providers,
            (None, true) => Way::Apps,
        };
        Self { person: None, way, providers }
    }

    /// The same with the person who is signed in in the browser that opens the page.
    ///
    /// # Errors
    /// 503 if the session cannot be read.
    pub(super) async fn of_page(headers: &HeaderMap, gateway: &Gateway) -> Result<Self, Problem> {
        let session = auth::reader_of_page(headers, gateway).await?;
        let people = Self::unknown(gateway);
        let person = session.map(|session| people.reader(session));
        Ok(Self { person, ..people })
    }

    fn reader(&self, session: Session) -> Reader {
        let provider = self.providers.iter().find(|provider| provider.id == session.provider);
        debug_assert!(provider.is_some() || session.provider == PROVIDER, "sessions of other providers are not valid");
        let provider_name = provider.map_or(PROVIDER_NAME, |provider| &provider.name).to_owned();
        Reader { name: session.person.name.unwrap_or_default(), provider: session.provider, provider_name }
    }
}

/// The site that asks a person to sign in, as a page names it without reading the ticket: to someone who is not signed in, a
/// page tells nothing of a ticket, not even whether it exists.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Site {
    /// The client's name, or the gateway's host if there are several clients.
    pub(super) name: String,
    /// The path of the client's logo.
    pub(super) logo: Option<String>,
}

impl Site {
    /// Returns the site of the page's client, or of the only client.
    pub(super) fn of(gateway: &Gateway, client: Option<&Client>) -> Self {
        let mut all = gateway.clients.iter();
        let only = all.next().filter(|_first| all.next().is_none());
        match client.or(only.map(AsRef::as_ref)).map(ClientView::new) {
            Some(ClientView { name, logo, .. }) => Self { name, logo },
            None => Self { name: gateway.public_url.host_str().unwrap_or_default().to_owned(), logo: None },
        }
    }
}

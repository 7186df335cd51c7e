//! Sign-ins that began here and whose answer is awaited: kept in the store, found by the hash of `state`, used once.
//!
//! `state` and the browser's secret are stored as hashes. The code verifier and the nonce are stored as they are: they are
//! useless without the code.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::{self, RandomId};
use crate::store::{Put, Store, StoreError};
use crate::ticket::{BindingHash, BindingSecret, ClientId, TicketId};

/// How long a person may take at the provider.
pub const BEGUN_TTL: Duration = Duration::from_secs(10 * 60);
/// The longest id of a client in a return path, in bytes.
const MAX_CLIENT_BYTES: usize = 64;

/// The secrets of one sign-in.
pub(super) struct Secrets {
    /// 256 bits, which the answer repeats.
    pub(super) state: BindingSecret,
    /// 256 bits, which the ID token repeats.
    pub(super) nonce: String,
    /// 256 bits in 43 characters (RFC 7636 §4.1).
    pub(super) code_verifier: String,
}

impl Secrets {
    /// Generates secrets.
    pub(super) fn new() -> Self {
        let secret = random::binding_secret;
        Self { state: secret(), nonce: secret().reveal(), code_verifier: secret().reveal() }
    }
}

/// The page to which the person comes back: only pages of the gateway's own. JSON has it as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ReturnPath {
    /// The page of a scanned ticket, `/s/{id}`.
    Ticket(TicketId),
    /// The page that presents a share, `/share`, of this client.
    Share(Option<ClientId>),
    /// The page of a scanned share, `/share/{id}`.
    Receive(TicketId),
}

impl fmt::Display for ReturnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(id) => write!(f, "/s/{id}"),
            Self::Share(None) => f.write_str("/share"),
            Self::Share(Some(client)) => write!(f, "/share?client_id={client}"),
            Self::Receive(id) => write!(f, "/share/{id}"),
        }
    }
}

impl From<ReturnPath> for String {
    fn from(path: ReturnPath) -> Self {
        path.to_string()
    }
}

/// The text is not a page of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a page of the gateway to which a sign-in returns")]
pub struct ParseReturnPathError;

impl TryFrom<String> for ReturnPath {
    type Error = ParseReturnPathError;

    fn try_from(path: String) -> Result<Self, ParseReturnPathError> {
        path.parse()
    }
}

impl FromStr for ReturnPath {
    type Err = ParseReturnPathError;

    fn from_str(path: &str) -> Result<Self, ParseReturnPathError> {
        if path == "/share" {
            return Ok(Self::Share(None));
        }
        if let Some(client) = path.strip_prefix("/share?client_id=") {
            // The characters of registered ids, none of which has a meaning in a query.
            let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
            let is_id = (1..=MAX_CLIENT_BYTES).contains(&client.len()) && client.bytes().all(is_plain);
            return if is_id { Ok(Self::Share(Some(ClientId(client.to_owned())))) } else { Err(ParseReturnPathError) };
        }
        if let Some(id) = path.strip_prefix("/share/") {
            return id.parse().map(Self::Receive).map_err(|_error| ParseReturnPathError);
        }
        let id = path.strip_prefix("/s/").ok_or(ParseReturnPathError)?;
        id.parse().map(Self::Ticket).map_err(|_error| ParseReturnPathError)
    }
}

/// The page to which the person comes back, in the language in which they left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// The page.
    #[serde(rename = "return")]
    pub path: ReturnPath,
    /// The language that the person chose by the page's address, as a language tag.
    #[serde(rename = "lang", default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

impl fmt::Display for Return {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, language } = self;
        let Some(language) = language else { return write!(f, "{path}") };
        // A language tag has no character with a meaning in a query.
        let separator = if matches!(path, ReturnPath::Share(Some(_))) { '&' } else { '?' };
        write!(f, "{path}{separator}lang={language}")
    }
}

impl ReturnPath {
    /// Returns the ticket to which the person comes back.
    #[must_use]
    pub fn ticket(&self) -> Option<&TicketId> {
        match self {
            Self::Ticket(id) | Self::Receive(id) => Some(id),
            Self::Share(_) => None,
        }
    }
}

/// A sign-in that began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The provider's id.
    pub(super) provider: String,
    pub(super) code_verifier: String,
    pub(super) nonce: String,
    #[serde(flatten)]
    pub(super) return_to: Return,
    /// The browser that began.
    pub(super) browser: BindingHash,
}

/// What remains of a sign-in that was used: the page on which its browser can go on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Used {
    /// Random, so that each caller stores another value.
    mark: String,
    #[serde(flatten)]
    pub(super) return_to: Return,
    pub(super) browser: BindingHash,
}

/// The outcome of [`find`].
pub(super) enum Found {
    /// It awaits its answer.
    Waiting(Begun),
    /// Its answer came before.
    Used(Used),
    /// It never began, or too long ago.
    Unknown,
}

/// Stores a sign-in that begins.
///
/// # Errors
/// As [`Store::put_value`].
pub(super) async fn put(store: &dyn Store, state: &BindingSecret, begun: &Begun) -> Result<(), StoreError> {
    let text = serde_json::to_string(begun).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    store.put_value(&name(state), &text, BEGUN_TTL, Put::Always).await.map(drop)
}

/// Finds the sign-in of a `state`, and leaves it.
///
/// # Errors
/// As [`Store::value`]; [`StoreError::Corrupt`].
pub(super) async fn find(store: &dyn Store, state: &BindingSecret) -> Result<Found, StoreError> {
    let corrupt = |_error| StoreError::Corrupt("a begun sign-in".to_owned());
    if let Some(text) = store.value(&name(state)).await? {
        return serde_json::from_str(&text).map(Found::Waiting).map_err(corrupt);
    }
    match store.value(&used_name(state)).await? {
        Some(text) => serde_json::from_str(&text).map(Found::Used).map_err(corrupt),
        None => Ok(Found::Unknown),
    }
}

/// Uses the sign-in up. Returns whether this call did: of several, one does.
///
/// # Errors
/// As [`Store::put_value`]. The sign-in may be used up then.
pub(super) async fn use_up(store: &dyn Store, state: &BindingSecret, begun: &Begun) -> Result<bool, StoreError> {
    let (return_to, browser) = (begun.return_to.clone(), begun.browser);
    let used = Used { mark: RandomId::new().to_string(), return_to, browser };
    let text = serde_json::to_string(&used).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    // Kept longer than the sign-in itself can be found.
    let is_first = store.put_value(&used_name(state), &text, BEGUN_TTL * 2, Put::IfAbsent).await?;
    if is_first {
        store.remove_value(&name(state)).await?;
    }
    Ok(is_first)
}

fn name(state: &BindingSecret) -> String {
    format!("begun:{}", hash(state))
}

fn used_name(state: &BindingSecret) -> String {
    format!("begun-used:{}", hash(state))
}

fn hash(state: &BindingSecret) -> String {
    state.hash().to_text()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_return_path_is_one_of_the_gateways_own_pages() {
        let id = random::ticket_id();
        for path in
            [format!("/s/{id}"), format!("/share/{id}"), "/share".to_owned(), "/share?client_id=a-B_1.c".to_owned()]
        {
            assert_eq!(path.parse::<ReturnPath>().unwrap().to_string(), path);
        }
        for path in [
            "",
            "/",
            "/s/",
            "/s/x",
            "//evil.example",
            "/\\evil.example",
            "/s/%2f%2fevil.example",
            "https://evil.example/share",
            "/share?client_id=",
            "/share?client_id=a&x=b",
            "/share?client_id=a b",
            "/share/",
            "/share#x",
            "/share\n",
        ] {
            assert_eq!(path.parse::<ReturnPath>(), Err(ParseReturnPathError), "{path}");
        }
    }

    #[test]
    fn the_state_says_nothing() {
        let (one, other) = (Secrets::new(), Secrets::new());
        assert_eq!(one.state.reveal().len(), 43);
        assert_eq!(one.code_verifier.len(), 43);
        let all = [one.state.reveal(), one.nonce, one.code_verifier, other.state.reveal(), other.nonce];
        assert!((0..5).all(|this| (0..this).all(|that| all[this] != all[that])));
        assert!(!name(&other.state).contains(&other.state.reveal()));
    }

    #[test]
    fn a_begun_sign_in_is_read_as_it_was_written() {
        let begun = Begun {
            provider: "one".into(),
            code_verifier: "v".into(),
            nonce: "n".into(),
            return_to: Return { path: ReturnPath::Ticket(random::ticket_id()), language: Some("zh".into()) },
            browser: random::binding_secret().hash(),
        };
        let text = serde_json::to_string(&begun).unwrap();
        assert_eq!(serde_json::from_str::<Begun>(&text).unwrap(), begun);
    }

    proptest! {
        #[test]
        fn any_accepted_path_is_written_as_it_was_read(path in "/(s|share)(/|\\?client_id=)?[a-zA-Z0-9_./%&=?#-]{0,24}") {
            if let Ok(read) = path.parse::<ReturnPath>() {
                prop_assert_eq!(read.to_string(), path);
            }
        }
    }
}

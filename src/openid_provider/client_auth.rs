//! The authentication of clients at the token endpoint and its siblings (RFC 6749 §2.3, OpenID Connect Core §9).
//!
//! Unknown clients, wrong secrets and wrong methods get the same answer, after the same comparison.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use subtle::{Choice, ConstantTimeEq as _};

use super::OpenIdProvider;
use super::failure::TokenError;
use crate::clients::openid::{OpenIdClient, TokenAuth};
use crate::clients::{Client, Clients};
use crate::ticket::ClientId;

/// The credentials in a request, unchecked.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The credentials after the scheme `Basic` in `Authorization`.
    pub basic: Option<&'a [u8]>,
    /// `client_id` in the body.
    pub client_id: Option<&'a str>,
    /// `client_secret` in the body.
    pub client_secret: Option<&'a str>,
}

/// A client that has authenticated, or that is public.
#[derive(Clone)]
pub struct AuthenticatedClient {
    client: Arc<Client>,
    openid: Arc<OpenIdClient>,
}

impl AuthenticatedClient {
    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns its settings as an OpenID client.
    #[must_use]
    pub fn openid(&self) -> &OpenIdClient {
        &self.openid
    }
}

/// The reason why a client is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// The request contradicts itself. The sentence says how.
    Malformed(&'static str),
    /// The client did not authenticate, for this reason. Contains its id if that is registered.
    Refused(&'static str, Option<ClientId>),
}

impl OpenIdProvider {
    /// Identifies the client of a request, and verifies its secret if it is confidential.
    ///
    /// # Errors
    /// [`TokenError::InvalidRequest`] if the request has two secrets or two ids; [`TokenError::InvalidClient`] for every other
    /// fault. The caller limits those.
    pub fn authenticate(&self, credentials: Credentials<'_>) -> Result<AuthenticatedClient, TokenError> {
        find(&self.clients, credentials).map_err(|fault| match fault {
            Fault::Malformed(sentence) => TokenError::InvalidRequest(sentence),
            Fault::Refused(reason, client) => {
                self.metrics.openid.client_refused();
                if self.log_limiter.should_log("client authentication failed", Some(reason)) {
                    // Only the id of a registered client: anyone can send any other text.
                    let client = client.map(|id| id.0);
                    tracing::info!(reason, client, "client authentication failed");
                }
                TokenError::InvalidClient { by_header: credentials.basic.is_some() }
            }
        })
    }
}

fn find(clients: &Clients, credentials: Credentials<'_>) -> Result<AuthenticatedClient, Fault> {
    let Presented { ids, secrets, by_header } = Presented::of(credentials)?;
    let client = ids.iter().find_map(|id| clients.find(Some(id)).filter(|client| client.openid.is_some()));
    let openid = client.and_then(|client| client.openid.as_ref());
    let registered = openid.map(|openid| &openid.secrets[..]).unwrap_or_default();
    // For an unknown client too, so that the time does not tell the difference.
    let is_secret = secrets.iter().fold(Choice::from(0), |found, secret| found | is_one_of(secret, registered));
    let (Some(client), Some(openid)) = (client, openid) else { return Err(Fault::Refused("unknown", None)) };
    let (is_method, is_proved) = match (openid.token_auth, secrets.is_empty()) {
        (TokenAuth::None, has_none) => (has_none, true),
        (_, true) => (false, false),
        (TokenAuth::Secret, false) => (true, is_secret.into()),
        (TokenAuth::Basic, false) => (by_header, is_secret.into()),
        (TokenAuth::Post, false) => (!by_header, is_secret.into()),
    };
    match (is_method, is_proved) {
        (true, true) => Ok(AuthenticatedClient { client: Arc::clone(client), openid: Arc::clone(openid) }),
        (true, false) => Err(Fault::Refused("secret", Some(client.id.clone()))),
        (false, _) => Err(Fault::Refused("method", Some(client.id.clone()))),
    }
}

/// The credentials in a request, as candidates: the specification encodes id and secret in the header as in a form, but
/// many clients do not.
#[derive(Debug, PartialEq, Eq)]
struct Presented {
    ids: Vec<String>,
    /// Empty if there is no secret.
    secrets: Vec<String>,
    by_header: bool,
}

impl Presented {
    fn of(credentials: Credentials<'_>) -> Result<Self, Fault> {
        let Some(basic) = credentials.basic else {
            let ids = credentials.client_id.map(str::to_owned).into_iter().collect();
            let secrets = credentials.client_secret.map(str::to_owned).into_iter().collect();
            return Ok(Self { ids, secrets, by_header: false });
        };
        if credentials.client_secret.is_some() {
            return Err(Fault::Malformed("The secret is in the header and in the body; send it once."));
        }
        let decoded = STANDARD.decode(basic).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(decoded) = decoded else { return Err(Fault::Malformed("Authorization: Basic is malformed.")) };
        let (id, secret) = decoded.split_once(':').unwrap_or((&decoded, ""));
        let ids = readings(id);
        if credentials.client_id.is_some_and(|in_body| !ids.iter().any(|id| id == in_body)) {
            return Err(Fault::Malformed("The header and client_id name two clients."));
        }
        Ok(Self { ids, secrets: readings(secret), by_header: true })
    }
}

/// Returns the two ways to read a part of the header: decoded as in a form (RFC 6749 §2.3.1), and as it is. None if it is empty.
fn readings(part: &str) -> Vec<String> {
    let spaced = part.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    let mut all: Vec<String> = decoded.into_iter().chain([part.to_owned()]).filter(|text| !text.is_empty()).collect();
    all.dedup();
    all
}

/// Compares a presented secret with every registered one, in constant time: by their hashes, so that no length shows.
fn is_one_of(presented: &str, registered: &[crate::secret::Secret]) -> Choice {
    let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    let presented = hash(presented);
    let equals = |secret: &str| presented.as_ref().ct_eq(hash(secret).as_ref());
    if registered.is_empty() {
        // Takes as long as one secret, and never matches.
        return equals("") & Choice::from(0);
    }
    registered.iter().fold(Choice::from(0), |found, secret| found | equals(secret.reveal()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openid_provider::tests::clients;

    const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyz+%/&=";

    fn basic(text: &str) -> String {
        STANDARD.encode(text)
    }

    fn encoded(text: &str) -> String {
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
    }

    fn found(credentials: Credentials<'_>) -> Result<String, Fault> {
        let secret = |auth: &str| format!("secret = {SECRET:?}\n{auth}");
        let clients = clients(&[
            ("either", &secret("")),
            ("basic", &secret("token_auth = \"basic\"")),
            ("post", &secret("token_auth = \"post\"")),
            ("public", "token_auth = \"none\""),
        ]);
        find(&clients, credentials).map(|client| client.client().id.0.clone())
    }

    #[test]
    fn a_client_authenticates_as_it_is_registered() {
        let (either, only_basic, raw) = (
            basic(&format!("either:{}", encoded(SECRET))),
            basic(&format!("basic:{}", encoded(SECRET))),
            basic(&format!("either:{SECRET}")),
        );
        let by = |basic: &'static str| Credentials { basic: Some(basic.as_bytes()), ..Credentials::default() };
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        let post = |id, secret| Credentials { basic: None, client_id: id, client_secret: secret };
        let refused = |reason| Err(reason);
        let rows: [(Credentials<'_>, Result<&str, &str>); 17] = [
            (by(leak(either)), Ok("either")),
            (by(leak(raw)), Ok("either")),
            (by(leak(only_basic)), Ok("basic")),
            (post(Some("either"), Some(SECRET)), Ok("either")),
            (post(Some("post"), Some(SECRET)), Ok("post")),
            (post(Some("public"), None), Ok("public")),
            (by(leak(basic("public:"))), Ok("public")),
            (post(Some("basic"), Some(SECRET)), refused("method")),
            (by(leak(basic(&format!("post:{}", encoded(SECRET))))), refused("method")),
            (post(Some("public"), Some(SECRET)), refused("method")),
            (post(Some("either"), None), refused("method")),
            (post(Some("either"), Some(&SECRET[1..])), refused("secret")),
            (by(leak(basic("either:wrong"))), refused("secret")),
            (post(Some("nobody"), Some(SECRET)), refused("unknown")),
            (post(Some("plain"), None), refused("unknown")),
            (post(None, Some(SECRET)), refused("unknown")),
            (by(leak(basic("nobody"))), refused("unknown")),
        ];
        for (row, (credentials, expected)) in rows.into_iter().enumerate() {
            let found = found(credentials).map_err(|fault| match fault {
                Fault::Refused(reason, _) => reason,
                Fault::Malformed(sentence) => sentence,
            });
            assert_eq!(found.as_deref(), expected.as_ref().map(|id| *id), "row {row}");
        }
    }

    #[test]
    fn a_request_that_contradicts_itself_is_invalid() {
        let header = basic(&format!("either:{}", encoded(SECRET)));
        let with = |id, secret| Credentials { basic: Some(header.as_bytes()), client_id: id, client_secret: secret };
        assert_eq!(found(with(Some("either"), None)).unwrap(), "either");
        for credentials in [
            with(Some("public"), None),
            with(None, Some(SECRET)),
            with(Some("either"), Some(SECRET)),
            Credentials { basic: Some(b"not base64"), ..Credentials::default() },
        ] {
            assert!(matches!(found(credentials), Err(Fault::Malformed(_))));
        }
    }

    #[test]
    fn each_of_several_secrets_is_accepted_and_no_other() {
        let secrets = ["a", "bb", "ccc"].map(|text| crate::secret::Secret::new(text.to_owned()));
        for (presented, expected) in
            [("a", true), ("bb", true), ("ccc", true), ("", false), ("b", false), ("abb", false)]
        {
            assert_eq!(bool::from(is_one_of(presented, &secrets)), expected, "{presented}");
        }
        assert!(!bool::from(is_one_of("", &[])));
    }

    proptest! {
        #[test]
        fn any_secret_is_read_encoded_and_as_it_is(secret in "[ -~äß€]{1,40}") {
            for written in [encoded(&secret), secret.clone()] {
                let header = basic(&format!("app:{written}"));
                let credentials = Credentials { basic: Some(header.as_bytes()), ..Credentials::default() };
                let presented = Presented::of(credentials).unwrap();
                prop_assert!(presented.secrets.contains(&secret), "{presented:?}");
                prop_assert_eq!(&presented.ids, &["app".to_owned()]);
            }
        }

        #[test]
        fn any_header_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let encoded = STANDARD.encode(&bytes);
            for basic in [&bytes[..], encoded.as_bytes()] {
                let _ = Presented::of(Credentials { basic: Some(basic), ..Credentials::default() });
            }
        }
    }
}

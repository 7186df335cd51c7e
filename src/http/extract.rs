//! What handlers take from a request: the ticket's id, the body, and who is calling.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::request::Parts;
use ipnet::IpNet;
use serde::de::DeserializeOwned;

use super::error::{self, Problem};
use super::fields::{bearer, members};
use super::guard::is_same_origin_fetch;
use super::{BODY_TIMEOUT, Gateway, SharedGateway, cookies, fields};
use crate::ticket::{BindingSecret, Party, TicketId};
use crate::verifier::{Fault, Identity, VerifyError};

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at this address.
    Tcp(SocketAddr),
    /// A process of this machine that may open our Unix socket; a proxy.
    Unix,
}

/// The address of the browser or phone itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientAddress(pub(super) IpAddr);

impl ClientAddress {
    /// Finds the client behind the trusted proxies: the last address in `X-Forwarded-For` that none of them has.
    ///
    /// Proxies append, so what stands further left is only what the client claims.
    pub(super) fn find(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
        let mut address = match peer {
            Peer::Tcp(socket) => socket.ip().to_canonical(),
            Peer::Unix => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        if peer != Peer::Unix && !is_trusted(&address) {
            return Self(address);
        }
        // Each by itself: what a caller wrote further left must not change what the proxies wrote.
        let hops: Vec<&[u8]> = members(headers, "x-forwarded-for").collect();
        for hop in hops.into_iter().rev() {
            let Some(hop) = str::from_utf8(hop).ok().and_then(parse_hop) else { break };
            address = hop;
            if !is_trusted(&hop) {
                break;
            }
        }
        Self(address)
    }
}

/// Reads one entry of `X-Forwarded-For`; some proxies add a port or brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        // The guard puts it there for every request.
        parts.extensions.get().copied().ok_or_else(|| Problem::from(&error::INTERNAL))
    }
}

/// A name in the path; what is no text is answered like a name that is not there.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_rejection| Problem::from(&error::NOT_FOUND))
    }
}

/// The ticket's id in the path. What is no id is answered like an id that never existed.
pub(super) struct TicketPath(pub(super) TicketId);

impl<S: Send + Sync> FromRequestParts<S> for TicketPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Name::from_request_parts(parts, state).await;
        let id = name.ok().and_then(|Name(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| Problem::from(&error::TICKET_NOT_FOUND))
    }
}

/// The query string; what is not understood is an error that names it.
pub(super) struct ValidQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::from(&error::INVALID_REQUEST).detail(rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// A JSON body. An empty one counts as `{}`, whatever type it is said to have; any other of another type is refused, which
/// also stops what a form of another site can say.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read_body(request, state).await?;
        let body: &[u8] = match is_json {
            _ if bytes.is_empty() => b"{}",
            Some(true) => &bytes,
            Some(false) | None => return Err(Problem::from(&error::UNSUPPORTED_MEDIA_TYPE)),
        };
        let malformed = |fault: &dyn std::fmt::Display| {
            Problem::from(&error::MALFORMED_JSON).detail(format!("{fault}. {}", error::MALFORMED_JSON.advice))
        };
        // serde would also take an array for a struct, field by field.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed(&"The body is not an object"));
        }
        serde_json::from_slice(body).map(Self).map_err(|fault| malformed(&fault))
    }
}

/// Returns the body, whatever is in it.
///
/// # Errors
/// 408 if it does not arrive in time; 413 if it is too large; 400 if it is not framed as the head says (RFC 9112 §6 and §7),
/// or breaks off.
pub(super) async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
        .await
        .map_err(|_elapsed| Problem::from(&error::REQUEST_TIMEOUT))?
        .map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                Problem::from(&error::TOO_LARGE)
            }
            _ => Problem::from(&error::MALFORMED_REQUEST)
                .detail("The body breaks off, or is not in the chunks or of the length that the head says."),
        })
}

/// Returns whether the body is said to be JSON; `None` if nothing is said.
fn is_json(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get(CONTENT_TYPE)?;
    Some(fields::media_type(value.as_bytes()).eq_ignore_ascii_case(b"application/json"))
}

/// What a caller brought to prove itself, not yet compared with any ticket.
pub(super) enum Caller {
    /// A browser or native client with a binding.
    Browser(BindingSecret),
    /// A signed-in person with a good token.
    Person(Box<Identity>),
}

impl Caller {
    /// Returns the party that it would be of a ticket.
    pub(super) fn party(&self) -> Party {
        match self {
            Self::Browser(secret) => Party::Browser(secret.hash()),
            Self::Person(identity) => Party::Person(identity.person.clone()),
        }
    }

    /// Reads the credentials: the bearer token if there is one, else the cookie; `None` if there is neither.
    ///
    /// # Errors
    /// 401 for a bearer token that is neither a binding nor a good token.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Option<Self>, Problem> {
        let Some(bearer) = bearer(headers)? else {
            return Ok(cookie_secret(headers, gateway).map(Self::Browser));
        };
        if let Ok(secret) = bearer.parse() {
            return Ok(Some(Self::Browser(secret)));
        }
        Ok(Some(Self::Person(Box::new(identity(bearer, gateway).await?))))
    }
}

/// Returns the secret in the cookie, unless a page of another origin makes the browser send it.
pub(super) fn cookie_secret(headers: &HeaderMap, gateway: &Gateway) -> Option<BindingSecret> {
    if is_same_origin_fetch(headers) { cookies::binding(headers, gateway) } else { None }
}

/// A verified person; 401 for everybody else.
pub(super) struct Approver(pub(super) Identity);

impl Approver {
    /// # Errors
    /// 401 without a good token; 503 while the identity provider's keys are not known.
    pub(super) async fn from_headers(headers: &HeaderMap, gateway: &Gateway) -> Result<Self, Problem> {
        match bearer(headers)? {
            Some(token) => Ok(Self(identity(token, gateway).await?)),
            None => Err(Problem::from(&error::NOT_SIGNED_IN)),
        }
    }
}

/// Returns whose token it is. Subjects that a connector gives are not the identity provider's to name.
async fn identity(token: &str, gateway: &Gateway) -> Result<Identity, Problem> {
    let identity = gateway.verifier.verify(token).await?;
    if gateway.connectors.own(&identity.person.subject) {
        return Err(gateway.verifier.refuse(VerifyError::Invalid(Fault::ConnectorSubject)).into());
    }
    Ok(identity)
}

/// The gateway itself, for handlers that want no other state.
pub(super) type State = axum::extract::State<SharedGateway>;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn find(peer: &str, forwarded: &[&str]) -> String {
        find_in_bytes(peer, &forwarded.iter().map(|line| line.as_bytes()).collect::<Vec<_>>())
    }

    fn find_in_bytes(peer: &str, forwarded: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).unwrap());
        }
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let peer = peer.parse().map_or(Peer::Unix, Peer::Tcp);
        ClientAddress::find(peer, &headers, &trusted).0.to_string()
    }

    #[test]
    fn a_stranger_cannot_claim_an_address() {
        assert_eq!(find("192.0.2.7:5000", &["198.51.100.1"]), "192.0.2.7");
    }

    #[test]
    fn behind_trusted_proxies_the_last_untrusted_hop_counts() {
        assert_eq!(find("127.0.0.1:5000", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(find("127.0.0.1:5000", &["198.51.100.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(find("127.0.0.1:5000", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(find("unix", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        assert_eq!(find("127.0.0.1:5000", &["203.0.113.9:1234"]), "203.0.113.9");
        assert_eq!(find("127.0.0.1:5000", &["[2001:db8::1]:1234"]), "2001:db8::1");
        assert_eq!(find("127.0.0.1:5000", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(find("[::ffff:192.0.2.7]:5000", &["198.51.100.1"]), "192.0.2.7");
    }

    #[test]
    fn behind_rubbish_the_last_good_hop_counts() {
        assert_eq!(find("127.0.0.1:5000", &["203.0.113.9, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(find("127.0.0.1:5000", &["unknown"]), "127.0.0.1");
    }

    #[test]
    fn a_byte_that_a_caller_writes_does_not_change_whose_address_counts() {
        for claimed in [&b"\xff"[..], b"Z\xfcrich", "198.51.100.1, \u{e9}".as_bytes(), b"\x80,\xff,198.51.100.1"] {
            // One line, as proxies that append make it, or two.
            let line = [claimed, b"203.0.113.9, 10.0.0.2"].join(&b", "[..]);
            assert_eq!(find_in_bytes("127.0.0.1:5000", &[&line]), "203.0.113.9", "{line:?}");
            assert_eq!(find_in_bytes("127.0.0.1:5000", &[claimed, b"203.0.113.9"]), "203.0.113.9", "{claimed:?}");
        }
        // No text between the proxies' own: nothing beyond it can be known.
        assert_eq!(find_in_bytes("127.0.0.1:5000", &[b"203.0.113.9, \xff, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(find_in_bytes("127.0.0.1:5000", &["203.0.113.9, \u{a0}10.0.0.2".as_bytes()]), "127.0.0.1");
    }

    proptest! {
        #[test]
        fn any_forwarded_header_gives_an_address(value in prop::collection::vec(b' '..=255, 0..60)) {
            if HeaderValue::from_bytes(&value).is_ok() {
                find_in_bytes("127.0.0.1:5000", &[&value]);
            }
        }

        #[test]
        fn any_body_is_read_or_refused(text in ".{0,80}", field in "[a-z_]{0,12}", value in "[ -~]{0,20}") {
            use crate::http::tickets::CreateTicket;

            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            for body in [text, format!("{{\"{field}\":{value}}}")] {
                let request = Request::builder().header(CONTENT_TYPE, "application/json").body(body.into()).unwrap();
                let read = runtime.block_on(JsonBody::<CreateTicket>::from_request(request, &()));
                if let Err(problem) = read {
                    prop_assert_eq!(problem.kind().code, "malformed_json");
                }
            }
        }

        #[test]
        fn any_content_type_is_json_or_not(value in "[ -~]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            prop_assert!(is_json(&headers).is_some());
        }
    }

    #[test]
    fn a_parameter_that_is_no_text_leaves_the_type_what_it_is() {
        let of = |value: &[u8]| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_bytes(value).unwrap())]);
            is_json(&headers)
        };
        assert_eq!(of(b"Application/JSON ;name=\xff"), Some(true));
        assert_eq!(of("\u{a0}application/json".as_bytes()), Some(false));
    }
}

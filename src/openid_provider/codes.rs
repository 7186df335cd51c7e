//! Authorization codes: derive, store and use one (RFC 6749 §4.1.2).
//!
//! The store has only the hash of a code. To use a code, a request replaces its record by one that says so, with a text
//! that no other request writes: of many simultaneous requests, one wins. The record of a used code lasts as long as
//! its first access token, and up to an hour if there is a refresh token. A second use is thus recognised, and ends
//! what was issued.

use std::ops::Not;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::OpenIdProvider;
use super::record::{self, SLACK};
use crate::clients::scopes::OFFLINE_ACCESS;
use crate::clock::now;
use crate::random::{self, RandomId};
use crate::store::{Put, StoreError};
use crate::ticket::{
    Authorization, BindingSecret, ClientId, Grant, RequestedClaims, TicketId, Timestamp, remove_longest,
};

/// How long a code is valid after its sign-in was claimed, by the store's clock (RFC 6749 §4.1.2 allows ten minutes).
/// Apps exchange it immediately.
pub const CODE_TTL: Duration = Duration::from_secs(60);
/// How long a used code is remembered at least: as long as the ticket of a sign-in can be claimed again (`--redeem-ttl`), since
/// that would store the code again.
const MIN_USED_TTL: Duration = Duration::from_secs(300);
/// How long a used code is remembered if the issued tokens last longer than this. A longer time would fill the store,
/// and a thief tries a stolen code soon.
pub(super) const USED_CODE_TTL: Duration = Duration::from_secs(3600);
/// The maximum length of a code's record, in bytes: half of what the store accepts as a value. The module `request`
/// bounds the request's part of it.
const MAX_RECORD_BYTES: usize = 8 * 1024;
/// The length of a code, in bytes.
const BYTES: usize = 32;
/// The bounds of a verifier's length, in characters (RFC 7636 §4.1).
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// The content of a code: the checked request, and the person's grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeContent {
    /// The client that may use it.
    pub client_id: ClientId,
    /// The redirect URI of the request, which the client must repeat.
    pub redirect_uri: String,
    /// The PKCE challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_challenge: Option<String>,
    /// The nonce for the ID token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// Whether the request asked for `offline_access`, which is not granted because nobody was asked. The client then
    /// gets a refresh token that ends with the session.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub is_offline_withheld: bool,
    /// The claims that the request names.
    #[serde(default, skip_serializing_if = "RequestedClaims::is_empty")]
    pub claims: RequestedClaims,
    /// The id of the browser's session, if the client has single sign-on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The approver's grant.
    pub grant: Grant,
    /// When the code was issued.
    pub issued_at: Timestamp,
}

impl CodeContent {
    /// Returns the content of a code for a request. `grant` is the person's, and `sid` the browser's session.
    #[must_use]
    pub fn of(
        client_id: &ClientId,
        authorization: &Authorization,
        grant: Grant,
        sid: Option<String>,
        issued_at: Timestamp,
    ) -> Self {
        Self {
            client_id: client_id.clone(),
            redirect_uri: authorization.redirect_uri.clone(),
            code_challenge: authorization.code_challenge.clone(),
            nonce: authorization.nonce.clone(),
            scopes: authorization.scopes.clone(),
            is_offline_withheld: false,
            claims: authorization.claims.clone(),
            sid,
            grant,
            issued_at,
        }
    }

    /// Removes `offline_access` from the granted scopes, because nobody was asked: a token that outlives a sign-out
    /// requires a person who agrees to it (OpenID Connect Core §11). The client still gets a refresh token, which ends
    /// with the session.
    pub(super) fn withhold_offline_access(&mut self) {
        let asked = self.scopes.len();
        self.scopes.retain(|scope| scope != OFFLINE_ACCESS);
        self.is_offline_withheld = self.scopes.len() < asked;
    }
}

/// The source of a code.
#[derive(Debug, Clone, Copy)]
pub enum CodeSource<'a> {
    /// A claimed ticket. The code is derived from the secret of the browser that waits, so a repeated request gets the same one.
    Ticket {
        /// The browser's secret.
        binding: &'a BindingSecret,
        /// The ticket.
        ticket: &'a TicketId,
        /// The id in the ticket's receipt.
        jti: &'a str,
        /// The store's time when the ticket was read.
        now: Timestamp,
    },
    /// The session of a browser: the code is random.
    Session,
}

/// A code's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum CodeRecord {
    Issued(Box<CodeContent>),
    Used(UsedCode),
}

/// The record of a used code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UsedCode {
    /// The client that used it.
    pub(super) client_id: ClientId,
    /// Makes the record unique: only the caller that wrote it has used the code.
    by: String,
    /// The grant that was issued for it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant_id: Option<String>,
    /// When the store may forget the record.
    until: Timestamp,
}

impl UsedCode {
    pub(super) fn new(client_id: &ClientId, grant_id: Option<&str>, until: Timestamp) -> Self {
        let by = RandomId::new().to_string();
        Self { client_id: client_id.clone(), by, grant_id: grant_id.map(str::to_owned), until }
    }
}

/// A code as a client presents it.
#[derive(Clone, Copy)]
pub struct PresentedCode<'a> {
    /// The code.
    pub code: &'a str,
    /// The redirect URI of the authorization request, repeated.
    pub redirect_uri: &'a str,
    /// The PKCE verifier.
    pub verifier: Option<&'a str>,
}

/// The state of a presented code.
pub(super) enum CodeState {
    /// This client may use it. `stored` is the record as read; `session_ends_at` is when the session of `content.sid` ends.
    Usable { stored: String, content: Box<CodeContent>, session_ends_at: Option<Timestamp> },
    /// It was used before, by this client.
    Used(UsedCode),
    /// It cannot be used. The reason is for the log.
    Refused(&'static str),
}

impl OpenIdProvider {
    /// Stores a code and returns it. Returns `None` if it has expired, or if the code of the same ticket has been used.
    /// The record of a used code lasts longer than a ticket can be claimed again, so a used code never becomes valid
    /// again.
    ///
    /// # Errors
    /// [`StoreError`]: the code may be stored, but must not be sent. A repeated call for the same ticket is harmless.
    pub async fn issue_code(
        &self,
        source: CodeSource<'_>,
        content: &CodeContent,
    ) -> Result<Option<String>, StoreError> {
        let (code, age) = match source {
            CodeSource::Ticket { binding, ticket, jti, now } => {
                (binding.derive("scangate code 1", &[&ticket.to_string(), jti]), now.since(content.issued_at))
            }
            CodeSource::Session => (random::bytes(), Duration::ZERO),
        };
        let code = URL_SAFE_NO_PAD.encode(code);
        let ttl = CODE_TTL.saturating_sub(age);
        if ttl.is_zero() || !self.store.put_value(&store_name(&code), &shortened(content)?, ttl, Put::IfAbsent).await? {
            return Ok(None);
        }
        let subject = self.signer.log_pseudonym(&content.grant.subject);
        tracing::info!(client = %content.client_id, subject, "authorization code issued");
        Ok(Some(code))
    }

    /// Uses a code in this process, for the gateway's own `auth_request`, and issues nothing. Returns `None` if the
    /// code cannot be used: unknown, used, expired, of another client or redirect URI, or with another verifier.
    ///
    /// # Errors
    /// [`StoreError`]: the code may or may not be used.
    pub async fn redeem_code_in_process(
        &self,
        client_id: &ClientId,
        code: &str,
        redirect_uri: &str,
        code_verifier: &str,
    ) -> Result<Option<CodeContent>, StoreError> {
        let presented = PresentedCode { code, redirect_uri, verifier: Some(code_verifier) };
        let CodeState::Usable { stored, content, .. } = self.look_at_code(client_id, presented).await? else {
            return Ok(None);
        };
        let used = UsedCode::new(client_id, None, now() + CODE_TTL);
        let is_winner = self.use_code(code, &stored, used).await?;
        Ok(is_winner.then_some(*content))
    }

    /// Uses up a code of a client that `is_site` accepts, and issues nothing: the browser that brought it may not use
    /// it. If somebody has read the code in a log meanwhile, it is worthless. Any other text is ignored.
    ///
    /// # Errors
    /// [`StoreError`]: the code may still be usable.
    pub async fn use_up_code(&self, code: &str, is_site: impl Fn(&ClientId) -> bool) -> Result<(), StoreError> {
        if !is_code(code) {
            return Ok(());
        }
        let Some(stored) = self.store.value(&store_name(code)).await? else { return Ok(()) };
        let Some(CodeRecord::Issued(content)) = record::decode(&stored) else { return Ok(()) };
        if !is_site(&content.client_id) {
            return Ok(());
        }
        let used = UsedCode::new(&content.client_id, None, now() + CODE_TTL);
        if self.use_code(code, &stored, used).await? {
            let subject = self.signer.log_pseudonym(&content.grant.subject);
            tracing::info!(client = %content.client_id, subject, "authorization code used up by a refused answer");
        }
        Ok(())
    }

    /// Reads a presented code and compares it with the client's request. Changes nothing, so the client keeps the code
    /// after an error of its own.
    pub(super) async fn look_at_code(
        &self,
        client_id: &ClientId,
        presented: PresentedCode<'_>,
    ) -> Result<CodeState, StoreError> {
        if !is_code(presented.code) {
            return Ok(CodeState::Refused("malformed"));
        }
        let Some(stored) = self.store.value(&store_name(presented.code)).await? else {
            return Ok(CodeState::Refused("unknown"));
        };
        Ok(match record::decode(&stored) {
            None => CodeState::Refused("unknown"),
            Some(CodeRecord::Used(used)) if used.client_id == *client_id => CodeState::Used(used),
            Some(CodeRecord::Used(_)) => CodeState::Refused("other_client"),
            Some(CodeRecord::Issued(content)) => match fault_of(&content, client_id, presented) {
                Some(reason) => CodeState::Refused(reason),
                None => self.within_session(stored, content).await?,
            },
        })
    }

    /// Returns the state of a code that matches the request. A sign-out also ends the codes of its session: nothing may
    /// be issued after it.
    async fn within_session(&self, stored: String, content: Box<CodeContent>) -> Result<CodeState, StoreError> {
        let session_ends_at = match &content.sid {
            Some(sid) => self.single_sign_on.ends_at(sid).await?,
            None => None,
        };
        if content.sid.is_some() && session_ends_at.is_none() {
            return Ok(CodeState::Refused("session_ended"));
        }
        Ok(CodeState::Usable { stored, content, session_ends_at })
    }

    /// Marks a code as used. Returns whether this call did it.
    ///
    /// # Errors
    /// [`StoreError`]: the code may or may not be used.
    pub(super) async fn use_code(&self, code: &str, stored: &str, used: UsedCode) -> Result<bool, StoreError> {
        let ttl = used.until.since(now()).max(MIN_USED_TTL) + SLACK;
        let next = record::encode(&CodeRecord::Used(used))?;
        self.store.replace_value(&store_name(code), stored, &next, ttl).await
    }
}

/// Returns why a client may not use an unused code, as a word for the log; `None` if it may.
fn fault_of(content: &CodeContent, client_id: &ClientId, presented: PresentedCode<'_>) -> Option<&'static str> {
    if content.client_id != *client_id {
        return Some("other_client");
    }
    // RFC 6749 §4.1.3: identical to the one of the authorization request.
    if content.redirect_uri != presented.redirect_uri {
        return Some("other_redirect_uri");
    }
    match (&content.code_challenge, presented.verifier) {
        (None, None) => None,
        (Some(challenge), Some(verifier)) if fits(verifier, challenge) => None,
        (Some(_), Some(_)) => Some("other_verifier"),
        (Some(_), None) => Some("no_verifier"),
        // RFC 9700 §2.1.1: somebody has removed the challenge from the request of an app that uses PKCE.
        (None, Some(_)) => Some("verifier_without_challenge"),
    }
}

/// Compares a verifier with a challenge of the method S256 (RFC 7636 §4.6), in constant time.
fn fits(verifier: &str, challenge: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    VERIFIER_CHARS.contains(&verifier.len())
        && verifier.bytes().all(is_unreserved)
        && record::hash(verifier.as_bytes()).as_bytes().ct_eq(challenge.as_bytes()).into()
}

/// Returns the record, without its longest claims if it would exceed [`MAX_RECORD_BYTES`]. The same content always has the same
/// record. The names of claims come from the settings, so the log reveals nothing about the person.
fn shortened(content: &CodeContent) -> Result<String, StoreError> {
    let mut content = content.clone();
    loop {
        let record = record::encode(&CodeRecord::Issued(Box::new(content.clone())))?;
        if record.len() <= MAX_RECORD_BYTES {
            return Ok(record);
        }
        let Some(name) = remove_longest(&mut content.grant.claims) else { return Ok(record) };
        tracing::warn!(claim = name, max_bytes = MAX_RECORD_BYTES, "a claim is too long for a code; left out");
    }
}

fn is_code(text: &str) -> bool {
    let mut bytes = [0; BYTES];
    matches!(URL_SAFE_NO_PAD.decode_slice(text, &mut bytes), Ok(BYTES))
}

fn store_name(code: &str) -> String {
    format!("code:{}", record::hash(code.as_bytes()))
}

//! The record of what was issued for one sign-in, from the use of its code to the end of its last token.
//!
//! Everything that issues a token reads this record, and everything that ends the tokens of a sign-in (a code used twice, an old
//! refresh token, revocation, sign-out) replaces it by one that says so, unconditionally. There is no index: the record's id is
//! in each access token and derived from each refresh token.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::OpenIdProvider;
use super::record::{self, SLACK};
use super::scopes::remaining;
use crate::clients::openid::OpenIdClient;
use crate::clients::scopes::OFFLINE_ACCESS;
use crate::clock::now;
use crate::random;
use crate::store::{Put, StoreError};
use crate::ticket::{ClientId, Grant, RequestedClaims, Timestamp};

/// The length of a handle and of an id, in bytes.
const BYTES: usize = 16;

/// The secret name of a grant, which only its refresh tokens contain. An access token contains the [`GrantId`]. So a
/// resource server cannot make a refresh token from it, not even an old one, which would end the grant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle([u8; BYTES]);

impl Handle {
    pub(super) fn generate() -> Self {
        Self(random::bytes())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        matches!(URL_SAFE_NO_PAD.decode_slice(text, &mut bytes), Ok(BYTES)).then_some(Self(bytes))
    }

    pub(super) fn reveal(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns the id of the grant.
    pub(super) fn grant_id(self) -> GrantId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"scangate grant\0");
        context.update(&self.0);
        GrantId(URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..BYTES]))
    }
}

/// The public id of a grant: the claim `grant_id` of its access tokens. 22 characters of base64url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantId(String);

impl GrantId {
    /// Reads the id in a token of this gateway.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Handle::parse(text).map(|_| Self(text.to_owned()))
    }

    /// Returns the text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn store_name(&self) -> String {
        format!("grant:{}", self.0)
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The record of everything that was issued for one sign-in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveGrant {
    /// The client.
    pub client_id: ClientId,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The claims that the authorization request names.
    #[serde(default, skip_serializing_if = "RequestedClaims::is_empty")]
    pub claims: RequestedClaims,
    /// The approver's grant.
    pub grant: Grant,
    /// `sid` of the ID tokens: the id of the browser's session, or of this grant if there is none.
    pub sid: String,
    /// Whether `sid` is a browser's session.
    pub has_session: bool,
    /// When the code was used.
    pub created_at: Timestamp,
    /// When the last token ends.
    pub until: Timestamp,
    /// The refresh token, if the client gets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<RefreshState>,
}

impl LiveGrant {
    /// Returns whether it ends with the browser's session: there is one, and the client does not have `offline_access`,
    /// or no longer (OpenID Connect Core §11).
    pub(super) fn ends_with_session(&self, openid: &OpenIdClient) -> bool {
        let is_offline = remaining(openid, &self.scopes).iter().any(|scope| scope == OFFLINE_ACCESS);
        self.has_session && !is_offline
    }
}

/// The stored form of a grant's refresh token: hashes only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefreshState {
    /// The number of the current token, from 1.
    pub(super) number: u32,
    /// The hash of its secret.
    pub(super) current: String,
    /// The hash of the secret before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<String>,
    /// The salt from which, with the previous secret, the current one is derived. New at each rotation.
    pub(super) salt: String,
    /// When the current token was issued.
    pub(super) rotated_at: Timestamp,
}

/// The reason why a grant ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// Its code was used twice (RFC 6749 §4.1.2).
    Replayed,
    /// A refresh token was used again after its grace (RFC 9700 §4.14.2).
    Reused,
    /// The client revoked a token (RFC 7009).
    Revoked,
    /// The person signed out.
    SignedOut,
}

impl GrantEnd {
    /// Returns the reason's name in the log and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::Reused => "reused",
            Self::Revoked => "revoked",
            Self::SignedOut => "signed_out",
        }
    }
}

/// A grant's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum GrantRecord {
    Live(Box<LiveGrant>),
    Ended {
        client_id: ClientId,
        reason: GrantEnd,
        /// When its last token would have ended.
        until: Timestamp,
    },
}

impl OpenIdProvider {
    /// Returns the grant with this id. Returns `None` if it never existed, or has ended, or the browser's session that
    /// it needs has ended, or its client was removed.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn live_grant(&self, id: &GrantId) -> Result<Option<LiveGrant>, StoreError> {
        Ok(self.read_grant(id).await?.map(|(_, grant)| *grant))
    }

    /// Returns the grant with this id as [`OpenIdProvider::live_grant`] does, with its record as stored.
    pub(super) async fn read_grant(&self, id: &GrantId) -> Result<Option<(String, Box<LiveGrant>)>, StoreError> {
        let Some((stored, GrantRecord::Live(mut grant))) = self.grant_record(id).await? else { return Ok(None) };
        let client = self.clients.find(Some(&grant.client_id.0));
        let Some(openid) = client.and_then(|client| client.openid.as_ref()) else { return Ok(None) };
        if grant.ends_with_session(openid) {
            let Some(ends_at) = self.single_sign_on.ends_at(&grant.sid).await? else { return Ok(None) };
            grant.until = grant.until.min(ends_at);
        }
        Ok((now() < grant.until).then_some((stored, grant)))
    }

    /// Returns the record with this id, also as stored.
    pub(super) async fn grant_record(&self, id: &GrantId) -> Result<Option<(String, GrantRecord)>, StoreError> {
        let stored = self.store.value(&id.store_name()).await?;
        Ok(stored.and_then(|stored| record::decode(&stored).map(|record| (stored, record))))
    }

    /// Stores a new grant.
    ///
    /// # Errors
    /// [`StoreError`]: no token of it may be sent.
    pub(super) async fn put_grant(
        &self,
        id: &GrantId,
        grant: &LiveGrant,
        with_refresh: Option<&OpenIdClient>,
    ) -> Result<(), StoreError> {
        let ttl = ttl_of(grant, with_refresh);
        let record = record::encode(&GrantRecord::Live(Box::new(grant.clone())))?;
        if self.store.put_value(&id.store_name(), &record, ttl, Put::IfAbsent).await? {
            Ok(())
        } else {
            Err(StoreError::Corrupt("two grants have the same id".to_owned()))
        }
    }

    /// Ends everything that was issued for a sign-in of this client. Returns whether there is such a sign-in. If it has
    /// ended already, the end is stored again: the first request may have failed because no replica had it yet.
    ///
    /// # Errors
    /// [`StoreError`]: it may or may not have ended.
    pub async fn end_grant(&self, id: &GrantId, client_id: &ClientId, end: GrantEnd) -> Result<bool, StoreError> {
        let (owner, until, reason, alive) = match self.grant_record(id).await? {
            None => return Ok(false),
            Some((_, GrantRecord::Live(grant))) => (grant.client_id, grant.until, end, Some(grant.grant.subject)),
            Some((_, GrantRecord::Ended { client_id, reason, until })) => (client_id, until, reason, None),
        };
        if owner != *client_id {
            return Ok(false);
        }
        let record = record::encode(&GrantRecord::Ended { client_id: owner, reason, until })?;
        let ttl = until.since(now()) + SLACK;
        self.store.put_value(&id.store_name(), &record, ttl, Put::Always).await?;
        if let Some(subject) = alive {
            self.metrics.openid.grant_ended(end.as_str());
            let subject = self.signer.log_pseudonym(&subject);
            tracing::info!(client = %client_id, subject, reason = end.as_str(), "the tokens of a sign-in are ended");
        }
        Ok(true)
    }
}

/// Returns how long the store keeps a grant: until its last token expires. With a refresh token, that is the later of
/// the access token and the refresh token, if the client does not refresh again.
pub(super) fn ttl_of(grant: &LiveGrant, with_refresh: Option<&OpenIdClient>) -> Duration {
    let rest = grant.until.since(now());
    let unused = with_refresh.map(|openid| openid.refresh_token_ttl.max(openid.access_token_ttl));
    unused.map_or(rest, |unused| rest.min(unused)) + SLACK
}

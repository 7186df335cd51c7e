//! Checks tokens that come back: at the userinfo endpoint (OpenID Connect Core §5.3), for introspection (RFC 7662) and
//! for revocation (RFC 7009). A token is valid only while its grant is alive, even if its signature and its time are
//! valid.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::OpenIdProvider;
use super::client_auth::AuthenticatedClient;
use super::grants::{GrantEnd, GrantId, GrantRecord, LiveGrant};
use super::refresh::{Decision, RefreshToken, decide};
use super::scopes::{claims, remaining};
use super::tokens::AccessToken;
use crate::clients::Client;
use crate::clients::scopes::OPENID;
use crate::clock::now;
use crate::store::StoreError;
use crate::ticket::Claims;

/// The answer of the userinfo endpoint.
pub struct UserInfo {
    /// The client that the token was issued to.
    pub client: Arc<Client>,
    /// `sub`, and the released claims of the token's scopes.
    pub claims: Claims,
}

/// The answer of the introspection endpoint about a token (RFC 7662 §2.2). Without `active`, it says nothing else.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Introspection {
    active: bool,
    #[serde(flatten)]
    claims: Claims,
}

/// The claims of an access token that introspection repeats.
const INTROSPECTED: [&str; 9] = ["iss", "sub", "aud", "client_id", "exp", "iat", "nbf", "jti", "scope"];

impl OpenIdProvider {
    /// Returns the claims that a valid access token gives access to; `None` if its sign-in has ended.
    ///
    /// # Errors
    /// [`StoreError`] if the grant cannot be read.
    pub async fn userinfo(&self, token: AccessToken) -> Result<Option<UserInfo>, StoreError> {
        let Some((token, grant)) = self.with_live_grant(token).await? else { return Ok(None) };
        let client = self.clients.find(Some(&token.client_id.0));
        let Some((client, openid)) = client.and_then(|client| Some((client, client.openid.as_ref()?))) else {
            return Ok(None);
        };
        let scopes = remaining(openid, &token.scopes);
        if !scopes.iter().any(|scope| scope == OPENID) {
            return Ok(None);
        }
        let mut shown = claims(client, &grant.grant.claims, &scopes, &grant.claims.userinfo);
        shown.insert("sub".to_owned(), Value::String(token.subject.0));
        Ok(Some(UserInfo { client: Arc::clone(client), claims: shown }))
    }

    /// Describes a token to the client that it was issued to, and an access token also to a client that it is for: an API. To any
    /// other client, every token is inactive (RFC 7662 §2.2, §4).
    ///
    /// # Errors
    /// [`StoreError`] if the grant cannot be read.
    pub async fn introspect(&self, client: &AuthenticatedClient, token: &str) -> Result<Introspection, StoreError> {
        let client = client.client();
        let claims = match self.verify_access_token(token) {
            Some(token) => self.live_access_token(client, token).await?,
            None => self.live_refresh_token(client, token).await?,
        };
        Ok(claims.map_or_else(Introspection::default, |claims| Introspection { active: true, claims }))
    }

    /// Ends everything that was issued with a token, if it is the client's own. Nothing happens for any other token.
    ///
    /// # Errors
    /// [`StoreError`]: it may or may not have ended.
    pub async fn revoke(&self, client: &AuthenticatedClient, token: &str) -> Result<(), StoreError> {
        let grant = match RefreshToken::parse(token) {
            Some(token) => self.grant_of(client, &token).await?,
            None => self.verify_access_token(token).map(|token| token.grant_id),
        };
        if let Some(grant) = grant {
            self.end_grant(&grant, &client.client().id, GrantEnd::Revoked).await?;
        }
        Ok(())
    }

    /// Returns the grant of a refresh token, even of an old one; `None` for a forged one, which must end nothing.
    async fn grant_of(
        &self,
        client: &AuthenticatedClient,
        token: &RefreshToken,
    ) -> Result<Option<GrantId>, StoreError> {
        let id = token.handle.grant_id();
        let is_own = match self.grant_record(&id).await? {
            None => false,
            // Ended again: the store may have failed for the first request.
            Some((_, GrantRecord::Ended { .. })) => true,
            Some((_, GrantRecord::Live(grant))) => grant.refresh.is_some_and(|state| {
                let decision = decide(&state, token, now(), client.openid().refresh_token_ttl);
                !matches!(decision, Decision::Foreign | Decision::Lost)
            }),
        };
        Ok(is_own.then_some(id))
    }

    /// Returns a valid access token with its grant; `None` if the grant has ended.
    async fn with_live_grant(&self, token: AccessToken) -> Result<Option<(AccessToken, LiveGrant)>, StoreError> {
        let grant = self.live_grant(&token.grant_id).await?;
        Ok(grant.filter(|grant| grant.client_id == token.client_id).map(|grant| (token, grant)))
    }

    /// Describes an access token of the client, or for it.
    async fn live_access_token(&self, client: &Client, token: AccessToken) -> Result<Option<Claims>, StoreError> {
        if token.client_id != client.id && !token.is_for(&client.id) {
            return Ok(None);
        }
        let Some((token, _)) = self.with_live_grant(token).await? else { return Ok(None) };
        let mut claims: Claims = token.claims;
        claims.retain(|name, _| INTROSPECTED.contains(&name.as_str()) || name == "sid");
        claims.insert("token_type".to_owned(), "Bearer".into());
        Ok(Some(claims))
    }

    /// Describes a refresh token of the client that can still be used.
    async fn live_refresh_token(&self, client: &Client, token: &str) -> Result<Option<Claims>, StoreError> {
        let (Some(token), Some(openid)) = (RefreshToken::parse(token), &client.openid) else { return Ok(None) };
        let id = token.handle.grant_id();
        let Some(grant) = self.live_grant(&id).await?.filter(|grant| grant.client_id == client.id) else {
            return Ok(None);
        };
        let Some(state) = &grant.refresh else { return Ok(None) };
        let decision = decide(state, &token, now(), openid.refresh_token_ttl);
        if !matches!(decision, Decision::Rotate | Decision::SameAgain(_)) {
            return Ok(None);
        }
        let ends_at = grant.until.min(state.rotated_at + openid.refresh_token_ttl);
        let claims = [
            ("iss", Value::from(&*self.issuer)),
            ("sub", grant.grant.subject.0.as_str().into()),
            ("client_id", client.id.0.as_str().into()),
            ("exp", ends_at.unix_seconds().into()),
            ("iat", state.rotated_at.unix_seconds().into()),
            ("scope", remaining(openid, &grant.scopes).join(" ").into()),
            ("sid", grant.sid.as_str().into()),
        ];
        Ok(Some(claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    }
}

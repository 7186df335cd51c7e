//! The token request: a code or a refresh token for tokens (RFC 6749 §4.1.3 and §6, OpenID Connect Core §3.1.3 and §12).

use super::OpenIdProvider;
use super::client_auth::AuthenticatedClient;
use super::codes::{CodeContent, CodeState, PresentedCode, USED_CODE_TTL, UsedCode};
use super::grants::{GrantEnd, GrantId, GrantRecord, Handle, LiveGrant, RefreshState, ttl_of};
use super::record;
use super::refresh::{Decision, RefreshToken, decide};
use super::scopes::remaining;
use super::tokens::Tokens;
use crate::clients::openid::{OpenIdClient, RefreshTokens};
use crate::clients::scopes::{OFFLINE_ACCESS, OPENID};
use crate::clock::now;
use crate::random;
use crate::signer::SignError;
use crate::store::StoreError;
use crate::ticket::Timestamp;

use super::failure::TokenError;

/// How often a rotation is tried. Each try fails only because another request has changed the record meanwhile.
const ROTATION_TRIES: usize = 3;

const CODE: TokenError = TokenError::InvalidGrant("The code is invalid, used, or not for this request.");
const REFRESH_TOKEN: TokenError = TokenError::InvalidGrant("The refresh token is invalid or ended.");

/// The reason why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The request is refused.
    #[error("refused")]
    Refused(TokenError),
    /// The store failed: the code or the refresh token may or may not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cryptography failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<TokenError> for ExchangeError {
    fn from(error: TokenError) -> Self {
        Self::Refused(error)
    }
}

/// An error, and the name of the result in the metrics.
type Failure = (ExchangeError, &'static str);

fn other(error: impl Into<ExchangeError>) -> Failure {
    (error.into(), "other")
}

fn invalid(grant: TokenError) -> Failure {
    (grant.into(), "invalid_grant")
}

impl OpenIdProvider {
    /// Exchanges a code for tokens. A code that was used before ends what was issued for it.
    ///
    /// # Errors
    /// [`ExchangeError`]. A refusal for a fault in the request does not use the code.
    pub async fn exchange_code(
        &self,
        client: &AuthenticatedClient,
        presented: PresentedCode<'_>,
    ) -> Result<Tokens, ExchangeError> {
        let result = self.try_exchange_code(client, presented).await;
        let result_name = match &result {
            Ok(_) => "issued",
            Err((_, name)) => name,
        };
        self.metrics.openid.token_request("code", result_name);
        result.map_err(|(error, _)| error)
    }

    async fn try_exchange_code(
        &self,
        client: &AuthenticatedClient,
        presented: PresentedCode<'_>,
    ) -> Result<Tokens, Failure> {
        let client_id = &client.client().id;
        let openid = client.openid();
        let state = self.look_at_code(client_id, presented).await.map_err(other)?;
        let (stored, content, session_ends_at) = match state {
            CodeState::Usable { stored, content, session_ends_at } => (stored, content, session_ends_at),
            CodeState::Used(used) => return Err(self.end_replayed(&used).await),
            CodeState::Refused(reason) => {
                if self.log_limiter.should_log("authorization code refused", Some(reason)) {
                    tracing::info!(client = %client_id, reason, "authorization code refused");
                }
                return Err(invalid(CODE));
            }
        };
        // The grant is stored before the code's record names it. So even an immediate second use finds the grant to
        // end.
        let handle = Handle::generate();
        let id = handle.grant_id();
        let (grant, refresh_token) = new_grant(openid, handle, &content, session_ends_at);
        self.put_grant(&id, &grant, refresh_token.is_some().then_some(openid)).await.map_err(other)?;
        let remembered_until = grant.created_at + openid.access_token_ttl.max(USED_CODE_TTL);
        let used = UsedCode::new(client_id, Some(id.as_str()), grant.until.min(remembered_until));
        if !self.use_code(presented.code, &stored, used).await.map_err(other)? {
            // Another request has used the code. This one is the second use.
            let outcome = match self.look_at_code(client_id, presented).await.map_err(other)? {
                CodeState::Used(used) => self.end_replayed(&used).await,
                _ => invalid(CODE),
            };
            // This request's own grant has no tokens. If the removal fails, it expires soon.
            drop(self.store.remove_value(&id.store_name()).await);
            return Err(outcome);
        }
        let subject = self.signer.log_pseudonym(&grant.grant.subject);
        tracing::info!(client = %client_id, subject, "authorization code used");
        let (of_client, nonce) = ((client.client(), openid), content.nonce.as_deref());
        let tokens = self.sign_tokens(of_client, &id, &grant, &grant.scopes, nonce).map_err(other)?;
        Ok(Tokens { refresh_token: refresh_token.map(|token| token.reveal()), ..tokens })
    }

    /// Ends what was issued for a code that is used a second time.
    async fn end_replayed(&self, used: &UsedCode) -> Failure {
        tracing::warn!(client = %used.client_id, "authorization code used twice; its tokens are ended");
        if let Some(id) = used.grant_id.as_deref().and_then(GrantId::parse)
            && let Err(error) = self.end_grant(&id, &used.client_id, GrantEnd::Replayed).await
        {
            return other(error);
        }
        (CODE.into(), "replayed")
    }

    /// Exchanges a refresh token for tokens, and rotates it. If the answer was lost, the client may repeat the request
    /// for a short time ([`REFRESH_GRACE`](super::refresh::REFRESH_GRACE)). An older token ends the sign-in.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn refresh(
        &self,
        client: &AuthenticatedClient,
        refresh_token: &str,
        scope: Option<&str>,
    ) -> Result<Tokens, ExchangeError> {
        let result = self.try_refresh(client, refresh_token, scope).await;
        let result_name = match &result {
            Ok((_, name)) | Err((_, name)) => name,
        };
        self.metrics.openid.token_request("refresh", result_name);
        result.map(|(tokens, _)| tokens).map_err(|(error, _)| error)
    }

    async fn try_refresh(
        &self,
        client: &AuthenticatedClient,
        refresh_token: &str,
        scope: Option<&str>,
    ) -> Result<(Tokens, &'static str), Failure> {
        let refused = || invalid(REFRESH_TOKEN);
        let openid = Some(client.openid()).filter(|openid| openid.refresh_tokens != RefreshTokens::Never);
        let openid = openid.ok_or_else(refused)?;
        let token = RefreshToken::parse(refresh_token).ok_or_else(refused)?;
        let id = token.handle.grant_id();
        for _ in 0..ROTATION_TRIES {
            let found = self.read_grant(&id).await.map_err(other)?;
            let found = found.filter(|(_, grant)| grant.client_id == client.client().id);
            let (stored, grant) = found.ok_or_else(refused)?;
            let scopes = narrowed(openid, &grant, scope).ok_or_else(|| other(TokenError::InvalidScope))?;
            let Some((next, grant, name)) = self.rotate(openid, &id, (stored, *grant), &token).await? else { continue };
            let tokens = self.sign_tokens((client.client(), openid), &id, &grant, &scopes, None).map_err(other)?;
            return Ok((Tokens { refresh_token: Some(next.reveal()), ..tokens }, name));
        }
        Err(other(StoreError::Unavailable("a refresh token was rotated too often at once".to_owned())))
    }

    /// Stores what a presented refresh token changes in its grant. Returns the successor, the grant, and the result's name in the
    /// metrics; `None` if another request has changed the grant meanwhile.
    async fn rotate(
        &self,
        openid: &OpenIdClient,
        id: &GrantId,
        (stored, grant): (String, LiveGrant),
        token: &RefreshToken,
    ) -> Result<Option<(RefreshToken, LiveGrant, &'static str)>, Failure> {
        let client_id = &grant.client_id;
        let state = grant.refresh.as_ref().ok_or_else(|| invalid(REFRESH_TOKEN))?;
        let (next, rotated, name) = match decide(state, token, now(), openid.refresh_token_ttl) {
            Decision::Rotate => {
                let (next, state) = token.rotate(state, random::bytes(), now());
                (next, Some(LiveGrant { refresh: Some(state), ..grant.clone() }), "issued")
            }
            // Stored again: the request that rotated it may have failed to learn that enough replicas have it.
            Decision::SameAgain(next) => (next, None, "again"),
            Decision::Reuse => {
                tracing::warn!(client = %client_id, "refresh token used again after its grace; its tokens are ended");
                self.end_grant(id, client_id, GrantEnd::Reused).await.map_err(other)?;
                return Err((REFRESH_TOKEN.into(), "reused"));
            }
            Decision::Lost => {
                tracing::warn!(
                    client = %client_id,
                    "refresh token newer than the store knows; a failover has lost a rotation"
                );
                return Err(invalid(REFRESH_TOKEN));
            }
            Decision::Foreign | Decision::Idle => return Err(invalid(REFRESH_TOKEN)),
        };
        let record = match &rotated {
            Some(rotated) => record::encode(&GrantRecord::Live(Box::new(rotated.clone()))).map_err(other)?,
            None => stored.clone(),
        };
        let grant = rotated.unwrap_or(grant);
        let ttl = ttl_of(&grant, Some(openid));
        let is_stored = self.store.replace_value(&id.store_name(), &stored, &record, ttl).await.map_err(other)?;
        Ok(is_stored.then_some((next, grant, name)))
    }
}

/// Makes the grant for a code, and the first refresh token if the client gets one. A grant that ends with the browser's
/// session is kept until `session_ends_at` at most.
fn new_grant(
    openid: &OpenIdClient,
    handle: Handle,
    content: &CodeContent,
    session_ends_at: Option<Timestamp>,
) -> (LiveGrant, Option<RefreshToken>) {
    let now = now();
    let gets_refresh = match openid.refresh_tokens {
        RefreshTokens::Never => false,
        RefreshTokens::OfflineAccess => {
            content.is_offline_withheld || content.scopes.iter().any(|scope| scope == OFFLINE_ACCESS)
        }
        RefreshTokens::Always => true,
    };
    let token = gets_refresh.then(|| RefreshToken::first(handle));
    let lifetime = if gets_refresh { openid.refresh_token_max } else { openid.access_token_ttl };
    let mut grant = LiveGrant {
        client_id: content.client_id.clone(),
        scopes: remaining(openid, &content.scopes),
        claims: content.claims.clone(),
        grant: content.grant.clone(),
        sid: content.sid.clone().unwrap_or_else(|| handle.grant_id().to_string()),
        has_session: content.sid.is_some(),
        created_at: now,
        until: now + lifetime,
        refresh: token.as_ref().map(|token| RefreshState::first(token, now)),
    };
    if grant.ends_with_session(openid) {
        grant.until = grant.until.min(session_ends_at.unwrap_or(grant.until));
    }
    (grant, token)
}

/// Returns the scopes of a refreshed access token, in the granted order: the requested ones that the client may still
/// have. Returns `None` if one was not granted, or `openid` is missing. A scope that was taken from the client since is
/// no fault, because its app may not know.
fn narrowed(openid: &OpenIdClient, grant: &LiveGrant, scope: Option<&str>) -> Option<Vec<String>> {
    let mut scopes = remaining(openid, &grant.scopes);
    let Some(scope) = scope else { return Some(scopes) };
    let wanted: Vec<&str> = scope.split(' ').filter(|name| !name.is_empty()).collect();
    let is_granted = wanted.iter().all(|name| grant.scopes.iter().any(|granted| granted == name));
    scopes.retain(|granted| wanted.contains(&granted.as_str()));
    (is_granted && wanted.contains(&OPENID)).then_some(scopes)
}

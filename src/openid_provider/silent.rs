//! Answers an authorization request from the browser's session, without a scan.
//!
//! Invariant: everything that such an answer issues ends with the session.

use super::OpenIdProvider;
use super::codes::{CodeContent, CodeSource};
use super::failure::AuthorizationError;
use super::request::AuthorizationRequest;
use crate::clock;
use crate::single_sign_on::{BrowserSecret, Required, Unfit};
use crate::store::StoreError;

impl OpenIdProvider {
    /// Issues a code for the person of the browser's session, if that session may answer this request.
    ///
    /// # Errors
    /// The error for a client that wants no page to be shown (OpenID Connect Core §3.1.2.6): `login_required` if the person must
    /// sign in, `interaction_required` if the session lacks something that the client needs, `temporarily_unavailable` if the
    /// store cannot be reached.
    pub async fn code_by_session(
        &self,
        request: &AuthorizationRequest,
        secret: Option<&BrowserSecret>,
    ) -> Result<String, AuthorizationError> {
        let secret = secret.filter(|_secret| request.client.has_single_sign_on() && !request.needs_confirmation);
        let secret = secret.ok_or(AuthorizationError::LoginRequired)?;
        let session = self.single_sign_on.find(secret).await.map_err(unavailable)?;
        let session = session.ok_or(AuthorizationError::LoginRequired)?;
        let now = clock::now();
        let (freshness, claims) = (request.freshness(), request.release());
        let authorization = &request.authorization;
        let required = Required {
            client: &request.client,
            freshness: &freshness,
            claims: &claims,
            subject: authorization.hinted_subject.as_ref(),
        };
        session.check(&required, now).map_err(|unfit| match unfit {
            Unfit::NotAllowed | Unfit::OtherPerson | Unfit::TooOld => AuthorizationError::LoginRequired,
            Unfit::OtherContext | Unfit::WeakerMatching | Unfit::MissingClaims => {
                AuthorizationError::InteractionRequired
            }
        })?;
        let mut grant = session.grant;
        grant.claims.retain(|name, _| claims.contains(name));
        let mut content = CodeContent::of(&request.client.id, authorization, grant, Some(secret.sid()), now);
        content.withhold_offline_access();
        let code = self.issue_code(CodeSource::Session, &content).await.map_err(unavailable)?;
        code.ok_or(AuthorizationError::ServerError)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "this is how map_err hands it over")]
fn unavailable(error: StoreError) -> AuthorizationError {
    tracing::warn!(%error, "failed to answer an authorization request from a browser session");
    AuthorizationError::TemporarilyUnavailable
}

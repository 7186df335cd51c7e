//! A sign-out that a client begins (OpenID Connect RP-Initiated Logout 1.0).
//!
//! It ends the browser's session without a question only if the client proves by an ID token that it knows this
//! session, or an earlier one of the same person in this browser. Otherwise any page could sign people out. The browser
//! returns only to an address that the client has registered.

use std::sync::Arc;

use url::form_urlencoded;

use super::OpenIdProvider;
use super::grants::{GrantEnd, GrantId};
use super::request::parameters::Parameters;
use super::tokens::Hint;
use crate::clients::Client;
use crate::single_sign_on::BrowserSecret;
use crate::store::StoreError;

/// A request to sign out, checked.
#[derive(Debug, Clone)]
pub struct SignOutRequest {
    /// The client, if the request proves or names one.
    pub client: Option<Arc<Client>>,
    /// The address to go back to, with the client's `state`: exactly a registered one.
    pub back: Option<String>,
    hint: Option<Hint>,
}

/// The result of a request to sign out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOut {
    /// The browser's session has ended.
    SessionEnded,
    /// The request did not concern the browser's session, or there was none.
    Done,
    /// The person must say whether to sign out.
    Ask,
}

impl OpenIdProvider {
    /// Reads a request to sign out. Ignores an ID token that it cannot verify: its key may be gone, and the person is
    /// asked then. Ignores the address if there is no client. Returns `None` if a parameter occurs twice, if the ID
    /// token belongs to another client than the named one, or if the address is not one of the client's.
    #[must_use]
    pub fn read_sign_out(&self, query: &str) -> Option<SignOutRequest> {
        let parameters = Parameters::parse(query).filter(|parameters| !parameters.has_repeated())?;
        let named = parameters.find("client_id");
        let hint = parameters.find("id_token_hint").and_then(|token| self.verify_hint(token));
        let client_id = match &hint {
            Some(hint) if named.is_some_and(|named| named != hint.client_id.0) => return None,
            Some(hint) => Some(hint.client_id.0.as_str()),
            None => named,
        };
        let client = client_id.and_then(|id| self.clients.find(Some(id)));
        let wanted = parameters.find("post_logout_redirect_uri").filter(|_| client_id.is_some());
        let back = match wanted {
            Some(wanted) => {
                let allowed = &client?.openid.as_ref()?.post_logout_redirect_uris;
                let address = allowed.iter().find(|allowed| *allowed == wanted)?;
                Some(with_state(address, parameters.find("state")))
            }
            None => None,
        };
        Some(SignOutRequest { client: client.cloned(), back, hint })
    }

    /// Signs a person out. `browser` is the secret in the browser's cookie.
    ///
    /// With an ID token of a sign-in without a browser's session, it ends what that sign-in has issued.
    ///
    /// # Errors
    /// [`StoreError`]: the session may or may not have ended. A repeated request is harmless.
    pub async fn sign_out(
        &self,
        request: &SignOutRequest,
        browser: Option<&BrowserSecret>,
    ) -> Result<SignOut, StoreError> {
        let ids = match browser {
            Some(secret) => self.single_sign_on.ids(secret).await?,
            None => Vec::new(),
        };
        let sid = request.hint.as_ref().and_then(|hint| hint.sid.as_deref());
        let may_have_session = request.client.as_ref().is_none_or(|client| client.has_single_sign_on());
        match (!ids.is_empty(), &request.hint) {
            (true, Some(_)) if ids.iter().any(|own| Some(own.as_str()) == sid) => {
                self.single_sign_on.end_all(&ids).await?;
                Ok(SignOut::SessionEnded)
            }
            (true, _) if request.hint.is_none() || may_have_session => Ok(SignOut::Ask),
            (_, Some(hint)) => {
                if let Some(grant) = sid.and_then(GrantId::parse) {
                    self.end_grant(&grant, &hint.client_id, GrantEnd::SignedOut).await?;
                }
                Ok(SignOut::Done)
            }
            (_, None) => Ok(SignOut::Done),
        }
    }
}

/// Returns an address with `state` added to its query.
fn with_state(address: &str, state: Option<&str>) -> String {
    let Some(state) = state else { return address.to_owned() };
    let field = form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
    let separator = if address.contains('?') { '&' } else { '?' };
    format!("{address}{separator}{field}")
}

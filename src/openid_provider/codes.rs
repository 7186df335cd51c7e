//! Authorization codes: derive, store and use one (RFC 6749 §4.1.2).

use std::time::Duration;

use super::OpenIdProvider;
use crate::store::StoreError;
use crate::ticket::{BindingSecret, ClientId, Grant, RequestedClaims, TicketId, Timestamp};

/// How long a code may be used after its sign-in was claimed.
pub const CODE_TTL: Duration = Duration::from_secs(60);

/// What a code stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeContent {
    /// The client that may use it.
    pub client_id: ClientId,
    /// The redirect URI of the request, which the client must repeat.
    pub redirect_uri: String,
    /// The PKCE challenge.
    pub code_challenge: Option<String>,
    /// The nonce for the ID token.
    pub nonce: Option<String>,
    /// The granted scopes.
    pub scopes: Vec<String>,
    /// The claims that the request names.
    pub claims: RequestedClaims,
    /// The id of the browser's session, if the client has single sign-on.
    pub sid: Option<String>,
    /// The approver's grant.
    pub grant: Grant,
    /// When the code was issued.
    pub issued_at: Timestamp,
}

/// Where a code comes from.
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
    },
    /// The session of a browser: the code is random.
    Session,
}

impl OpenIdProvider {
    /// Stores a code and returns it. Returns `None` if its time is over, or if the code of the same ticket has been used.
    ///
    /// # Errors
    /// [`StoreError`]: the code may be stored, but must not be sent. A repeated call for the same ticket is harmless.
    pub async fn issue_code(
        &self,
        _source: CodeSource<'_>,
        _content: &CodeContent,
    ) -> Result<Option<String>, StoreError> {
        Err(StoreError::Unavailable("codes are not built yet".to_owned()))
    }

    /// Uses a code in this process, for the gateway's own `auth_request`, and issues nothing. Returns `None` if the code
    /// cannot be used: unknown, used, over, of another client or redirect URI, or with another verifier.
    ///
    /// # Errors
    /// [`StoreError`]: the code may or may not be used.
    pub async fn redeem_code_in_process(
        &self,
        _client_id: &ClientId,
        _code: &str,
        _redirect_uri: &str,
        _code_verifier: &str,
    ) -> Result<Option<CodeContent>, StoreError> {
        Err(StoreError::Unavailable("codes are not built yet".to_owned()))
    }
}

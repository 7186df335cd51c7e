//! Reads an authorization request, and checks every parameter (OpenID Connect Core §3.1.2.1, RFC 6749 §4.1.1, RFC 7636 §4.3).
//!
//! Pure: its only input besides the request is the registered clients. `openid_provider` verifies the signature of
//! `id_token_hint`.
//!
//! Invariant: an error goes back to the client only if the client is registered and the redirect URI is one of its list, as
//! [`OpenIdClient::has_redirect_uri`] compares them. Before that, [`Refused::Page`] is the only answer.

mod claims;
pub(super) mod parameters;

use std::sync::Arc;

use super::answer::Destination;
use super::failure::AuthorizationError::{self, InvalidRequest};
use super::scopes;
use crate::clients::Client;
use crate::clients::Clients;
use crate::clients::openid::{OpenIdClient, TokenAuth};
use crate::clients::scopes::OPENID;
use crate::ticket::{Authorization, Freshness, ResponseMode, Subject};
use claims::ClaimsParameter;
use parameters::Parameters;

/// The longest query, in bytes. It is stored with the ticket, and an address of more than 8 KiB does not pass every proxy.
pub const MAX_QUERY_BYTES: usize = 6_144;
/// The longest `state`, in bytes. Some apps keep an address in it.
const MAX_STATE_BYTES: usize = 2_048;
/// The longest `nonce`, in bytes. It goes into the ID token.
const MAX_NONCE_BYTES: usize = 512;
/// The longest `scope`, in bytes: room for every scope that any provider knows.
const MAX_SCOPE_BYTES: usize = 1_024;
/// The length of a challenge by S256: 32 bytes in base64url (RFC 7636 §4.2).
const CHALLENGE_CHARS: usize = 43;
/// The largest `max_age`, in seconds: the largest number that every JSON library reads as one.
const MAX_MAX_AGE_SECS: u32 = 2_147_483_647;

/// A valid authorization request.
#[derive(Debug, Clone)]
pub struct AuthorizationRequest {
    /// The client, which has settings as an OpenID client.
    pub client: Arc<Client>,
    /// The part that the ticket keeps.
    pub authorization: Authorization,
    /// Whether the gateway must show no page: `prompt=none`.
    pub is_silent: bool,
    /// Whether the person must confirm again although their browser has a session: `prompt=login` and the like.
    pub needs_confirmation: bool,
    /// The maximum age of the sign-in at the identity provider, in seconds.
    pub max_age_secs: Option<u32>,
    /// The authentication context classes of which the person must have one; empty if any will do.
    pub required_acr: Vec<String>,
    /// An ID token of the expected person, not yet verified.
    pub id_token_hint: Option<String>,
}

/// The reason why a request has no further effect.
#[derive(Debug, Clone)]
pub enum Refused {
    /// The client or its redirect URI is not registered: there is no address to which an error may go.
    Page,
    /// The error goes back to the client.
    Back {
        /// The client.
        client: Arc<Client>,
        /// Its redirect URI, with the request's `state`.
        to: Destination,
        /// The error.
        error: AuthorizationError,
    },
}

impl AuthorizationRequest {
    /// Returns the names of the claims that the person is asked to release for this request.
    #[must_use]
    pub fn release(&self) -> Vec<String> {
        scopes::release(&self.client, &self.authorization.scopes, &self.authorization.claims)
    }

    /// Returns what the client and this request require of the person's sign-in at the identity provider.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let mut freshness = self.client.freshness.clone();
        freshness.request_max_age_secs = self.max_age_secs;
        if !self.required_acr.is_empty() {
            freshness.acr_values.clone_from(&self.required_acr);
        }
        freshness
    }
}

/// Reads the query of an authorization request, as it was sent.
///
/// # Errors
/// [`Refused`].
pub fn read(query: &str, clients: &Clients) -> Result<AuthorizationRequest, Refused> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(Refused::Page);
    }
    let parameters = Parameters::parse(query).ok_or(Refused::Page)?;
    let client = parameters.once("client_id").and_then(|id| clients.find(Some(id))).ok_or(Refused::Page)?;
    let openid = client.openid.as_ref().ok_or(Refused::Page)?;
    let wanted = parameters.once("redirect_uri").ok_or(Refused::Page)?;
    if !openid.has_redirect_uri(wanted) {
        return Err(Refused::Page);
    }
    let to = Destination {
        redirect_uri: wanted.to_owned(),
        response_mode: response_mode(&parameters, wanted).unwrap_or_default(),
        state: parameters.once("state").filter(|state| is_state(state)).map(str::to_owned),
    };
    let read = check(&parameters, client, openid, &to);
    read.map_err(|error| Refused::Back { client: Arc::clone(client), to, error })
}

/// Returns the query of a form's parameters, in their order and encoded in the standard way. Returns `None` if they are no valid
/// text.
#[must_use]
pub fn encode_form(body: &str) -> Option<String> {
    Some(Parameters::parse(body)?.to_query())
}

fn check(
    parameters: &Parameters,
    client: &Arc<Client>,
    openid: &OpenIdClient,
    to: &Destination,
) -> Result<AuthorizationRequest, AuthorizationError> {
    if parameters.has_repeated() {
        return Err(InvalidRequest("A parameter is repeated."));
    }
    let response_mode = response_mode(parameters, &to.redirect_uri)?;
    refuse_unsupported(parameters)?;
    if parameters.find("state").is_some_and(|state| !is_state(state)) {
        return Err(InvalidRequest("state has more than 2048 bytes, or a control character."));
    }
    let nonce = parameters.find("nonce");
    if nonce.is_some_and(|nonce| nonce.len() > MAX_NONCE_BYTES || nonce.chars().any(char::is_control)) {
        return Err(InvalidRequest("nonce has more than 512 bytes, or a control character."));
    }
    let scopes = granted_scopes(parameters, openid)?;
    let code_challenge = code_challenge(parameters, openid)?;
    let prompt = Prompt::read(parameters)?;
    let max_age_secs = max_age(parameters)?;
    let claims = ClaimsParameter::read(parameters.find("claims"), &client.claims)?;
    let (required_acr, wished_acr) = acr(parameters, client, &claims)?;
    let is_audience = |resource: &str| openid.audiences.iter().any(|audience| audience == resource);
    if !parameters.all("resource").all(is_audience) {
        return Err(AuthorizationError::InvalidTarget);
    }
    Ok(AuthorizationRequest {
        client: Arc::clone(client),
        authorization: Authorization {
            redirect_uri: to.redirect_uri.clone(),
            response_mode,
            scopes,
            state: to.state.clone(),
            nonce: nonce.map(str::to_owned),
            code_challenge: code_challenge.map(str::to_owned),
            wished_acr,
            hinted_subject: claims.subject.map(Subject),
            claims: claims.names,
        },
        is_silent: prompt == Prompt::None,
        needs_confirmation: prompt == Prompt::Again,
        max_age_secs,
        required_acr,
        id_token_hint: parameters.find("id_token_hint").map(str::to_owned),
    })
}

/// Refuses a request for another flow, and one that passes its parameters in an object or at an address.
fn refuse_unsupported(parameters: &Parameters) -> Result<(), AuthorizationError> {
    for (name, error) in [
        ("request", AuthorizationError::RequestNotSupported),
        ("request_uri", AuthorizationError::RequestUriNotSupported),
        ("registration", AuthorizationError::RegistrationNotSupported),
    ] {
        if parameters.find(name).is_some() {
            return Err(error);
        }
    }
    match parameters.find("response_type") {
        Some("code") => Ok(()),
        Some(_) => Err(AuthorizationError::UnsupportedResponseType),
        None => Err(InvalidRequest("response_type is missing.")),
    }
}

/// RFC 6749 Appendix A.5 allows printable ASCII. Some apps put a path in UTF-8 there, which is harmless.
fn is_state(state: &str) -> bool {
    state.len() <= MAX_STATE_BYTES && !state.chars().any(char::is_control)
}

/// Returns the response mode. An app of a device, with a scheme of its own, receives no forms.
fn response_mode(parameters: &Parameters, redirect_uri: &str) -> Result<ResponseMode, AuthorizationError> {
    let is_web = redirect_uri.starts_with("https://") || redirect_uri.starts_with("http://");
    match parameters.find("response_mode") {
        None | Some("query") => Ok(ResponseMode::Query),
        Some("form_post") if is_web => Ok(ResponseMode::FormPost),
        Some(_) => Err(InvalidRequest("response_mode must be query, or form_post at a web address.")),
    }
}

/// Returns the granted scopes, in the order of the client's settings. Scopes that the client may not have are omitted
/// (RFC 6749 §3.3).
fn granted_scopes(parameters: &Parameters, openid: &OpenIdClient) -> Result<Vec<String>, AuthorizationError> {
    let is_short = parameters.find("scope").is_none_or(|scope| scope.len() <= MAX_SCOPE_BYTES);
    let wanted: Vec<&str> = parameters.words("scope").collect();
    if !is_short || !wanted.contains(&OPENID) {
        return Err(AuthorizationError::InvalidScope);
    }
    Ok(openid.scopes.iter().filter(|scope| wanted.contains(&scope.as_str())).cloned().collect())
}

/// Returns the PKCE challenge. Only S256 is supported: with `plain`, the challenge is the secret itself (RFC 9700 §2.1.1).
fn code_challenge<'a>(
    parameters: &'a Parameters,
    openid: &OpenIdClient,
) -> Result<Option<&'a str>, AuthorizationError> {
    let is_base64url =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    match (parameters.find("code_challenge"), parameters.find("code_challenge_method")) {
        (Some(challenge), Some("S256")) if challenge.len() == CHALLENGE_CHARS && is_base64url(challenge) => {
            Ok(Some(challenge))
        }
        (None, None) if !openid.requires_pkce && openid.token_auth != TokenAuth::None => Ok(None),
        (None, None) => Err(InvalidRequest("code_challenge is missing; this client needs PKCE by S256.")),
        _ => Err(InvalidRequest("code_challenge must have 43 characters and code_challenge_method must be S256.")),
    }
}

/// The wish in `prompt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prompt {
    /// Nothing.
    Absent,
    /// To show no page.
    None,
    /// To ask the person again.
    Again,
}

impl Prompt {
    fn read(parameters: &Parameters) -> Result<Self, AuthorizationError> {
        let values: Vec<&str> = parameters.words("prompt").collect();
        match &values[..] {
            [] => Ok(Self::Absent),
            ["none"] => Ok(Self::None),
            values if values.iter().all(|value| ["login", "consent", "select_account"].contains(value)) => {
                Ok(Self::Again)
            }
            _ => Err(InvalidRequest("prompt must be none alone, or some of login, consent and select_account.")),
        }
    }
}

fn max_age(parameters: &Parameters) -> Result<Option<u32>, AuthorizationError> {
    let Some(text) = parameters.find("max_age") else { return Ok(None) };
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let secs = text.parse().ok().filter(|secs| is_decimal && *secs <= MAX_MAX_AGE_SECS);
    secs.map(Some).ok_or(InvalidRequest("max_age is not a number of seconds."))
}

/// Returns the required authentication context classes, and the preferred ones. A class is required if the parameter
/// `claims` marks `acr` as essential (OpenID Connect Core §5.5.1.1).
fn acr(
    parameters: &Parameters,
    client: &Client,
    claims: &ClaimsParameter,
) -> Result<(Vec<String>, Vec<String>), AuthorizationError> {
    let wished = parameters.words("acr_values").map(str::to_owned);
    if !claims.is_acr_essential {
        return Ok((Vec::new(), wished.chain(claims.acr.iter().cloned()).collect()));
    }
    let accepted = &client.freshness.acr_values;
    let required = claims.acr.iter().filter(|acr| accepted.is_empty() || accepted.contains(acr));
    let required: Vec<String> = required.cloned().collect();
    if required.is_empty() {
        return Err(InvalidRequest("claims requires an acr that this client does not accept."));
    }
    Ok((required, wished.collect()))
}

#[cfg(test)]
mod tests;

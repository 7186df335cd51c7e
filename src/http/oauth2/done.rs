//! The answer to an authorization request, after the confirmation: the sign-in page opens this address.
//!
//! The URL names only the ticket. Everything else comes from the ticket, so a confirmation is never used for another request.
//! Only the browser that shows the code gets the answer. A repeated request gets the same answer until the code is used, so the
//! page of a failed store loads this address again. A person who declined goes back by a link of the page, to [`cancel`].

use axum::extract::State;
use axum::http::Uri;
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::answers::{refuse, send, send_error};
use crate::clients::Client;
use crate::http::address::BrowserAddress;
use crate::http::cookies::{self, SetCookie};
use crate::http::extract::ValidQuery;
use crate::http::origin::is_same_origin_fetch;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::openid_provider::answer::{Answer, Destination};
use crate::openid_provider::codes::{CodeContent, CodeSource};
use crate::openid_provider::failure::AuthorizationError;
use crate::random::RandomId;
use crate::single_sign_on::{BrowserSecret, SignedIn};
use crate::store::{Reading, TransitionError};
use crate::ticket::{Authorization, Grant, Party, Receipt, State as TicketState, Ticket, TicketId};

/// The ticket, and the language of a page. Nothing else is accepted in the address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct DoneQuery {
    /// Its id.
    ticket: String,
    /// The language of the sign-in page. Pages read it from the address.
    #[serde(rename = "lang")]
    _lang: Option<String>,
}

/// Sends the answer of a ticket to its client.
pub(in crate::http) async fn done(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    query: Result<ValidQuery<DoneQuery>, Problem>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = query.ok().and_then(|ValidQuery(query)| query.ticket.parse().ok());
    let id: TicketId = id.ok_or_else(over)?;
    // A page of another origin must not make the browser finish a sign-in. Browsers that do not state the origin do not
    // send the binding for such a page either, because the cookie is Strict.
    if !is_same_origin_fetch(&headers) {
        return Err(over());
    }
    let binding = cookies::binding(&headers, &gateway).ok_or_else(over)?;
    // Before the ticket is read: anyone can make up a cookie and an id.
    gateway.limits.done.take_or_problem(address)?;
    let party = Party::Browser(binding.hash());
    let reading = gateway.store.get(&id).await?;
    let reading = reading.filter(|reading| reading.ticket.request.presenter.is(&party)).ok_or_else(over)?;
    let request = reading.ticket.request.clone();
    let authorization = request.authorization.as_deref().ok_or_else(over)?;
    let client = gateway.clients.find(Some(&request.client_id.0)).filter(|client| may_answer(client, authorization));
    let client = client.ok_or_else(|| Problem::from(&problem::SIGN_IN_ADDRESS))?;
    let to = Destination::from(authorization);
    let reading = claim(&gateway, reading, &party).await?;
    let TicketState::Claimed { grant, receipt, .. } = &reading.ticket.state else { return Err(over()) };
    if reading.now >= receipt.redeem_until {
        return Err(over());
    }
    if authorization.hinted_subject.as_ref().is_some_and(|hinted| *hinted != grant.subject) {
        return send_error(&gateway, client, to, AuthorizationError::LoginRequired, &uri, &headers);
    }
    let session = BrowserSecret::of(&binding, &id, &receipt.jti);
    let session = Some(session).filter(|_session| client.has_single_sign_on());
    let sid = session.as_ref().map(BrowserSecret::sid);
    let content = CodeContent::of(&client.id, authorization, grant.clone(), sid, receipt.issued_at);
    let source = CodeSource::Ticket { binding: &binding, ticket: &id, jti: &receipt.jti, now: reading.now };
    let code = gateway.openid_provider.issue_code(source, &content).await?.ok_or_else(over)?;
    let cookie = match &session {
        Some(session) => Some(start_session(&gateway, session, &reading.ticket, grant, receipt, &headers).await?),
        None => None,
    };
    let answer = Answer::code(to, code, gateway.openid_provider.issuer());
    gateway.metrics.openid.authorization("code");
    Ok((cookie, send(client, &answer, &uri, &headers)?).into_response())
}

/// Leads a person who does not sign in, or who declined, back to the app, with the error `access_denied`. The query is
/// that of the authorization request, and is checked in the same way.
pub(in crate::http) async fn cancel(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    gateway.limits.authorize.take_or_problem(address)?;
    match gateway.openid_provider.read_request(uri.query().unwrap_or_default()) {
        Ok(request) => {
            let to = Destination::from(&request.authorization);
            send_error(&gateway, &request.client, to, AuthorizationError::AccessDenied, &uri, &headers)
        }
        Err(refused) => refuse(&gateway, refused, &uri, &headers),
    }
}

/// One page for every ticket without an answer for this browser: unknown, of another browser, or still waiting.
fn over() -> Problem {
    Problem::from(&problem::AUTHORIZATION_OVER)
}

/// Returns whether the answer may still go to the redirect URI: the client may have been changed since.
fn may_answer(client: &Client, authorization: &Authorization) -> bool {
    let openid = client.openid.as_ref();
    openid.is_some_and(|openid| openid.has_redirect_uri(&authorization.redirect_uri))
}

/// Claims a confirmed ticket. A claimed one stays as it is.
async fn claim(gateway: &Gateway, reading: Reading, party: &Party) -> Result<Reading, Problem> {
    let jti = RandomId::new().to_string();
    gateway.sign_ins.claim(reading, party, &jti).await.map_err(|error| match error {
        TransitionError::NoTicket | TransitionError::Refused(_) => over(),
        TransitionError::Store(error) => error.into(),
    })
}

/// Starts the browser's session, and returns its cookie. The session that the browser had ends, so a planted one never becomes
/// this person's.
async fn start_session(
    gateway: &Gateway,
    secret: &BrowserSecret,
    ticket: &Ticket,
    grant: &Grant,
    receipt: &Receipt,
    headers: &HeaderMap,
) -> Result<SetCookie, Problem> {
    let signed_in = SignedIn {
        grant,
        offered: ticket.offered().into_iter().cloned().collect(),
        matching: ticket.matching().map(|matching| matching.policy).unwrap_or_default(),
        at: receipt.issued_at,
    };
    let old = cookies::single_sign_on(headers, gateway);
    let started = gateway.openid_provider.single_sign_on().start(secret, &signed_in, old.as_ref()).await;
    // The person has signed out since the first answer to this request.
    if !started? {
        return Err(over());
    }
    Ok(cookies::set_single_sign_on(gateway, secret))
}

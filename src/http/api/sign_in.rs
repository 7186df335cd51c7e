//! A person's way to their identity provider and back: `GET /sign-in/{provider}` and `GET /sign-in/callback`.
//!
//! Both are opened by browsers, so every failure is a page, with a link to the page from which the person began. Nothing of the
//! provider's answer is shown, and no parameter of it chooses where the browser goes.

use axum::extract::State;
use axum::http::header::HeaderMap;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use crate::http::address::BrowserAddress;
use crate::http::extract::{NamePath, ValidQuery};
use crate::http::origin::is_same_origin_fetch;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::{cookies, device, pages};
use crate::random;
use crate::relying_party::{Answer, Failed, Finished, Prompt, Return, ReturnPath, SignInError, Wishes};
use crate::store::Reading;
use crate::ticket::{Flow, Freshness, TicketId};
use crate::verifier::{Fault, VerifyError};

/// The path at which a sign-in begins.
pub(in crate::http) const BEGIN_PATH: &str = "/sign-in/{provider}";
/// The path of a provider's logo.
pub(in crate::http) const LOGO_PATH: &str = "/sign-in/{provider}/logo.png";
/// The page to go on with if a failure has no other.
const HOME: &str = "/";

/// Where a sign-in comes from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Begin {
    /// The scanned ticket.
    ticket: Option<TicketText>,
    /// `/share`, for a person who presents.
    to: Option<String>,
    /// The client of `/share`.
    client_id: Option<String>,
    /// The provider's page to show although the person is signed in there.
    prompt: Option<Prompt>,
    /// The language of the page.
    lang: Option<String>,
}

impl Begin {
    /// Returns the page from which the person probably comes, for a link back that needs no reading.
    fn page(&self) -> String {
        match &self.ticket {
            Some(TicketText(id)) => ReturnPath::Ticket(*id).to_string(),
            None => ReturnPath::Share(None).to_string(),
        }
    }
}

/// A ticket id in a query string.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct TicketText(TicketId);

impl TryFrom<String> for TicketText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_error| "ticket is not a ticket's id")
    }
}

/// Sends the browser to the provider.
///
/// A link in a mail or on another site's page can lead here (`Sec-Fetch-Site: none`, or a browser that does not send it), so
/// beginning changes nothing: the page to which the person comes back asks before it scans.
pub(in crate::http) async fn begin(
    State(gateway): State<SharedGateway>,
    NamePath(id): NamePath,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<Begin>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let provider = gateway.relying_party.find(&id).ok_or_else(|| Problem::from(&problem::NOT_FOUND))?;
    if !is_same_origin_fetch(&headers) {
        return Err(Problem::from(&problem::ORIGIN_NOT_ALLOWED));
    }
    // Before the ticket is read: nobody reads tickets without a limit.
    let limited = gateway.limits.sign_in.take_or_problem(address);
    limited.map_err(|problem| problem.as_page(&query.page()))?;
    let (return_to, wishes) = plan(&gateway, query, &headers).await?;
    let back = return_to.to_string();
    // One secret for all tabs of the browser.
    let browser = cookies::provider_sign_in(&headers, &gateway).unwrap_or_else(random::binding_secret);
    let begun = gateway.relying_party.begin(provider, &browser, return_to, &wishes).await;
    let url = begun.map_err(|error| Problem::from(error).as_page(&back))?;
    Ok((cookies::set_provider_sign_in(&gateway, &browser), see_other(url.as_str())).into_response())
}

/// Returns the page to come back to, and what the ticket's client asks of the provider.
async fn plan(gateway: &Gateway, query: Begin, headers: &HeaderMap) -> Result<(Return, Wishes), Problem> {
    let Begin { ticket, to, client_id, prompt, lang } = query;
    let language = lang.filter(|lang| is_language(lang));
    let mut freshness = Freshness::default();
    let mut wished_acr = Vec::new();
    let path = match (ticket, to.as_deref()) {
        (Some(TicketText(id)), None) => {
            // An unknown ticket is told by the page to which the person comes back.
            let reading = gateway.store.get(&id).await?;
            let flow = reading.as_ref().map(|reading| reading.ticket.request.flow);
            if let Some(Reading { ticket, now, .. }) = reading {
                freshness = ticket.request.freshness.as_of(now.since(ticket.created_at));
                wished_acr = ticket.request.authorization.map(|request| request.wished_acr).unwrap_or_default();
            }
            match flow {
                Some(Flow::Share) => ReturnPath::Receive(id),
                Some(Flow::Login) | None => ReturnPath::Ticket(id),
            }
        }
        (None, Some("/share")) => {
            let client = gateway.clients.find(client_id.as_deref());
            let client = client.ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))?;
            freshness.clone_from(&client.freshness);
            ReturnPath::Share(client_id.is_some().then(|| client.id.clone()))
        }
        _ => {
            return Err(Problem::from(&problem::INVALID_REQUEST).detail("Send either ticket, or to=/share."));
        }
    };
    let Freshness { max_auth_age_secs, mut acr_values, .. } = freshness;
    // The preferred classes follow the required ones, and only the required ones are checked.
    acr_values.extend(wished_acr);
    let wishes = Wishes { max_age: max_auth_age_secs, acr_values, prompt, ui_locale: language.clone() };
    // The page comes back in the browser's language by itself.
    let language = language.filter(|language| language != pages::language_of_browser(headers));
    Ok((Return { path, language }, wishes))
}

/// Returns whether `text` may be a language tag (RFC 5646 §2.1).
fn is_language(text: &str) -> bool {
    (2..=35).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Takes the provider's answer, starts the person's session, and leads back to the page from which the person began.
pub(in crate::http) async fn callback(
    State(gateway): State<SharedGateway>,
    BrowserAddress(address): BrowserAddress,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Finished { identity, provider, return_to } = match finish(&gateway, &uri, &headers).await {
        Ok(finished) => finished,
        Err(Failed { error, return_to, .. }) => {
            let back = return_to.map_or_else(|| HOME.to_owned(), |to| to.to_string());
            // Only what anyone can send without a provider counts as guessing.
            let is_guess =
                matches!(error, SignInError::UnknownState | SignInError::OtherBrowser | SignInError::Malformed);
            let problem = Problem::from(error);
            let problem = if is_guess {
                gateway.limits.invalid_answer.take_or_problem(address).err().unwrap_or(problem)
            } else {
                problem
            };
            return Err(problem.as_page(&back));
        }
    };
    let back = return_to.to_string();
    if gateway.connectors.owns(&identity.person.subject) {
        // Counted and logged as for a bearer token; the person reads what every wrong ID token leads to.
        let refused = gateway.verifier.refuse(VerifyError::Invalid(Fault::ConnectorSubject));
        return Err(Problem::from(SignInError::from(refused)).as_page(&back));
    }
    // The session that the browser had ends, whoever's it is, so a planted one never becomes this person's.
    let old = cookies::login(&headers, &gateway);
    let device = device::describe(address, &headers);
    let started = gateway.sessions.start(&identity, &provider, &device, old.as_ref()).await;
    let secret = started.map_err(|error| Problem::from(error).as_page(&back))?;
    Ok((cookies::set_login(&gateway, &secret), see_other(&back)).into_response())
}

async fn finish(gateway: &Gateway, uri: &Uri, headers: &HeaderMap) -> Result<Finished, Failed> {
    let answer = Answer::read(uri.query().unwrap_or_default());
    let answer = answer.ok_or_else(|| gateway.relying_party.refuse_answer())?;
    let browser = cookies::provider_sign_in(headers, gateway);
    gateway.relying_party.finish(&answer, browser.as_ref()).await
}

/// Returns a provider's logo, for its button.
pub(in crate::http) async fn logo(
    State(gateway): State<SharedGateway>,
    NamePath(id): NamePath,
) -> Result<Response, Problem> {
    let provider = gateway.relying_party.find(&id);
    let logo = provider.and_then(|provider| provider.settings.logo.as_ref());
    let logo = logo.ok_or_else(|| Problem::from(&problem::NOT_FOUND))?;
    let cached = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "public, max-age=300")];
    Ok((cached, logo.png.clone()).into_response())
}

/// 303: the next request is a GET, and nothing of this one goes with it. The address that had the code is not kept in the
/// history, because the browser replaces it.
fn see_other(to: &str) -> Response {
    let mut response = Redirect::to(to).into_response();
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_a_tag() {
        for tag in ["en", "zh-Hans-CN"] {
            assert!(is_language(tag), "{tag}");
        }
        for tag in ["", "e", "en us", "en\n", &"x".repeat(36)] {
            assert!(!is_language(tag), "{tag}");
        }
    }

    #[test]
    fn a_redirect_is_a_303_without_a_referrer() {
        let response = see_other("/s/x");
        assert_eq!(response.status().as_u16(), 303);
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
    }
}

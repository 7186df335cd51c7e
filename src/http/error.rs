//! The only place where an error becomes an answer: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! Each [`Kind`] is one row of the table that clients may rely on; what it says tells the caller what to do. `guard` counts
//! and logs every refusal, once, with what is noted here.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::limits;
use super::pages::Reader;
use crate::connectors::ConnectorError;
use crate::connectors::quota::QuotaError;
use crate::signer::SignError;
use crate::signer::issued::NotIssued;
use crate::store::{StoreError, TransitionError};
use crate::streams::SeatError;
use crate::ticket::Refusal;
use crate::verifier::VerifyError;

/// One row of the table of problems.
#[derive(Debug)]
pub struct Kind {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable name.
    pub code: &'static str,
    /// What is wrong, in short.
    pub title: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal $title:literal $advice:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Kind =
                Kind { status: StatusCode::$status, code: $code, title: $title, advice: $advice };
        )*
        /// Every row.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    INVALID_REQUEST = BAD_REQUEST "invalid_request" "The request is not understood"
        "Correct the request as the detail says.";
    MALFORMED_JSON = BAD_REQUEST "malformed_json" "The body is not the JSON that belongs here"
        "Send a JSON object with the fields of the API description at /v1/openapi.json, and no others.";
    MALFORMED_REQUEST = BAD_REQUEST "malformed_request" "This is not a well-formed HTTP request"
        "Correct the request as the detail says.";
    UNKNOWN_CLIENT = BAD_REQUEST "unknown_client" "There is no such client"
        "Use the id of a registered client, or leave client_id out for the default one.";
    RETURN_TO_NOT_ALLOWED = BAD_REQUEST "return_to_not_allowed" "The client may not return there"
        "Use an address that stands, exactly so, in the client's return_to list.";
    FLOW_NOT_ALLOWED = BAD_REQUEST "flow_not_allowed" "This client does not take part in this flow"
        "Use a client whose flows have it, or have it added to this one's.";
    NOT_SIGNED_IN = UNAUTHORIZED "not_signed_in" "A signed-in person is needed"
        "Send the person's token of your identity provider as Authorization: Bearer.";
    INVALID_TOKEN = UNAUTHORIZED "invalid_token" "The token does not prove who you are"
        "Sign in again with your identity provider and send the fresh token.";
    NO_SESSION = UNAUTHORIZED "no_session" "Nobody is signed in here"
        "Open the site in a browser and sign in, or send a JWT of this gateway as Authorization: Bearer.";
    INVALID_SESSION = UNAUTHORIZED "invalid_session" "This JWT is not good for this site, or no longer"
        "Sign in again.";
    SIGN_IN_NOT_BEGUN = FORBIDDEN "sign_in_not_begun" "This sign-in did not begin in this browser"
        "Open the page that you want, with cookies allowed, and sign in from there.";
    ORIGIN_NOT_ALLOWED = FORBIDDEN "origin_not_allowed" "Pages of this origin may not do that"
        "Call from the gateway's own pages, or have the origin registered with the client.";
    NOT_PERMITTED = FORBIDDEN "not_permitted" "This is not for you to decide"
        "Have it decided by the person who scanned the code or, where something is shared, who shows it.";
    CONNECTOR_ONLY = FORBIDDEN "connector_only" "This code is for another app"
        "Scan it with the app that it was made for, such as WeChat.";
    CALLBACK_REFUSED = FORBIDDEN "callback_refused" "This callback is not from whom it should be"
        "Compare the settings on both sides.";
    CALLBACK_MALFORMED = BAD_REQUEST "callback_malformed" "This is no callback of that service"
        "Send what the service's documentation says.";
    OWN_TICKET = FORBIDDEN "own_ticket" "This is your own code"
        "Have it scanned by somebody else.";
    TICKET_NOT_FOUND = NOT_FOUND "ticket_not_found" "There is no such ticket for you, or no longer"
        "Make a new ticket.";
    NOT_FOUND = NOT_FOUND "not_found" "There is nothing here"
        "See the API description at /v1/openapi.json.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed" "This method does not work here"
        "Use a method that the Allow header names; see /v1/openapi.json.";
    REQUEST_TIMEOUT = REQUEST_TIMEOUT "request_timeout" "The body did not arrive in time"
        "Send the request again.";
    NOT_SCANNED = CONFLICT "not_scanned" "The code was not scanned yet"
        "Scan it first.";
    ALREADY_SCANNED = CONFLICT "already_scanned" "Somebody else has scanned this code"
        "Ask for a new code and scan that; if you did not expect this, decline.";
    ALREADY_CONFIRMED = CONFLICT "already_confirmed" "The sign-in is confirmed already"
        "Nothing is left to do.";
    ALREADY_CANCELLED = CONFLICT "already_cancelled" "The sign-in was cancelled"
        "Make a new ticket.";
    SCANNER_CHANGED = CONFLICT "scanner_changed" "Somebody else has scanned this code than you saw"
        "Read the ticket again, and confirm only if you want to share with whoever it names now.";
    MISMATCH = CONFLICT "mismatch" "That was not the number on the other screen"
        "The ticket is cancelled. Make a new one.";
    UNKNOWN_HOST = MISDIRECTED_REQUEST "unknown_host" "The admin listener is not asked by this name"
        "Ask by its IP address or as localhost, or have the name listed in --admin-hosts (SCANGATE_ADMIN_HOSTS).";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too_large" "The body is too large"
        "Send at most 16 KiB.";
    URI_TOO_LONG = URI_TOO_LONG "uri_too_long" "The URL is too long"
        "Send a URL that fits, with all header fields, into 16 KiB.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body is not JSON"
        "Send Content-Type: application/json.";
    RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many attempts from your address"
        "Wait for the time that Retry-After names.";
    TOO_MANY_TICKETS = TOO_MANY_REQUESTS "too_many_tickets" "Too many codes from your address are waiting to be scanned"
        "Close codes that nobody scans, or wait for the time that Retry-After names.";
    TOO_MANY_STREAMS = TOO_MANY_REQUESTS "too_many_streams" "Too many streams are open"
        "Close other pages that wait for a sign-in, or poll without wait.";
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "head_too_large" "The request has too large or too many header fields"
        "Send at most 16 KiB and 64 header fields. In a browser, delete the cookies of this site.";
    INTERNAL = INTERNAL_SERVER_ERROR "internal" "The gateway has failed"
        "Try again; if it stays so, tell the operators the request_id.";
    UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable" "The gateway cannot serve right now"
        "Try again after the time that Retry-After names.";
    STORE_FULL = SERVICE_UNAVAILABLE "store_full" "No further ticket can be kept right now"
        "Try again after the time that Retry-After names.";
    CONNECTOR_UNAVAILABLE = SERVICE_UNAVAILABLE "connector_unavailable" "The service whose code is shown does not give one"
        "Try again after the time that Retry-After names.";
    CONNECTOR_QUOTA = SERVICE_UNAVAILABLE "connector_quota" "The codes that the other service gives in a day are used up for the moment"
        "Sign in another way, or try again after the time that Retry-After names.";
    IDENTITY_UNAVAILABLE = SERVICE_UNAVAILABLE "identity_unavailable" "The identity provider does not answer"
        "Try again after the time that Retry-After names.";
}

/// What refusals are counted as, beside the codes: which bound it was.
pub fn bounds() -> impl Iterator<Item = &'static str> {
    BOUNDS.into_iter().chain(limits::TIERED.into_iter().flatten())
}

/// Those that are the same for all callers.
const BOUNDS: [&str; 8] = [
    "rate_table_full",
    "tickets_table_full",
    "streams_per_ticket",
    "streams_per_process",
    "streams_opening",
    "draining",
    "callbacks",
    "drawing",
];

/// How long a caller is asked to wait when nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An error on its way to becoming an answer.
#[derive(Debug)]
pub struct Problem {
    kind: &'static Kind,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// For the log alone; never in the answer.
    cause: Option<String>,
    /// What the metric calls it.
    reason: &'static str,
    /// Where a person goes on to, if it is one who reads the answer.
    way_on: Option<String>,
}

/// The answer's body (RFC 9457 §3).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind of problem: `urn:scangate:problem:` and the code.
    pub r#type: String,
    /// What is wrong, in short.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do about it.
    pub detail: String,
    /// The stable name to program against.
    pub code: String,
    /// Seconds to wait before another try, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// What the operators can find in their logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What a problem leaves on its response for the guard, which counts it and adds the request id.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    kind: &'static Kind,
    /// For the log alone.
    cause: Option<String>,
    /// What the metric calls it.
    pub(super) reason: &'static str,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    way_on: Option<String>,
}

impl Problem {
    /// Adds what is wrong in particular.
    #[must_use]
    pub fn detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Says how long to wait.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Says which of several bounds it was, for the metric.
    #[must_use]
    pub fn counted_as(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// Returns what the metric calls it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Makes it a page with a link to `way_on`, for a person whose form it answers: a browser would show them bare JSON.
    #[must_use]
    pub fn on_a_page(self, way_on: &str) -> Self {
        Self { way_on: Some(way_on.to_owned()), ..self }
    }

    /// Returns what is behind it, for the log alone.
    pub(super) fn hidden_cause(&self) -> &str {
        self.cause.as_deref().unwrap_or(self.kind.title)
    }

    fn cause(self, cause: impl std::fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    /// Returns which row of the table it is.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }
}

impl From<&'static Kind> for Problem {
    fn from(kind: &'static Kind) -> Self {
        let retry_after = (kind.status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER);
        Self { kind, detail: Cow::Borrowed(kind.advice), retry_after, cause: None, reason: kind.code, way_on: None }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::Unavailable(_) => &UNAVAILABLE,
            StoreError::Full(_) => &STORE_FULL,
            StoreError::Corrupt(_) => &INTERNAL,
        };
        Self::from(kind).cause(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::from(match refusal {
            Refusal::Expired => &TICKET_NOT_FOUND,
            Refusal::NotPermitted => &NOT_PERMITTED,
            Refusal::OwnTicket => &OWN_TICKET,
            Refusal::NotOffered => {
                return Self::from(&INVALID_REQUEST)
                    .detail("release names a claim that is not offered; name only those that the scan listed.");
            }
            Refusal::ScannerUnnamed => {
                return Self::from(&INVALID_REQUEST)
                    .detail("scanner is missing; send the id of scanned_by, so that nobody else is granted anything.");
            }
            Refusal::NumberMissing => {
                return Self::from(&INVALID_REQUEST)
                    .detail("match is missing; send the two digits that the other screen shows.");
            }
            Refusal::NumberUnasked => {
                return Self::from(&INVALID_REQUEST).detail("This client asks for no number; leave match out.");
            }
            Refusal::ScannerChanged => &SCANNER_CHANGED,
            Refusal::Mismatch => &MISMATCH,
            Refusal::NotScanned | Refusal::NotConfirmed => &NOT_SCANNED,
            Refusal::AlreadyScanned => &ALREADY_SCANNED,
            Refusal::AlreadyConfirmed => &ALREADY_CONFIRMED,
            Refusal::AlreadyCancelled => &ALREADY_CANCELLED,
        })
    }
}

impl From<TransitionError> for Problem {
    fn from(error: TransitionError) -> Self {
        match error {
            TransitionError::NoTicket => Self::from(&TICKET_NOT_FOUND),
            TransitionError::Refused(refusal) => refusal.into(),
            TransitionError::Store(error) => error.into(),
        }
    }
}

impl From<SeatError> for Problem {
    fn from(error: SeatError) -> Self {
        match error {
            SeatError::TicketFull => Self::from(&TOO_MANY_STREAMS).counted_as("streams_per_ticket"),
            SeatError::CallerFull(tier) => limits::of_tier(Self::from(&TOO_MANY_STREAMS), tier, limits::STREAMS),
            SeatError::ProcessFull => Self::from(&UNAVAILABLE).cause(error).counted_as("streams_per_process"),
            SeatError::Opening => Self::from(&UNAVAILABLE).cause(error).counted_as("streams_opening"),
            SeatError::Draining => Self::from(&UNAVAILABLE).cause(error).counted_as("draining"),
            SeatError::Store(error) => error.into(),
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Invalid(why) => Self::from(&INVALID_TOKEN).detail(format!("{why}. {}", INVALID_TOKEN.advice)),
            VerifyError::NoKeys(why) => {
                let problem = Self::from(&IDENTITY_UNAVAILABLE).cause(why);
                problem.detail(format!("{why}. {}", IDENTITY_UNAVAILABLE.advice))
            }
        }
    }
}

impl From<ConnectorError> for Problem {
    fn from(error: ConnectorError) -> Self {
        match error {
            ConnectorError::Store(error) => error.into(),
            ConnectorError::Quota(QuotaError::Caller(used_up)) => limits::refusal(used_up, limits::CONNECTOR_DAY),
            ConnectorError::Quota(QuotaError::All(wait)) => Self::from(&CONNECTOR_QUOTA).cause(error).retry_after(wait),
            ConnectorError::Unavailable(_) => Self::from(&CONNECTOR_UNAVAILABLE).cause(error),
        }
    }
}

impl From<NotIssued> for Problem {
    fn from(error: NotIssued) -> Self {
        Self::from(&INVALID_SESSION).detail(format!("{error}. {}", INVALID_SESSION.advice))
    }
}

impl From<minijinja::Error> for Problem {
    fn from(error: minijinja::Error) -> Self {
        Self::from(&INTERNAL).cause(error)
    }
}

impl From<SignError> for Problem {
    fn from(error: SignError) -> Self {
        Self::from(&INTERNAL).cause(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let refused = Refused {
            kind: self.kind,
            cause: self.cause,
            reason: self.reason,
            detail: self.detail,
            retry_after: self.retry_after,
            way_on: self.way_on,
        };
        let mut response = refused.answer(None, None);
        response.extensions_mut().insert(refused);
        response
    }
}

impl Refused {
    /// Logs it. The detail is left out: it may quote what the caller sent.
    pub(super) fn log(&self) {
        let (status, code) = (self.kind.status, self.kind.code);
        if status.is_server_error() {
            let cause = self.cause.as_deref().unwrap_or("unknown");
            tracing::error!(code, reason = self.reason, cause, "a request could not be served");
        } else {
            tracing::info!(code, reason = self.reason, status = status.as_u16(), "refused");
        }
    }

    /// Returns the answer: as a page where its reader prefers one, or where it answers a form. A page has to have a reader.
    pub(super) fn answer(&self, request_id: Option<&str>, reader: Option<&Reader>) -> Response {
        // Rounded up: waiting as long as told must be long enough.
        let retry_after = self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let body = ProblemBody {
            r#type: format!("urn:scangate:problem:{}", self.kind.code),
            title: self.kind.title.to_owned(),
            status: self.kind.status.as_u16(),
            detail: self.detail.to_string(),
            code: self.kind.code.to_owned(),
            retry_after,
            request_id: request_id.map(str::to_owned),
        };
        let reader = reader.filter(|reader| self.way_on.is_some() || reader.prefers_page());
        let page = reader.and_then(|reader| {
            let page = reader.page(&body, self.way_on.as_deref());
            page.inspect_err(|error| tracing::error!(%error, "a problem could not be told on a page")).ok()
        });
        let mut response = page.unwrap_or_else(|| {
            let kind = HeaderValue::from_static("application/problem+json");
            let mut response = Json(body).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        });
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(secs) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.kind.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Turns a panic in a handler into an answer; the message goes to the log alone.
pub(super) fn from_panic(panic: &(dyn std::any::Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Problem::from(&INTERNAL).cause(format!("panic: {message}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_there_once_and_says_what_to_do() {
        let mut codes: Vec<_> = ALL.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        assert!(ALL.iter().all(|kind| kind.advice.ends_with('.') && kind.status.as_u16() >= 400));
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let problem = Problem::from(&RATE_LIMITED).retry_after(Duration::from_millis(1001));
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn a_cause_is_not_in_the_answer() {
        let refused = Problem::from(StoreError::Unavailable("redis://ada:hunter2@host".into()));
        assert!(!refused.detail.contains("hunter2"));
        assert!(refused.retry_after.is_some());
    }
}

//! The only place where an error becomes a public response: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! `problem/table` lists the problems. A response carries its [`Problem`] as an extension, from which the middleware counts
//! and logs every refusal once.

mod table;

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::bounds::{self, BoundNames};
use crate::callers::Tier;
use crate::callers::allowance::Exhausted;
use crate::connectors::ConnectorError;
use crate::connectors::quota::QuotaError;
use crate::connectors::wechat::callback::CallbackError;
use crate::qr::QrError;
use crate::relying_party::{CallError, SignInError};
use crate::signer::SignError;
use crate::signer::issued::ParseIssuedError;
use crate::store::{StoreError, TransitionError};
use crate::ticket::Refusal;
use crate::verifier::VerifyError;
use crate::waiters::RegisterError;
pub use table::*;

/// The time after which a caller should try again, if no better one is known.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An error that becomes a response.
#[derive(Debug, Clone)]
pub struct Problem {
    definition: &'static ProblemType,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// For the log only; never in the response.
    cause: Option<String>,
    /// The label in the metrics.
    reason: &'static str,
    /// The link of the page, if the response is a page.
    retry_href: Option<String>,
}

/// The response's body (RFC 9457 §3).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Identifies the problem type: `urn:scangate:problem:` and the code.
    pub r#type: String,
    /// Names the problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Describes this occurrence, and what to do about it.
    pub detail: String,
    /// The stable name to program against.
    pub code: String,
    /// Seconds to wait before another try, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Lets operators find the request in their logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Problem {
    /// Replaces the general advice with a description of this occurrence.
    #[must_use]
    pub fn detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Sets the time after which the caller should try again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Sets the label in the metrics, for a code that covers several bounds.
    #[must_use]
    pub fn with_reason(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    /// Returns the label in the metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// Makes the response a page with a link to `retry_href`. Use it for responses to forms, because a browser would show bare
    /// JSON.
    #[must_use]
    pub fn as_page(self, retry_href: &str) -> Self {
        Self { retry_href: Some(retry_href.to_owned()), ..self }
    }

    /// Returns the row of the table.
    #[must_use]
    pub fn problem_type(&self) -> &'static ProblemType {
        self.definition
    }

    /// Returns the problem of a caller whose allowance is used up.
    pub(super) fn rate_limited(Exhausted { tier, wait }: Exhausted, names: BoundNames) -> Self {
        Self::from(&RATE_LIMITED).with_tier(tier, names).retry_after(wait)
    }

    /// Sets the label of the bound at `tier`. If the caller shares that bound with its network, the detail says so.
    pub(super) fn with_tier(self, tier: Tier, names: BoundNames) -> Self {
        let problem = self.with_reason(names[tier as usize]);
        let advice = problem.definition.advice;
        match tier {
            Tier::Address => problem,
            Tier::Site | Tier::Network => {
                problem.detail(format!("Other addresses of your network share this limit. {advice}"))
            }
        }
    }

    /// Returns the cause, for the log only.
    pub(super) fn hidden_cause(&self) -> &str {
        self.cause.as_deref().unwrap_or(self.definition.title)
    }

    fn cause(self, cause: impl std::fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }
}

impl From<&'static ProblemType> for Problem {
    fn from(problem_type: &'static ProblemType) -> Self {
        let retry_after = (problem_type.status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER);
        let detail = Cow::Borrowed(problem_type.advice);
        Self { definition: problem_type, detail, retry_after, cause: None, reason: problem_type.code, retry_href: None }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem_type = match error {
            StoreError::Unavailable(_) => &UNAVAILABLE,
            StoreError::Full(_) => &STORE_FULL,
            StoreError::Corrupt(_) => &INTERNAL,
        };
        Self::from(problem_type).cause(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let invalid = |detail: &'static str| Self::from(&INVALID_REQUEST).detail(detail);
        match refusal {
            Refusal::Expired => Self::from(&TICKET_NOT_FOUND),
            Refusal::NotPermitted => Self::from(&NOT_PERMITTED),
            Refusal::OwnTicket => Self::from(&OWN_TICKET),
            Refusal::NotOffered => {
                invalid("release contains a claim that is not offered; use only claims from the scan's response.")
            }
            Refusal::ScannerMissing => invalid("scanner is missing; send the id from scanned_by."),
            Refusal::NumberMissing => invalid("match is missing; send the two digits that the other screen shows."),
            Refusal::UnexpectedNumber => invalid("This client requires no number; omit match."),
            Refusal::ScannerChanged => Self::from(&SCANNER_CHANGED),
            Refusal::SignInTooOld => Self::from(&SIGN_IN_TOO_OLD),
            Refusal::StrongerSignInNeeded => Self::from(&STRONGER_SIGN_IN_NEEDED),
            Refusal::Mismatch => Self::from(&MISMATCH),
            Refusal::NotScanned | Refusal::NotConfirmed => Self::from(&NOT_SCANNED),
            Refusal::AlreadyScanned => Self::from(&ALREADY_SCANNED),
            Refusal::AlreadyConfirmed => Self::from(&ALREADY_CONFIRMED),
            Refusal::AlreadyCancelled => Self::from(&ALREADY_CANCELLED),
        }
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

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::TicketFull => Self::from(&TOO_MANY_STREAMS).with_reason("streams_per_ticket"),
            RegisterError::CallerFull(tier) => Self::from(&TOO_MANY_STREAMS).with_tier(tier, bounds::STREAMS),
            RegisterError::ProcessFull => Self::from(&UNAVAILABLE).cause(error).with_reason("streams_per_process"),
            RegisterError::TooManyAtOnce => Self::from(&UNAVAILABLE).cause(error).with_reason("streams_opening"),
            RegisterError::Draining => Self::from(&UNAVAILABLE).cause(error).with_reason("draining"),
            RegisterError::Store(error) => error.into(),
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
            ConnectorError::Quota(QuotaError::Caller(used_up)) => Self::rate_limited(used_up, bounds::CONNECTOR_DAY),
            ConnectorError::Quota(QuotaError::All(wait)) => Self::from(&CONNECTOR_QUOTA).cause(error).retry_after(wait),
            ConnectorError::Unavailable(_) => Self::from(&CONNECTOR_UNAVAILABLE).cause(error),
        }
    }
}

impl From<CallbackError> for Problem {
    fn from(refused: CallbackError) -> Self {
        let problem_type = match refused {
            CallbackError::Malformed(_) => &CALLBACK_MALFORMED,
            CallbackError::Forged | CallbackError::Stale | CallbackError::Replayed | CallbackError::Unreadable => {
                &CALLBACK_REFUSED
            }
            CallbackError::Overloaded => return Self::from(&UNAVAILABLE).with_reason("callbacks"),
            CallbackError::Store(error) => return error.into(),
        };
        let text = refused.to_string();
        let mut letters = text.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
        Self::from(problem_type).detail(format!("{first}{}.", letters.as_str()))
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        let error = match error {
            SignInError::Store(error) => return error.into(),
            error => error,
        };
        let problem_type = match &error {
            SignInError::Denied => &SIGN_IN_DECLINED,
            SignInError::UnknownState => &SIGN_IN_EXPIRED,
            SignInError::UsedBefore => &SIGN_IN_USED,
            SignInError::OtherBrowser => &SIGN_IN_OTHER_BROWSER,
            SignInError::MixUp | SignInError::Malformed => &SIGN_IN_MIXED_UP,
            SignInError::Discovery(_)
            | SignInError::NoKeys(_)
            | SignInError::LateKeys
            | SignInError::Token(CallError::TimedOut | CallError::Unreachable(_) | CallError::Status(_))
            | SignInError::Userinfo(CallError::TimedOut | CallError::Unreachable(_) | CallError::Status(500..)) => {
                &PROVIDER_UNAVAILABLE
            }
            SignInError::Provider(_)
            | SignInError::Token(_)
            | SignInError::CodeRefused(_)
            | SignInError::IdToken(_)
            | SignInError::Userinfo(_)
            | SignInError::OtherSubject
            | SignInError::UnknownProvider => &SIGN_IN_FAILED,
            SignInError::Store(_) => &UNAVAILABLE,
        };
        Self::from(problem_type).cause(error)
    }
}

impl From<ParseIssuedError> for Problem {
    fn from(error: ParseIssuedError) -> Self {
        Self::from(&INVALID_SESSION).detail(format!("{error}. {}", INVALID_SESSION.advice))
    }
}

impl From<QrError> for Problem {
    fn from(error: QrError) -> Self {
        tracing::error!(%error, "failed to draw a QR code");
        Self::from(&INTERNAL)
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
        let mut response = self.to_response(None, |_, _| None);
        response.extensions_mut().insert(self);
        response
    }
}

impl Problem {
    /// Logs the refusal, without the detail, which may quote the request.
    pub(super) fn log(&self) {
        let ProblemType { status, code, .. } = *self.definition;
        if status.is_server_error() {
            let cause = self.cause.as_deref().unwrap_or("unknown");
            tracing::error!(code, reason = self.reason, cause, "failed to serve a request");
        } else {
            tracing::info!(code, reason = self.reason, status = status.as_u16(), "refused");
        }
    }

    /// Returns the response: the page that `page` renders from the body and the link, or the body as JSON if there is none.
    pub(super) fn to_response(
        &self,
        request_id: Option<&str>,
        page: impl FnOnce(&ProblemBody, Option<&str>) -> Option<Response>,
    ) -> Response {
        let ProblemType { status, code, title, .. } = *self.definition;
        // Rounded up, so that a caller that waits exactly this long has waited long enough.
        let retry_after = self.retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let body = ProblemBody {
            r#type: format!("urn:scangate:problem:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.to_string(),
            code: code.to_owned(),
            retry_after,
            request_id: request_id.map(str::to_owned),
        };
        let mut response = page(&body, self.retry_href.as_deref()).unwrap_or_else(|| {
            let content_type = HeaderValue::from_static("application/problem+json");
            let mut response = Json(body).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(secs) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Turns a panic in a handler into a response. The message goes to the log only.
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
    fn every_code_is_unique_and_has_advice() {
        let mut codes: Vec<_> = ALL.iter().map(|row| row.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        assert!(ALL.iter().all(|row| row.advice.ends_with('.') && row.status.as_u16() >= 400));
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let problem = Problem::from(&RATE_LIMITED).retry_after(Duration::from_millis(1001));
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn a_cause_is_not_in_the_response() {
        let refused = Problem::from(StoreError::Unavailable("redis://ada:hunter2@host".into()));
        assert!(!refused.detail.contains("hunter2"));
        assert!(refused.retry_after.is_some());
    }
}

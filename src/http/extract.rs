//! Extractors for the parts of a request: path, query string and body.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::fields;
use super::problem::{self, Problem};
use crate::ticket::TicketId;

/// The maximum time in which a request's body must arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A name in the path. A name that is not UTF-8 gets the same response as an unknown one.
pub(super) struct NamePath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_rejection| Problem::from(&problem::NOT_FOUND))
    }
}

/// The ticket id in the path. A malformed id gets the same response as an unknown one.
pub(super) struct TicketPath(pub(super) TicketId);

impl<S: Send + Sync> FromRequestParts<S> for TicketPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = NamePath::from_request_parts(parts, state).await;
        let id = name.ok().and_then(|NamePath(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| Problem::from(&problem::TICKET_NOT_FOUND))
    }
}

/// The query string. The error for an unknown parameter names it.
pub(super) struct ValidQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ValidQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(query) = Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::from(&problem::INVALID_REQUEST).detail(rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// A JSON body. An empty body is treated as `{}`, regardless of its declared type. Any other body must be declared as JSON,
/// which also stops the forms of other sites.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let bytes = read_body(request, state).await?;
        let body: &[u8] = match is_json {
            _ if bytes.is_empty() => b"{}",
            Some(true) => &bytes,
            Some(false) | None => return Err(Problem::from(&problem::UNSUPPORTED_MEDIA_TYPE)),
        };
        let malformed = |fault: &dyn std::fmt::Display| {
            Problem::from(&problem::MALFORMED_JSON).detail(format!("{fault}. {}", problem::MALFORMED_JSON.advice))
        };
        // serde also accepts an array for a struct, field by field.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed(&"The body is not an object"));
        }
        serde_json::from_slice(body).map(Self).map_err(|fault| malformed(&fault))
    }
}

/// An empty object.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyObject {}

/// Reads the body without interpreting it.
///
/// # Errors
/// 408 if it does not arrive in time; 413 if it is too large; 400 if it is not framed as the head declares (RFC 9112 §6 and §7),
/// or is truncated.
pub(super) async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
        .await
        .map_err(|_elapsed| Problem::from(&problem::REQUEST_TIMEOUT))?
        .map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                Problem::from(&problem::TOO_LARGE)
            }
            _ => Problem::from(&problem::MALFORMED_REQUEST)
                .detail("The body is truncated, or does not match the chunks or the length that the head declares."),
        })
}

/// Returns whether the body is declared as JSON; `None` without a declaration.
fn is_json(headers: &HeaderMap) -> Option<bool> {
    let value = headers.get(CONTENT_TYPE)?;
    Some(fields::media_type(value.as_bytes()).eq_ignore_ascii_case(b"application/json"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(text in ".{0,80}", field in "[a-z_]{0,12}", value in "[ -~]{0,20}") {
            use crate::http::api::tickets::CreateTicket;

            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            for body in [text, format!("{{\"{field}\":{value}}}")] {
                let request = Request::builder().header(CONTENT_TYPE, "application/json").body(body.into()).unwrap();
                let read = runtime.block_on(JsonBody::<CreateTicket>::from_request(request, &()));
                if let Err(problem) = read {
                    prop_assert_eq!(problem.problem_type().code, "malformed_json");
                }
            }
        }

        #[test]
        fn any_content_type_is_json_or_not(value in "[ -~]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            prop_assert!(is_json(&headers).is_some());
        }
    }

    #[test]
    fn a_non_utf8_parameter_does_not_change_the_type() {
        let of = |value: &[u8]| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_bytes(value).unwrap())]);
            is_json(&headers)
        };
        assert_eq!(of(b"Application/JSON ;name=\xff"), Some(true));
        assert_eq!(of("\u{a0}application/json".as_bytes()), Some(false));
    }
}

//! Where WeChat's servers call: the check of the address, and what happens in the account. There is no route otherwise.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use super::Gateway;
use super::error::{self, Problem};
use super::extract::{State, ValidQuery, read_body};
use crate::connectors::wechat::Wechat;
use crate::connectors::wechat::callback::{Answer, CallbackQuery, Refused};

/// The path that is entered in WeChat's console.
pub(super) const PATH: &str = "/connectors/wechat";

/// Says back what WeChat sends, to prove that the token is known here.
pub(super) async fn check(
    axum::extract::State(gateway): State,
    ValidQuery(query): ValidQuery<CallbackQuery>,
) -> Result<Response, Problem> {
    let echo = wechat(&gateway)?.check(&query).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], echo).into_response())
}

/// Takes what WeChat tells.
pub(super) async fn receive(
    axum::extract::State(gateway): State,
    ValidQuery(query): ValidQuery<CallbackQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_body(request, &gateway).await?;
    let (kind, answer) = match wechat(&gateway)?.receive(&query, &body).await? {
        Answer::Success => ("text/plain; charset=utf-8", "success".to_owned()),
        Answer::Reply(xml) => ("application/xml; charset=utf-8", xml),
    };
    Ok(([(CONTENT_TYPE, kind)], answer).into_response())
}

fn wechat(gateway: &Gateway) -> Result<&Arc<Wechat>, Problem> {
    gateway.connectors.wechat.as_ref().ok_or_else(|| Problem::from(&error::NOT_FOUND))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::Malformed(_) => &error::CALLBACK_MALFORMED,
            Refused::Forged | Refused::Stale | Refused::Replayed | Refused::Unreadable => &error::CALLBACK_REFUSED,
            Refused::Overloaded => return Self::from(&error::UNAVAILABLE).counted_as("callbacks"),
            Refused::Store(error) => return error.into(),
        };
        let text = refused.to_string();
        let mut letters = text.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
        Self::from(kind).detail(format!("{first}{}.", letters.as_str()))
    }
}

//! The endpoint that WeChat's servers call. The route exists only if the connector is configured.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};

use crate::connectors::wechat::Wechat;
use crate::connectors::wechat::callback::{CallbackQuery, CallbackResponse};
use crate::http::extract::{ValidQuery, read_body};
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};

/// The path to enter in WeChat's console.
pub(in crate::http) const PATH: &str = "/connectors/wechat";

/// Echoes WeChat's check of the address, which proves that this gateway knows the token.
pub(in crate::http) async fn check(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<CallbackQuery>,
) -> Result<Response, Problem> {
    let echo = wechat(&gateway)?.check(&query).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], echo).into_response())
}

/// Receives an event of the account.
pub(in crate::http) async fn receive(
    State(gateway): State<SharedGateway>,
    ValidQuery(query): ValidQuery<CallbackQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_body(request, &gateway).await?;
    let (content_type, text) = match wechat(&gateway)?.receive(&query, &body).await? {
        CallbackResponse::Success => ("text/plain; charset=utf-8", "success".to_owned()),
        CallbackResponse::Reply(xml) => ("application/xml; charset=utf-8", xml),
    };
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

fn wechat(gateway: &Gateway) -> Result<&Arc<Wechat>, Problem> {
    gateway.connectors.wechat.as_ref().ok_or_else(|| Problem::from(&problem::NOT_FOUND))
}

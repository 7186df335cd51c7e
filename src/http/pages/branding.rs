//! A client's branding: its logo and its colours.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::headers::FOR_ANY_ORIGIN;
use crate::clients::Client;
use crate::http::extract::NamePath;
use crate::http::origin::EMBEDDABLE;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};

/// A change takes effect after a restart, and in browsers up to five minutes later.
const CACHE: &str = "public, max-age=300";

/// Serves a client's logo.
pub(in crate::http) async fn logo(
    State(gateway): State<SharedGateway>,
    NamePath(id): NamePath,
) -> Result<Response, Problem> {
    let logo = find(&gateway, &id, |client| client.logo.as_ref())?;
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, CACHE), EMBEDDABLE];
    Ok((headers, logo.png.clone()).into_response())
}

/// Serves a client's colours, as the custom properties that the style sheets use.
pub(in crate::http) async fn theme(
    State(gateway): State<SharedGateway>,
    NamePath(id): NamePath,
) -> Result<Response, Problem> {
    let theme = find(&gateway, &id, |client| client.theme.as_ref())?;
    let (light, dark) = (theme.accent, theme.accent_dark);
    let css = format!(":root{{--scangate-accent:{light};--scangate-accent-dark:{dark}}}\n");
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, CACHE)];
    Ok((FOR_ANY_ORIGIN, headers, css).into_response())
}

fn find<'a, T>(gateway: &'a Gateway, id: &str, part: impl Fn(&'a Client) -> Option<&'a T>) -> Result<&'a T, Problem> {
    let client = gateway.clients.find(Some(id));
    client.and_then(|client| part(client)).ok_or_else(|| Problem::from(&problem::NOT_FOUND))
}

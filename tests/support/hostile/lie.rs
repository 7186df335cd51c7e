//! What the provider can lie in.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::Shared;

type Change = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// The endpoints that the gateway calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Discovery,
    Keys,
    Token,
    Userinfo,
}

/// How a client proves to be the gateway (OpenID Connect Core §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authentication {
    #[default]
    Basic,
    Post,
    /// By nothing: a public client.
    Public,
}

/// What an endpoint does instead of answering.
#[derive(Debug, Clone)]
pub enum Instead {
    /// It answers with this.
    Status(u16, &'static str),
    /// It answers with a page, as a proxy before it does.
    Page,
    /// It sends nothing.
    Hangs,
    /// It sends a byte a second.
    Trickles,
    /// It sends without end.
    Endless,
    /// It sends the caller to another address, which has the answer.
    Redirects(String),
}

/// Who signs ID tokens, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signature {
    #[default]
    Own,
    /// A key that is not published, under the id of the one that is.
    OtherKey,
    /// A published key, with an algorithm that the discovery document does not list.
    Unlisted,
    /// HS256 with the published key, which everybody knows.
    SharedSecret,
    /// `alg: none`.
    Missing,
}

/// One lie, or none.
#[derive(Clone, Default)]
pub struct Lie {
    answers: HashMap<Endpoint, Change>,
    instead: HashMap<Endpoint, Instead>,
    answer: Option<Change>,
    claims: Option<Change>,
    header: Option<Change>,
    pub(super) signature: Signature,
    pub(super) ignores_pkce: bool,
}

impl Lie {
    /// Changes what an endpoint answers.
    pub fn at(endpoint: Endpoint, change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self { answers: HashMap::from([(endpoint, Arc::new(change) as Change)]), ..Self::default() }
    }

    pub fn replacing(endpoint: Endpoint, instead: Instead) -> Self {
        Self { instead: HashMap::from([(endpoint, instead)]), ..Self::default() }
    }

    /// Changes the parameters that the browser takes back.
    pub fn answering(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self { answer: Some(Arc::new(change)), ..Self::default() }
    }

    pub fn claims(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self { claims: Some(Arc::new(change)), ..Self::default() }
    }

    pub fn header(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self { header: Some(Arc::new(change)), ..Self::default() }
    }

    pub fn signed(signature: Signature) -> Self {
        Self { signature, ..Self::default() }
    }

    /// Issues tokens for a code whoever brings it.
    pub fn ignoring_pkce() -> Self {
        Self { ignores_pkce: true, ..Self::default() }
    }

    pub(super) fn instead(&self, endpoint: Endpoint) -> Option<&Instead> {
        self.instead.get(&endpoint)
    }

    pub(super) fn change(&self, endpoint: Endpoint, answer: &mut Value) {
        if let Some(change) = self.answers.get(&endpoint) {
            change(answer);
        }
    }

    pub(super) fn change_answer(&self, answer: &mut Value) {
        self.answer.iter().for_each(|change| change(answer));
    }

    pub(super) fn change_claims(&self, claims: &mut Value) {
        self.claims.iter().for_each(|change| change(claims));
    }

    pub(super) fn change_header(&self, header: &mut Value) {
        self.header.iter().for_each(|change| change(header));
    }
}

impl Instead {
    pub(super) async fn answer(&self, shared: Arc<Shared>) -> Response {
        let chunk = match self {
            Self::Status(status, body) => {
                let status = StatusCode::from_u16(*status).unwrap();
                return (status, [("content-type", "application/json")], *body).into_response();
            }
            Self::Page => return axum::response::Html("<!DOCTYPE html><title>Sign in</title>").into_response(),
            Self::Redirects(url) => return (StatusCode::TEMPORARY_REDIRECT, [("location", url)]).into_response(),
            Self::Hangs => return std::future::pending().await,
            Self::Trickles => Bytes::from_static(b" "),
            Self::Endless => Bytes::from(vec![b' '; 64 * 1024]),
        };
        let pause = if chunk.len() == 1 { Duration::from_secs(1) } else { Duration::ZERO };
        let chunks = futures_util::stream::repeat(chunk);
        let paced = futures_util::StreamExt::then(chunks, move |chunk| {
            shared.taken.fetch_add(chunk.len(), Relaxed);
            async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(chunk)
            }
        });
        ([("content-type", "application/json")], Body::from_stream(paced)).into_response()
    }
}

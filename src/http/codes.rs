//! Draws tickets' QR codes, and says what stands in them.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Gateway;
use super::error::{self, Problem};
use super::extract::{State, TicketPath, ValidQuery};
use super::guard::EMBEDDABLE;
use super::view::{QrView, login_url, scan_url};
use crate::qr::{self, QrError};
use crate::ticket::TicketId;

/// The side of the code in the ready-made look, in CSS pixels: `.scangate-qr` of `static/scangate.css`.
const LOOK_SIZE: u32 = 248;

/// How a code is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    /// Sharp at any size.
    Svg,
    /// For what has no SVG.
    Png,
}

/// How to draw.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct QrQuery {
    /// Pixels along a side.
    #[param(minimum = 64, maximum = 1024)]
    size: Option<u32>,
    /// The id of the client whose logo is laid over the middle.
    logo: Option<String>,
}

/// Draws a ticket's QR code as SVG
///
/// Without a ticket of this id there is a picture as well, of what a ticket of the flow `login` would say.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}/qr.svg",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), QrQuery),
    responses(
        (status = 200, content_type = "image/svg+xml", body = String, description = "The code"),
        (status = 400, body = error::ProblemBody, content_type = "application/problem+json", description = "`invalid_request` or `unknown_client`"),
        (status = 404, body = error::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: this is no ticket's id"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "`unavailable`"),
    )
)]
pub(super) async fn svg(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ValidQuery(query): ValidQuery<QrQuery>,
) -> Result<Response, Problem> {
    let (size, logo) = query.check(&gateway)?;
    let svg = qr::svg(&code(&gateway, &id).await?, size, logo).map_err(Problem::from)?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml"), EMBEDDABLE], svg).into_response())
}

/// Draws a ticket's QR code as PNG
///
/// Without a ticket of this id there is a picture as well, of what a ticket of the flow `login` would say.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}/qr.png",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), QrQuery),
    responses(
        (status = 200, content_type = "image/png", body = Vec<u8>, description = "The code"),
        (status = 400, body = error::ProblemBody, content_type = "application/problem+json", description = "`invalid_request` or `unknown_client`"),
        (status = 404, body = error::ProblemBody, content_type = "application/problem+json", description = "`ticket_not_found`: this is no ticket's id"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "`unavailable`"),
    )
)]
pub(super) async fn png(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ValidQuery(query): ValidQuery<QrQuery>,
) -> Result<Response, Problem> {
    let (size, logo) = query.check(&gateway)?;
    let png = qr::png(&code(&gateway, &id).await?, size, logo).map_err(Problem::from)?;
    Ok(([(header::CONTENT_TYPE, "image/png"), EMBEDDABLE], png).into_response())
}

impl QrQuery {
    fn check<'a>(&self, gateway: &'a Gateway) -> Result<(u32, Option<&'a qr::Logo>), Problem> {
        let size = self.size.unwrap_or(qr::DEFAULT_SIZE);
        if !qr::SIZES.contains(&size) {
            return Err(Problem::from(&error::INVALID_REQUEST).detail("size must be from 64 to 1024 pixels."));
        }
        let Some(id) = &self.logo else { return Ok((size, None)) };
        let client = gateway.clients.find(Some(id)).ok_or_else(|| Problem::from(&error::UNKNOWN_CLIENT))?;
        Ok((size, client.logo.as_ref()))
    }
}

/// Returns what the code of a ticket says. That there is none of the flow `login` is not told.
async fn code(gateway: &Gateway, id: &TicketId) -> Result<String, Problem> {
    let reading = gateway.store.get(id).await?;
    Ok(reading.map_or_else(|| login_url(gateway, id), |reading| scan_url(gateway, &reading.ticket)))
}

/// Draws a code for an answer in JSON.
pub(super) fn data_uri(url: &str, picture: Picture) -> Result<QrView, Problem> {
    Ok(match picture {
        Picture::Svg => {
            let svg = qr::svg(url, LOOK_SIZE, None)?;
            QrView { svg: Some(format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))), png: None }
        }
        Picture::Png => {
            let png = qr::png(url, qr::DEFAULT_SIZE, None)?;
            QrView { svg: None, png: Some(format!("data:image/png;base64,{}", STANDARD.encode(png))) }
        }
    })
}

impl From<QrError> for Problem {
    fn from(error: QrError) -> Self {
        tracing::error!(%error, "a QR code could not be drawn");
        Self::from(&error::INTERNAL)
    }
}

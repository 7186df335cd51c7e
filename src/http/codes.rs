//! Draws tickets' QR codes, and says what stands in them. Where they are drawn is `codes/drawing`'s business.

pub(super) mod drawing;

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Gateway;
use super::error::{self, Problem};
use super::extract::{ClientAddress, State, TicketPath, ValidQuery};
use super::guard::EMBEDDABLE;
use super::view::{QrView, login_url, scan_url};
use crate::clients::Client;
use crate::qr::{self, QrError};
use crate::ticket::TicketId;
use drawing::Place;

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
#[into_params(parameter_in = Query)]
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
        (status = 429, body = error::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "`unavailable`, also where too many codes are being drawn"),
    )
)]
pub(super) async fn svg(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ClientAddress(address): ClientAddress,
    ValidQuery(query): ValidQuery<QrQuery>,
) -> Result<Response, Problem> {
    let svg = query.draw(&gateway, id, address, qr::svg).await?;
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
        (status = 429, body = error::ProblemBody, content_type = "application/problem+json", description = "`rate_limited`"),
        (status = 503, body = error::ProblemBody, content_type = "application/problem+json", description = "`unavailable`, also where too many codes are being drawn"),
    )
)]
pub(super) async fn png(
    axum::extract::State(gateway): State,
    TicketPath(id): TicketPath,
    ClientAddress(address): ClientAddress,
    ValidQuery(query): ValidQuery<QrQuery>,
) -> Result<Response, Problem> {
    let png = query.draw(&gateway, id, address, qr::png).await?;
    Ok(([(header::CONTENT_TYPE, "image/png"), EMBEDDABLE], png).into_response())
}

impl QrQuery {
    /// Draws the code of a ticket, in its turn.
    async fn draw<T: Send + 'static>(
        &self,
        gateway: &Gateway,
        id: TicketId,
        address: IpAddr,
        draw: fn(&str, u32, Option<&qr::Logo>) -> Result<T, QrError>,
    ) -> Result<T, Problem> {
        let (size, client) = self.check(gateway)?;
        gateway.limits.draw.check(address)?;
        let code = code(gateway, &id).await?;
        let drawn = move || draw(&code, size, client.as_ref().and_then(|client| client.logo.as_ref()));
        gateway.drawing.place()?.draw(drawn).await
    }

    fn check(&self, gateway: &Gateway) -> Result<(u32, Option<Arc<Client>>), Problem> {
        let size = self.size.unwrap_or(qr::DEFAULT_SIZE);
        if !qr::SIZES.contains(&size) {
            return Err(Problem::from(&error::INVALID_REQUEST).detail("size must be from 64 to 1024 pixels."));
        }
        let Some(id) = &self.logo else { return Ok((size, None)) };
        let client = gateway.clients.find(Some(id)).ok_or_else(|| Problem::from(&error::UNKNOWN_CLIENT))?;
        Ok((size, Some(Arc::clone(client))))
    }
}

/// Returns what the code of a ticket says. That there is none of the flow `login` is not told.
async fn code(gateway: &Gateway, id: &TicketId) -> Result<String, Problem> {
    let reading = gateway.store.get(id).await?;
    Ok(reading.map_or_else(|| login_url(gateway, id), |reading| scan_url(gateway, &reading.ticket)))
}

/// Draws a code for an answer in JSON.
pub(super) async fn data_uri(place: Place, url: String, picture: Picture) -> Result<QrView, Problem> {
    let draw = move || {
        Ok(match picture {
            Picture::Svg => {
                let svg = qr::svg(&url, LOOK_SIZE, None)?;
                QrView { svg: Some(format!("data:image/svg+xml;base64,{}", STANDARD.encode(svg))), png: None }
            }
            Picture::Png => {
                let png = qr::png(&url, qr::DEFAULT_SIZE, None)?;
                QrView { svg: None, png: Some(format!("data:image/png;base64,{}", STANDARD.encode(png))) }
            }
        })
    };
    place.draw(draw).await
}

impl From<QrError> for Problem {
    fn from(error: QrError) -> Self {
        tracing::error!(%error, "a QR code could not be drawn");
        Self::from(&error::INTERNAL)
    }
}

//! The QR codes of tickets, as SVG and PNG.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::openapi::problem_responses;
use crate::clients::Client;
use crate::http::address::BrowserAddress;
use crate::http::drawing::QueuePlace;
use crate::http::extract::{TicketPath, ValidQuery};
use crate::http::origin::EMBEDDABLE;
use crate::http::problem::{self, Problem};
use crate::http::state::{Gateway, SharedGateway};
use crate::http::view::ticket::{QrView, login_url, scan_url};
use crate::qr::{self, QrError};
use crate::ticket::TicketId;

/// The side of the code in the ready-made widget, in CSS pixels: `.scangate-qr` of `static/scangate.css`.
const WIDGET_SIZE: u32 = 248;

/// The format of a drawn code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    /// Sharp at any size.
    Svg,
    /// For programs without SVG.
    Png,
}

/// How to draw a code.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct QrQuery {
    /// The length of a side, in pixels.
    #[param(minimum = 64, maximum = 1024)]
    size: Option<u32>,
    /// The id of the client whose logo is drawn in the middle.
    logo: Option<String>,
}

problem_responses!(DrawProblems: &[
    &problem::INVALID_REQUEST,
    &problem::UNKNOWN_CLIENT,
    &problem::TICKET_NOT_FOUND,
    &problem::RATE_LIMITED,
    &problem::UNAVAILABLE,
]);

/// Draws a ticket's QR code as SVG
///
/// If no ticket has this id, the code is that of a ticket of the flow `login`. 503 also means that too many codes are being
/// drawn.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}/qr.svg",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), QrQuery),
    responses((status = 200, content_type = "image/svg+xml", body = String, description = "The code"), DrawProblems)
)]
pub(in crate::http) async fn svg(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<QrQuery>,
) -> Result<Response, Problem> {
    let svg = query.draw(&gateway, id, address, qr::svg).await?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml"), EMBEDDABLE], svg).into_response())
}

/// Draws a ticket's QR code as PNG
///
/// If no ticket has this id, the code is that of a ticket of the flow `login`. 503 also means that too many codes are being
/// drawn.
#[utoipa::path(
    get,
    path = "/v1/tickets/{id}/qr.png",
    tag = "tickets",
    params(("id" = String, Path, description = "The ticket"), QrQuery),
    responses((status = 200, content_type = "image/png", body = Vec<u8>, description = "The code"), DrawProblems)
)]
pub(in crate::http) async fn png(
    State(gateway): State<SharedGateway>,
    TicketPath(id): TicketPath,
    BrowserAddress(address): BrowserAddress,
    ValidQuery(query): ValidQuery<QrQuery>,
) -> Result<Response, Problem> {
    let png = query.draw(&gateway, id, address, qr::png).await?;
    Ok(([(header::CONTENT_TYPE, "image/png"), EMBEDDABLE], png).into_response())
}

impl QrQuery {
    /// Waits for a place in the queue and draws the code of a ticket.
    async fn draw<T: Send + 'static>(
        &self,
        gateway: &Gateway,
        id: TicketId,
        address: IpAddr,
        draw: fn(&str, u32, Option<&qr::Logo>) -> Result<T, QrError>,
    ) -> Result<T, Problem> {
        let (size, client) = self.check(gateway)?;
        gateway.limits.draw.take_or_problem(address)?;
        let content = content(gateway, &id).await?;
        let drawn = move || draw(&content, size, client.as_ref().and_then(|client| client.logo.as_ref()));
        gateway.drawing.enter()?.draw(drawn).await
    }

    fn check(&self, gateway: &Gateway) -> Result<(u32, Option<Arc<Client>>), Problem> {
        let size = self.size.unwrap_or(qr::DEFAULT_SIZE);
        if !qr::SIZES.contains(&size) {
            return Err(Problem::from(&problem::INVALID_REQUEST).detail("size must be from 64 to 1024 pixels."));
        }
        let Some(id) = &self.logo else { return Ok((size, None)) };
        let client = gateway.clients.find(Some(id)).ok_or_else(|| Problem::from(&problem::UNKNOWN_CLIENT))?;
        Ok((size, Some(Arc::clone(client))))
    }
}

/// Returns the content of a ticket's code. An unknown id gets the same content as a ticket of the flow `login`, so it does not
/// reveal which ids exist.
async fn content(gateway: &Gateway, id: &TicketId) -> Result<String, Problem> {
    let reading = gateway.store.get(id).await?;
    Ok(reading.map_or_else(|| login_url(gateway, id), |reading| scan_url(gateway, &reading.ticket)))
}

/// Draws a code for a response in JSON.
pub(super) async fn data_uri(place: QueuePlace, url: String, picture: Picture) -> Result<QrView, Problem> {
    let draw = move || {
        Ok(match picture {
            Picture::Svg => {
                let svg = qr::svg(&url, WIDGET_SIZE, None)?;
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

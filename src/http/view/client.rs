//! A client, as pages show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clients::{Client, Connector};
use crate::http::state::Gateway;
use crate::ticket::ClientId;

/// A client, as pages show it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ClientView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The path of its logo, relative to the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo: Option<String>,
    /// The path of the style sheet with its colours, relative to the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// The service whose app scans its codes, if that is not the app of the person's own identity provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "wechat")]
    pub connector: Option<&'static str>,
}

impl ClientView {
    pub(super) fn find(gateway: &Gateway, id: &ClientId) -> Self {
        // A client that was removed from the settings in the meantime still has its id.
        let unknown = || Self { id: id.0.clone(), name: id.0.clone(), logo: None, theme: None, connector: None };
        gateway.clients.find(Some(&id.0)).map_or_else(unknown, |client| Self::new(client))
    }

    pub(in crate::http) fn new(client: &Client) -> Self {
        Self {
            id: client.id.0.clone(),
            name: client.name.clone(),
            logo: client.logo.as_ref().map(|_| format!("/v1/clients/{}/logo.png", client.id)),
            theme: client.theme.map(|_| format!("/v1/clients/{}/theme.css", client.id)),
            connector: client.connector.map(Connector::as_str),
        }
    }
}

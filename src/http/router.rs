//! The route table.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{
    admin, codes, decisions, demo, events, keys, openapi, opening, session, sign_in, signed_in, tickets, wechat,
};
use super::oauth2::paths::{AUTHORIZE_PATH, CANCEL_PATH, CONFIRM_LOGOUT_PATH, DONE_PATH, LOGOUT_PATH};
use super::state::SharedGateway;
use super::{bounds, head, methods, middleware, oauth2, origin, pages, problem};
use crate::relying_party::settings::CALLBACK_PATH;

/// The largest request body, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Returns the router of the public listeners.
pub fn public_router(gateway: &SharedGateway) -> Router {
    gateway.metrics.init_refused_series(problem::ALL.iter().map(|row| row.code).chain(bounds::all()));
    let (router, description) = api_router().merge(oauth2::api(gateway)).split_for_parts();
    let mut by_path = methods::of_api(&description);
    by_path.insert(demo::PATH.to_owned(), "POST".to_owned());
    by_path.insert(AUTHORIZE_PATH.to_owned(), "GET,POST".to_owned());
    by_path.insert(DONE_PATH.to_owned(), "GET".to_owned());
    by_path.insert(LOGOUT_PATH.to_owned(), "GET,POST".to_owned());
    by_path.insert(CONFIRM_LOGOUT_PATH.to_owned(), "POST".to_owned());
    by_path.insert(CALLBACK_PATH.to_owned(), "GET".to_owned());
    by_path.insert(sign_in::BEGIN_PATH.to_owned(), "GET".to_owned());
    by_path.insert(wechat::PATH.to_owned(), "GET,HEAD,POST".to_owned());
    let document = openapi::complete(&description);
    let mut router = router
        .route(openapi::PATH, get(move || std::future::ready(openapi::document(&document))))
        // Inside the CORS layer, which must see preflights: no route accepts OPTIONS.
        .method_not_allowed_fallback(methods::method_not_allowed)
        .layer(origin::cors(gateway))
        .route("/", get(pages::sign_in))
        .route("/s/{id}", get(pages::confirm))
        .route("/share", get(pages::share))
        .route("/share/{id}", get(pages::receive))
        .route(AUTHORIZE_PATH, get(oauth2::authorize::authorize).post(oauth2::authorize::authorize_by_form))
        .route(DONE_PATH, get(oauth2::done::done))
        .route(CANCEL_PATH, get(oauth2::done::cancel))
        .route(LOGOUT_PATH, get(oauth2::logout::logout).post(oauth2::logout::logout_by_form))
        .route(CONFIRM_LOGOUT_PATH, post(oauth2::logout::confirm))
        .route("/static/texts.json", get(pages::texts))
        .route("/static/{*path}", get(pages::asset))
        .route("/v1/clients/{id}/logo.png", get(pages::logo))
        .route("/v1/clients/{id}/theme.css", get(pages::theme));
    if gateway.demo.is_some() {
        router = router.route(demo::PATH, post(demo::sign_in));
    }
    if !gateway.relying_party.providers().is_empty() {
        router = router
            .route(CALLBACK_PATH, get(sign_in::callback))
            .route(sign_in::BEGIN_PATH, get(sign_in::begin))
            .route(sign_in::LOGO_PATH, get(sign_in::logo));
    }
    if gateway.connectors.wechat.is_some() {
        router = router.route(wechat::PATH, get(wechat::check).post(wechat::receive));
    }
    router
        .fallback(pages::without_slash)
        .method_not_allowed_fallback(methods::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(gateway), origin::same_origin))
        .layer(from_fn_with_state(Arc::new(by_path), methods::allow))
        .layer(from_fn(head::check))
        .layer(from_fn_with_state(Arc::clone(gateway), middleware::request_context))
        .with_state(Arc::clone(gateway))
}

/// Returns the router of the admin listener. It accepts these host names besides IP addresses and `localhost`.
pub fn admin_router(gateway: &SharedGateway, hosts: Vec<String>) -> Router {
    Router::new()
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
        .fallback(methods::not_found)
        .method_not_allowed_fallback(methods::method_not_allowed)
        .layer(from_fn_with_state(Arc::default(), methods::allow))
        .layer(from_fn_with_state(hosts.into(), admin::check_host))
        .layer(from_fn(head::check))
        .with_state(Arc::clone(gateway))
}

/// The API: exactly the routes that the OpenAPI document describes.
fn api_router() -> OpenApiRouter<SharedGateway> {
    OpenApiRouter::with_openapi(openapi::description())
        .routes(routes!(tickets::create))
        .routes(routes!(tickets::read, tickets::close))
        .routes(routes!(events::events))
        .routes(routes!(codes::svg))
        .routes(routes!(codes::png))
        .routes(routes!(opening::open))
        .routes(routes!(decisions::scan))
        .routes(routes!(decisions::confirm))
        .routes(routes!(decisions::cancel))
        .routes(routes!(keys::jwks))
        .routes(routes!(session::verify::verify))
        .routes(routes!(session::begin::begin))
        .routes(routes!(session::callback::callback))
        .routes(routes!(session::redeem::redeem))
        .routes(routes!(session::sign_out::sign_out))
        .routes(routes!(signed_in::read_session))
        .routes(routes!(signed_in::end_session))
}

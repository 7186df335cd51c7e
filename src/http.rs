//! The HTTP side: the route table, what every request passes through, and what handlers share.
//!
//! Handlers are plain axum and know nothing of the server that drives them, but that it adds `ConnectInfo<Peer>` to each
//! request. `http/tickets`, `http/decide` and `http/events` are the API; `http/error` is the only place where an error
//! becomes an answer.

mod api;
mod codes;
mod cookies;
mod decide;
mod demo;
pub mod error;
mod events;
mod extract;
mod fields;
mod guard;
mod handover;
mod head;
mod keys;
mod limits;
mod ops;
mod pages;
mod requester;
mod session;
mod sse;
mod tickets;
mod view;
mod wechat;
mod weights;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, header};
use axum::routing::get;
use axum::{Router, middleware};
use ipnet::IpNet;
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clients::Clients;
use crate::config::{CallerLimits, Lifetimes};
use crate::connectors::Connectors;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::signer::Signer;
use crate::store::Store;
use crate::streams::Streams;
use crate::ticket::Party;
use crate::verifier::Verifier;
use crate::verifier::demo::DemoIdentity;

use codes::drawing::Drawing;
pub use extract::Peer;
pub use head::UnreadHead;
pub use limits::CONNECTIONS;
use limits::Limits;

/// The largest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// Where the demo signs people in.
const DEMO_PATH: &str = "/demo/sign-in";
/// How long a request's body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a long poll may wait, in seconds.
pub const MAX_WAIT_SECS: u64 = 60;
/// How often callers whose allowances have refilled are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// How long a browser may remember what a preflight said.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// What a page of another origin may send beside what every page may: what the API reads, and what `EventSource` in script,
/// `fetch` wrappers and tracing (W3C Trace Context and Baggage) add by themselves.
const ALLOWED_HEADERS: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("last-event-id"),
    header::ACCEPT,
    header::CACHE_CONTROL,
    header::PRAGMA,
    HeaderName::from_static("x-requested-with"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// What handlers work with. Made once, by `app`.
pub struct Gateway {
    /// Where the tickets are.
    pub store: Arc<dyn Store>,
    /// Who waits here.
    pub streams: Streams,
    /// Issues JWTs.
    pub signer: Signer,
    /// Checks approvers' tokens.
    pub verifier: Verifier,
    /// Makes up approvers, in the demo alone.
    pub demo: Option<DemoIdentity>,
    /// Who may use the gateway.
    pub clients: Clients,
    /// Whose codes are shown in the place of the gateway's own.
    pub connectors: Connectors,
    /// Counts everything.
    pub metrics: Arc<Metrics>,
    /// Bounds the log lines that anybody can cause.
    pub journal: Arc<Journal>,
    /// The gateway's origin as browsers see it.
    pub public_url: Url,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    limits: Limits,
    drawing: Drawing,
}

/// What a [`Gateway`] is made of, beside its parts.
pub struct GatewaySettings {
    /// The gateway's origin as browsers see it.
    pub public_url: Url,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// What each caller may do.
    pub callers: CallerLimits,
}

/// The parts of a [`Gateway`].
pub struct GatewayParts {
    /// Where the tickets are.
    pub store: Arc<dyn Store>,
    /// Who waits here.
    pub streams: Streams,
    /// Issues JWTs.
    pub signer: Signer,
    /// Checks approvers' tokens.
    pub verifier: Verifier,
    /// Makes up approvers, in the demo alone.
    pub demo: Option<DemoIdentity>,
    /// Who may use the gateway.
    pub clients: Clients,
    /// Whose codes are shown in the place of the gateway's own.
    pub connectors: Connectors,
    /// Counts everything.
    pub metrics: Arc<Metrics>,
    /// Bounds the log lines that anybody can cause.
    pub journal: Arc<Journal>,
}

type SharedGateway = Arc<Gateway>;

impl Gateway {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: GatewayParts, settings: GatewaySettings) -> Self {
        parts.metrics.expect_refusals(error::ALL.iter().map(|kind| kind.code).chain(error::bounds()));
        Self {
            store: parts.store,
            streams: parts.streams,
            signer: parts.signer,
            verifier: parts.verifier,
            demo: parts.demo,
            clients: parts.clients,
            connectors: parts.connectors,
            drawing: Drawing::new(),
            limits: Limits::new(settings.callers, &parts.metrics),
            metrics: parts.metrics,
            journal: parts.journal,
            public_url: settings.public_url,
            trusted_proxies: settings.trusted_proxies,
            lifetimes: settings.lifetimes,
        }
    }

    /// Returns the gateway's origin, without a slash at its end.
    #[must_use]
    pub fn origin(&self) -> String {
        self.public_url.origin().ascii_serialization()
    }

    /// Returns what a person is called in the log: the same name for the same person, which tells nobody who it is.
    pub(crate) fn name_in_log(&self, party: &Party) -> Option<String> {
        match party {
            Party::Person(person) => Some(self.signer.name_in_log(&person.subject)),
            Party::Browser(_) => None,
        }
    }

    /// Forgets callers whose allowances have refilled, again and again, for ever.
    pub async fn tidy_limits(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            self.limits.tidy();
            self.connectors.tidy();
        }
    }
}

/// Returns the router of the public listeners.
pub fn public_router(gateway: &SharedGateway) -> Router {
    let (router, description) = api_router().split_for_parts();
    let mut methods = guard::methods(&description);
    methods.insert(DEMO_PATH.to_owned(), "POST".to_owned());
    methods.insert(wechat::PATH.to_owned(), "GET,HEAD,POST".to_owned());
    let openapi = api::complete(&description);
    let mut router = router
        .route(api::PATH, get(move || std::future::ready(api::document(&openapi))))
        // Before the layer, which must see preflights: no route is for OPTIONS.
        .method_not_allowed_fallback(guard::method_not_allowed)
        .layer(cors(gateway))
        .route("/", get(pages::sign_in))
        .route("/s/{id}", get(pages::confirm))
        .route("/share", get(pages::share))
        .route("/share/{id}", get(pages::receive))
        .route("/static/texts.json", get(pages::texts))
        .route("/static/{*path}", get(pages::asset))
        .route("/v1/clients/{id}/logo.png", get(pages::logo))
        .route("/v1/clients/{id}/theme.css", get(pages::theme));
    if gateway.demo.is_some() {
        router = router.route(DEMO_PATH, axum::routing::post(demo::sign_in));
    }
    if gateway.connectors.wechat.is_some() {
        router = router.route(wechat::PATH, get(wechat::check).post(wechat::receive));
    }
    router
        .fallback(pages::without_slash)
        .method_not_allowed_fallback(guard::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(gateway), guard::same_origin))
        .layer(middleware::from_fn_with_state(Arc::new(methods), guard::allow))
        .layer(middleware::from_fn(head::check))
        .layer(middleware::from_fn_with_state(Arc::clone(gateway), guard::introduce))
        .with_state(Arc::clone(gateway))
}

/// Returns the router of the admin listener, which may be asked by these names besides IP addresses and `localhost`.
pub fn admin_router(gateway: &SharedGateway, hosts: Vec<String>) -> Router {
    Router::new()
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .fallback(guard::not_found)
        .method_not_allowed_fallback(guard::method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::default(), guard::allow))
        .layer(middleware::from_fn_with_state(hosts.into(), ops::own_names))
        .layer(middleware::from_fn(head::check))
        .with_state(Arc::clone(gateway))
}

/// The API: every route of it, and nothing else, stands in the OpenAPI document.
fn api_router() -> OpenApiRouter<SharedGateway> {
    OpenApiRouter::with_openapi(api::description())
        .routes(routes!(tickets::create))
        .routes(routes!(tickets::read, tickets::close))
        .routes(routes!(events::events))
        .routes(routes!(codes::svg))
        .routes(routes!(codes::png))
        .routes(routes!(decide::scan))
        .routes(routes!(decide::confirm))
        .routes(routes!(decide::cancel))
        .routes(routes!(keys::jwks))
        .routes(routes!(session::verify))
        .routes(routes!(session::begin))
        .routes(routes!(session::redeem))
        .routes(routes!(session::sign_out))
}

/// Lets the pages of registered origins call the API. Never with cookies: they use a bearer binding.
fn cors(gateway: &SharedGateway) -> CorsLayer {
    let gateway = Arc::clone(gateway);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _request| {
            fields::text(origin).is_some_and(|origin| gateway.clients.allow_origin(origin))
        }))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(ALLOWED_HEADERS)
        .expose_headers([header::RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE)
}

//! Request heads that hyper cannot parse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use parked_streams::{Settings, UnreadableHead};

use crate::support::{Site, request};

/// Heads that cannot be parsed, and the status for each.
fn unreadable() -> Vec<(u16, String)> {
    vec![
        (400, "nonsense\r\n\r\n".to_owned()),
        (431, format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: {}\r\n\r\n", "x".repeat(17_000))),
        (431, format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "A: b\r\n".repeat(65))),
        (414, format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(17_000))),
    ]
}

/// Answers unreadable heads, and counts the other requests.
async fn refuse(State(readable): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    if let Some(UnreadableHead(status)) = request.extensions().get() {
        return (*status, format!("unreadable {}", request.uri().path())).into_response();
    }
    readable.fetch_add(1, Relaxed);
    next.run(request).await
}

/// Starts a server. Returns it with the count of requests whose head could be parsed.
async fn site(settings: Settings) -> (Site, Arc<AtomicUsize>) {
    let readable = Arc::new(AtomicUsize::new(0));
    let layer = middleware::from_fn_with_state(Arc::clone(&readable), refuse);
    let router = Router::new().fallback(async || "plain").layer(layer);
    (Site::start(settings, |_| router).await, readable)
}

#[tokio::test(flavor = "multi_thread")]
async fn hyper_answers_an_unreadable_head_by_default() {
    let (site, readable) = site(Settings::default()).await;
    for (status, head) in unreadable() {
        let response = site.ask(false, &head).await.text().await;
        // hyper does not distinguish a long request line from long headers.
        let is_expected = response.starts_with(&format!("HTTP/1.1 {status} "))
            || (status == 414 && response.starts_with("HTTP/1.1 431 "));
        assert!(is_expected && response.ends_with("\r\n\r\n"), "{status}: {response}");
    }
    assert_eq!(readable.load(Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_unreadable_heads_if_the_setting_is_on() {
    let (site, readable) = site(Settings { pass_unreadable_heads: true, ..Settings::default() }).await;
    for is_tcp in [true, false] {
        for (status, head) in unreadable() {
            let response = site.ask(is_tcp, &head).await.text().await;
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {response}");
            assert!(response.contains("connection: close\r\n"), "{response}");
            assert!(response.ends_with("\r\n\r\nunreadable /"), "{response}");
        }
    }
    // The same on a connection that has served a request before.
    let mut wire = site.ask(true, &request("/")).await;
    wire.until("plain").await;
    wire.send("nonsense\r\n\r\n").await;
    assert!(wire.text().await.ends_with("unreadable /"));
    assert_eq!(readable.load(Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bounds_on_heads_are_settings() {
    let settings = Settings { max_head_bytes: 32 * 1024, max_headers: 70, ..Settings::default() };
    let (site, readable) = site(settings).await;
    for (status, head) in unreadable().into_iter().skip(1) {
        let mut wire = site.ask(true, &head).await;
        wire.until("plain").await;
        assert!(wire.head().await.starts_with("HTTP/1.1 200 OK\r\n"), "{status}");
    }
    assert_eq!(readable.load(Relaxed), 3);
}

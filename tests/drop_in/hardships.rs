//! Pages that make it hard: markup of strangers that is named like what the script asks for, and networks that swallow bytes
//! without closing anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};

use super::{SITE, Shop, is, transport};
use crate::support::proxy::Proxy;
use crate::support::within;

/// How long a page may take to notice, on a busy machine.
const NOTICED: Duration = Duration::from_secs(90);

/// Everything of `document` and `window` that the scripts use, or have used, by its name.
const NAMES: &str = "currentScript querySelector querySelectorAll getElementById createElement createElementNS createTextNode head body \
    documentElement activeElement hidden visibilityState title cookie addEventListener removeEventListener location \
    defaultView forms scangate EventSource ReadableStream TextDecoder AbortController fetch XMLHttpRequest navigator \
    setTimeout setInterval clearInterval history origin api look start Document HTMLScriptElement";

/// What a site may let its users write: harmless by itself, and named like all of that, in each way that a name counts.
fn strangers_markup() -> String {
    let names = NAMES.split_whitespace();
    let all = names.map(|name| {
        format!(
            "<img name={name} src=//evil.test/x alt><form name={name} id={name}><input name=action><input name=submit>\
             <input name=method><input name=src value=//evil.test/x></form><a id={name} href=//evil.test/x></a>"
        )
    });
    all.collect::<String>() + "<link href='#/static/scangate.css'>"
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_that_is_named_like_what_the_script_asks_for_changes_nothing() {
    let page = format!(
        "<!doctype html><title>Shop</title><div id=here></div>{}
         <script src=http://localhost:8080/static/scangate.js></script>
         <script>var token, code = scangate.start(Document.prototype.getElementById.call(document, 'here'),
           {{ clientId: 'shop', onToken: function (got) {{ token = got; }} }});</script>",
        strangers_markup()
    );
    let shop = Shop::open(page.leak(), "", "", "25s").await;
    let page = shop.visit().await;
    let clobbered =
        "return [document.currentScript, document.querySelector, document.hidden, document.head].map(typeof_)
        .join(); function typeof_(one) { return String(one); }";
    let clobbered = page.run(clobbered).await;
    assert!(!clobbered.as_str().unwrap().contains("native code"), "the markup bites: {clobbered}");
    // It is hidden from nobody, so that a code that has run out is followed by another.
    let (_, first) = shop.scan(&page).await;
    let is_renewed = async || (page.scan().await.rsplit('/').next() != Some(&first)).then_some(());
    within(Duration::from_secs(60), "a new code", is_renewed).await;
    let styled =
        "return getComputedStyle(Document.prototype.querySelector.call(document, '.scangate-title')).fontWeight";
    assert_ne!(page.run(styled).await, json!("400"), "the style sheet is there");
    let approved = async || {
        let (phone, id) = shop.scan(&page).await;
        (phone.act(&id, "scan").await.status() == 200 && phone.act(&id, "confirm").await.status() == 200).then_some(())
    };
    within(Duration::from_secs(40), "a confirmation", approved).await;
    is(&page, "confirmed").await;
    assert_eq!(page.run("return !!token.access_token").await, json!(true));
    let loaded = "return performance.getEntriesByType('resource').filter(e => e.initiatorType !== 'img' && e.name.includes('evil')).length";
    assert_eq!(page.run(loaded).await, json!(0));
}

/// A picture that comes before the tag and calls itself the current script has named the origin that the look came from.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_not_the_script() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let router = Router::new().route(
        "/{*path}",
        get(move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(([("content-type", "text/javascript")], "window.isTaken = true"))
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let evil = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    let page = format!(
        "<!doctype html><title>Shop</title><img name=currentScript src={evil}/x><div id=here></div>
         <script src=http://localhost:8080/static/scangate.js></script>
         <script>scangate.start(document.getElementById('here'), {{ clientId: 'shop' }});</script>"
    );
    let shop = Shop::open(page.leak(), "", "", "2m").await;
    let page = shop.visit().await;
    let (phone, id) = shop.scan(&page).await;
    phone.approve(&id).await;
    is(&page, "confirmed").await;
    assert_eq!(page.run("return window.isTaken === undefined").await, json!(true));
    assert!(asked.load(Ordering::Relaxed) <= 1, "the picture alone");
    server.abort();
}

async fn silent(detach: &str) {
    let shop = Shop::with("2m", &["--heartbeat", "1s", "--detach", detach]).await;
    let proxy = Proxy::before(shop.gateway.base.rsplit(':').next().unwrap().parse().unwrap());
    let page = shop.visit_through(proxy.port()).await;
    let (phone, id) = shop.scan(&page).await;
    assert_eq!(transport(&page).await.as_deref(), Some("sse"));
    // What is open stays open and says nothing more; new connections work.
    proxy.swallow();
    proxy.pass();
    phone.approve(&id).await;
    let is_there = async || {
        let state = page.run("return document.querySelector('.scangate').dataset.state").await;
        (state == json!("confirmed")).then_some(())
    };
    within(NOTICED, "the JWT", is_there).await;
    within(Duration::from_secs(5), "the greeting", async || {
        (page.text("#greeting").await == "Hello, Åsa.").then_some(())
    })
    .await;
    page.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_silent_is_noticed_and_the_jwt_arrives() {
    silent("true").await;
    silent("false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_left_withdraws_its_code() {
    let shop = Shop::copied("2m").await;
    // One that is kept to come back to goes on with its code instead.
    let page = shop.browser(&["--disable-features=BackForwardCache"]).await;
    page.goto(&format!("{SITE}/")).await;
    let (phone, id) = shop.scan(&page).await;
    page.goto("about:blank").await;
    let refusal = async || {
        let answer: Value = phone.act(&id, "scan").await.json().await.unwrap();
        (answer["code"] == "already_cancelled").then_some(())
    };
    within(Duration::from_secs(10), "the withdrawal", refusal).await;
    let kept = async |page: &crate::support::browser::Chromium| page.run("return sessionStorage.length").await;
    page.goto(&format!("{SITE}/")).await;
    is(&page, "waiting").await;
    assert_eq!(kept(&page).await, json!(0), "no secret in any storage");
    page.end_after_refusals().await;
}

//! What people hold in their hands is often Safari: one walk through both sides in WebKit, and one in Firefox.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::json;

use super::*;
use crate::support::engine::Page;

const CLIENTS: &str = r#"
[[clients]]
id = "web"
name = "Web"
claims = ["name"]

[[clients]]
id = "choose"
name = "Web"
claims = ["name"]
match = "choose"

[[clients]]
id = "shop"
name = "The Shop"
origins = ["ORIGIN"]
claims = ["name"]

[[clients]]
id = "short"
name = "Web"
origins = ["ORIGIN"]
ticket_ttl = "5s"
"#;

/// The page to copy of docs/drop-in.md.
const DROP_IN: &str = include_str!("../../examples/drop-in/index.html");
/// Where that page says that the gateway is.
const GATEWAY: &str = "http://localhost:8080";

/// The code on a desk, as the address that it contains.
async fn code(desk: &Page) -> String {
    let link =
        "var link = document.querySelector('.scangate[data-state=waiting] .scangate-link'); return link && link.href";
    desk.until("a code", link).await.as_str().unwrap().to_owned()
}

async fn show_code(site: &Site, desk: &Page, client: &str) -> String {
    desk.goto(&site.edge.url(&format!("/?client_id={client}"))).await;
    code(desk).await
}

/// Scans with a phone at which somebody is signed in.
async fn scan(phone: &Page, scanned: &str) {
    phone.goto(scanned).await;
    phone.is("ready").await;
    phone.click("#continue").await;
}

/// A page of another origin that signs people in by the drop-in script.
async fn shop(gateway: String) -> String {
    let page = DROP_IN.replace(GATEWAY, &gateway);
    // The same, but its code is not replaced by itself.
    let short = page.replace("clientId: 'shop'", "clientId: 'short', renewals: 0");
    assert_ne!(page, short);
    let serve = |page: String| get(move || std::future::ready(Html(page.clone())));
    let router = Router::new().route("/", serve(page)).route("/short", serve(short));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

async fn walk(browser: &str) {
    let place = Place::choose();
    let provider = Provider::start(Program::OidcProvider, &[&place.url()], &["--consent", "auto"]).await;
    let shop = shop(place.url()).await;
    let clients = CLIENTS.replace("ORIGIN", &shop);
    let site = Site::set(place, &format!("{clients}{}", table("acme", &provider, "scangate", ""))).await;
    let (desk, phone) = tokio::join!(Page::open(browser), Page::open(browser));

    signs_in_and_compares_numbers(&site, &desk, &phone).await;
    declines(&site, &desk, &phone).await;
    lets_codes_expire(&site, &desk, &phone).await;

    works_on_another_origin(&shop, &desk, &phone).await;
}

async fn signs_in_and_compares_numbers(site: &Site, desk: &Page, phone: &Page) {
    let scanned = show_code(site, desk, "choose").await;
    phone.goto(&scanned).await;
    phone.is("sign-in").await;
    phone.click("[data-provider=acme]").await;
    phone.write("[name=login]", "alice").await;
    let told = "return document.querySelector('.scangate-title').textContent === 'Someone is signing in on a phone'";
    desk.until("the line about the phone", told).await;
    phone.write("[name=password]", "alice-password").await;
    phone.click("#sign-in").await;
    // The way back leads to the request, without another press.
    phone.is("scanned").await;
    assert_eq!(phone.run("return location.origin + location.pathname").await, json!(scanned));
    desk.is("scanned").await;
    let number = desk.text(".scangate-number").await;
    phone.click(&format!("[data-choice='{number}']")).await;
    phone.is("confirmed").await;
    desk.is("confirmed").await;
    assert_eq!(desk.text("[data-claim=name]").await, "Alice Example");
}

async fn declines(site: &Site, desk: &Page, phone: &Page) {
    scan(phone, &show_code(site, desk, "web").await).await;
    phone.is("scanned").await;
    desk.is("scanned").await;
    phone.click("#decline").await;
    phone.is("declined").await;
    desk.is("declined").await;
}

async fn lets_codes_expire(site: &Site, desk: &Page, phone: &Page) {
    let first = show_code(site, desk, "short").await;
    phone.goto(&first).await;
    phone.is("ready").await;
    let another = format!(
        "var link = document.querySelector('.scangate[data-state=waiting] .scangate-link');
         return link && link.href !== {first:?} && link.href"
    );
    desk.until("another code", &another).await;
    phone.click("#continue").await;
    phone.is("expired").await;
}

/// The drop-in script, on a page of another origin.
async fn works_on_another_origin(shop: &str, desk: &Page, phone: &Page) {
    desk.goto(shop).await;
    scan(phone, &code(desk).await).await;
    phone.click("#confirm").await;
    phone.is("confirmed").await;
    let greeting = desk.until("the greeting", "return document.getElementById('greeting').textContent || null").await;
    assert_eq!(greeting, "Hello, Alice Example.");

    desk.goto(&format!("{shop}/short")).await;
    code(desk).await;
    desk.appears(".scangate[data-state=expired]").await;
    desk.click(".scangate-refresh").await;
    code(desk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_work_in_webkit() {
    walk("webkit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_work_in_firefox() {
    walk("firefox").await;
}

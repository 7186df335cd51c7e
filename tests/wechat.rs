//! Signing in with WeChat, against a stand-in for its API and its servers, in both modes and on both stores.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::gateway::{Browser, Phone, file, verified_claims};
use crate::support::picture::Picture;
use crate::support::wechat::{APP_ID, Api, Code, Fault, SECRET, Sender, TOKEN, event, now, scan, text, text_of};
use crate::support::{EventStream, Gateway, Redis, eventually};

mod api;
mod callbacks;

/// Two bits of it are more than 32 bytes take.
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
const OPENID: &str = "o6_bmjrPTlm6_2sgVt7hMZOPfL2M";

/// A gateway with a client that signs people in with WeChat.
struct Site {
    gateway: Gateway,
    api: Api,
    sender: Sender,
    redis: Option<Redis>,
    _file: tempfile::TempDir,
}

impl Site {
    async fn plain() -> Self {
        Self::with("", None, &[]).await
    }

    async fn encrypted() -> Self {
        Self::with(&format!("encoding_aes_key = \"{KEY}\""), None, &[]).await
    }

    /// Starts a gateway with more lines in its table, on Redis or in memory.
    async fn with(more: &str, redis: Option<Redis>, flags: &[(&str, &str)]) -> Self {
        Self::at(Api::start().await, more, redis, flags).await
    }

    async fn at(api: Api, more: &str, redis: Option<Redis>, flags: &[(&str, &str)]) -> Self {
        let (file, path) = file(&api.table(more));
        let mut builder = Gateway::builder().arg("--config", path.to_str().unwrap());
        for (flag, value) in flags {
            builder = builder.arg(flag, value);
        }
        if let Some(redis) = &redis {
            builder = builder.redis(redis);
        }
        let gateway = builder.start().await;
        let sender = if more.contains("encoding_aes_key") { Sender::encrypted(KEY) } else { Sender::plain() };
        Self { gateway, api, sender, redis, _file: file }
    }

    /// Opens a page that shows a code and waits.
    async fn page(&self) -> Page {
        let browser = Browser::new(&self.gateway);
        let ticket = browser.create_with(json!({"client_id": "shop"})).await;
        let code = self.api.codes().into_iter().find(|code| code.url == ticket["scan_url"]).unwrap();
        let id = ticket["ticket_id"].as_str().unwrap().to_owned();
        let mut events = browser.events(&id).await;
        events.expect("pending").await;
        Page { browser, id, code, events }
    }

    /// Sends a message, and returns what is said in the chat.
    async fn tell(&self, message: &str) -> String {
        self.sender.tell(&self.gateway, message).await.expect("nothing is said")
    }

    async fn callbacks(&self, result: &str) -> f64 {
        let series = format!("scangate_connector_callbacks_total{{connector=\"wechat\",result=\"{result}\"}}");
        self.gateway.metric(&series).await
    }
}

struct Page {
    browser: Browser,
    id: String,
    code: Code,
    events: EventStream,
}

impl Page {
    async fn state(&self) -> Value {
        let ticket: Value = self.browser.read(&self.id).await.json().await.unwrap();
        ticket["state"].clone()
    }

    /// Waits for the scan, and returns the number that is shown.
    async fn number(&mut self) -> String {
        self.events.expect("scanned").await.data["number"].as_str().unwrap().to_owned()
    }

    /// Waits for the JWT, and returns what it says.
    async fn claims(&mut self, gateway: &Gateway) -> Value {
        let confirmed = self.events.expect("confirmed").await;
        verified_claims(gateway, confirmed.data["token"]["access_token"].as_str().unwrap(), "shop").await
    }
}

/// Returns another number of two digits.
fn another(number: &str) -> String {
    let number: u32 = number.parse().unwrap();
    (if number == 99 { 10 } else { number + 1 }).to_string()
}

macro_rules! in_every_mode_on_every_store {
    ($($name:ident)*) => {
        mod plain_in_memory {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Site::plain().await).await; })*
        }
        mod encrypted_in_memory {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(super::Site::encrypted().await).await; })*
        }
        mod plain_on_redis {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                super::$name(Site::with("", Some(Redis::start()), &[]).await).await;
            })*
        }
        mod encrypted_on_redis {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                let table = format!("encoding_aes_key = \"{KEY}\"");
                super::$name(Site::with(&table, Some(Redis::start()), &[]).await).await;
            })*
        }
    };
}

in_every_mode_on_every_store! {
    the_number_of_the_page_in_the_chat_signs_in
    a_wrong_number_ends_it
    what_is_no_number_is_asked_for_again
    a_no_declines
    whoever_follows_the_account_by_the_scan_signs_in_too
    a_repeated_callback_is_answered_the_same_and_done_once
    somebody_else_is_told_that_the_code_is_taken
}

async fn the_number_of_the_page_in_the_chat_signs_in(site: Site) {
    site.api.know_as("oUnion-1");
    let mut page = site.page().await;
    assert_eq!(page.code.expire_seconds, 120);
    assert!(!page.code.scene.contains(&page.id) && !page.code.url.contains(&page.id), "{:?}", page.code);
    let asked = site.tell(&scan(OPENID, &page.code.scene)).await;
    for part in [
        "「\u{2068}The Shop\u{2069}」",
        "IP 127.0.0.1",
        "两位数字",
        "“取消”",
        "Somebody is signing in to \u{2068}The Shop\u{2069}",
    ] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    let number = page.number().await;
    // Nothing else that it says has two digits of their own.
    assert!(!asked.split(|c: char| !c.is_ascii_digit()).any(|digits| digits == number), "{asked}");
    assert_eq!(page.state().await, "scanned", "a scan is no consent");
    let wide: String = number.chars().map(|c| char::from_u32(c as u32 - '0' as u32 + '０' as u32).unwrap()).collect();
    let told = site.tell(&text(OPENID, &format!(" {wide}\u{3000}"))).await;
    assert!(
        told.contains("已登录「\u{2068}The Shop\u{2069}」") && told.contains("Signed in to \u{2068}The Shop\u{2069}"),
        "{told}"
    );
    let claims = page.claims(&site.gateway).await;
    assert_eq!(claims["sub"], format!("wechat:{APP_ID}:{OPENID}"));
    assert_eq!(claims["unionid"], "oUnion-1");
    page.events.expect_end().await;
    assert_eq!((site.callbacks("asked").await, site.callbacks("confirmed").await), (1.0, 1.0));
    // It is over: neither is of any use again.
    assert!(site.tell(&text(OPENID, &number)).await.contains("已过期"));
    assert!(site.tell(&event(OPENID, "SCAN", &page.code.scene, now() + 1)).await.contains("已完成"));
}

async fn a_wrong_number_ends_it(site: Site) {
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    let told = site.tell(&text(OPENID, &another(&number))).await;
    assert!(told.contains("数字不正确"), "{told}");
    assert_eq!(page.events.expect("cancelled").await.data["reason"], "mismatch");
    page.events.expect_end().await;
    assert!(site.tell(&text(OPENID, &number)).await.contains("已过期"), "there is no second try");
    assert_eq!(page.state().await, "cancelled");
    assert_eq!(site.callbacks("mismatch").await, 1.0);
}

async fn what_is_no_number_is_asked_for_again(site: Site) {
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    for unclear in ["?", "4", "123", "hello", &format!("{number}!")] {
        let told = site.tell(&text(OPENID, unclear)).await;
        assert!(told.contains("请回复网页上显示的两位数字"), "{unclear}: {told}");
    }
    assert_eq!(page.state().await, "scanned");
    site.tell(&text(OPENID, &number)).await;
    let claims = page.claims(&site.gateway).await;
    assert_eq!(claims.get("unionid"), None, "WeChat has told none");
}

async fn a_no_declines(site: Site) {
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    page.number().await;
    assert!(site.tell(&text(OPENID, "取消")).await.contains("已取消登录"));
    assert_eq!(page.events.expect("cancelled").await.data["reason"], "declined");
}

async fn whoever_follows_the_account_by_the_scan_signs_in_too(site: Site) {
    let mut page = site.page().await;
    let scene = format!("qrscene_{}", page.code.scene);
    assert!(site.tell(&event(OPENID, "subscribe", &scene, now())).await.contains("The Shop"));
    let number = page.number().await;
    site.tell(&text(OPENID, &number)).await;
    assert_eq!(page.claims(&site.gateway).await["sub"], format!("wechat:{APP_ID}:{OPENID}"));
}

async fn a_repeated_callback_is_answered_the_same_and_done_once(site: Site) {
    let mut page = site.page().await;
    let message = scan(OPENID, &page.code.scene);
    // The very same, and the same message signed anew: WeChat may do either.
    let callback = site.sender.callback(&message);
    let mut said = Vec::new();
    for _ in 0..2 {
        let answer = callback.send(&site.gateway).await.text().await.unwrap();
        said.push(site.sender.read(&answer).unwrap());
    }
    said.push(site.tell(&message).await);
    assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
    let number = page.number().await;
    let (wrong, right) = (text_of(OPENID, "nothing", 1), text_of(OPENID, &number, 2));
    let asked_again = site.tell(&wrong).await;
    let signed_in = site.tell(&right).await;
    for _ in 0..2 {
        assert_eq!(site.tell(&wrong).await, asked_again);
        assert_eq!(site.tell(&right).await, signed_in);
    }
    page.claims(&site.gateway).await;
    assert_eq!(site.callbacks("repeated").await, 6.0);
    assert_eq!((site.callbacks("asked").await, site.callbacks("confirmed").await), (1.0, 1.0));
    for outcome in ["scanned", "confirmed", "claimed"] {
        let series = format!("scangate_tickets_total{{outcome=\"{outcome}\"}}");
        assert_eq!(site.gateway.metric(&series).await, 1.0, "{outcome}");
    }
    assert_eq!(site.api.count("user/info"), 1);
}

async fn somebody_else_is_told_that_the_code_is_taken(site: Site) {
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    assert!(site.tell(&scan("oMallory", &page.code.scene)).await.contains("已被他人扫描"));
    assert!(site.tell(&text("oMallory", &number)).await.contains("已过期"));
    assert_eq!(page.state().await, "scanned");
    site.tell(&text(OPENID, &number)).await;
    page.claims(&site.gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_wechats_wherever_it_is_drawn() {
    let site = Site::plain().await;
    let browser = Browser::new(&site.gateway);
    let response = browser.request(Method::POST, "/v1/tickets?qr=svg").json(&json!({"client_id": "shop"})).send().await;
    let ticket: Value = response.unwrap().json().await.unwrap();
    let code = site.api.codes().remove(0);
    assert_eq!(ticket["scan_url"], code.url);
    let id = ticket["ticket_id"].as_str().unwrap();
    let png = browser.get(&format!("/v1/tickets/{id}/qr.png")).await.bytes().await.unwrap();
    assert_eq!(Picture::of(&png).code().as_deref(), Some(code.url.as_str()));
    let seen: Value = browser.read(id).await.json().await.unwrap();
    assert_eq!(seen["scan_url"], code.url);
    // A client without the connector has codes of the gateway's own.
    let other = browser.create_with(json!({"client_id": "web"})).await;
    assert!(other["scan_url"].as_str().unwrap().starts_with(&site.gateway.public_url), "{other}");
    assert_eq!(site.api.codes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_lives_as_long_as_the_clients_tickets() {
    let api = Api::start().await;
    let (_directory, path) = file(&api.table("").replace("connector = ", "ticket_ttl = \"90s 500ms\"\nconnector = "));
    let gateway = Gateway::builder().arg("--config", path.to_str().unwrap()).start().await;
    Browser::new(&gateway).create_with(json!({"client_id": "shop"})).await;
    assert_eq!(api.codes()[0].expire_seconds, 91);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_consent_by_scan_the_scan_signs_in() {
    for more in ["consent = \"scan\"".to_owned(), format!("consent = \"scan\"\nencoding_aes_key = \"{KEY}\"")] {
        let site = Site::with(&more, None, &[]).await;
        site.api.know_as("oUnion-1");
        let mut page = site.page().await;
        assert!(site.tell(&scan(OPENID, &page.code.scene)).await.contains("已登录「\u{2068}The Shop\u{2069}」"));
        let mut frame = page.events.next().await.unwrap();
        if frame.event == "scanned" {
            assert_eq!(frame.data.get("number"), None);
            frame = page.events.next().await.unwrap();
        }
        assert_eq!(frame.event, "confirmed");
        let token = frame.data["token"]["access_token"].as_str().unwrap();
        let claims = verified_claims(&site.gateway, token, "shop").await;
        assert_eq!(
            (&claims["sub"], &claims["unionid"]),
            (&json!(format!("wechat:{APP_ID}:{OPENID}")), &json!("oUnion-1"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_scan_is_the_one_that_waits_for_its_number() {
    let site = Site::encrypted().await;
    let (mut first, mut second) = (site.page().await, site.page().await);
    site.tell(&scan(OPENID, &first.code.scene)).await;
    site.tell(&scan(OPENID, &second.code.scene)).await;
    first.number().await;
    let number = second.number().await;
    site.tell(&text(OPENID, &number)).await;
    second.claims(&site.gateway).await;
    assert_eq!(first.state().await, "scanned");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_of_the_gateways_business_is_let_be() {
    let site = Site::encrypted().await;
    let page = site.page().await;
    for message in [
        scan(OPENID, "campaign-7"),
        event(OPENID, "subscribe", "", now()),
        event(OPENID, "unsubscribe", &format!("qrscene_{}", page.code.scene), now()),
        event(OPENID, "LOCATION", &page.code.scene, now()),
        text(OPENID, "hello"),
        text(OPENID, "no"),
    ] {
        assert_eq!(site.sender.tell(&site.gateway, &message).await, None, "{message}");
    }
    assert_eq!((page.state().await, site.callbacks("ignored").await), (json!("pending"), 6.0));
    // But one of its own codes that is over, and a number that comes too late, get an answer.
    assert!(site.tell(&scan(OPENID, "scangate_AAAAAAAAAAAAAAAAAAAAAA")).await.contains("已过期"));
    assert!(site.tell(&text(OPENID, "42")).await.contains("已过期"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_or_expired_code_is_said_to_be_over() {
    let site = Site::with("", None, &[("--ticket-ttl", "5s"), ("--decision-ttl", "5s")]).await;
    let closed = site.page().await;
    closed.browser.request(Method::DELETE, &format!("/v1/tickets/{}", closed.id)).send().await.unwrap();
    assert!(site.tell(&scan(OPENID, &closed.code.scene)).await.contains("已过期或已取消"));
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    page.events.expect("expired").await;
    assert!(site.tell(&text(OPENID, &number)).await.contains("已过期"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_providers_token_stands_for_a_scan_by_wechat() {
    let site = Site::plain().await;
    let mut page = site.page().await;
    let ada = Phone::of("ada", &site.gateway);
    let refused = ada.act(&page.id, "scan").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "connector_only");
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    // Not even one that claims to be of the same subject.
    let mallory = Phone::of(&format!("wechat:{APP_ID}:{OPENID}"), &site.gateway);
    for (action, body) in [("scan", json!({})), ("confirm", json!({"match": number})), ("cancel", json!({}))] {
        let refused = mallory.act_with(&page.id, action, body).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{action}");
    }
    assert_eq!(ada.act_with(&page.id, "confirm", json!({"match": number})).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(page.state().await, "scanned");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_route_without_the_connector() {
    let gateway = Gateway::start().await;
    let response = Sender::plain().callback(&text(OPENID, "42")).send(&gateway).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_the_documentation_lists_suffice() {
    let redis = Redis::with(&["--notify-keyspace-events", "Kghxe"]);
    let (_, rights) = include_str!("../docs/configuration.md").split_once("ACL SETUSER scangate ").unwrap();
    let rights = rights.split("```").next().unwrap().replace("PASSWORD", "secret");
    let words = ["ACL", "SETUSER", "scangate"].into_iter().chain(rights.split_whitespace());
    redis.run::<()>(&words.collect::<Vec<_>>());
    let url = format!("redis://scangate:secret@127.0.0.1:{}/", redis.port());
    let site = Site::with("", None, &[("--redis-url", &url)]).await;
    let mut page = site.page().await;
    site.tell(&scan(OPENID, &page.code.scene)).await;
    let number = page.number().await;
    site.tell(&text(OPENID, &number)).await;
    page.claims(&site.gateway).await;
    let denied: Vec<String> = redis.run(&["ACL", "LOG"]);
    assert_eq!(denied, [""; 0]);
}

/// One whole sign-in as it goes over the wire; `--nocapture` shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_of_a_sign_in_in_encrypted_mode() {
    let site = Site::encrypted().await;
    site.api.know_as("oUnion-1");
    let mut page = site.page().await;
    println!("POST /v1/tickets → scan_url {}\n{:?}", page.code.url, page.code);
    let mut number = String::new();
    for step in 0..2 {
        let message = if step == 0 { scan(OPENID, &page.code.scene) } else { text(OPENID, &number) };
        let callback = site.sender.callback(&message);
        let response = callback.send(&site.gateway).await;
        let (status, kind) = (response.status(), response.headers()["content-type"].clone());
        let answer = response.text().await.unwrap();
        println!(
            "\nPOST /connectors/wechat {:?}\n{}\n= {message}",
            callback.query,
            String::from_utf8_lossy(&callback.body)
        );
        println!("→ {status} {kind:?}\n{answer}\n= {}", site.sender.read(&answer).unwrap());
        if step == 0 {
            number = page.number().await;
        }
    }
    println!("\nJWT {}", page.claims(&site.gateway).await);
}

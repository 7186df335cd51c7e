//! Problems as pages, for people; and the slashes that people type behind addresses.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::requests::exchange;
use crate::support::wire::Answer;
use crate::support::{Gateway, Redis};

/// What browsers say when they open an address.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

/// Asserts that `answer` is a page about `code` in `language`, which loads nothing.
fn assert_page(answer: &Answer, status: u16, code: &str, language: &str) {
    assert_eq!(answer.status, status, "{code}: {}", answer.body);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8", "{code}");
    assert_eq!(answer.headers["content-language"], language, "{code}");
    assert_eq!(answer.headers["cache-control"], "no-store", "{code}");
    let vary = answer.headers["vary"].to_ascii_lowercase();
    assert!(vary.contains("accept"), "{code}: {vary}");
    let policy = &answer.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("frame-ancestors 'none'"));
    assert!(
        answer.body.contains(&format!("<html lang=\"{language}\">")) && answer.body.contains(code),
        "{}",
        answer.body
    );
    assert!(answer.headers["permissions-policy"].contains("camera=()"), "{code}");
    for part in ["src=", "<link", "<script", "url("] {
        assert!(!answer.body.contains(part), "{code}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_problems_on_a_page_in_their_language() {
    let gateway = Gateway::start().await;
    let large = format!("Content-Type: application/json\r\nContent-Length: 20000\r\n\r\n{}", "x".repeat(20_000));
    let requests = [
        ("GET /nothing", "\r\n", 404, "not_found"),
        ("GET /static/nothing.js", "\r\n", 404, "not_found"),
        ("GET /v1/tickets/x", "\r\n", 404, "ticket_not_found"),
        ("PUT /", "\r\n", 405, "method_not_allowed"),
        ("GET /v1/tickets", "\r\n", 405, "method_not_allowed"),
        ("GET /v1/verify?claims=%20", "\r\n", 400, "invalid_request"),
        ("GET /v1/verify", "\r\n", 401, "no_session"),
        ("POST /v1/tickets", "Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx", 415, "unsupported_media_type"),
        ("POST /v1/tickets", "Content-Type: application/json\r\nContent-Length: 1\r\n\r\nx", 400, "malformed_json"),
        ("POST /v1/tickets", "Sec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n", 403, "origin_not_allowed"),
        ("POST /v1/tickets", large.as_str(), 413, "too_large"),
        ("GET /", "Host: second\r\n\r\n", 400, "malformed_request"),
    ];
    for (line, rest, status, code) in requests {
        let ask = async |accept: &str, language: &str| {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {accept}\r\n");
            exchange(&gateway.base, format!("{head}Accept-Language: {language}\r\n{rest}").as_bytes()).await
        };
        assert_page(&ask(BROWSER, "de, en;q=0.5").await, status, code, "en");
        assert_page(&ask(BROWSER, "zh-Hans-CN").await, status, code, "zh");
        // Programs, scripts and `EventSource` are told the same as ever.
        for accept in ["*/*", "application/json", "text/event-stream", "application/json, text/html;q=0.9", "image/*"] {
            let answer = ask(accept, "zh").await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{line}: {accept}");
            assert!(answer.headers["vary"].to_ascii_lowercase().contains("accept"), "{line}");
        }
    }
    // What a script asks for is for the script, whatever it accepts.
    for field in ["Sec-Fetch-Dest: empty", "Sec-Fetch-Dest: iframe", "X-Requested-With: x", "Authorization: Bearer x"] {
        let head =
            format!("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {BROWSER}\r\n{field}\r\n\r\n");
        assert_eq!(exchange(&gateway.base, head.as_bytes()).await.code(), "not_found", "{field}");
    }
    for field in ["Sec-Fetch-Dest: document", "Authorization: Basic eDp5"] {
        let head =
            format!("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {BROWSER}\r\n{field}\r\n\r\n");
        assert_page(&exchange(&gateway.base, head.as_bytes()).await, 404, "not_found", "en");
    }
    // The language may be asked for, as of every page.
    let asked =
        format!("GET /nothing?lang=zh_CN HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {BROWSER}\r\n\r\n");
    assert_page(&exchange(&gateway.base, asked.as_bytes()).await, 404, "not_found", "zh");
    let head = format!("HEAD /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {BROWSER}\r\n\r\n");
    let head = exchange(&gateway.base, head.as_bytes()).await;
    assert_eq!((head.status, head.body.as_str()), (404, ""));
    assert_eq!(head.headers["content-type"], "text/html; charset=utf-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_about_what_passes_says_when_and_comes_again() {
    let mut redis = Redis::start();
    let gateway =
        Gateway::builder().redis(&redis).arg("--redis-timeout", "200ms").arg("--rate-create", "1").start().await;
    let ask = async |line: &str, rest: &str| {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: {BROWSER}\r\n");
        exchange(&gateway.base, format!("{head}{rest}\r\n").as_bytes()).await
    };
    assert_eq!(ask("POST /v1/tickets", "Content-Length: 0\r\n").await.status, 201);
    let mut last = ask("POST /v1/tickets", "Content-Length: 0\r\n").await;
    for _ in 0..10 {
        if last.status == 429 {
            break;
        }
        last = ask("POST /v1/tickets", "Content-Length: 0\r\n").await;
    }
    assert_page(&last, 429, "rate_limited", "en");
    assert!(last.headers.contains_key("retry-after") && !last.body.contains("http-equiv=\"refresh\""));
    redis.kill();
    let gone = ask("GET /v1/tickets/AAAAAAAAAAAAAAAAAAAAAA/qr.svg", "").await;
    assert_page(&gone, 503, "unavailable", "en");
    assert!(gone.headers.contains_key("retry-after") && gone.body.contains("http-equiv=\"refresh\""), "{}", gone.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn slashes_behind_a_page_lead_to_it() {
    let gateway = Gateway::start().await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = async |method: Method, path: &str| http.request(method, gateway.url(path)).send().await.unwrap();
    for (path, page) in [
        ("/s/AAAAAAAAAAAAAAAAAAAAAA/", "/s/AAAAAAAAAAAAAAAAAAAAAA"),
        ("/s/x/?lang=zh&a=%2F/", "/s/x?lang=zh&a=%2F/"),
        ("/s/x///", "/s/x"),
        ("/share/", "/share"),
        ("/share/?client_id=web", "/share?client_id=web"),
        ("/share/x/", "/share/x"),
        ("/share/x/?", "/share/x?"),
        ("/s/%2F%2Fevil.example/", "/s/%2F%2Fevil.example"),
        ("//", "/"),
        ("//?lang=zh", "/?lang=zh"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = ask(method, path).await;
            assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT, "{path}");
            assert_eq!(answer.headers()["location"], page, "{path}");
        }
        let page = ask(Method::GET, page).await;
        assert_eq!(page.status(), StatusCode::OK, "{path}");
    }
    // Nothing that leads elsewhere, and nothing for what is no page.
    for path in [
        "//evil.example/",
        "//evil.example",
        "///evil.example/",
        "/s//evil.example/",
        "/s//",
        "/s/",
        "/s",
        "/share//x/",
        "/s/x/y/",
        "/nothing/",
        "/v1/tickets/",
        "/v1/tickets/x/",
        "/static/style.css/",
        "/healthz/",
        "/\\evil.example/",
    ] {
        let answer = ask(Method::GET, path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.headers().contains_key("location"), "{path}");
    }
    assert_eq!(ask(Method::POST, "/s/x/").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_hangs_on_is_named_whole() {
    let gateway = Gateway::start().await;
    let answer = reqwest::get(gateway.url("/v1/tickets/x")).await.unwrap();
    let vary = answer.headers().get_all("vary").iter().flat_map(|value| value.to_str().unwrap().split(','));
    let vary: BTreeSet<_> = vary.map(|name| name.trim().to_ascii_lowercase()).collect();
    assert_eq!(vary.into_iter().collect::<Vec<_>>(), ["accept", "origin"]);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "ticket_not_found");
}

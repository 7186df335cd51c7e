//! What the edge refuses by itself: in words, for programs as JSON and for people on a page, and never as nginx's own pages.

use std::net::Ipv4Addr;

use aws_lc_rs::digest;
use base64::Engine as _;
use reqwest::header;

use crate::support::nginx::Place;
use crate::support::wire::{Answer, Wire, large_cookies};
use crate::support::{Edge, free_port};

const PERSON: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

/// Asserts that `answer` is a page of the edge's own, in both languages.
fn assert_page(answer: &Answer, status: u16, words: &str) {
    assert_eq!(
        (answer.status, answer.headers["content-type"].as_str()),
        (status, "text/html; charset=utf-8"),
        "{words}"
    );
    assert!(answer.body.contains(words) && answer.body.contains("lang=\"zh\""), "{words}: {}", answer.body);
    assert!(!answer.body.contains("<center>"), "{words}: nginx's own page");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let style = answer.body.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = base64::engine::general_purpose::STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
    let policy = &answer.headers["content-security-policy"];
    assert!(
        policy.contains(&format!("style-src 'sha256-{hash}'")),
        "a browser would not take the style: {policy} {hash}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_edge_refuses_is_nginxs_own_page() {
    let place = Place::choose();
    // Nobody behind it: whatever is said, the edge says.
    let edge = Edge::start(place, &[&format!("127.0.0.1:{}", free_port())]);
    let body = "x".repeat(100_000);
    let requests = [
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{{}}{}\r\n", large_cookies()),
            431,
            "head_too_large",
            "much data",
        ),
        ("GET /v1/tickets/x HTTP/1.1\r\n{}\r\n".to_owned(), 400, "malformed_request", "Invalid request"),
        ("GET / HTTP/1.1\r\n{}Host: a b\r\n\r\n".to_owned(), 400, "malformed_request", "Invalid request"),
        ("GET / HTTP/1.1\r\n{}Host: a\r\nHost: b\r\n\r\n".to_owned(), 400, "malformed_request", "Invalid request"),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\n{}Connection: close\r\n\r\n".to_owned(),
            405,
            "method_not_allowed",
            "isn’t possible",
        ),
        (
            "GET /healthz HTTP/1.1\r\nHost: a\r\n{}Connection: close\r\n\r\n".to_owned(),
            404,
            "not_found",
            "Page not found",
        ),
        (
            "GET /edge/page HTTP/1.1\r\nHost: a\r\n{}Connection: close\r\n\r\n".to_owned(),
            404,
            "not_found",
            "Page not found",
        ),
        (
            format!("POST /v1/tickets HTTP/1.1\r\nHost: a\r\n{{}}Content-Length: 100000\r\n\r\n{body}"),
            413,
            "too_large",
            "much data",
        ),
        (
            format!("GET /v1/tickets/x/events HTTP/1.1\r\nHost: a\r\n{{}}Content-Length: 100000\r\n\r\n{body}"),
            413,
            "too_large",
            "much data",
        ),
        (
            format!("POST /s/x HTTP/1.1\r\nHost: a\r\n{{}}Content-Length: 100000\r\n\r\n{body}"),
            413,
            "too_large",
            "much data",
        ),
        (
            "POST /v1/tickets HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: gzip\r\nConnection: close\r\n\r\n".to_owned(),
            501,
            "malformed_request",
            "Invalid request",
        ),
    ];
    for (request, status, code, words) in requests {
        let ask = async |accept: &str| {
            let wire = Wire::tls(&edge, Ipv4Addr::LOCALHOST).await.unwrap();
            wire.exchange(request.replacen("{}", accept, 1).as_bytes()).await
        };
        for accept in ["", "Accept: */*\r\n", "Accept: application/json, text/html\r\n"] {
            let answer = ask(accept).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{:.60}", request);
            assert_eq!(answer.headers.contains_key("allow"), status == 405);
            assert!(!answer.headers.contains_key("retry-after"));
        }
        assert_page(&ask(PERSON).await, status, words);
    }
    // Of these nginx reads no more than the line, so it does not know who asks.
    for (line, status, code) in [
        (format!("GET /{} HTTP/1.1", "x".repeat(20_000)), 414, "uri_too_long"),
        ("nonsense".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/9.1".to_owned(), 505, "malformed_request"),
    ] {
        let wire = Wire::tls(&edge, Ipv4Addr::LOCALHOST).await.unwrap();
        let answer = wire.exchange(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
    // The same on the port that only sends on, and of what is no TLS on the one that is for it.
    for (port, request, status) in [
        (edge.http_port, format!("GET / HTTP/1.1\r\nHost: localhost\r\n{PERSON}{}\r\n", large_cookies()), 431),
        (edge.http_port, format!("GET / HTTP/1.1\r\n{PERSON}\r\n"), 400),
        (edge.port(), format!("GET / HTTP/1.1\r\nHost: localhost\r\n{PERSON}\r\n"), 400),
    ] {
        let answer = Wire::tcp(&format!("127.0.0.1:{port}")).await.exchange(request.as_bytes()).await;
        assert_page(&answer, status, if status == 431 { "much data" } else { "Invalid request" });
    }
    // The log says what was asked for, not where the answer comes from.
    let log = edge.access_log().join("\n");
    assert!(log.contains("\"path\":\"/healthz\"") && !log.contains("\"path\":\"/edge/problem\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_that_are_too_large_are_told_through_the_edge() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    // Over HTTP/2 browsers send each cookie by itself. The edge takes them, and the gateway has its own bound.
    let ask = async |accept: &str| {
        let mut request = edge.http().build().unwrap().get(edge.url("/")).header(header::ACCEPT, accept);
        for n in 0..5 {
            request = request.header(header::COOKIE, format!("app{n}={}", "x".repeat(3_900)));
        }
        request.send().await.unwrap()
    };
    let page = ask("text/html").await;
    assert_eq!((page.status().as_u16(), page.version()), (431, reqwest::Version::HTTP_2));
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("Delete this site’s cookies"));
    let problem: serde_json::Value = ask("*/*").await.json().await.unwrap();
    assert_eq!(problem["code"], "head_too_large");
}

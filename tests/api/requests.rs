//! Requests by the book (RFC 9110, RFC 9112): heads, hosts, methods, bodies and what they are answered, to the byte.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Browser, Phone, file};
use crate::support::wire::{Answer, Wire, large_cookies};

/// Asks for JSON, as programs do, and for a page, as browsers do.
const PROGRAM: &str = "Accept: */*\r\n";
const PERSON: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

/// Sends `request` to `base` and returns the last answer on that connection, which has to be closed in good order.
pub(super) async fn exchange(base: &str, request: &[u8]) -> Answer {
    Wire::tcp(base).await.exchange(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused_in_words() {
    let gateway = Gateway::start().await;
    let many: String = (0..70).map(|n| format!("x-{n}: 1\r\n")).collect();
    let large = [large_cookies(), many, format!("x: {}\r\n", "y".repeat(200_000))];
    for base in [&gateway.base, &gateway.admin] {
        for fields in &large {
            for line in ["GET / HTTP/1.1", "GET /v1/tickets/x HTTP/1.1", "POST /v1/tickets HTTP/1.1"] {
                let request = format!("{line}\r\nHost: localhost\r\n{PROGRAM}{fields}\r\n");
                let answer = exchange(base, request.as_bytes()).await;
                assert_eq!((answer.status, answer.code().as_str()), (431, "head_too_large"), "{line}");
                assert_eq!(answer.headers["connection"], "close");
                assert_eq!(answer.headers["content-length"], answer.body.len().to_string());
                assert_eq!(answer.headers["cache-control"], "no-store");
            }
        }
        let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(20_000));
        assert_eq!(exchange(base, long.as_bytes()).await.code(), "uri_too_long");
        // To HEAD without a body, as ever.
        let head = exchange(base, format!("HEAD / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", large[0]).as_bytes()).await;
        assert_eq!((head.status, head.body.as_str()), (431, ""));
    }
    // It is an answer like every other: with an id, counted, and logged as from where it came.
    let request = format!(
        "GET /s/x HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.9\r\nX-Request-ID: abc\r\n{}\r\n",
        large[0]
    );
    let answer = exchange(&gateway.base, request.as_bytes()).await;
    assert_eq!(answer.headers["x-request-id"], "abc");
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap()["request_id"], "abc");
    assert!(gateway.metric("scangate_refused_total{reason=\"head_too_large\"}").await >= 10.0);
    // What fits stays welcome, on a connection that stays open.
    let fits = format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: a={}\r\n", "x".repeat(12_000));
    let two = format!("{fits}\r\n{fits}Connection: close\r\n\r\n");
    assert_eq!(exchange(&gateway.base, two.as_bytes()).await.status, 200);
    // Whether an answer came before on the connection makes no difference.
    let after = format!(
        "GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        large[1]
    );
    assert_eq!(exchange(&gateway.base, after.as_bytes()).await.code(), "head_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whose_cookies_are_too_large_is_told_so_on_a_page() {
    let gateway = Gateway::start().await;
    let ask = async |language: &str| {
        let cookies = large_cookies();
        let request =
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{PERSON}Accept-Language: {language}\r\n{cookies}\r\n");
        exchange(&gateway.base, request.as_bytes()).await
    };
    for (language, words) in [("en-GB", "cookies in your browser"), ("zh_CN", "Cookie")] {
        let answer = ask(language).await;
        assert_eq!(answer.status, 431);
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(answer.headers["content-language"], &language[..2]);
        assert!(answer.body.contains(words) && answer.body.contains("head_too_large"), "{}", answer.body);
        // It has to be whole without a further request, which would be refused too.
        assert!(!answer.body.contains("src=") && !answer.body.contains("rel=\"stylesheet\""), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_no_http_is_refused_as_a_problem() {
    let gateway = Gateway::start().await;
    for base in [&gateway.base, &gateway.admin] {
        for head in [
            "GET / HTTP/1.1\r\nHost: localhost\r\na b: c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
            "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET nonsense HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            "\u{16}\u{3}\u{1}\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            let answer = exchange(base, head.as_bytes()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_request"), "{head:?}");
            assert!(!answer.body.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host() {
    let gateway = Gateway::start().await;
    let refused = [
        "GET {p} HTTP/1.1\r\n",
        "GET {p} HTTP/1.1\r\nHost:\r\n",
        "GET {p} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET {p} HTTP/1.1\r\nHost: localhost\r\nhost: y\r\n",
        "GET {p} HTTP/1.1\r\nHost: x y\r\n",
        "GET {p} HTTP/1.1\r\nHost: ada@x\r\n",
        "GET {p} HTTP/1.1\r\nHost: x:y\r\n",
        "GET {p} HTTP/1.1\r\nHost: x:80:80\r\n",
        "GET {p} HTTP/1.1\r\nHost: x:65536\r\n",
        "GET {p} HTTP/1.1\r\nHost: http://x\r\n",
        "GET {p} HTTP/1.1\r\nHost: x/y\r\n",
        "GET {p} HTTP/1.1\r\nHost: [::1\r\n",
        "GET {p} HTTP/1.1\r\nHost: [x]\r\n",
        "GET {p} HTTP/1.1\r\nHost: zür\r\n",
        "GET {p} HTTP/1.1\r\nHost: x%\r\n",
        "GET {p} HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET {p} HTTP/1.0\r\nHost: x y\r\n",
        "GET http://x{p} HTTP/1.1\r\n",
        "GET http://x{p} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET http://ada@x{p} HTTP/1.1\r\nHost: localhost\r\n",
        "GET ftp://x{p} HTTP/1.1\r\nHost: localhost\r\n",
        "POST {p} HTTP/1.1\r\nContent-Length: 0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
    ];
    let served = [
        "GET {p} HTTP/1.1\r\nHost: localhost\r\n",
        "GET {p} HTTP/1.1\r\nhOST:   localhost:8080  \r\n",
        "GET {p} HTTP/1.1\r\nHost: [::1]:8080\r\n",
        "GET {p} HTTP/1.1\r\nHost: localhost:\r\n",
        "GET {p} HTTP/1.0\r\n",
        "GET {p} HTTP/1.0\r\nHost: localhost\r\n",
        "GET http://localhost:8080{p} HTTP/1.1\r\nHost: other\r\n",
    ];
    for (base, path) in [(&gateway.base, "/v1/openapi.json"), (&gateway.admin, "/healthz")] {
        for head in refused {
            let request = format!("{}Connection: close\r\n\r\n", head.replace("{p}", path));
            let answer = exchange(base, request.as_bytes()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_request"), "{head:?}");
        }
        for head in served {
            let request = format!("{}Connection: close\r\n\r\n", head.replace("{p}", path));
            assert_eq!(exchange(base, request.as_bytes()).await.status, 200, "{head:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_names_its_methods_truly() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\ncolor = \"#123456\"\n");
    let gateway =
        Gateway::builder().own_identity().arg("--demo", "true").arg("--config", config.to_str().unwrap()).start().await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let document: Value = http.get(gateway.url("/v1/openapi.json")).send().await.unwrap().json().await.unwrap();
    let described = document["paths"].as_object().unwrap().iter().map(|(path, item)| {
        let methods: Vec<String> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        (path.replace("{id}", "AAAAAAAAAAAAAAAAAAAAAA"), methods)
    });
    let reading = ["/", "/s/x", "/share", "/share/x", "/static/style.css", "/static/texts.json", "/v1/openapi.json"];
    let reading = reading.into_iter().chain(["/v1/clients/web/theme.css", "/v1/clients/web/logo.png"]);
    let others = reading.map(|path| (path.to_owned(), vec!["GET".to_owned()]));
    let demo = [("/demo/sign-in".to_owned(), vec!["POST".to_owned()])];
    let ask = async |method: &str, path: &str| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        http.request(method, gateway.url(path)).send().await.unwrap()
    };
    let allowed = |answer: &reqwest::Response| {
        let allow = answer.headers().get_all("allow").iter().collect::<Vec<_>>();
        assert_eq!(allow.len(), 1, "{}", answer.url());
        let mut all: Vec<_> = allow[0].to_str().unwrap().split(", ").map(str::to_owned).collect();
        all.sort();
        all
    };
    let mut count = 0;
    for (path, methods) in described.chain(others).chain(demo) {
        let asked = ask("OPTIONS", &path).await;
        assert!(asked.status().is_success(), "{path}: {}", asked.status());
        let allow = allowed(&asked);
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"] {
            let answer = ask(method, &path).await;
            let is_allowed = allow.iter().any(|allowed| allowed == method);
            assert_eq!(answer.status() != StatusCode::METHOD_NOT_ALLOWED, is_allowed, "{method} {path}: {allow:?}");
            if method != "HEAD" {
                assert_eq!(methods.iter().any(|described| described == method), is_allowed, "{method} {path}");
            }
            if !is_allowed {
                assert_eq!(allowed(&answer), allow, "{method} {path}");
            }
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
    // A method that may not be used anywhere is no matter where there is nothing.
    for method in ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE"] {
        for path in ["/nothing", "/v1/tickets/x/nothing", "/v1/tickets/x/scan/", "/v1/", "/static"] {
            let answer = ask(method, path).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
            assert!(!answer.headers().contains_key("allow"), "{method} {path}");
        }
    }
    for head in ["OPTIONS * HTTP/1.1", "CONNECT x:80 HTTP/1.1"] {
        let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = exchange(&gateway.base, request.as_bytes()).await;
        assert_eq!(answer.status, if head.starts_with('O') { 204 } else { 405 });
        assert_eq!(answer.headers["allow"], "GET, HEAD, POST, DELETE, OPTIONS");
    }
    let admin = http.post(format!("{}/healthz", gateway.admin)).send().await.unwrap();
    assert_eq!(allowed(&admin), ["GET", "HEAD", "OPTIONS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_body_is_an_empty_object_of_whatever_type() {
    let gateway = Gateway::start().await;
    let browser = Browser::new(&gateway);
    let ada = Phone::of("ada", &gateway);
    let types = [
        None,
        Some("application/json"),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/octet-stream"),
        Some("nonsense"),
        Some(""),
    ];
    let post = async |path: &str, content_type: Option<&str>, bearer: Option<&str>| {
        let mut request = browser.request(Method::POST, path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    };
    for content_type in types {
        let created = post("/v1/tickets", content_type, None).await;
        assert_eq!(created.status(), StatusCode::CREATED, "{content_type:?}");
        let id = created.json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
        for action in ["scan", "confirm"] {
            let answer = post(&format!("/v1/tickets/{id}/{action}"), content_type, Some(&ada.token)).await;
            assert_eq!(answer.status(), StatusCode::OK, "{action} with {content_type:?}");
        }
        let other = browser.create().await;
        let cancelled = post(&format!("/v1/tickets/{other}/cancel"), content_type, None).await;
        assert_eq!(cancelled.status(), StatusCode::OK, "{content_type:?}");
        // A form is answered as one, empty or not.
        let is_form = content_type == Some("application/x-www-form-urlencoded");
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut request = http.post(gateway.url("/v1/sign-out")).header("sec-fetch-site", "same-origin");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let signed_out = request.send().await.unwrap().status().as_u16();
        assert_eq!(signed_out, if is_form { 303 } else { 204 }, "{content_type:?}");
        let redeemed = post("/v1/redeem", content_type, None).await.status();
        assert_eq!(redeemed, StatusCode::UNAUTHORIZED, "{content_type:?}");
    }
    // What is there still has to say that it is JSON.
    for body in [" ", "{}"] {
        let answer = browser.request(Method::POST, "/v1/tickets").body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{body:?}");
    }
    // An empty one may come in chunks.
    let chunked = "POST /v1/tickets HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(exchange(&gateway.base, chunked.as_bytes()).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_framed_wrong_is_malformed_and_not_too_large() {
    let gateway = Gateway::start().await;
    let paths = ["/v1/tickets", "/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA/scan", "/v1/redeem", "/v1/sign-out"];
    for path in paths {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        );
        for rest in [
            "Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2{}\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n2\n\n{}\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        ] {
            let answer = exchange(&gateway.base, format!("{head}{rest}").as_bytes()).await;
            assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_request"), "{path} {rest:?}");
        }
        // One that is larger than what is taken stays too large, whether that is said before or found out.
        let large = "x".repeat(20_000);
        for rest in [
            format!("Content-Length: 20000\r\n\r\n{large}"),
            format!("Transfer-Encoding: chunked\r\n\r\n4e20\r\n{large}\r\n0\r\n\r\n"),
        ] {
            let answer = exchange(&gateway.base, format!("{head}{rest}").as_bytes()).await;
            assert_eq!(answer.code(), "too_large", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_body_that_nobody_reads_still_arrives() {
    let gateway = Gateway::start().await;
    // More than the system takes in at once: the answer is sent while most of it is on its way.
    let body = "x".repeat(900_000);
    for (line, code) in [("POST /v1/tickets", "too_large"), ("POST /v1/nothing", "not_found")] {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
        );
        assert_eq!(exchange(&gateway.base, format!("{head}{body}").as_bytes()).await.code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_may_be_named_in_the_query() {
    let gateway = Gateway::start().await;
    let browser = Browser::new(&gateway);
    let id = browser.create().await;
    Phone::of("ada", &gateway).approve(&id).await;
    let events = async |query: &str, header: Option<&str>| {
        let mut request = browser.request(Method::GET, &format!("/v1/tickets/{id}/events{query}"));
        if let Some(header) = header {
            request = request.header("last-event-id", header);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(events("", None).await, 200, "which claims it");
    for name in ["lastEventId", "lastEventID", "last-event-id", "Last-Event-ID", "last_event_id", "evs_last_event_id"] {
        assert_eq!(events(&format!("?{name}=4"), None).await, 204, "{name}");
        assert_eq!(events(&format!("?r=0.5&{name}=4&evs_preamble=1"), None).await, 204, "{name}");
        assert_eq!(events(&format!("?{name}=1"), None).await, 200, "{name}");
    }
    for query in ["?lastEventId=", "?lastEventId=x", "?x=4", "?lastEventIdx=4", "?lastEventId=-1"] {
        assert_eq!(events(query, None).await, 200, "{query}");
    }
    // So may be that it has expired, whatever has become of it.
    assert_eq!(events("?lastEventId=expired", None).await, 204);
    // The header counts where both are there.
    assert_eq!(events("?lastEventId=4", Some("1")).await, 200);
    assert_eq!(events("?lastEventId=1", Some("4")).await, 204);
    assert_eq!(events("?lastEventId=4", Some("nonsense")).await, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_allows_what_scripts_send() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\norigins = [\"https://app.example.com\"]\n");
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let http = reqwest::Client::new();
    let preflight = async |origin: &str| {
        let request = http
            .request(Method::OPTIONS, gateway.url("/v1/tickets"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,cache-control,traceparent");
        request.send().await.unwrap()
    };
    let answer = preflight("https://app.example.com").await;
    assert!(answer.status().is_success());
    let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap().to_ascii_lowercase();
    let allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
    for name in [
        "authorization",
        "content-type",
        "last-event-id",
        "cache-control",
        "pragma",
        "accept",
        "x-requested-with",
        "traceparent",
        "tracestate",
        "baggage",
    ] {
        assert!(allowed.contains(&name), "{name}: {allowed:?}");
    }
    for name in ["x-forwarded-for", "x-request-id", "x-original-uri", "cookie", "host", "*"] {
        assert!(!allowed.contains(&name), "{name}");
    }
    assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    assert!(!preflight("https://evil.example").await.headers().contains_key("access-control-allow-origin"));
    let json = json!({}).to_string();
    let sent = http
        .post(gateway.url("/v1/tickets"))
        .header("origin", "https://app.example.com")
        .header("content-type", "application/json")
        .header("cache-control", "no-cache")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(json);
    assert_eq!(sent.send().await.unwrap().status(), StatusCode::CREATED);
}

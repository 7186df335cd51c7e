//! The edge as `nginx/run` starts it: TLS, HTTP/2, unbuffered events, whose address counts, and what it says by itself.

mod errors;
mod way_back;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use base64::Engine as _;
use futures_util::StreamExt as _;
use reqwest::{ClientBuilder, Method, StatusCode, Version, header};
use serde_json::{Value, json};

use crate::support::events::EventStream;
use crate::support::gateway::{Browser, Phone, token, verify_with};
use crate::support::nginx::{Place, upstream};
use crate::support::{Edge, Redis, eventually, free_port};

/// How soon an event comes when nothing holds it back. Heartbeats, which would push it out of a buffer, are far rarer.
const PROMPT: Duration = Duration::from_secs(2);
/// What a client without any address of its own claims to be.
const FORGED: &str = "203.0.113.7";

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_by_http2_gets_each_event_at_once() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    assert_eq!(sign_in(&edge, edge.http(), Version::HTTP_2).await["sub"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_by_http1_gets_each_event_at_once() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    assert_eq!(sign_in(&edge, edge.http().http1_only(), Version::HTTP_11).await["sub"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_goes_over_a_unix_socket_with_the_browsers_address() {
    let place = Place::choose();
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("gateway.sock").display());
    let _gateway = place.gateway().arg("--listen", &socket).start().await;
    let edge = Edge::start(place, &[&socket]);
    assert_eq!(sign_in(&edge, edge.http(), Version::HTTP_2).await["sub"], "ada");
    assert_eq!(address_on_the_phone(&edge).await, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_redis_share_a_sign_in() {
    let redis = Redis::start();
    let place = Place::choose();
    let keys = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_scangate")).args(["keys", "new", "--dir"]).arg(keys.path()).output();
    assert!(made.unwrap().status.success());
    let start = || place.gateway().redis(&redis).arg("--keys-dir", keys.path().to_str().unwrap()).start();
    let (one, other) = (start().await, start().await);
    let edge = Edge::start(place, &[upstream(&one), upstream(&other)]);

    for _ in 0..3 {
        assert_eq!(sign_in(&edge, edge.http(), Version::HTTP_2).await["sub"], "ada");
    }
    for gateway in [&one, &other] {
        let used = edge.access_log().iter().filter(|line| line.contains(upstream(gateway))).count();
        assert!(used > 2, "the edge went to {} {used} times", gateway.base);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_browser_claims_is_not_believed() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    assert_eq!(address_on_the_phone(&edge).await, "127.0.0.1");

    // The same without the edge: loopback is a trusted proxy, so what is replaced above would have been believed.
    let ticket = create_with_forged_address(&Browser::new(&gateway)).await;
    let scan: Value = Phone::of("ada", &gateway).act(&ticket, "scan").await.json().await.unwrap();
    assert_eq!(scan["requester"]["ip"], FORGED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binding_is_a_host_cookie_for_https_alone() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let response = edge.browser().request(Method::POST, "/v1/tickets").json(&json!({})).send().await.unwrap();
    let cookies: Vec<_> = response.headers().get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(cookies.len(), 1);
    let mut parts = cookies[0].to_str().unwrap().split("; ");
    let (name, secret) = parts.next().unwrap().split_once('=').unwrap();
    assert_eq!(name, "__Host-scangate");
    assert!(secret.len() >= 43, "256 bits do not fit in {} characters", secret.len());
    let mut attributes: Vec<_> = parts.collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_security_headers_once() {
    let place = Place::named("sign-in.example");
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let http = edge.http().build().unwrap();
    for path in
        ["/", "/s/AAAAAAAAAAAAAAAAAAAAAA", "/static/style.css", "/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA", "/nothing"]
    {
        let response = http.get(edge.url(path)).send().await.unwrap();
        let headers = response.headers();
        for (name, value) in [
            ("strict-transport-security", "max-age=63072000"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("server", "nginx"),
        ] {
            let all: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(all, [value], "{name} of {path}");
        }
        let policies: Vec<_> = headers.get_all("content-security-policy").iter().collect();
        assert_eq!(policies.len(), 1, "{path}: {policies:?}");
        let policy = policies[0].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
    let of_gateway = http.get(edge.url("/")).send().await.unwrap();
    drop(gateway);
    let refused = http.get(edge.url("/v1/tickets/x")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(refused.headers()["strict-transport-security"], "max-age=63072000", "of the edge's own answer");
    // People are told in words, by a page that comes again by itself.
    for path in ["/", "/s/AAAAAAAAAAAAAAAAAAAAAA", "/share"] {
        let page = http.get(edge.url(path)).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert_eq!(page.headers()["cache-control"], "no-store");
        for name in [
            "permissions-policy",
            "cross-origin-opener-policy",
            "cross-origin-resource-policy",
            "referrer-policy",
            "x-content-type-options",
            "strict-transport-security",
        ] {
            assert_eq!(page.headers()[name], of_gateway.headers()[name], "{path}: {name}");
        }
        let html = page.text().await.unwrap();
        for part in ["isn’t responding", "没有应答", "http-equiv=\"refresh\""] {
            assert!(html.contains(part), "{path}: {html}");
        }
        // Its style is the one thing that its policy allows, by its hash.
        let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = base64::engine::general_purpose::STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
        let expected = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        assert_eq!(policy, expected, "of $edge_policy in nginx/scangate.conf.template");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_not_forced_to_https_for_years() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let response = edge.browser().get("/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("strict-transport-security"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_sent_on_to_https() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let plain = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = plain.get(format!("http://127.0.0.1:{}/?client_id=web", edge.http_port));
    let response = request.header("host", "evil.example").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(response.headers()["location"], edge.url("/?client_id=web").as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_2_and_1_3_are_spoken() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let _edge = Edge::before(&gateway, place);
    for (version, is_spoken) in [("-tls1", false), ("-tls1_1", false), ("-tls1_2", true), ("-tls1_3", true)] {
        let said = handshake(place, version);
        assert_eq!(
            said.contains("Cipher is ECDHE-") || said.contains("Cipher is TLS_"),
            is_spoken,
            "{version}: {said}"
        );
        // It has to be the edge that refuses, not our own client.
        assert_eq!(said.contains("alert protocol version"), !is_spoken, "{version}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_operators_is_not_found_even_if_the_edge_leads_there() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let admin = gateway.admin.trim_start_matches("http://");
    let edge = Edge::start(place, &[admin]);
    for path in ["/metrics", "/readyz", "/healthz", "/metrics/", "/%6detrics", "/x/../metrics", "//metrics"] {
        let request = edge.http().build().unwrap().get(edge.url("/"));
        let mut request = request.build().unwrap();
        request.url_mut().set_path(path);
        let response = edge.http().build().unwrap().execute(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(reqwest::get(format!("{}/metrics", gateway.admin)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_wait_outlasts_the_time_that_other_answers_have() {
    // Above the 15 s that the edge gives an ordinary answer, and below the first heartbeat.
    const WAIT: Duration = Duration::from_secs(17);
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let (browser, phone) = (edge.browser(), edge.phone(token("ada")));
    let ticket = browser.create().await;
    let mut stream = browser.events(&ticket).await;
    stream.expect("pending").await;

    let asked = Instant::now();
    let response = browser.get(&format!("/v1/tickets/{ticket}?wait={}&revision=1", WAIT.as_secs())).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(asked.elapsed() >= WAIT, "it came after {:?}", asked.elapsed());
    assert_eq!(response.json::<Value>().await.unwrap()["state"], "pending");

    let path = format!("/v1/tickets/{ticket}?wait=60&revision=1");
    let waiting = async { browser.get(&path).await.json::<Value>().await.unwrap() };
    let scanning = async {
        let is_waiting = async || (gateway.metric("scangate_streams_open").await >= 2.0).then_some(());
        eventually("the second long poll", is_waiting).await;
        assert_eq!(phone.act(&ticket, "scan").await.status(), StatusCode::OK);
    };
    let (polled, ()) = tokio::join!(waiting, scanning);
    assert_eq!(polled["state"], "scanned");
    stream.expect("scanned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_down_is_a_problem_to_the_api_and_a_retry_to_streams() {
    let place = Place::choose();
    let edge = Edge::start(place, &[&format!("127.0.0.1:{}", free_port())]);
    let browser = edge.browser();

    let request = browser.request(Method::GET, "/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA");
    let response = request.header("origin", "https://shop.example").send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "5");
    assert_eq!(response.headers()["access-control-allow-origin"], "https://shop.example", "it may know why");
    assert_eq!(response.headers()["access-control-expose-headers"], "Retry-After");
    let problem = problem(response, StatusCode::BAD_GATEWAY).await;
    assert_eq!(problem["code"], "unavailable");

    let response = browser.get("/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA/events").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.status(), StatusCode::OK, "EventSource gives up on anything else");
    let body = response.text().await.unwrap();
    let millis: u64 = body
        .strip_prefix("retry: ")
        .unwrap()
        .strip_suffix("\nevent: reconnect\ndata: {}\n\n")
        .unwrap()
        .parse()
        .unwrap();
    assert!((3000..=7000).contains(&millis), "{millis}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_return_after_an_outage_do_not_come_together() {
    let place = Place::choose();
    let edge = Edge::start(place, &[&format!("127.0.0.1:{}", free_port())]);
    let browser = edge.browser();
    let mut waits = std::collections::HashSet::new();
    for _ in 0..40 {
        waits.insert(browser.get("/v1/tickets/x/events").await.text().await.unwrap());
    }
    assert!(waits.len() > 2, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_by_the_edge_in_words() {
    let place = Place::choose();
    // Nobody behind it: whatever is said, the edge says.
    let edge = Edge::start(place, &[&format!("127.0.0.1:{}", free_port())]);
    let body = "x".repeat(17 * 1024);
    let response = edge.browser().request(Method::POST, "/v1/tickets").body(body).send().await.unwrap();
    let problem = problem(response, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(problem["code"], "too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_in_a_hurry_is_slowed_down_in_words() {
    // More at once than 256 are another limit: that of requests that wait.
    const AT_ONCE: usize = 100;
    // nginx ends a connection after a thousand requests.
    const EACH_CONNECTION: usize = 900;
    // On a machine that answers fewer than 100 a second nobody is in a hurry.
    const HURRY: usize = 20 * EACH_CONNECTION;
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let browsers: Vec<_> = (0..HURRY / EACH_CONNECTION).map(|_| edge.browser()).collect();
    let mut answers = futures_util::stream::iter(0..HURRY)
        .map(|request| browsers[request / EACH_CONNECTION].get("/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA"))
        .buffer_unordered(AT_ONCE);
    let mut served = 0;
    let slowed = loop {
        let answer = answers.next().await.expect("nobody was slowed down");
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        served += 1;
    };
    // Answers overtake each other, those that are on their way by as many as there are.
    assert!(served >= 600 - AT_ONCE, "an office that comes to work at nine is to be let in: {served}");
    assert_eq!(slowed.headers()["retry-after"], "1");
    assert_eq!(problem(slowed, StatusCode::TOO_MANY_REQUESTS).await["code"], "rate_limited");
}

/// The part of the edge's configuration that finds callers, in an nginx that says what it has found.
#[tokio::test(flavor = "multi_thread")]
async fn the_edge_counts_callers_as_the_gateway_does() {
    use std::net::IpAddr;

    use crate::support::process::Process;
    use scangate::callers::{Caller, Tier};

    let template = include_str!("../nginx/scangate.conf.template");
    let (_, maps) = template.split_once("map $binary_remote_addr $edge_caller").unwrap();
    let (maps, _) = maps.split_once("limit_req_zone").unwrap();
    let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
    let path = directory.path().join("nginx.conf");
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", directory.path().display()))
        .concat();
    let config = format!(
        "daemon off; pid {}/pid; error_log stderr; events {{}} http {{ access_log off; {temp}
         map $binary_remote_addr $edge_caller{maps}
         server {{ listen 127.0.0.1:{port}; default_type application/octet-stream;
           set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
           location /0 {{ return 200 $edge_caller; }} location /1 {{ return 200 $edge_site; }}
           location /2 {{ return 200 $edge_network; }} }} }}",
        directory.path().display()
    );
    std::fs::write(&path, config).unwrap();
    let _nginx = Process::start(
        Command::new("sh")
            .args(["-c", "PATH=$PATH:/usr/local/sbin:/usr/sbin exec nginx -e stderr -c \"$0\""])
            .arg(&path),
    );
    let url = format!("http://127.0.0.1:{port}");
    eventually("nginx", || async { reqwest::get(&url).await.ok() }).await;

    let addresses = [
        "203.0.113.1",
        "203.0.113.2",
        "203.0.114.1",
        "::ffff:203.0.113.1",
        "64:ff9b::203.0.113.1",
        "2002:cb00:7101::1",
        "2002:cb00:7101:9::5",
        "2002:cb00:7102::1",
        "2001:db8:1:2:3:4:5:6",
        "2001:db8:1:2::",
        "2001:db8:1:3::1",
        "2001:db8:1:a0a::1",
        "2001:db8:1:a00::1",
        "2001:db8:1:100::1",
        "2001:db8:2::1",
        "fe80::1",
        "10.10.10.10",
        "10.10.10.13",
    ];
    // What is inverted for the gateway stays so for nginx: these are compared with one another.
    let teredo =
        ["2001:0:1:2:3:4:34ff:8efe", "2001:0:4136:e378:8000:63bf:34ff:8efe", "2001:0:1:2:3:4:34ff:8efd", "2001::1"];
    let http = reqwest::Client::new();
    for addresses in [&addresses[..], &teredo] {
        for tier in Tier::ALL {
            let mut found = Vec::new();
            for address in addresses {
                let answer = http.get(format!("{url}/{}", tier as u8)).header("x-forwarded-for", *address);
                let edge = answer.send().await.unwrap().bytes().await.unwrap();
                let own = Caller::of(address.parse::<IpAddr>().unwrap()).groups().find(|(of, _)| *of == tier);
                assert_eq!(edge.is_empty(), own.is_none(), "{address} {tier:?}");
                found.push((*address, edge, own));
            }
            for (one, edge, own) in &found {
                for (other, other_edge, other_own) in &found {
                    assert_eq!(edge == other_edge, own == other_own, "{one} and {other} {tier:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_of_the_gateway_passes_as_it_is_and_is_found_in_both_logs() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let request = edge.browser().request(Method::GET, "/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA");
    let response = request.header("x-request-id", "chosen-by-a-stranger").send().await.unwrap();
    let problem = problem(response, StatusCode::NOT_FOUND).await;
    assert_eq!(problem["code"], "ticket_not_found");
    let id = problem["request_id"].as_str().unwrap();
    assert_ne!(id, "chosen-by-a-stranger");
    let is_logged = async || edge.access_log().iter().any(|line| line.contains(id)).then_some(());
    eventually("the access log's line", is_logged).await;
    eventually("the gateway's line", async || gateway.log().contains(id).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_logs_neither_queries_nor_secrets() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let http = edge.http().build().unwrap();
    let browser = Browser::through(http, &edge.base);
    let response = browser.request(Method::POST, "/v1/tickets?qr=svg").json(&json!({})).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    let secret = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
    let ticket = response.json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
    edge.phone(token("ada")).approve(&ticket).await;
    let request = browser.request(Method::GET, &format!("/v1/tickets/{ticket}?wait=1"));
    let read: Value = request.header("referer", "https://referer.example/").send().await.unwrap().json().await.unwrap();
    let jwt = read["token"]["access_token"].as_str().unwrap();

    let is_logged = async || (edge.access_log().len() >= 4).then_some(());
    eventually("the access log's lines", is_logged).await;
    let log = edge.access_log().join("\n") + &edge.log();
    assert!(log.contains(&ticket), "a ticket's id is public and useful: {log}");
    for secret in [secret.as_str(), jwt, &token("ada"), "qr=svg", "wait=1", "referer.example", "scangate="] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_caller_voids_a_line_of_the_log() {
    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::before(&gateway, place);
    let http = edge.http().build().unwrap();
    let agents: [&[u8]; 4] = [b"Z\xfcrich", "Zürich 小明 😀 \"\\".as_bytes(), b"\xed\xa0\x80", b"plain"];
    for (number, agent) in agents.into_iter().enumerate() {
        // A path is logged decoded.
        for path in ["%FF", "b%C3%BCro", "plain%22"] {
            let request = http.get(edge.url(&format!("/{number}/{path}")));
            let agent = reqwest::header::HeaderValue::from_bytes(agent).unwrap();
            assert_eq!(request.header("user-agent", agent).send().await.unwrap().status(), StatusCode::NOT_FOUND);
        }
    }
    let raw = || edge.access_log_bytes();
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    eventually("the access log's lines", async || (count(&raw()) >= 12).then_some(())).await;
    let text = String::from_utf8(raw()).expect("the log is not UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logged = |name: &str| lines.iter().map(|line| line[name].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (paths, agents) = (logged("path"), logged("user_agent"));
    for path in ["(not UTF-8)", "/0/büro", "/3/plain\""] {
        assert!(paths.iter().any(|logged| logged == path), "{path}: {paths:?}");
    }
    for agent in ["(not UTF-8)", "Zürich 小明 😀 \"\\", "plain"] {
        assert!(agents.iter().any(|logged| logged == agent), "{agent}: {agents:?}");
    }
}

/// Signs Ada in through `edge` with clients made by `http`, and returns the claims of the JWT that comes by the stream.
async fn sign_in(edge: &Edge, http: ClientBuilder, version: Version) -> Value {
    let http = http.build().unwrap();
    let browser = Browser::through(http.clone(), &edge.base);
    let phone = Phone::through(http.clone(), &edge.base, token("ada"));
    let ticket = browser.create().await;

    let request = browser.request(Method::GET, &format!("/v1/tickets/{ticket}/events"));
    let opening = request.header("accept-encoding", "gzip, br").send();
    let response = tokio::time::timeout(PROMPT, opening).await.expect("the stream is held back").unwrap();
    assert_eq!(response.version(), version);
    assert!(!response.headers().contains_key("content-encoding"), "compression holds events back");
    let mut stream = EventStream::new(response);
    stream.expect("pending").await;

    let mut asked = Instant::now();
    assert_eq!(phone.act(&ticket, "scan").await.status(), StatusCode::OK);
    stream.expect("scanned").await;
    assert!(asked.elapsed() < PROMPT, "scanned came after {:?}", asked.elapsed());

    asked = Instant::now();
    assert_eq!(phone.act(&ticket, "confirm").await.status(), StatusCode::OK);
    let confirmed = stream.expect("confirmed").await;
    assert!(asked.elapsed() < PROMPT, "confirmed came after {:?}", asked.elapsed());
    stream.expect_end().await;

    let keys: Value = browser.get("/.well-known/jwks.json").await.json().await.unwrap();
    verify_with(&keys, confirmed.data["token"]["access_token"].as_str().unwrap(), "web")
}

/// Makes a ticket as a browser that claims another address, and returns the address that a phone is shown.
async fn address_on_the_phone(edge: &Edge) -> String {
    let ticket = create_with_forged_address(&edge.browser()).await;
    let scan: Value = edge.phone(token("ada")).act(&ticket, "scan").await.json().await.unwrap();
    scan["requester"]["ip"].as_str().unwrap().to_owned()
}

async fn create_with_forged_address(browser: &Browser) -> String {
    let mut request = browser.request(Method::POST, "/v1/tickets").json(&json!({}));
    request = request.header("x-forwarded-for", FORGED).header("x-real-ip", FORGED);
    request = request.header("forwarded", format!("for={FORGED}"));
    let ticket: Value = request.send().await.unwrap().json().await.unwrap();
    ticket["ticket_id"].as_str().unwrap().to_owned()
}

/// Checks that `response` is a problem as RFC 9457 has it, and returns it.
async fn problem(response: reqwest::Response, status: StatusCode) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status.as_u16());
    for field in ["type", "title", "detail", "code", "request_id"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
    }
    problem
}

/// Returns what `openssl s_client` says of a handshake with nothing but `version`, everything it can do allowed.
fn handshake(place: Place, version: &str) -> String {
    let output = Command::new("openssl")
        .args(["s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-servername", "localhost", "-connect"])
        .arg(format!("127.0.0.1:{}", place.port()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_files_can_come_from_disk() {
    use std::os::unix::fs::PermissionsExt as _;

    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = tempfile::tempdir().unwrap();
    // nginx's workers are somebody else.
    std::fs::set_permissions(copy.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["nginx", "static", "static/texts"] {
        std::fs::create_dir(copy.path().join(folder)).unwrap();
        for file in std::fs::read_dir(sources.join(folder)).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.path().join(folder).join(file.file_name())).unwrap();
            }
        }
    }
    let template = copy.path().join("nginx/scangate.conf.template");
    let text = std::fs::read_to_string(&template).unwrap();
    let (before, block) = text.split_once("    #location ~ ^/static/").unwrap();
    let (block, after) = block.split_once("    #}\n").unwrap();
    let block = block.replace("    #", "    ").replace("/usr/share/scangate", copy.path().to_str().unwrap());
    std::fs::write(&template, format!("{before}    location ~ ^/static/{block}    }}\n{after}")).unwrap();

    let place = Place::choose();
    let gateway = place.gateway().start().await;
    let edge = Edge::start_from(&copy.path().join("nginx"), place, &[upstream(&gateway)]);
    let page = edge.browser().get("/").await;
    assert!(page.headers().contains_key("content-security-policy"));
    let table = edge.browser().get("/static/texts.json").await;
    assert_eq!(table.headers()["content-language"], "en", "it is the gateway's answer");
    assert_eq!(edge.browser().get("/static/texts/en.json").await.status(), 404);
    assert_eq!(edge.browser().get("/static/sign-in.html").await.status(), 404);
    let widget = edge.browser().get("/static/scangate-look.js").await.text().await.unwrap();
    assert!(widget.contains("scangate.format = "), "the gateway puts dom.js in front of it");
    // What still comes now, comes from disk.
    drop(gateway);
    for (name, content_type) in [
        ("sign-in.js", "text/javascript; charset=utf-8"),
        ("confirm.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("favicon.svg", "image/svg+xml"),
    ] {
        let answer = edge.browser().get(&format!("/static/{name}")).await;
        assert_eq!(answer.headers()["content-type"], content_type, "{name}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["cache-control"], "no-cache");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert_eq!(answer.text().await.unwrap(), std::fs::read_to_string(sources.join("static").join(name)).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_its_gateway_is_in_the_readers_language() {
    let place = Place::choose();
    let edge = Edge::start(place, &[&format!("127.0.0.1:{}", free_port())]);
    for (path, accepted, lang) in [
        ("/", "zh-CN,en;q=0.8", "zh"),
        ("/", "en-GB,zh;q=0.9", "en"),
        ("/", "fr", "en"),
        ("/?lang=zh", "en", "zh"),
        ("/?client_id=x&lang=en", "zh", "en"),
        ("/?lang=xx", "zh", "zh"),
        ("/", "zhx", "en"),
    ] {
        let request = edge.http().build().unwrap().get(edge.url(path)).header("accept-language", accepted);
        let html = request.send().await.unwrap().text().await.unwrap();
        let title = if lang == "zh" { "请稍候" } else { "Temporarily unavailable" };
        assert!(html.contains(&format!("<html lang=\"{lang}\">")), "{path} {accepted}: {html}");
        assert!(
            html.contains(&format!("<h1>{title}</h1>")) && html.contains(&format!("<title>{title}</title>")),
            "{html}"
        );
        let (first, second) = (html.find("isn’t responding").unwrap(), html.find("没有应答").unwrap());
        assert_eq!(first < second, lang == "en", "theirs comes first: {html}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_come_back_to_its_stream_while_there_is_no_gateway() {
    let place = Place::choose();
    let edge = Edge::start(place, &[&format!("127.0.0.1:{}", free_port())]);
    let stream = edge.url("/v1/tickets/AAAAAAAAAAAAAAAAAAAAAA/events");
    let preflight = edge.http().build().unwrap().request(Method::OPTIONS, &stream);
    let preflight = preflight.header("origin", "https://shop.example").header("access-control-request-method", "GET");
    let sent = "authorization,last-event-id,cache-control,traceparent";
    let answer = preflight.header("access-control-request-headers", sent).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://shop.example");
    let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap().to_owned();
    for header in sent.split(',') {
        assert!(allowed.split(", ").any(|name| name == header), "{header} is not among {allowed}");
    }
    assert_eq!(answer.headers()["access-control-max-age"], "0", "the gateway's own answer is another");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_do_not_grow_the_head_of_a_page() {
    const MANY: usize = 120;
    let list = |count: usize| -> String {
        let origins = (0..count).map(|n| format!("\"https://tenant-{n}.customers.example.com\""));
        let one = format!(
            "[[clients]]\nid = \"web\"\nflows = [\"login\", \"share\"]\norigins = [{}]\n",
            origins.collect::<Vec<_>>().join(", ")
        );
        let others = (1..count)
            .map(|n| format!("[[clients]]\nid = \"client-{n}\"\norigins = [\"https://app-{n}.example.org\"]\n"));
        one + &others.collect::<String>()
    };
    let mut sizes = Vec::new();
    for count in [1, MANY] {
        let (_directory, config) = crate::support::gateway::file(&list(count));
        let place = Place::choose();
        let gateway = place.gateway().arg("--config", config.to_str().unwrap()).start().await;
        let edge = Edge::before(&gateway, place);
        let mut of_pages = Vec::new();
        for path in [
            "/",
            "/?client_id=web",
            "/s/AAAAAAAAAAAAAAAAAAAAAA",
            "/share?client_id=web",
            "/share/AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let answer = edge.http().build().unwrap().get(edge.url(path)).header("origin", "https://app-1.example.org");
            let answer = answer.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path} with {count} clients");
            let head: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            assert!(head < 2_500, "{path} with {count} clients: {head} bytes of {:?}", answer.headers());
            // The one that differs from one answer to the next.
            of_pages.push(head - answer.headers().get("content-length").map_or(0, |length| length.len()));
        }
        sizes.push(of_pages);
    }
    assert_eq!(sizes[0], sizes[1]);
}

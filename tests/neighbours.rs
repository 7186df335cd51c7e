//! What other parties write into a request's head beside what is ours: apps of the same host, other hosts of the same site,
//! proxies, extensions. One unusable byte of theirs costs nobody anything, and nothing that only looks like ours counts.

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Phone, file};

/// What a neighbour may have put into the field, before ours or behind it.
const NEIGHBOURS: [&[u8]; 9] = [
    b"theme=dark",
    "city=Zürich".as_bytes(),
    b"city=Z\xfcrich",
    "名=小明; %=%ZZ".as_bytes(),
    b"\xff\xfe\x80=\xff",
    b"nameless; =; ; a==b",
    b"json={\"a\":\"b\"}",
    b"open=\"quote",
    b"%5F%5FHost-scangate=x; Scangate=y; scangate-session-x=z",
];

/// A caller that keeps nothing by itself.
struct Caller<'a> {
    http: reqwest::Client,
    gateway: &'a Gateway,
}

impl<'a> Caller<'a> {
    fn of(gateway: &'a Gateway) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, gateway }
    }

    fn request(&self, method: Method, path: &str, fields: &[(&str, &[u8])]) -> RequestBuilder {
        let request = self.http.request(method, self.gateway.url(path));
        fields
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, HeaderValue::from_bytes(value).unwrap()))
    }

    async fn get(&self, path: &str, fields: &[(&str, &[u8])]) -> Response {
        self.request(Method::GET, path, fields).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value, fields: &[(&str, &[u8])]) -> Response {
        self.request(Method::POST, path, fields).json(&body).send().await.unwrap()
    }

    /// Makes a ticket; returns its id and what the binding's cookie is set to, if it is set.
    async fn create(&self, fields: &[(&str, &[u8])]) -> (String, Option<String>) {
        let answer = self.post("/v1/tickets", json!({}), fields).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{fields:?}");
        let cookie = answer.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        let secret = cookie.map(|cookie| cookie.split([';', '=']).nth(1).unwrap().to_owned());
        let ticket: Value = answer.json().await.unwrap();
        (ticket["ticket_id"].as_str().unwrap().to_owned(), secret)
    }
}

/// Returns a JWT of the gateway's for its default client.
async fn jwt(caller: &Caller<'_>) -> String {
    let (id, secret) = caller.create(&[]).await;
    Phone::of("ada", caller.gateway).approve(&id).await;
    let name = if caller.gateway.public_url.starts_with("https") { "__Host-scangate" } else { "scangate" };
    let cookie = format!("{name}={}", secret.unwrap());
    let read = caller.get(&format!("/v1/tickets/{id}"), &[("cookie", cookie.as_bytes())]).await;
    read.json::<Value>().await.unwrap()["token"]["access_token"].as_str().unwrap().to_owned()
}

async fn gateway(public_url: &str) -> Gateway {
    let (_directory, config) = file(
        "[[clients]]\nid = \"web\"\nflows = [\"login\", \"share\"]\ntoken_auth = \"none\"\n\
         redirect_uris = [\"https://site.example/scangate/callback\"]\n",
    );
    let builder = Gateway::builder().arg("--config", config.to_str().unwrap());
    let builder = builder.arg("--trusted-proxies", "127.0.0.1");
    if public_url.is_empty() { builder.start().await } else { builder.arg("--public-url", public_url).start().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_neighbour_hides_a_cookie_of_ours() {
    let gateway = gateway("https://login.example").await;
    let caller = Caller::of(&gateway);
    let (id, secret) = caller.create(&[]).await;
    let binding = format!("__Host-scangate={}", secret.unwrap());
    let session = format!("__Host-scangate-session={}", jwt(&caller).await);
    for neighbour in NEIGHBOURS {
        for ours in [&binding, &session] {
            let ours = ours.as_bytes();
            let before = [neighbour, ours].join(&b"; "[..]);
            let between = [neighbour, ours, neighbour].join(&b"; "[..]);
            let fields: [&[(&str, &[u8])]; 4] = [
                &[("cookie", &before)],
                &[("cookie", &between)],
                &[("cookie", neighbour), ("cookie", ours)],
                &[("cookie", ours), ("cookie", neighbour)],
            ];
            for fields in fields {
                if ours == session.as_bytes() {
                    assert_eq!(caller.get("/v1/verify", fields).await.status(), StatusCode::NO_CONTENT, "{fields:?}");
                    continue;
                }
                for path in ["", "?wait=1&revision=0", "/events"] {
                    let answer = caller.get(&format!("/v1/tickets/{id}{path}"), fields).await;
                    assert_eq!(answer.status(), StatusCode::OK, "{path} {fields:?}");
                }
                assert_eq!(caller.create(fields).await.1, None, "a second binding for {fields:?}");
            }
        }
    }
    // And at once after it was made, by the same browser, as pages do.
    let zurich = ("cookie", "city=Zürich".as_bytes());
    let (id, secret) = caller.create(&[zurich]).await;
    let ours = format!("city=Zürich; __Host-scangate={}", secret.unwrap());
    let answer = caller.request(Method::DELETE, &format!("/v1/tickets/{id}"), &[("cookie", ours.as_bytes())]);
    assert_eq!(answer.send().await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_ours_by_its_very_name_and_only_if_it_is_there_once() {
    let gateway = gateway("https://login.example").await;
    let caller = Caller::of(&gateway);
    let (id, secret) = caller.create(&[]).await;
    let secret = secret.unwrap();
    let jwt = jwt(&caller).await;
    // How else a server might be made to read the name. Browsers let other hosts of the site set most of these.
    let disguises = |name: &str, value: &str| -> Vec<Vec<u8>> {
        let encoded = |from: &str, to: &str| format!("{}={value}", name.replace(from, to)).into_bytes();
        let mut all = vec![
            encoded("__", "%5F%5F"),
            encoded("__", "%5f_"),
            encoded("-", "%2D"),
            encoded("scangate", "%73cangate"),
            encoded("Host", "host"),
            encoded("scangate", "Scangate"),
            encoded("__Host-", ""),
            encoded("__Host-", "__Secure-"),
            format!("\"{name}\"={value}").into_bytes(),
            format!("$Version=1,{name}={value}").into_bytes(),
            format!("x=\"; {name}%3D{value}").into_bytes(),
            format!("{name}={value}; {name}={value}").into_bytes(),
            format!("{name}=; {name}={value}").into_bytes(),
        ];
        for white in ["\u{a0}", "\u{85}", "\u{2003}", "\u{feff}", "\u{200b}"] {
            all.push(format!("{white}{name}={value}").into_bytes());
            all.push(format!("{name}{white}={value}").into_bytes());
        }
        all.push([b"\xa0", format!("{name}={value}").as_bytes()].concat());
        all
    };
    for disguise in disguises("__Host-scangate", &secret) {
        let fields: [(&str, &[u8]); 1] = [("cookie", &disguise)];
        let shown = String::from_utf8_lossy(&disguise);
        let answer = caller.get(&format!("/v1/tickets/{id}"), &fields).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{shown}");
        let fresh = caller.create(&fields).await.1;
        assert!(fresh.is_some_and(|fresh| fresh != secret), "{shown} was adopted");
    }
    for disguise in disguises("__Host-scangate-session", &jwt) {
        let answer = caller.get("/v1/verify", &[("cookie", &disguise)]).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{}", String::from_utf8_lossy(&disguise));
    }
    let html = ("accept", &b"text/html"[..]);
    let begun = |answer: &Response| {
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.strip_prefix("__Host-scangate-begun=").unwrap().split(';').next().unwrap().to_owned()
    };
    let begin = caller.get("/v1/sign-in", &[html]).await;
    let (nonce, location) = (begun(&begin), url::Url::parse(begin.headers()["location"].to_str().unwrap()).unwrap());
    let state = location.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let own = format!("__Host-scangate-begun={nonce}");
    assert_eq!(begun(&caller.get("/v1/sign-in", &[html, ("cookie", own.as_bytes())]).await), nonce);
    let callback =
        async |cookie: &[u8]| caller.get(&format!("/v1/callback?state={state}"), &[("cookie", cookie)]).await;
    assert_eq!(callback(own.as_bytes()).await.status(), StatusCode::BAD_REQUEST, "it has no issuer");
    for disguise in disguises("__Host-scangate-begun", &nonce) {
        let shown = String::from_utf8_lossy(&disguise);
        assert_ne!(begun(&caller.get("/v1/sign-in", &[html, ("cookie", &disguise)]).await), nonce, "{shown}");
        assert_eq!(callback(&disguise).await.status(), StatusCode::FORBIDDEN, "{shown}");
    }
    // Twice, over two lines of the field.
    let twice = format!("__Host-scangate={secret}");
    let fields: [(&str, &[u8]); 2] = [("cookie", twice.as_bytes()), ("cookie", b"__Host-scangate=x")];
    assert_eq!(caller.get(&format!("/v1/tickets/{id}"), &fields).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(caller.get(&format!("/v1/tickets/{id}"), &fields[..1]).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_authorization_leaves_the_cookie_what_it_is() {
    let gateway = gateway("").await;
    let caller = Caller::of(&gateway);
    let (id, secret) = caller.create(&[]).await;
    let jwt = jwt(&caller).await;
    let cookies = format!("scangate={}; scangate-session={jwt}", secret.unwrap());
    let cookie = ("cookie", cookies.as_bytes());
    let foreign: [&[u8]; 9] = [
        b"Basic YWRhOng=",
        b"Digest username=\"ada\", realm=\"staging\", nonce=\"x\", uri=\"/\", response=\"y\"",
        b"Negotiate YIIJvwYGKwYBBQUCoIIJszCC",
        b"NTLM TlRMTVNTUAABAAAA",
        b"garbage",
        b"Basic \xff",
        b"",
        b"Bearers x",
        b"AWS4-HMAC-SHA256 Credential=Bearer x",
    ];
    for value in foreign {
        let shown = String::from_utf8_lossy(value);
        let fields = [cookie, ("authorization", value)];
        for path in ["", "?wait=1&revision=0", "/events"] {
            let answer = caller.get(&format!("/v1/tickets/{id}{path}"), &fields).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path} with {shown}");
        }
        let (other, fresh) = caller.create(&fields).await;
        assert_eq!(fresh, None, "{shown}");
        let close = caller.request(Method::DELETE, &format!("/v1/tickets/{other}"), &fields).send().await.unwrap();
        assert_eq!(close.status(), StatusCode::NO_CONTENT, "{shown}");
        assert_eq!(caller.get("/v1/verify", &fields).await.status(), StatusCode::NO_CONTENT, "{shown}");
        let out = caller.post("/v1/sign-out", json!({}), &fields).await;
        assert_eq!(out.status(), StatusCode::NO_CONTENT, "{shown}");
        let redeem = caller.post("/v1/redeem", json!({ "access_token": jwt }), &[("authorization", value)]).await;
        assert_eq!(redeem.status(), StatusCode::NO_CONTENT, "{shown}");
        let page = caller.get("/v1/sign-in", &[("accept", b"text/html"), ("authorization", value)]).await;
        assert_eq!(page.status(), StatusCode::FOUND, "{shown}");
        // What only a person may do is refused as without it, and a person's token beside it counts.
        let act = caller.post(&format!("/v1/tickets/{id}/confirm"), json!({}), &fields).await;
        assert_eq!(act.json::<Value>().await.unwrap()["code"], "not_signed_in", "{shown}");
        let token = format!("Bearer {}", crate::support::gateway::token("ada"));
        let shared = caller
            .post(
                "/v1/tickets",
                json!({"flow": "share"}),
                &[("authorization", value), ("authorization", token.as_bytes())],
            )
            .await;
        assert_eq!(shared.status(), StatusCode::CREATED, "{shown}");
        // Who scans what is shared is a browser by its cookie, and gets no second one.
        let shared = shared.json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
        let scanned = caller.post(&format!("/v1/tickets/{shared}/scan"), json!({}), &fields).await;
        assert_eq!(scanned.status(), StatusCode::OK, "{shown}");
        assert!(!scanned.headers().contains_key("set-cookie"), "{shown}");
    }
    // A bearer token is ours, and a bad one is not made up for by a good cookie.
    let bad: [&[(&str, &[u8])]; 6] = [
        &[("authorization", b"Bearer garbage")],
        &[("authorization", b"bearer")],
        &[("authorization", b"Bearer ")],
        &[("authorization", b"Bearer \xff")],
        &[("authorization", b"Basic YWRhOng="), ("authorization", b"Bearer garbage")],
        &[("authorization", b"Bearer garbage"), ("authorization", b"Bearer garbage")],
    ];
    for fields in bad {
        let fields = [fields, &[cookie]].concat();
        for path in [&format!("/v1/tickets/{id}"), &format!("/v1/tickets/{id}/events"), "/v1/verify"] {
            assert_eq!(caller.get(path, &fields).await.status(), StatusCode::UNAUTHORIZED, "{path} {fields:?}");
        }
    }
    let twice = [("authorization", format!("Bearer {jwt}")), ("authorization", format!("Bearer {jwt}"))];
    let twice = twice.each_ref().map(|(name, value)| (*name, value.as_bytes()));
    assert_eq!(caller.get("/v1/verify", &twice[..1]).await.status(), StatusCode::NO_CONTENT);
    let refused = caller.get("/v1/verify", &twice).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(refused.text().await.unwrap().contains("send one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_that_is_no_text_costs_its_own_member_and_no_other() {
    let gateway = gateway("").await;
    let caller = Caller::of(&gateway);
    // The address that the proxies wrote counts, whatever the caller wrote before it; and the browser is recognised.
    let firefox = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 Z\xfcrich";
    for claimed in [&b"\xff, 203.0.113.9"[..], "Zürich,198.51.100.1, 203.0.113.9".as_bytes(), b"203.0.113.9"] {
        let (id, _) = caller.create(&[("x-forwarded-for", claimed), ("user-agent", firefox)]).await;
        let scanned: Value = Phone::of("ada", &gateway).act(&id, "scan").await.json().await.unwrap();
        let requester = &scanned["requester"];
        assert_eq!(
            (&requester["ip"], &requester["browser"], &requester["os"]),
            (&json!("203.0.113.9"), &json!("Firefox"), &json!("Linux")),
            "{}",
            String::from_utf8_lossy(claimed)
        );
    }
    let page = caller.get("/", &[("accept-language", b"\xff, zh, en;q=0.5")]).await;
    assert_eq!(page.headers()["content-language"], "zh");
    let body = caller.request(Method::POST, "/v1/tickets", &[("content-type", b"application/json; app=\xff")]);
    assert_eq!(body.body("{}").send().await.unwrap().status(), StatusCode::CREATED);
    let accepts = [("accept", &b"application/x-\xff"[..]), ("accept", b"text/html")];
    let answer =
        caller.get("/v1/sign-in", &[accepts[0], accepts[1], ("x-original-uri", "/büro?q=小".as_bytes())]).await;
    let location = url::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    let state = location.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    assert!(state.ends_with(":/b%C3%BCro?q=%E5%B0%8F"), "{state}");
}

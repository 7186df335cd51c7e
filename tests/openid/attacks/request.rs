//! Attacks on the authorization request: redirect URIs, PKCE, mix-up, parameters (RFC 9700 §2.1, §4).

use std::net::TcpListener;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::StatusCode;

use super::page;
use crate::support::Gateway;
use crate::support::gateway::Phone;
use crate::support::openid::{Answer, App, Screen, Tokens, challenge, gateway, random, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_public_client_without_a_challenge_is_refused() {
    let (spa, strict) = (App::public("spa"), App::new("strict").with("pkce = \"required\""));
    let gateway = gateway(&[&spa, &strict]).await;
    for app in [&spa, &strict] {
        let request = app.request().without_pkce();
        let answer = Answer::of(Screen::new(&gateway).arrive(&request.query()).await).await;
        assert_eq!((answer.to.as_str(), answer.field("error")), (&*app.redirect_uri, "invalid_request"));
        assert_eq!((answer.field("state"), answer.field("code")), (&*request.value("state"), ""));
    }
}

/// The attacker has removed the challenge from the request; the victim's app does not know, and sends its verifier.
#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_without_a_challenge_is_a_downgrade() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let mut request = notes.request();
    let verifier = request.verifier.take();
    request = request.without_pkce();
    let answer = Screen::new(&gateway).sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    request.verifier = verifier;
    assert_eq!(
        refused(notes.exchange(&gateway, answer.code(), &request).await).await,
        (400, "invalid_grant".to_owned())
    );
    // And the reverse: a challenge, and no verifier.
    let request = notes.request();
    let answer = Screen::new(&gateway).sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let forgotten = request.clone().without_pkce();
    assert_eq!(
        refused(notes.exchange(&gateway, answer.code(), &forgotten).await).await,
        (400, "invalid_grant".to_owned())
    );
    Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_s256_is_pkce() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let good = challenge(&random());
    let (short, long, bad) = (&good[..42], format!("{good}A"), format!("{}=", &good[..42]));
    for (method, challenge) in [
        (Some("plain"), Some(good.as_str())),
        (Some("s256"), Some(&good)),
        (Some("S512"), Some(&good)),
        (None, Some(&good)),
        (Some("S256"), None),
        (Some("S256"), Some(short)),
        (Some("S256"), Some(&long)),
        (Some("S256"), Some(&bad)),
        (Some("S256"), Some("+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+")),
    ] {
        let mut request = notes.request().without_pkce();
        request = method.into_iter().fold(request, |request, method| request.set("code_challenge_method", method));
        request = challenge.into_iter().fold(request, |request, challenge| request.set("code_challenge", challenge));
        let answer = Answer::of(screen.arrive(&request.query()).await).await;
        assert_eq!(answer.field("error"), "invalid_request", "{method:?} {challenge:?}");
    }
    let mut request = notes.request();
    let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let verifier = request.verifier.clone().unwrap();
    let nearly = [
        request.value("code_challenge"),
        verifier[..42].to_owned(),
        format!("{verifier}{}", "x".repeat(86)),
        format!("{verifier} "),
        format!("{verifier}\u{e9}"),
        verifier.to_uppercase(),
        String::new(),
    ];
    for wrong in nearly {
        request.verifier = Some(wrong);
        let outcome = refused(notes.exchange(&gateway, answer.code(), &request).await).await;
        assert_eq!(outcome, (400, "invalid_grant".to_owned()), "{:?}", request.verifier);
    }
    request.verifier = Some(verifier);
    Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
}

/// Requests that are refused with an error at the app, each with its name.
pub fn faults(app: &App) -> Vec<(&'static str, String)> {
    let set = |name: &str, value: &str| app.request().set(name, value).query();
    vec![
        ("invalid_request", app.request().without("response_type").query()),
        ("unsupported_response_type", set("response_type", "token")),
        ("unsupported_response_type", set("response_type", "code id_token")),
        ("invalid_scope", set("scope", "profile")),
        ("invalid_scope", app.request().without("scope").query()),
        ("invalid_scope", set("scope", &format!("openid {}", "x".repeat(1025)))),
        ("invalid_request", set("prompt", "none login")),
        ("invalid_request", set("prompt", "create")),
        ("invalid_request", set("max_age", "-1")),
        ("invalid_request", set("max_age", "soon")),
        ("invalid_request", set("claims", "[]")),
        ("invalid_request", set("claims", "{")),
        ("invalid_request", set("id_token_hint", "a.b.c")),
        ("invalid_request", set("nonce", &"x".repeat(513))),
        ("invalid_request", set("nonce", "a\nb")),
        ("invalid_target", set("resource", "https://other.example/api")),
        ("request_not_supported", set("request", "e30.e30.")),
        ("request_uri_not_supported", set("request_uri", "urn:example:request")),
        ("registration_not_supported", set("registration", "{}")),
        ("login_required", set("prompt", "none")),
        ("invalid_request", app.request().and("nonce", "another").query()),
    ]
}

/// An app with two providers learns from `iss` which of them has answered (RFC 9207), in errors as well.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_issuer() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let discovery = reqwest::get(gateway.url("/.well-known/openid-configuration")).await.unwrap();
    let discovery: serde_json::Value = discovery.json().await.unwrap();
    assert_eq!(discovery["issuer"], gateway.public_url);
    assert_eq!(discovery["authorization_response_iss_parameter_supported"], true);
    for (mode, is_form) in [("query", false), ("form_post", true)] {
        for (error, query) in faults(&notes) {
            let answer = Answer::of(screen.arrive(&format!("{query}&response_mode={mode}")).await).await;
            assert_eq!((answer.field("error"), answer.to.as_str()), (error, &*notes.redirect_uri), "{query}");
            assert_eq!((answer.field("iss"), answer.is_form), (&*gateway.public_url, is_form), "{query}");
            assert!(answer.field("error_description").ends_with('.'), "{answer:?}");
        }
        let request = notes.request().set("response_mode", mode);
        let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
        assert_eq!((answer.field("iss"), answer.field("state")), (&*gateway.public_url, &*request.value("state")));
        // Declined.
        let back = screen.open(&format!("/oauth2/authorize/cancel?{}", request.query()), "same-origin").await;
        let answer = Answer::of(back).await;
        assert_eq!((answer.field("error"), answer.field("iss")), ("access_denied", &*gateway.public_url));
        assert_eq!((answer.field("state"), answer.field("code")), (&*request.value("state"), ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_uri_is_refused_and_never_fetched() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let here = format!("http://{}/request.jwt", listener.local_addr().unwrap());
    let evil =
        r#"{"redirect_uri":"https://evil.example/cb","client_id":"notes","response_type":"code","scope":"openid"}"#;
    let object = format!("eyJhbGciOiJub25lIn0.{}.", BASE64_URL_SAFE_NO_PAD.encode(evil));
    for (name, value) in
        [("request_uri", here.as_str()), ("request", &object), ("registration", "{\"jwks_uri\":\"x\"}")]
    {
        // The errors go to where the plain parameters say, and only there.
        let request = notes.request().set(name, value);
        let answer = Answer::of(screen.arrive(&request.query()).await).await;
        assert_eq!(
            (answer.to.as_str(), answer.field("error")),
            (&*notes.redirect_uri, &*format!("{name}_not_supported"))
        );
        assert_eq!(answer.field("state"), request.value("state"));
        let request = request.without("redirect_uri");
        let (status, text) = page(screen.arrive(&request.query()).await, name).await;
        assert_eq!((status, text.contains("evil.example")), (StatusCode::BAD_REQUEST, false), "{name}");
    }
    let fetched = listener.accept().map_err(|error| error.kind());
    assert_eq!(fetched.err(), Some(std::io::ErrorKind::WouldBlock), "somebody fetched the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_never_come_by_a_url() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    for response_type in
        ["token", "id_token", "id_token token", "code token", "code id_token", "code id_token token", "none"]
    {
        let query = notes.request().set("response_type", response_type).query();
        let answer = Answer::of(screen.arrive(&query).await).await;
        assert_eq!(answer.field("error"), "unsupported_response_type", "{response_type}");
    }
    for mode in ["fragment", "web_message", "query.jwt", "form_post.jwt", "QUERY"] {
        let answer = Answer::of(screen.arrive(&notes.request().set("response_mode", mode).query()).await).await;
        assert_eq!((answer.field("error"), answer.is_form), ("invalid_request", false), "{mode}");
    }
    let answer = screen.sign_in(&notes.request().query(), &Phone::of("ada", &gateway)).await;
    let names: Vec<_> = answer.fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["code", "iss", "state"]);
}

async fn token_answer(
    gateway: &Gateway,
    id: &str,
    secret: Option<&str>,
    in_form: bool,
) -> (StatusCode, String, String) {
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", "x")];
    let mut request = reqwest::Client::new().post(gateway.url("/oauth2/token"));
    if in_form {
        form.push(("client_id", id));
        form.extend(secret.map(|secret| ("client_secret", secret)));
    } else {
        request = request.basic_auth(id, secret);
    }
    let answer = request.form(&form).send().await.unwrap();
    let mut headers: Vec<_> = answer.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.retain(|line| !line.starts_with("x-request-id") && !line.starts_with("date"));
    headers.sort();
    (answer.status(), headers.join("\n"), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_wrong_look_alike() {
    let (notes, spa) = (App::new("notes"), App::public("spa"));
    let gateway = gateway(&[&notes, &spa]).await;
    let screen = Screen::new(&gateway);
    // An unknown client; a client that signs nobody in by OpenID Connect; a known one with another address.
    let unknown = page(screen.arrive(&notes.request().set("client_id", "nobody").query()).await, "unknown").await;
    let wrong = notes.request().set("redirect_uri", "https://nobody.example/cb").query();
    assert_eq!(page(screen.arrive(&wrong).await, "wrong").await, unknown);
    for in_form in [false, true] {
        let unknown = token_answer(&gateway, "nobody", Some("wrong"), in_form).await;
        assert_eq!(unknown.0, StatusCode::UNAUTHORIZED);
        assert!(unknown.2.contains("\"invalid_client\""), "{}", unknown.2);
        assert_eq!(unknown.1.contains("www-authenticate: \"Basic "), !in_form, "{}", unknown.1);
        for (id, secret) in [("notes", Some("wrong")), ("notes", None), ("notes", Some("")), ("spa", Some("secret"))] {
            assert_eq!(token_answer(&gateway, id, secret, in_form).await, unknown, "{id} {secret:?}");
        }
    }
    let sign_out = async |id: &str| {
        let query = format!("client_id={id}&post_logout_redirect_uri=https%3A%2F%2Fevil.example%2F");
        page(screen.open(&format!("/oauth2/logout?{query}"), "cross-site").await, id).await
    };
    assert_eq!(sign_out("notes").await, sign_out("nobody").await);
}

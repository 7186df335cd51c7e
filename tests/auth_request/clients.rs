//! The clients whose sites may sign people in, and the addresses to which their sign-out leads.

use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use super::{code, location, refused};
use crate::support::gateway::Phone;
use crate::support::openid::{Answer, App, Screen, builder, cookie, gateway, leads_on_to, random};
use crate::support::{Gateway, Redis};

/// Begins a sign-in at a site; returns the authorization request.
async fn begin(screen: &Screen, client: &str) -> String {
    let begun = screen.open(&format!("/v1/sign-in?client_id={client}"), "none").await;
    assert_eq!(begun.status(), StatusCode::FOUND);
    url::Url::parse(&location(&begun)).unwrap().query().unwrap().to_owned()
}

/// Returns the request that the site's proxy sends to the gateway when the browser has come back.
fn callback(answer: &Answer) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&answer.fields).finish();
    format!("/v1/callback?{query}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_a_client_with_a_secret_signs_nobody_in_at_a_site() {
    let (notes, shop) = (App::public("notes"), App::new("shop"));
    let redis = Redis::start();
    let (_folder, public) = builder(&[&notes, &shop]);
    let (_other_folder, confidential) = builder(&[&App::new("notes")]);
    let (public, confidential) = (public.redis(&redis).start().await, confidential.redis(&redis).start().await);
    let screen = Screen::new(&public);
    let begun = screen.open("/v1/sign-in?client_id=shop", "none").await;
    assert_eq!(begun.headers().get("set-cookie"), None);
    assert_eq!(code(begun).await, refused(400, "redirect_uri_not_allowed"));
    // The client got its secret after the sign-in began.
    let answer = screen.sign_in(&begin(&screen, "notes").await, &Phone::of("ada", &public)).await;
    let late = screen.at(&confidential).open(&callback(&answer), "cross-site").await;
    assert_eq!(late.headers().get("set-cookie"), None);
    assert_eq!(code(late).await, refused(400, "sign_in_expired"));
    // It was for the secret only.
    let back = screen.open(&callback(&answer), "cross-site").await;
    assert_eq!(back.status(), StatusCode::SEE_OTHER);
    assert!(cookie(&back, "scangate-session").is_some());
}

/// A made-up answer to a sign-in that has begun makes the gateway ask its store, as a token request does.
#[tokio::test(flavor = "multi_thread")]
async fn answers_at_a_site_are_limited_as_token_requests_are() {
    let site = App::public("site");
    let (_folder, builder) = builder(&[&site]);
    let gateway = builder.arg("--rate-token", "2").start().await;
    let screen = Screen::new(&gateway);
    let begun = begin(&screen, "site").await;
    let (_, state) = url::form_urlencoded::parse(begun.as_bytes()).find(|(name, _)| name == "state").unwrap();
    let no_code = random();
    let fields = [("state", &*state), ("code", &no_code), ("iss", &gateway.public_url)];
    let made_up = Answer {
        to: String::new(),
        fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        is_form: false,
    };
    for expected in [refused(400, "sign_in_expired"), refused(400, "sign_in_expired"), refused(429, "rate_limited")] {
        assert_eq!(code(screen.open(&callback(&made_up), "cross-site").await).await, expected);
    }
}

/// Presses a site's "Sign out", on a page of `origin`.
async fn sign_out(screen: &Screen, client: &str, origin: &str, return_to: &str) -> Response {
    let request = screen.request(Method::POST, &format!("/v1/sign-out?client_id={client}"));
    let request = request.header("sec-fetch-site", "same-origin").header("origin", origin);
    let out = request.form(&[("return_to", return_to)]).send().await.unwrap();
    assert_eq!((out.status(), cookie(&out, "scangate-session")), (StatusCode::SEE_OTHER, Some(String::new())));
    out
}

/// Returns the address to which the sign-out page leads back, if this is the address of that page.
fn back(gateway: &Gateway, out: &Response, client: &str) -> Option<String> {
    let page = url::Url::parse(&location(out)).unwrap();
    assert_eq!((page.origin().ascii_serialization().as_str(), page.path()), (&*gateway.public_url, "/oauth2/logout"));
    let mut query = page.query_pairs();
    assert_eq!(query.next().unwrap(), ("client_id".into(), client.into()));
    let back = query.next().map(|(name, address)| {
        assert_eq!(name, "post_logout_redirect_uri");
        address.into_owned()
    });
    assert_eq!(query.next(), None);
    back
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sign_out_of_a_site_ends_single_sign_on() {
    let (site, plain) = (App::public("site").with("single_sign_on = true"), App::public("plain"));
    let site = site.with_redirect_uris(&["https://site.example/cb", "https://other.example:81/cb"]);
    let site = site.with(
        "post_logout_redirect_uris = [\"https://site.example/bye\", \"https://other.example:81/bye\", \"com.example.app:/bye\"]",
    );
    let gateway = gateway(&[&site, &plain]).await;
    let screen = Screen::new(&gateway);
    for (origin, return_to, expected) in [
        ("https://site.example", "/bye", Some("https://site.example/bye")),
        ("https://other.example:81", "/bye", Some("https://other.example:81/bye")),
        ("null", "/bye", Some("https://site.example/bye")),
        (&gateway.public_url, "/bye", None),
        ("https://site.example", "/", None),
        ("https://site.example", "/bye?x", None),
        ("https://site.example", "/bye/", None),
        ("https://site.example", "https://site.example/bye", None),
        ("https://site.example", "//evil.example/bye", None),
    ] {
        let out = sign_out(&screen, "site", origin, return_to).await;
        assert_eq!(back(&gateway, &out, "site").as_deref(), expected, "{origin} {return_to}");
    }
    let out = sign_out(&screen, "plain", "https://plain.example", "/bye").await;
    assert_eq!(location(&out), "/bye", "it has no single sign-on");
    let by_script =
        screen.request(Method::POST, "/v1/sign-out?client_id=site").header("origin", "https://site.example");
    assert_eq!(by_script.send().await.unwrap().status(), StatusCode::NO_CONTENT);

    let answer = screen.sign_in(&begin(&screen, "site").await, &Phone::of("ada", &gateway)).await;
    assert_eq!(screen.open(&callback(&answer), "cross-site").await.status(), StatusCode::SEE_OTHER);
    let page = location(&sign_out(&screen, "site", "https://site.example", "/bye").await);
    let page = page.strip_prefix(&gateway.public_url).unwrap();
    // The page asks, because any site could lead there.
    assert_eq!(screen.open(page, "cross-site").await.status(), StatusCode::OK);
    let again = screen.arrive(&begin(&screen, "site").await).await;
    assert_eq!(again.status(), StatusCode::SEE_OTHER, "without the answer, nothing has ended");
    let left = screen.post(&page.replace("/logout?", "/logout/confirm?"), &json!({})).await;
    assert_eq!(leads_on_to(left).await, "https://site.example/bye");
    let again = screen.arrive(&begin(&screen, "site").await).await;
    assert_eq!(again.status(), StatusCode::OK, "there is a code to scan");
}

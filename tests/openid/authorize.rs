//! The authorization endpoint: its requirements for the phone, its error pages, and each step at another replica or
//! without a store.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gateway::{Phone, token_with};
use crate::support::openid::{Answer, App, Screen, Tokens, builder, claims, gateway};
use crate::support::{Gateway, Redis};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A phone whose person signed in to the identity provider so many seconds ago, with this `acr`.
fn phone(gateway: &Gateway, age_secs: u64, acr: &str) -> Phone {
    let token = token_with("ada", |claims| {
        claims["auth_time"] = json!(now() - age_secs);
        claims["acr"] = json!(acr);
    });
    Phone::with_token(token, gateway)
}

/// Scans a ticket of the request, and returns the status and the code of the answer.
async fn scanned(gateway: &Gateway, query: &str, phone: &Phone) -> (StatusCode, String) {
    let ticket = Screen::new(gateway).ticket(query).await;
    let response = phone.act(&ticket, "scan").await;
    let (status, body) = (response.status(), response.json::<Value>().await.unwrap());
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn max_age_asks_for_a_fresh_sign_in_and_the_id_token_says_when_it_was() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    for (max_age, age_secs, expected) in [("0", 0, ""), ("60", 80, ""), ("60", 200, "sign_in_too_old")] {
        let request = notes.request().set("max_age", max_age);
        let phone = phone(&gateway, age_secs, "any");
        assert_eq!(scanned(&gateway, &request.query(), &phone).await.1, expected, "{max_age} {age_secs}");
    }
    let silent = Phone::of("ada", &gateway);
    let query = notes.request().set("max_age", "60").query();
    assert_eq!(scanned(&gateway, &query, &silent).await.1, "sign_in_too_old", "a provider that does not say when");
    let (request, phone) = (notes.request().set("max_age", "600"), phone(&gateway, 100, "any"));
    let answer = Screen::new(&gateway).sign_in(&request.query(), &phone).await;
    let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
    assert_eq!(claims(&tokens.id)["auth_time"], claims(&phone.token)["auth_time"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_essential_acr_is_required_of_the_person_and_a_wish_is_not() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let essential = json!({"id_token": {"acr": {"essential": true, "values": ["mfa", "phr"]}}}).to_string();
    for (acr, expected) in [("pwd", "stronger_sign_in_needed"), ("mfa", "")] {
        let query = notes.request().set("claims", &essential).query();
        assert_eq!(scanned(&gateway, &query, &phone(&gateway, 0, acr)).await.1, expected, "{acr}");
    }
    let query = notes.request().set("acr_values", "mfa").query();
    assert_eq!(scanned(&gateway, &query, &phone(&gateway, 0, "pwd")).await.1, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_sign_in_may_reach_another_replica() {
    let notes = App::new("notes");
    let redis = Redis::start();
    let (_folder, builder) = builder(&[&notes]);
    let (one, two) = (builder.clone().redis(&redis).start().await, builder.redis(&redis).start().await);
    let (request, screen) = (notes.request(), Screen::new(&one));
    assert_eq!(screen.arrive(&request.query()).await.status(), StatusCode::OK);
    let ticket = screen.at(&two).ticket(&request.query()).await;
    Phone::of("ada", &one).approve(&ticket).await;
    // Each replica has the same answer, also to a repeated request.
    let first = Answer::of(screen.at(&two).done(&ticket).await).await;
    let second = Answer::of(screen.done(&ticket).await).await;
    assert_eq!(first.code(), second.code());
    Tokens::of(notes.exchange(&one, first.code(), &request).await).await;
    assert_eq!(screen.at(&two).done(&ticket).await.status(), StatusCode::NOT_FOUND, "the code is used");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_the_app_is_told_or_the_person_can_try_again() {
    let notes = App::new("notes").with("single_sign_on = true");
    let mut redis = Redis::start();
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.redis(&redis).arg("--redis-timeout", "200ms").start().await;
    let (screen, phone) = (Screen::new(&gateway), Phone::of("ada", &gateway));
    screen.sign_in(&notes.request().query(), &phone).await.code();
    let request = notes.request().set("prompt", "login");
    let ticket = screen.ticket(&request.query()).await;
    phone.approve(&ticket).await;
    redis.kill();
    let silent = Answer::of(screen.arrive(&notes.request().set("prompt", "none").query()).await).await;
    assert_eq!(silent.field("error"), "temporarily_unavailable");
    // The page is there without a store; its script says what is wrong.
    assert_eq!(screen.arrive(&notes.request().query()).await.status(), StatusCode::OK);
    let done = screen.done(&ticket).await;
    assert_eq!(done.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(done.headers().contains_key("retry-after"));
    let text = done.text().await.unwrap();
    assert!(text.contains("href=\"\">Try again</a>"), "the link loads the answer again: {text}");
    let out = screen.open("/oauth2/logout?client_id=notes", "cross-site").await;
    assert_eq!(out.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text = out.text().await.unwrap();
    assert!(text.contains("href=\"\">Try again</a>"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_without_a_sign_in_is_an_error_at_the_app() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let (request, evil) = (notes.request(), notes.request().set("redirect_uri", "https://evil.example/cb"));
    let cancel = async |query: &str| screen.open(&format!("/oauth2/authorize/cancel?{query}"), "same-origin").await;
    let page = screen.arrive(&request.query()).await.text().await.unwrap();
    let href = format!("href=\"/oauth2/authorize/cancel?{}\"", request.query().replace('&', "&amp;"));
    assert!(page.replace("&#x2f;", "/").contains(&href), "{page}");
    let answer = Answer::of(cancel(&request.query()).await).await;
    assert_eq!((answer.to.as_str(), answer.field("error")), (&*notes.redirect_uri, "access_denied"));
    assert_eq!(answer.field("state"), request.value("state"));
    let page = cancel(&evil.query()).await;
    assert_eq!((page.status(), page.headers().get("location")), (StatusCode::BAD_REQUEST, None));
    // After the phone has declined, this is the way back too: the ticket has no answer.
    let ticket = screen.ticket(&request.query()).await;
    let phone = Phone::of("ada", &gateway);
    for action in ["scan", "cancel"] {
        assert!(phone.act(&ticket, action).await.status().is_success());
    }
    assert_eq!(screen.done(&ticket).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(Answer::of(cancel(&request.query()).await).await.field("error"), "access_denied");
    assert_eq!(gateway.metric("scangate_authorizations_total{outcome=\"declined\"}").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_way_back_is_a_page_in_the_persons_language() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let bad = notes.request().set("redirect_uri", "https://evil.example/cb").query();
    for (path, status, code, words) in [
        (format!("/oauth2/authorize?{bad}"), 400, "sign_in_address", ["This sign‑in link isn’t valid", "登录链接有误"]),
        (
            "/oauth2/authorize/done?ticket=AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
            404,
            "authorization_over",
            ["This sign‑in is over", "这次登录已经结束"],
        ),
        ("/oauth2/authorize/done".to_owned(), 404, "authorization_over", ["This sign‑in is over", "这次登录已经结束"]),
    ] {
        for (language, words) in ["en", "zh"].into_iter().zip(words) {
            let request = screen.request(reqwest::Method::GET, &path).header("accept", "text/html");
            let answer = request.header("accept-language", language).send().await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.headers()["content-language"].as_bytes()),
                (status, language.as_bytes())
            );
            let text = answer.text().await.unwrap();
            assert!(text.contains(words) && text.contains(code), "{path} {language}: {text}");
            assert!(!text.contains("evil.example"), "{text}");
        }
        let program: Value = screen.read(&path).await.json().await.unwrap();
        assert_eq!(program["code"], code, "{path}");
    }
    let page = screen.arrive(&notes.request().set("ui_locales", "fr zh").query()).await.text().await.unwrap();
    assert!(page.contains("<html lang=\"zh\">"));
    let chosen = screen.arrive(&notes.request().set("ui_locales", "zh").set("lang", "en").query()).await;
    assert!(chosen.text().await.unwrap().contains("<html lang=\"en\">"), "the person's choice comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_page_is_in_its_language() {
    let notes = App::new("notes");
    let mut redis = Redis::start();
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.redis(&redis).arg("--redis-timeout", "200ms").start().await;
    let (screen, phone) = (Screen::new(&gateway), Phone::of("ada", &gateway));
    let chinese = async |answer: reqwest::Response, what: &str| {
        assert_eq!(answer.headers()["content-language"], "zh", "{what}");
        answer.text().await.unwrap()
    };
    let form = notes.request().set("response_mode", "form_post");
    // The language that the app asks for, unless the person has chosen one.
    let silent = form.clone().set("prompt", "none").set("ui_locales", "fr zh-TW");
    chinese(screen.arrive(&silent.query()).await, "an answer without a page").await;
    let chosen = screen.arrive(&silent.set("lang", "en").query()).await;
    assert_eq!(chosen.headers()["content-language"], "en");
    let bad = form.clone().set("redirect_uri", "https://evil.example/cb").set("ui_locales", "zh");
    chinese(screen.arrive(&bad.query()).await, "a request without a way back").await;
    let cancel = format!("/oauth2/authorize/cancel?{}", form.clone().set("ui_locales", "zh").query());
    chinese(screen.open(&cancel, "same-origin").await, "the way back").await;
    // The page names its language.
    let done = async |ticket: &str| {
        screen.open(&format!("/oauth2/authorize/done?lang=zh&ticket={ticket}"), "same-origin").await
    };
    chinese(done("AAAAAAAAAAAAAAAAAAAAAA").await, "no ticket").await;
    let ticket = screen.ticket(&form.query()).await;
    phone.approve(&ticket).await;
    chinese(done(&ticket).await, "the answer").await;
    redis.kill();
    let text = chinese(done(&ticket).await, "a store that is away").await;
    assert!(text.contains("href=\"\""), "the link loads the answer again, in this language: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_limited_per_caller() {
    let notes = App::new("notes");
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.arg("--rate-authorize", "3").start().await;
    let screen = Screen::new(&gateway);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(screen.arrive(&notes.request().query()).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_authorize\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_outs_and_answers_are_limited_per_caller() {
    let notes = App::new("notes");
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.arg("--rate-authorize", "3").start().await;
    let screen = Screen::new(&gateway);
    let limited = [false, false, false, true];
    for expected in limited {
        let page = screen.open("/oauth2/logout", "cross-site").await;
        assert_eq!(page.status() == StatusCode::TOO_MANY_REQUESTS, expected);
    }
    let confirmed = screen.post("/oauth2/logout/confirm", &json!({})).await;
    assert_eq!(confirmed.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_authorize\"}").await, 2.0);
    // Answers have attempts of their own.
    let ticket = screen.ticket(&notes.request().query()).await;
    Phone::of("ada", &gateway).approve(&ticket).await;
    for expected in limited {
        assert_eq!(screen.done(&ticket).await.status() == StatusCode::TOO_MANY_REQUESTS, expected);
    }
    assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_done\"}").await, 1.0);
}

//! What the browser brings back: other answers than asked for, in other browsers, twice, or made up.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::json;

use super::*;

/// Markup and a link, as somebody who wants them on the page would write them.
const MARKUP: &str = "<script>alert(1)</script><a href=\"https://evil.example\">Sign in here</a>";

/// Replaces the code by an error, with a description.
fn error(code: &'static str) -> Lie {
    Lie::answering(move |answer| {
        answer.as_object_mut().unwrap().remove("code");
        answer["error"] = json!(code);
        answer["error_description"] = json!(MARKUP);
        answer["error_uri"] = json!("https://evil.example/help");
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_provider_is_told_in_our_own_words() {
    let site = Site::start().await;
    let declined = failure(403, "sign_in_declined", "denied");
    let failed = failure(502, "sign_in_failed", "provider_error");
    for (code, expected) in [
        ("access_denied", declined),
        ("login_required", failed),
        ("interaction_required", failed),
        ("server_error", failed),
        ("temporarily_unavailable", failed),
        ("invalid_scope", failed),
        (MARKUP, failed),
    ] {
        site.fails(code, error(code), expected).await;
    }
    assert_eq!(site.provider.count("POST /token"), 7, "an error leads to no token request");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_says_is_not_shown_or_logged() {
    let site = Site::start().await;
    let phone = site.phone();
    for code in ["access_denied", "server_error", MARKUP] {
        site.provider.lie(error(code));
        let told = Told::of(phone.sign_in(&begin_path(&site.desk.create().await)).await).await;
        for part in ["alert(1)", "evil.example", "Sign in here"] {
            assert!(!told.html.contains(part), "{}", told.html);
            assert!(!site.gateway.log().contains(part), "{}", site.gateway.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_fit_is_refused_before_its_code_is_used() {
    let site = Site::start().await;
    let mixed_up = failure(400, "sign_in_mixed_up", "mix_up");
    let without = |name: &'static str| Lie::answering(move |answer| drop(answer.as_object_mut().unwrap().remove(name)));
    let iss = |iss: &'static str| Lie::answering(move |answer| answer["iss"] = json!(iss));
    // The discovery document promises `iss`.
    site.fails("no iss", without("iss"), mixed_up).await;
    site.fails("another iss", iss("https://other.example"), mixed_up).await;
    site.fails("an empty iss", iss(""), mixed_up).await;
    site.fails("neither code nor error", without("code"), failure(400, "sign_in_mixed_up", "malformed")).await;
    let empty = Lie::answering(|answer| answer["code"] = json!(""));
    site.fails("an empty code", empty, failure(400, "sign_in_mixed_up", "malformed")).await;
    assert_eq!(site.provider.count("POST /token"), 5, "one for each sign-in that succeeded");
}

/// Answers that name no sign-in lead to the start, because nothing says where they came from.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_a_state_of_ours_changes_nothing() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    let (unknown, short) = ("A".repeat(43), "x");
    for language in LANGUAGES {
        let phone = phone.clone().reading(language);
        for query in
            ["code=c".to_owned(), format!("code=c&state={unknown}"), format!("error=access_denied&state={short}")]
        {
            let told = Told::of(phone.bring(&format!("/sign-in/callback?{query}")).await).await;
            told.is(language, 400, "sign_in_expired", "/");
        }
        for query in ["state=a&state=b", "code=a&code=b", "access_token=x", "id_token=x"] {
            let told = Told::of(phone.bring(&format!("/sign-in/callback?{query}")).await).await;
            told.is(language, 400, "sign_in_mixed_up", "/");
        }
        // A second parameter of one name, or a token, behind an answer that is good.
        for more in ["&code=x", "&state=x", "&iss=x", "&access_token=x"] {
            let told = Told::of(phone.bring(&format!("{callback}{more}")).await).await;
            told.is(language, 400, "sign_in_mixed_up", "/");
        }
    }
    assert_eq!((phone.session().await, site.provider.count("POST /token")), (None, 0));
    assert_eq!(phone.bring(&callback).await.status(), StatusCode::SEE_OTHER, "the true answer is still good");
    phone.approves(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_in_another_browser_costs_nobody_the_code() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let page = format!("/s/{id}");
    let callback = phone.until_callback(&begin_path(&id)).await;
    // An app's web view has no cookie; another browser may have begun a sign-in of its own.
    let (web_view, other) = (site.phone(), site.phone());
    other.until_callback(&begin_path(&id)).await;
    for stranger in [web_view, other] {
        for language in LANGUAGES {
            let told = Told::of(stranger.clone().reading(language).bring(&callback).await).await;
            told.is(language, 403, "sign_in_other_browser", &page);
            assert!(!told.headers.contains_key("set-cookie"));
        }
        assert_eq!(stranger.session().await, None);
    }
    assert_eq!((site.failed("other_browser").await, site.provider.count("POST /token")), (4.0, 0));
    assert_eq!(phone.bring(&callback).await.status(), StatusCode::SEE_OTHER);
    phone.approves(&id).await;
}

/// Login CSRF: the victim would go on as the attacker.
#[tokio::test(flavor = "multi_thread")]
async fn an_attackers_answer_in_the_victims_browser_signs_nobody_in() {
    let site = Site::start().await;
    let (id, attacker, victim) = (site.desk.create().await, site.phone(), site.phone());
    site.provider.sign_in_as("mallory");
    let callback = attacker.until_callback(&begin_path(&id)).await;
    site.provider.sign_in_as("ada");
    victim.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    let before = victim.session().await.unwrap();
    let told = Told::of(victim.bring(&callback).await).await;
    told.is("en", 403, "sign_in_other_browser", &format!("/s/{id}"));
    assert_eq!(victim.session().await, Some(before), "the victim is still signed in as before");
    // The attacker puts their code into a sign-in that the victim has begun: the verifier is another one.
    let own = victim.until_callback(&begin_path(&id)).await;
    let code = |callback: &str| query(callback, "code");
    let injected = own.replace(&code(&own), &code(&callback));
    let told = Told::of(victim.bring(&injected).await).await;
    told.is("en", 502, "sign_in_failed", &format!("/s/{id}"));
    victim.approves(&id).await;
    assert_eq!(site.claims(&id).await["sub"], "ada");
}

/// Returns a parameter of the callback.
fn query(callback: &str, name: &str) -> String {
    let (_, query) = callback.split_once('?').unwrap();
    url::form_urlencoded::parse(query.as_bytes()).find(|(each, _)| each == name).unwrap().1.into_owned()
}

/// A provider that ignores PKCE still repeats the nonce.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_another_sign_in_fails_by_its_nonce() {
    let site = Site::start().await;
    let (id, attacker, victim) = (site.desk.create().await, site.phone(), site.phone());
    site.provider.lie(Lie::ignoring_pkce());
    let stolen = query(&victim.until_callback(&begin_path(&id)).await, "code");
    let own = attacker.until_callback(&begin_path(&id)).await;
    let injected = own.replace(&query(&own, "code"), &stolen);
    let told = Told::of(attacker.bring(&injected).await).await;
    told.is("en", 502, "sign_in_failed", &format!("/s/{id}"));
    assert_eq!((site.failed("id_token").await, attacker.session().await), (1.0, None));
    assert_eq!(site.provider.count("GET /userinfo"), 0, "nothing is fetched with a token that was not verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_opened_again_signs_nobody_in_and_leads_on() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    assert_eq!(phone.bring(&callback).await.status(), StatusCode::SEE_OTHER);
    for language in LANGUAGES {
        let told = Told::of(phone.clone().reading(language).bring(&callback).await).await;
        told.is(language, 409, "sign_in_used", &format!("/s/{id}"));
        // From the history of this browser, opened in another one: it is not told which ticket it was.
        let told = Told::of(site.phone().reading(language).bring(&callback).await).await;
        told.is(language, 409, "sign_in_used", "/");
    }
    assert_eq!((site.failed("used_before").await, site.provider.count("POST /token")), (4.0, 1));
    phone.approves(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_callbacks_at_once_one_signs_in() {
    let redis = crate::support::Redis::start();
    let site = Site::with(|builder| builder.redis(&redis)).await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    let answers = join_all((0..200).map(|_| phone.bring(&callback))).await;
    let count = |status| answers.iter().filter(|answer| answer.status() == status).count();
    assert_eq!((count(StatusCode::SEE_OTHER), count(StatusCode::CONFLICT)), (1, 199));
    assert_eq!(site.provider.count("POST /token"), 1);
    assert_eq!(site.gateway.metric("scangate_sessions_started_total").await, 1.0);
    phone.approves(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_takes_too_long_at_the_provider_has_expired() {
    let redis = crate::support::Redis::start();
    let site = Site::with(|builder| builder.redis(&redis)).await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    let is_begun = |key: &String| {
        let values: Vec<String> = redis.try_run(&["HVALS", key]).unwrap_or_default();
        values.iter().any(|value| value.contains("code_verifier"))
    };
    let key = redis.keys().into_iter().find(is_begun).unwrap();
    let left: i64 = redis.run(&["TTL", &key]);
    assert!((590..=600).contains(&left), "{left}");
    // As if ten minutes had passed.
    redis.run::<i64>(&["PEXPIRE", &key, "1"]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    for language in LANGUAGES {
        let told = Told::of(phone.clone().reading(language).bring(&callback).await).await;
        told.is(language, 400, "sign_in_expired", "/");
    }
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    phone.approves(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_begins_at_one_gateway_finishes_at_another() {
    let redis = crate::support::Redis::start();
    let keys = crate::support::gateway::keys();
    let shared = |builder: Builder| builder.redis(&redis).arg("--keys-dir", keys.path().to_str().unwrap());
    let site = Site::with(shared).await;
    let other = shared(site.provider.gateway()).arg("--public-url", &site.gateway.public_url).start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    assert_eq!(phone.at(&other).bring(&callback).await.status(), StatusCode::SEE_OTHER);
    let told = Told::of(phone.bring(&callback).await).await;
    told.is("en", 409, "sign_in_used", &format!("/s/{id}"));
    phone.approves(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_callback_is_refused() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    let (path, form) = callback.split_once('?').unwrap();
    let post = reqwest::Client::new().post(site.gateway.url(path)).header("origin", &site.provider.issuer);
    let post = post.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
    assert!(post.send().await.unwrap().status().is_client_error());
    assert_eq!((phone.session().await, site.provider.count("POST /token")), (None, 0));
    assert_eq!(phone.bring(&callback).await.status(), StatusCode::SEE_OTHER);
}

/// A new session each time, whatever the browser had.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_at_a_provider_never_continues_a_session() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let cookie_of = |response: &reqwest::Response| {
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with("scangate-login=") && cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    };
    let is_signed_in = async |cookie: &str| {
        let request = reqwest::Client::new().get(site.gateway.url("/v1/session")).header("cookie", cookie);
        request.send().await.unwrap().status() == StatusCode::OK
    };
    // Somebody has planted their own session in this browser.
    site.provider.sign_in_as("mallory");
    let planted = cookie_of(&phone.sign_in(&begin_path(&id)).await);
    assert!(is_signed_in(&planted).await);
    site.provider.sign_in_as("ada");
    let own = cookie_of(&phone.sign_in(&begin_path(&id)).await);
    assert!(own != planted && is_signed_in(&own).await && !is_signed_in(&planted).await);
    phone.approves(&id).await;
    assert_eq!(site.claims(&id).await["sub"], "ada");
}

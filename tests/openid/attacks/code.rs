//! Attacks on authorization codes (RFC 9700 §4.2, §4.5).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};

use crate::support::gateway::Phone;
use crate::support::openid::{Answer, App, Screen, Tokens, builder, claims, gateway, random, refused, userinfo};
use crate::support::{Gateway, Redis};

#[tokio::test(flavor = "multi_thread")]
async fn a_code_injected_into_another_session_is_refused() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let (victims, attackers) = (notes.request(), notes.request());
    let stolen = Screen::new(&gateway).sign_in(&victims.query(), &Phone::of("ada", &gateway)).await;
    let own = Screen::new(&gateway).sign_in(&attackers.query(), &Phone::of("eve", &gateway)).await;
    // The victim's code in the attacker's session, and the attacker's code in the victim's.
    for (code, session) in [(stolen.code(), &attackers), (own.code(), &victims)] {
        assert_eq!(refused(notes.exchange(&gateway, code, session).await).await, (400, "invalid_grant".to_owned()));
    }
    // Neither attempt used a code up, and each ID token names its own session.
    for (code, session, person) in [(stolen.code(), &victims, "ada"), (own.code(), &attackers, "eve")] {
        let tokens = Tokens::of(notes.exchange(&gateway, code, session).await).await;
        let id = claims(&tokens.id);
        assert_eq!((id["sub"].as_str(), id["nonce"].as_str()), (Some(person), Some(&*session.value("nonce"))));
    }
}

/// A client without PKCE: the gateway cannot tell its sessions apart, but its ID tokens do.
#[tokio::test(flavor = "multi_thread")]
async fn without_pkce_the_nonce_tells_an_injected_code() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let (victims, attackers) = (notes.request().without_pkce(), notes.request().without_pkce());
    let stolen = Screen::new(&gateway).sign_in(&victims.query(), &Phone::of("ada", &gateway)).await;
    let injected = Tokens::of(notes.exchange(&gateway, stolen.code(), &attackers).await).await;
    let nonce = claims(&injected.id)["nonce"].clone();
    assert_eq!(nonce, victims.value("nonce"));
    assert_ne!(nonce, attackers.value("nonce"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_one_client_is_refused_at_another_and_is_not_used_up() {
    let (notes, shop, spa) = (App::new("notes"), App::new("shop"), App::public("spa"));
    let gateway = gateway(&[&notes, &shop, &spa]).await;
    let request = notes.request();
    let answer = Screen::new(&gateway).sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    for other in [&shop, &spa] {
        for redirect_uri in [&notes.redirect_uri, &other.redirect_uri] {
            let request = request.clone().set("redirect_uri", redirect_uri);
            let outcome = refused(other.exchange(&gateway, answer.code(), &request).await).await;
            assert_eq!(outcome, (400, "invalid_grant".to_owned()), "{} {redirect_uri}", other.id);
        }
    }
    // The client's own redirect URI must match too, byte for byte.
    for redirect_uri in ["https://notes.example/cb/", "https://NOTES.example/cb", &format!("{}?", notes.redirect_uri)] {
        let request = request.clone().set("redirect_uri", redirect_uri);
        let outcome = refused(notes.exchange(&gateway, answer.code(), &request).await).await;
        assert_eq!(outcome, (400, "invalid_grant".to_owned()), "{redirect_uri}");
    }
    Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_use_of_a_code_ends_what_was_issued() {
    let notes = App::new("notes").with("refresh_tokens = \"always\"");
    let gateway = gateway(&[&notes]).await;
    let request = notes.request();
    let answer = Screen::new(&gateway).sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let first = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
    let refreshed = Tokens::of(notes.refresh(&gateway, first.refresh.as_deref().unwrap()).await).await;
    assert_eq!(userinfo(&gateway, &refreshed.access).await.status(), StatusCode::OK);
    assert_eq!(notes.introspect(&gateway, &first.access).await["active"], true);

    let again = refused(notes.exchange(&gateway, answer.code(), &request).await).await;
    assert_eq!(again, (400, "invalid_grant".to_owned()));
    for access in [&first.access, &refreshed.access] {
        assert_eq!(userinfo(&gateway, access).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(notes.introspect(&gateway, access).await, serde_json::json!({"active": false}));
    }
    for token in [first.refresh, refreshed.refresh] {
        let outcome = refused(notes.refresh(&gateway, &token.unwrap()).await).await;
        assert_eq!(outcome, (400, "invalid_grant".to_owned()));
    }
    let series = "scangate_token_requests_total{grant=\"code\",result=\"replayed\"}";
    assert_eq!(gateway.metric(series).await, 1.0);
    assert_eq!(gateway.metric("scangate_grants_ended_total{reason=\"replayed\"}").await, 1.0);
}

/// Two hundred simultaneous uses of one code, at these replicas.
async fn two_hundred_uses(replicas: [&Gateway; 2], notes: &App) {
    let (request, screen) = (notes.request(), Screen::new(replicas[0]));
    let ticket = screen.ticket(&request.query()).await;
    Phone::of("ada", replicas[1]).approve(&ticket).await;
    let answer = Answer::of(screen.at(replicas[1]).done(&ticket).await).await;
    let uses = (0..200).map(|number| notes.exchange(replicas[number % 2], answer.code(), &request));
    let answers = join_all(uses).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == StatusCode::OK);
    assert_eq!((won.len(), lost.len()), (1, 199));
    for answer in lost {
        assert_eq!(refused(answer).await, (400, "invalid_grant".to_owned()));
    }
    // The other uses are replays, so the tokens of the winner end soon.
    let tokens = Tokens::of(won.into_iter().next().unwrap()).await;
    assert_eq!(userinfo(replicas[0], &tokens.access).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_uses_of_a_code_one_gets_tokens() {
    let notes = App::new("notes").with("signing_alg = \"ES256\"");
    let alone = gateway(&[&notes]).await;
    two_hundred_uses([&alone, &alone], &notes).await;
    let redis = Redis::start();
    let (_folder, builder) = builder(&[&notes]);
    let [first, second] = [builder.clone().redis(&redis).start().await, builder.redis(&redis).start().await];
    two_hundred_uses([&first, &second], &notes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloading_done_gives_the_same_code_until_it_is_used() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let (screen, request) = (Screen::new(&gateway), notes.request());
    let ticket = screen.ticket(&request.query()).await;
    Phone::of("ada", &gateway).approve(&ticket).await;
    let codes: BTreeSet<_> = [
        Answer::of(screen.done(&ticket).await).await.code().to_owned(),
        Answer::of(screen.done(&ticket).await).await.code().to_owned(),
    ]
    .into();
    assert_eq!(codes.len(), 1, "{codes:?}");
    let tokens = Tokens::of(notes.exchange(&gateway, codes.first().unwrap(), &request).await).await;
    // The page now says that the sign-in is over, has no code, and ends nothing.
    let over = screen.done(&ticket).await;
    assert_eq!((over.status(), over.headers().get("location")), (StatusCode::NOT_FOUND, None));
    assert!(!over.text().await.unwrap().contains(codes.first().unwrap()));
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_has_a_referrer_or_is_kept() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let mut answers = vec![
        ("page", screen.arrive(&notes.request().query()).await),
        ("refused", screen.arrive(&notes.request().set("redirect_uri", "https://evil.example/").query()).await),
        ("back", screen.arrive(&notes.request().set("scope", "profile").query()).await),
        ("prompt=none", screen.arrive(&notes.request().set("prompt", "none").query()).await),
        ("sign-out", screen.open("/oauth2/logout", "cross-site").await),
    ];
    for mode in ["query", "form_post"] {
        let request = notes.request().set("response_mode", mode);
        let ticket = screen.ticket(&request.query()).await;
        Phone::of("ada", &gateway).approve(&ticket).await;
        let answer = Answer::of(screen.done(&ticket).await).await;
        answers.push((mode, screen.done(&ticket).await));
        answers.push(("token", notes.exchange(&gateway, answer.code(), &request).await));
        answers.push(("token again", notes.exchange(&gateway, answer.code(), &request).await));
        answers.push(("over", screen.done(&ticket).await));
    }
    answers.push(("userinfo", userinfo(&gateway, "none").await));
    for (name, answer) in answers {
        let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{name}");
        assert_eq!(header("referrer-policy").as_deref(), Some("no-referrer"), "{name}");
    }
}

/// With 307 and 308, the browser would post a form on, with everything in it (RFC 9700 §4.12).
#[tokio::test(flavor = "multi_thread")]
async fn every_redirect_is_a_303() {
    let notes = App::new("notes").with("post_logout_redirect_uris = [\"https://notes.example/bye\"]");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let request = notes.request();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let form = "application/x-www-form-urlencoded";
    let post = async |path: &str, body: String| {
        let request = http.request(Method::POST, gateway.url(path)).header("content-type", form);
        request.header("sec-fetch-site", "cross-site").header("origin", "null").body(body).send().await.unwrap()
    };
    let posted = post("/oauth2/authorize", request.query()).await;
    let location = posted.headers()["location"].to_str().unwrap();
    assert_eq!(location, format!("/oauth2/authorize?{}", request.query()), "the same, in the same order");
    let bye = "client_id=notes&post_logout_redirect_uri=https%3A%2F%2Fnotes.example%2Fbye&state=x";
    let ticket = screen.ticket(&request.query()).await;
    // Nothing has been confirmed yet, so there is no answer.
    assert_eq!(screen.done(&ticket).await.status(), StatusCode::NOT_FOUND);
    Phone::of("ada", &gateway).approve(&ticket).await;
    for (name, answer) in [
        ("posted", posted),
        ("code", screen.done(&ticket).await),
        ("error", screen.arrive(&notes.request().set("scope", "").query()).await),
        ("sign-out", screen.open(&format!("/oauth2/logout?{bye}"), "cross-site").await),
        ("sign-out posted", post("/oauth2/logout", bye.to_owned()).await),
    ] {
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_clients_is_limited() {
    let notes = App::new("notes");
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.arg("--rate-invalid-client", "3").start().await;
    let guess = async |id: &str| {
        let request = reqwest::Client::new().post(gateway.url("/oauth2/token")).basic_auth(id, Some(random()));
        request.form(&[("grant_type", "refresh_token"), ("refresh_token", "x")]).send().await.unwrap()
    };
    for id in ["notes", "nobody", "notes"] {
        assert_eq!(refused(guess(id).await).await, (401, "invalid_client".to_owned()));
    }
    let limited = guess("notes").await;
    let wait: u64 = limited.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused(limited).await, (429, "temporarily_unavailable".to_owned()));
    assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_invalid_client\"}").await, 1.0);
    // The app itself is not locked out by a neighbour.
    assert_eq!(refused(notes.refresh(&gateway, "x").await).await, (400, "invalid_grant".to_owned()));
}

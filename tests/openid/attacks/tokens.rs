//! Attacks with refresh tokens, and between clients (RFC 9700 §4.14, RFC 6749 §10.4).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::gateway::{Phone, token_with};
use crate::support::openid::{App, Screen, Tokens, builder, claims, gateway, random, refused, userinfo};
use crate::support::{Gateway, Redis};

fn always(id: &'static str) -> App {
    App::new(id).with("refresh_tokens = \"always\"")
}

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_refresh_token_ends_its_family() {
    let notes = always("notes");
    let gateway = gateway(&[&notes]).await;
    let first = notes.sign_in(&gateway, "ada").await.refresh.unwrap();
    let second = Tokens::of(notes.refresh(&gateway, &first).await).await;
    // The answer was lost: the client gets the same token again, and it is valid.
    let again = Tokens::of(notes.refresh(&gateway, &first).await).await;
    assert_eq!(again.refresh, second.refresh);
    let third = Tokens::of(notes.refresh(&gateway, second.refresh.as_deref().unwrap()).await).await;
    assert_eq!(userinfo(&gateway, &third.access).await.status(), StatusCode::OK);
    // Somebody has kept the first token.
    assert_eq!(refused(notes.refresh(&gateway, &first).await).await, invalid_grant());
    for token in [&second.refresh, &third.refresh] {
        assert_eq!(refused(notes.refresh(&gateway, token.as_deref().unwrap()).await).await, invalid_grant());
    }
    for access in [&second.access, &again.access, &third.access] {
        assert_eq!(userinfo(&gateway, access).await.status(), StatusCode::UNAUTHORIZED);
    }
    let series = |result: &str| format!("scangate_token_requests_total{{grant=\"refresh\",result=\"{result}\"}}");
    assert_eq!((gateway.metric(&series("again")).await, gateway.metric(&series("reused")).await), (1.0, 1.0));
    assert_eq!(gateway.metric("scangate_grants_ended_total{reason=\"reused\"}").await, 1.0);
}

async fn two_hundred_refreshes(gateway: &Gateway, notes: &App) {
    let first = notes.sign_in(gateway, "ada").await.refresh.unwrap();
    let answers = join_all((0..200).map(|_| notes.refresh(gateway, &first))).await;
    let mut successors = BTreeSet::new();
    for answer in answers {
        successors.insert(Tokens::of(answer).await.refresh.unwrap());
    }
    assert_eq!(successors.len(), 1, "{successors:?}");
    Tokens::of(notes.refresh(gateway, successors.first().unwrap()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_refreshes_have_one_successor() {
    // Two hundred signatures of RSA take seconds in a debug build.
    let notes = always("notes").with("signing_alg = \"ES256\"");
    two_hundred_refreshes(&gateway(&[&notes]).await, &notes).await;
    let redis = Redis::start();
    let (_folder, builder) = builder(&[&notes]);
    two_hundred_refreshes(&builder.redis(&redis).start().await, &notes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_a_family_by_what_an_access_token_says() {
    let notes = always("notes");
    let gateway = gateway(&[&notes]).await;
    let tokens = notes.sign_in(&gateway, "ada").await;
    let refresh = tokens.refresh.clone().unwrap();
    let access = claims(&tokens.access);
    let (handle, rest) = refresh.split_once('.').unwrap();
    let (number, _) = rest.split_once('.').unwrap();
    let number: u32 = number.parse().unwrap();
    let mut forged = Vec::new();
    for known in ["grant_id", "sid", "jti"] {
        for number in 0..=number + 1 {
            forged.push(format!("{}.{number}.{}", access[known].as_str().unwrap(), random()));
        }
    }
    // Even the handle ends nothing beside a wrong secret, at the newest number or beyond it.
    for number in [number, number + 1, 4_000_000_000] {
        forged.push(format!("{handle}.{number}.{}", random()));
    }
    forged.extend([handle.to_owned(), format!("{handle}.{number}."), format!("{handle}.{number}"), ".".repeat(40)]);
    for token in &forged {
        assert_eq!(refused(notes.refresh(&gateway, token).await).await, invalid_grant(), "{token}");
        let revoked = notes.post(&gateway, "/oauth2/revoke", &[("token", token)]).await;
        assert_eq!(revoked.status(), StatusCode::OK, "{token}");
        assert_eq!(notes.introspect(&gateway, token).await, json!({"active": false}), "{token}");
    }
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
    Tokens::of(notes.refresh(&gateway, &refresh).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_of_one_client() {
    let spa = App::public("spa").with("refresh_tokens = \"always\"");
    let (notes, shop) = (always("notes"), always("shop"));
    let gateway = gateway(&[&notes, &shop, &spa]).await;
    let (of_notes, of_spa) = (notes.sign_in(&gateway, "ada").await, spa.sign_in(&gateway, "ada").await);
    for (other, tokens) in [(&shop, &of_notes), (&spa, &of_notes), (&notes, &of_spa), (&shop, &of_spa)] {
        let token = tokens.refresh.as_deref().unwrap();
        assert_eq!(refused(other.refresh(&gateway, token).await).await, invalid_grant(), "{}", other.id);
    }
    Tokens::of(notes.refresh(&gateway, of_notes.refresh.as_deref().unwrap()).await).await;
    Tokens::of(spa.refresh(&gateway, of_spa.refresh.as_deref().unwrap()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_do_not_cross_clients() {
    let api = App::new("api").with("audiences = [\"https://api.example/\"]");
    let (notes, spa) = (always("notes"), App::public("spa"));
    let gateway = gateway(&[&notes, &api, &spa]).await;
    let tokens = notes.sign_in(&gateway, "ada").await;
    let all = [&tokens.access, &tokens.id, tokens.refresh.as_ref().unwrap()];
    for token in all {
        // Another client learns nothing of it, and ends nothing.
        assert_eq!(api.introspect(&gateway, token).await, json!({"active": false}));
        for other in [&api, &spa] {
            let revoked = other.post(&gateway, "/oauth2/revoke", &[("token", token)]).await;
            assert_eq!((revoked.status(), revoked.text().await.unwrap().as_str()), (StatusCode::OK, ""));
        }
        // A client without a secret asks nothing.
        let asked = spa.post(&gateway, "/oauth2/introspect", &[("token", token)]).await;
        assert_eq!(refused(asked).await, (401, "invalid_client".to_owned()));
    }
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
    // Each names its audience and its client.
    let here = format!("{}/oauth2/userinfo", gateway.public_url);
    let access = claims(&tokens.access);
    assert_eq!((&access["aud"], &access["client_id"]), (&json!(here), &json!("notes")));
    let access = claims(&api.sign_in(&gateway, "ada").await.access);
    assert_eq!((&access["aud"], &access["client_id"]), (&json!(["https://api.example/", here]), &json!("api")));
    assert_eq!(claims(&tokens.id)["aud"], "notes");
    // Its own client ends all of it.
    let revoked = notes.post(&gateway, "/oauth2/revoke", &[("token", &tokens.access)]).await;
    assert_eq!(revoked.status(), StatusCode::OK);
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused(notes.refresh(&gateway, &tokens.refresh.unwrap()).await).await, invalid_grant());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_secret_cannot_come_without() {
    let (both, basic, post) =
        (always("both"), always("basic").with("token_auth = \"basic\""), always("post").with("token_auth = \"post\""));
    let gateway = gateway(&[&both, &basic, &post]).await;
    for (app, by_header, by_form) in [(&both, true, true), (&basic, true, false), (&post, false, true)] {
        let secret = app.secret.as_deref().unwrap();
        let ask = async |header: Option<&str>, form: &[(&str, &str)]| {
            let mut all = vec![("grant_type", "refresh_token"), ("refresh_token", "x")];
            all.extend(form);
            let mut request = reqwest::Client::new().post(gateway.url("/oauth2/token"));
            request = header.into_iter().fold(request, |request, secret| request.basic_auth(app.id, Some(secret)));
            refused(request.form(&all).send().await.unwrap()).await.1
        };
        let outcome = |is_right| if is_right { "invalid_grant" } else { "invalid_client" };
        let (id, longer) = (("client_id", app.id), format!("{secret}x"));
        assert_eq!(ask(Some(secret), &[]).await, outcome(by_header), "{}", app.id);
        assert_eq!(ask(None, &[id, ("client_secret", secret)]).await, outcome(by_form), "{}", app.id);
        for wrong in ["", &secret[1..], &longer, &secret.to_uppercase()] {
            assert_eq!(ask(Some(wrong), &[]).await, "invalid_client", "{}", app.id);
            assert_eq!(ask(None, &[id, ("client_secret", wrong)]).await, "invalid_client", "{}", app.id);
        }
        assert_eq!(ask(None, &[id]).await, "invalid_client", "{}", app.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_of_its_own_client() {
    let spa = App::public("spa").with("origins = [\"https://spa.example\"]");
    let other = App::public("other").with("origins = [\"https://other.example\"]");
    let gateway = gateway(&[&spa, &other]).await;
    let screen = Screen::new(&gateway);
    let post = async |path: &str, origin: &str, form: &[(&str, &str)]| {
        let request = reqwest::Client::new().post(gateway.url(path)).header("origin", origin);
        request.header("sec-fetch-site", "cross-site").form(form).send().await.unwrap()
    };
    // Of another client, and of none.
    for origin in ["https://other.example", "https://evil.example", "https://spa.example.evil.example", "null"] {
        let request = spa.request();
        let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
        let verifier = request.verifier.clone().unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", answer.code()),
            ("redirect_uri", &spa.redirect_uri),
            ("code_verifier", &verifier),
            ("client_id", "spa"),
        ];
        assert_eq!(post("/oauth2/token", origin, &form).await.status(), StatusCode::FORBIDDEN, "{origin}");
        // The page of its own origin reads the answer, without cookies.
        let own = post("/oauth2/token", "https://spa.example", &form).await;
        assert_eq!(own.headers()["access-control-allow-origin"], "https://spa.example");
        assert_eq!(own.headers().get("access-control-allow-credentials"), None);
        let tokens = Tokens::of(own).await;
        for (origin, is_own) in [(origin, false), ("https://spa.example", true)] {
            let request = reqwest::Client::new().get(gateway.url("/oauth2/userinfo")).header("origin", origin);
            let answer = request.bearer_auth(&tokens.access).send().await.unwrap();
            assert_eq!(answer.status() == StatusCode::OK, is_own, "{origin}");
            assert!(is_own || !answer.text().await.unwrap().contains("\"sub\""), "{origin}");
        }
    }
    for path in ["/.well-known/openid-configuration", "/.well-known/jwks.json"] {
        let answer =
            reqwest::Client::new().get(gateway.url(path)).header("origin", "https://evil.example").send().await;
        assert_eq!(answer.unwrap().headers()["access-control-allow-origin"], "*", "{path}");
    }
    // A browser asks first. The answer does not allow cookies.
    let request = reqwest::Client::new().request(Method::OPTIONS, gateway.url("/oauth2/userinfo"));
    let request = request.header("origin", "https://spa.example").header("access-control-request-method", "GET");
    let answer = request.header("access-control-request-headers", "authorization").send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://spa.example");
    assert_eq!(answer.headers().get("access-control-allow-credentials"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn email_verified_is_never_invented() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    for (said, expected) in [
        (json!({"email": "ada@example.com"}), json!({"email": "ada@example.com"})),
        (
            json!({"email": "ada@example.com", "email_verified": true}),
            json!({"email": "ada@example.com", "email_verified": true}),
        ),
        (
            json!({"email": "ada@example.com", "email_verified": false}),
            json!({"email": "ada@example.com", "email_verified": false}),
        ),
        (json!({"email": "ada@example.com", "email_verified": "true"}), json!({"email": "ada@example.com"})),
        (json!({"email": "ada@example.com", "email_verified": 1}), json!({"email": "ada@example.com"})),
        (json!({"email_verified": true}), json!({})),
        (json!({}), json!({})),
    ] {
        let token = token_with("ada", |claims| {
            claims.as_object_mut().unwrap().remove("email");
            claims.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        });
        let request = notes.request();
        let answer = Screen::new(&gateway).sign_in(&request.query(), &Phone::with_token(token, &gateway)).await;
        let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
        let told: Value = userinfo(&gateway, &tokens.access).await.json().await.unwrap();
        for claims in [claims(&tokens.id), told] {
            for name in ["email", "email_verified"] {
                assert_eq!(claims.get(name), expected.get(name), "{said}: {claims}");
            }
        }
    }
}

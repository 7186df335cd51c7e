//! The token endpoint: every way to authenticate with every algorithm, every error, and its limits.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::Gateway;
use crate::support::gateway::{Phone, verified_claims};
use crate::support::openid::{App, Request, Screen, Tokens, builder, claims, gateway, header, random, refused};

/// Returns a code, and the request that it answers.
async fn code(app: &App, gateway: &Gateway) -> (String, Request) {
    let request = app.request();
    let answer = Screen::new(gateway).sign_in(&request.query(), &Phone::of("ada", gateway)).await;
    (answer.code().to_owned(), request)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_authenticate_gets_tokens_of_each_algorithm() {
    let with = |app: App, algorithm: &str| app.with(&format!("signing_alg = \"{algorithm}\""));
    let apps = [
        with(App::new("rsa"), "RS256"),
        with(App::new("ec"), "ES256"),
        with(App::new("ed"), "EdDSA"),
        with(App::public("public"), "ES256"),
    ];
    let gateway = gateway(&apps.each_ref()).await;
    for (app, algorithm) in apps.iter().zip(["RS256", "ES256", "EdDSA", "ES256"]) {
        for is_by_header in [true, false] {
            let (code, request) = code(app, &gateway).await;
            let verifier = request.verifier.clone().unwrap();
            // An app of Jupyter sends a field `data`.
            let mut form = vec![
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", &app.redirect_uri),
                ("code_verifier", &verifier),
                ("data", ""),
            ];
            let post = reqwest::Client::new().post(gateway.url("/oauth2/token"));
            let post = match (&app.secret, is_by_header) {
                (Some(secret), true) => post.basic_auth(app.id, Some(secret)),
                (Some(secret), false) => {
                    form.extend([("client_id", app.id), ("client_secret", secret)]);
                    post
                }
                (None, _) => {
                    form.push(("client_id", app.id));
                    post
                }
            };
            let response = post.form(&form).send().await.unwrap();
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert_eq!(response.headers()["pragma"], "no-cache");
            let tokens = Tokens::of(response).await;
            assert_eq!((&tokens.whole["token_type"], &tokens.whole["expires_in"]), (&"Bearer".into(), &600.into()));
            assert_eq!(tokens.whole["scope"], "openid profile email");
            assert_eq!(tokens.refresh, None);
            assert_eq!(
                (&header(&tokens.id)["alg"], &header(&tokens.access)["alg"]),
                (&algorithm.into(), &algorithm.into())
            );
            let id = verified_claims(&gateway, &tokens.id, app.id).await;
            assert_eq!((id["sub"].as_str(), id["nonce"].as_str()), (Some("ada"), Some(&*request.value("nonce"))));
            assert_eq!(claims(&tokens.access)["client_id"], app.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_its_status_and_name_and_quotes_nothing() {
    let (notes, never) = (App::new("notes").with("refresh_tokens = \"always\""), App::new("never"));
    let gateway = gateway(&[&notes, &never]).await;
    let tokens = notes.sign_in(&gateway, "ada").await;
    let refresh = tokens.refresh.as_deref().unwrap();
    let grant = ("grant_type", "authorization_code");
    let (code, redirect) = (("code", "s3cr3t"), ("redirect_uri", "https://notes.example/cb"));
    let by_refresh = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let secret = notes.secret.as_deref().unwrap();
    type Row<'a> = (&'a App, Vec<(&'a str, &'a str)>, u16, &'a str);
    let rows: [Row; 14] = [
        (&notes, vec![], 400, "invalid_request"),
        (&notes, vec![("grant_type", "")], 400, "invalid_request"),
        (&notes, vec![grant, grant], 400, "invalid_request"),
        (&notes, vec![grant, redirect], 400, "invalid_request"),
        (&notes, vec![grant, code], 400, "invalid_request"),
        (&notes, vec![grant, code, redirect, ("client_secret", secret)], 400, "invalid_request"),
        (&notes, vec![grant, code, redirect, ("client_id", "never")], 400, "invalid_request"),
        (&notes, vec![grant, code, redirect], 400, "invalid_grant"),
        (&notes, vec![("grant_type", "password"), ("username", "s3cr3t")], 400, "unsupported_grant_type"),
        (&notes, vec![("grant_type", "client_credentials")], 400, "unsupported_grant_type"),
        (&notes, vec![("grant_type", "refresh_token")], 400, "invalid_request"),
        (&notes, vec![("grant_type", "refresh_token"), ("refresh_token", "s3cr3t")], 400, "invalid_grant"),
        (&notes, [&by_refresh[..], &[("scope", "openid phone")]].concat(), 400, "invalid_scope"),
        (&never, by_refresh.to_vec(), 400, "invalid_grant"),
    ];
    for (app, form, status, name) in rows {
        let response = app.post(&gateway, "/oauth2/token", &form).await;
        assert_eq!(response.headers()["cache-control"], "no-store", "{form:?}");
        let text = response.text().await.unwrap();
        assert!(!text.contains("s3cr3t") && !text.contains(refresh), "{text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["error"], name, "{form:?}");
        assert!(body["error_description"].as_str().unwrap().ends_with('.'), "{text}");
        let again = refused(app.post(&gateway, "/oauth2/token", &form).await).await;
        assert_eq!(again, (status, name.to_owned()), "{form:?}");
    }
    let post = || reqwest::Client::new().post(gateway.url("/oauth2/token")).basic_auth("notes", Some(secret));
    let json = post().json(&serde_json::json!({"grant_type": "refresh_token"})).send().await.unwrap();
    assert_eq!(refused(json).await, (400, "invalid_request".to_owned()));
    let long = "x".repeat(17_000);
    let long = post().form(&[("grant_type", &*long)]).send().await.unwrap();
    assert_eq!(refused(long).await, (400, "invalid_request".to_owned()));
    let wrong = reqwest::Client::new().post(gateway.url("/oauth2/token")).basic_auth("notes", Some("wrong"));
    let wrong = wrong.form(&by_refresh).send().await.unwrap();
    assert_eq!(wrong.headers()["www-authenticate"], "Basic realm=\"scangate\", charset=\"UTF-8\"");
    assert_eq!(refused(wrong).await, (401, "invalid_client".to_owned()));
    // None of them has used the refresh token.
    Tokens::of(notes.refresh(&gateway, refresh).await).await;
    let get = reqwest::Client::new().request(Method::GET, gateway.url("/oauth2/token")).send().await.unwrap();
    assert_eq!(
        (get.status(), get.headers()["allow"].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "POST, OPTIONS")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_of_one_address_wait() {
    let notes = App::new("notes");
    let (_folder, builder) = builder(&[&notes]);
    let gateway = builder.arg("--rate-token", "3").arg("--rate-invalid-client", "2").start().await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", &*random())];
    for (expected, status) in [("invalid_grant", 400); 3].into_iter().chain([("temporarily_unavailable", 429)]) {
        let response = notes.post(&gateway, "/oauth2/token", &form).await;
        assert_eq!(response.headers().contains_key("retry-after"), status == 429);
        assert_eq!(refused(response).await, (status, expected.to_owned()));
    }
    let guess = || async {
        let post = reqwest::Client::new().post(gateway.url("/oauth2/token")).basic_auth("notes", Some("guess"));
        refused(post.form(&form).send().await.unwrap()).await
    };
    for expected in [(401, "invalid_client"), (401, "invalid_client"), (429, "temporarily_unavailable")] {
        assert_eq!(guess().await, (expected.0, expected.1.to_owned()));
    }
    assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_token\"}").await, 1.0);
    assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_invalid_client\"}").await, 1.0);
    assert_eq!(gateway.metric("scangate_openid_clients_refused_total").await, 3.0);
}

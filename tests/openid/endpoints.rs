//! The endpoints that apps call with a token that they have: userinfo, revocation, introspection; and the provider's description.

use reqwest::header::{HeaderMap, ORIGIN};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::Phone;
use crate::support::openid::{Answer, App, Screen, Tokens, builder, gateway, use_endpoints, userinfo};

const PAGE: &str = "https://spa.example";

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// Returns the status, the error and the challenge of a refusal.
async fn refusal(response: Response) -> (StatusCode, String, String) {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap();
    let error =
        serde_json::from_slice::<Value>(&body).map(|body| body["error"].as_str().unwrap_or_default().to_owned());
    (status, error.unwrap_or_default(), header(&headers, "www-authenticate").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_says_what_the_token_allows_and_refuses_by_rfc_6750() {
    let app = App::new("shop").with("claims = [\"name\", \"email\"]");
    let gateway = gateway(&[&app]).await;
    let tokens = app.sign_in(&gateway, "ada").await;
    let answer = userinfo(&gateway, &tokens.access).await;
    assert_eq!((answer.status(), header(answer.headers(), "cache-control")), (StatusCode::OK, "no-store"));
    let told: Value = answer.json().await.unwrap();
    assert_eq!((&told["sub"], told["name"].is_string()), (&json!("ada"), true), "{told}");
    assert!(told.get("iss").is_none() && told.get("email_verified").is_none(), "{told}");

    let none = Client::new().get(gateway.url("/oauth2/userinfo")).send().await.unwrap();
    let realm = "Bearer realm=\"scangate\"";
    assert_eq!(refusal(none).await, (StatusCode::UNAUTHORIZED, String::new(), realm.to_owned()));
    for token in [&tokens.id, "x", &format!("{}x", tokens.access)] {
        let (status, error, challenge) = refusal(userinfo(&gateway, token).await).await;
        assert_eq!((status, error.as_str()), (StatusCode::UNAUTHORIZED, "invalid_token"), "{token}");
        assert!(challenge.starts_with("Bearer realm=\"scangate\", error=\"invalid_token\""), "{challenge}");
    }
    let twice = Client::new().post(gateway.url("/oauth2/userinfo")).bearer_auth(&tokens.access);
    let twice = twice.form(&[("access_token", &tokens.access)]).send().await.unwrap();
    assert_eq!(refusal(twice).await.1, "invalid_request");
    let in_query = format!("/oauth2/userinfo?access_token={}", tokens.access);
    assert_eq!(
        refusal(Client::new().get(gateway.url(&in_query)).send().await.unwrap()).await.0,
        StatusCode::UNAUTHORIZED
    );
    // A JSON body beside the header is no form, and nothing is read of it.
    let json = Client::new().post(gateway.url("/oauth2/userinfo")).bearer_auth(&tokens.access).json(&json!({}));
    assert_eq!(json.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_tokens_are_limited_and_valid_ones_are_served() {
    let app = App::new("shop");
    let (_folder, builder) = builder(&[&app]);
    let gateway = builder.arg("--rate-invalid-client", "3").start().await;
    let tokens = app.sign_in(&gateway, "ada").await;
    for _ in 0..3 {
        assert_eq!(userinfo(&gateway, "x").await.status(), StatusCode::UNAUTHORIZED);
    }
    let limited = userinfo(&gateway, "x").await;
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(header(limited.headers(), "retry-after").parse::<u64>().is_ok_and(|secs| secs >= 1));
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_has_as_many_attempts_as_the_token_endpoint_and_takes_none_of_its() {
    let app = App::new("shop");
    let (_folder, builder) = builder(&[&app]);
    let gateway = builder.arg("--rate-token", "2").start().await;
    let tokens = app.sign_in(&gateway, "ada").await;
    for status in [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(userinfo(&gateway, &tokens.access).await.status(), status);
    }
    assert_eq!(gateway.metric("scangate_refused_total{reason=\"rate_userinfo\"}").await, 1.0);
    assert_eq!(
        app.introspect(&gateway, &tokens.access).await["active"],
        true,
        "the second attempt of the token endpoint"
    );
}

/// All people of an app may come from one address: its backend's, or their office's.
#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_token_and_with_one_that_was_valid_are_not_limited() {
    let app = App::new("shop");
    let (_folder, builder) = builder(&[&app]);
    let gateway = builder.arg("--rate-invalid-client", "1").start().await;
    let ended = app.sign_in(&gateway, "ada").await;
    app.post(&gateway, "/oauth2/revoke", &[("token", &ended.access)]).await;
    for _ in 0..4 {
        let (status, error, _) = refusal(userinfo(&gateway, &ended.access).await).await;
        assert_eq!((status, error.as_str()), (StatusCode::UNAUTHORIZED, "invalid_token"));
        let none = Client::new().get(gateway.url("/oauth2/userinfo")).send().await.unwrap();
        assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(userinfo(&gateway, "x").await.status(), StatusCode::UNAUTHORIZED, "the one attempt");
    assert_eq!(userinfo(&gateway, "x").await.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(userinfo(&gateway, &ended.access).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_of_the_browser_ends_the_tokens_of_its_session_but_not_offline_access() {
    let app = App::new("shop").with("single_sign_on = true").with("refresh_tokens = \"always\"");
    let offline = App::new("offline").with("single_sign_on = true").with("refresh_tokens = \"offline_access\"");
    let offline = offline.with("scopes = [\"openid\", \"offline_access\"]");
    let gateway = gateway(&[&app, &offline]).await;
    let screen = Screen::new(&gateway);
    let request = app.request();
    let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let ended = Tokens::of(app.exchange(&gateway, answer.code(), &request).await).await;
    // The session signs in to the other app. Nobody has agreed that this app outlives the session, so its tokens end
    // with it.
    let request = offline.request().set("scope", "openid offline_access").set("prompt", "none");
    let answer = Answer::of(screen.arrive(&request.query()).await).await;
    let silent = Tokens::of(offline.exchange(&gateway, answer.code(), &request).await).await;
    let silent = Tokens::of(offline.refresh(&gateway, silent.refresh.as_deref().unwrap()).await).await;
    assert_eq!(silent.whole["scope"], "openid");
    // After a scan, it may outlive the session.
    let request = request.set("prompt", "login");
    let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let kept = Tokens::of(offline.exchange(&gateway, answer.code(), &request).await).await;
    assert_eq!(kept.whole["scope"], "openid offline_access");
    for (app, tokens) in [(&app, &ended), (&offline, &silent), (&offline, &kept)] {
        assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
        assert_eq!(app.introspect(&gateway, tokens.refresh.as_deref().unwrap()).await["active"], true);
    }
    screen.open(&format!("/oauth2/logout?id_token_hint={}", ended.id), "cross-site").await;
    for (app, tokens) in [(&app, &ended), (&offline, &silent)] {
        assert_eq!(refusal(userinfo(&gateway, &tokens.access).await).await.1, "invalid_token");
        for token in [&tokens.access, tokens.refresh.as_ref().unwrap()] {
            assert_eq!(app.introspect(&gateway, token).await, json!({"active": false}));
        }
    }
    assert_eq!(userinfo(&gateway, &kept.access).await.status(), StatusCode::OK);
    for token in [&kept.access, kept.refresh.as_ref().unwrap()] {
        assert_eq!(offline.introspect(&gateway, token).await["active"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_all_tokens_of_its_sign_in_and_of_no_other() {
    let app = App::new("shop").with("refresh_tokens = \"always\"");
    let other = App::public("spa");
    let gateway = gateway(&[&app, &other]).await;
    let (first, second) = (app.sign_in(&gateway, "ada").await, app.sign_in(&gateway, "ada").await);
    let refresh = |tokens: &Tokens| tokens.refresh.clone().unwrap();
    let revoke = async |app: &App, token: &str| app.post(&gateway, "/oauth2/revoke", &[("token", token)]).await;
    // A token of another app, of none, or of another kind has no effect; the answer is the same.
    for (app, token) in
        [(&other, &first.access), (&other, &refresh(&first)), (&app, &first.id), (&app, &"x".to_owned())]
    {
        assert_eq!(revoke(app, token).await.status(), StatusCode::OK);
    }
    assert_eq!(app.introspect(&gateway, &first.access).await["active"], true);
    for (tokens, token) in [(&first, refresh(&first)), (&second, second.access.clone())] {
        assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
        assert_eq!(revoke(&app, &token).await.status(), StatusCode::OK);
        assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(app.introspect(&gateway, &tokens.access).await, json!({"active": false}));
        assert_eq!(app.introspect(&gateway, &refresh(tokens)).await, json!({"active": false}));
        assert_eq!(app.refresh(&gateway, &refresh(tokens)).await.status(), StatusCode::BAD_REQUEST);
        assert_eq!(revoke(&app, &token).await.status(), StatusCode::OK, "a second time");
    }
    assert_eq!(refusal(app.post(&gateway, "/oauth2/revoke", &[]).await).await.1, "invalid_request");
    let stranger = Client::new().post(gateway.url("/oauth2/revoke")).form(&[("token", "x"), ("client_id", "nobody")]);
    assert_eq!(refusal(stranger.send().await.unwrap()).await.1, "invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_tells_a_client_of_its_own_tokens_only() {
    let app = App::new("shop").with("refresh_tokens = \"always\"").with("audiences = [\"https://api.example\"]");
    let (other, public) = (App::new("other"), App::public("spa"));
    let gateway = gateway(&[&app, &other, &public]).await;
    let tokens = app.sign_in(&gateway, "ada").await;
    let told = app.introspect(&gateway, &tokens.access).await;
    assert_eq!(told["active"], true);
    assert_eq!(
        (&told["client_id"], &told["sub"], &told["token_type"]),
        (&json!("shop"), &json!("ada"), &json!("Bearer"))
    );
    assert_eq!(told["scope"], tokens.whole["scope"]);
    assert_eq!(told["aud"], json!(["https://api.example", format!("{}/oauth2/userinfo", gateway.public_url)]));
    assert!(["exp", "iat", "nbf"].iter().all(|name| told[name].is_u64()) && told["jti"].is_string(), "{told}");
    assert!(told.get("grant_id").is_none(), "{told}");
    let refresh = tokens.refresh.as_deref().unwrap();
    let told = app.introspect(&gateway, refresh).await;
    assert_eq!((&told["active"], &told["sub"], &told["client_id"]), (&json!(true), &json!("ada"), &json!("shop")));
    for token in [&tokens.access, refresh, &tokens.id, "x"] {
        assert_eq!(other.introspect(&gateway, token).await, json!({"active": false}), "another app");
    }
    assert_eq!(
        app.introspect(&gateway, &tokens.id).await,
        json!({"active": false}),
        "an ID token is for the app itself"
    );
    let (status, error, _) = refusal(public.post(&gateway, "/oauth2/introspect", &[("token", "x")]).await).await;
    assert_eq!((status, error.as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"), "without a secret anyone could");
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_tells_an_api_of_the_access_tokens_that_are_for_it() {
    let app = App::new("shop").with("refresh_tokens = \"always\"");
    let app = app.with("audiences = [\"orders\", \"https://orders.example\"]");
    let (api, third, other) = (App::new("orders"), App::new("third"), App::new("other"));
    let gateway = gateway(&[&app, &api, &third, &other]).await;
    let tokens = app.sign_in(&gateway, "ada").await;
    let told = api.introspect(&gateway, &tokens.access).await;
    assert_eq!((&told["active"], &told["client_id"], &told["sub"]), (&json!(true), &json!("shop"), &json!("ada")));
    assert_eq!(told, app.introspect(&gateway, &tokens.access).await);
    // Only what is sent to it, and only to it.
    let not_for_it = other.sign_in(&gateway, "ada").await.access;
    for token in [tokens.refresh.as_ref().unwrap(), &tokens.id, &not_for_it] {
        assert_eq!(api.introspect(&gateway, token).await, json!({"active": false}), "{token}");
    }
    assert_eq!(third.introspect(&gateway, &tokens.access).await, json!({"active": false}));
    // It learns immediately that the token has ended, and cannot end it itself.
    api.post(&gateway, "/oauth2/revoke", &[("token", &tokens.access)]).await;
    assert_eq!(api.introspect(&gateway, &tokens.access).await["active"], true);
    app.post(&gateway, "/oauth2/revoke", &[("token", &tokens.access)]).await;
    assert_eq!(api.introspect(&gateway, &tokens.access).await, json!({"active": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_app_may_call_what_its_app_may_and_any_page_reads_what_is_public() {
    let app = App::public("spa").with(&format!("origins = [\"{PAGE}\"]"));
    let other = App::new("other").with("origins = [\"https://other.example\"]");
    let gateway = gateway(&[&app, &other]).await;
    let http = Client::new();
    for path in
        ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json"]
    {
        let answer = http.get(gateway.url(path)).header(ORIGIN, "https://anyone.example").send().await.unwrap();
        assert_eq!(header(answer.headers(), "access-control-allow-origin"), "*", "{path}");
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
    for path in ["/oauth2/token", "/oauth2/userinfo", "/oauth2/revoke"] {
        let preflight = |origin| {
            let request = http.request(Method::OPTIONS, gateway.url(path)).header(ORIGIN, origin);
            request
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization")
        };
        let answer = preflight(PAGE).send().await.unwrap();
        assert_eq!(header(answer.headers(), "access-control-allow-origin"), PAGE, "{path}");
        assert!(header(answer.headers(), "access-control-allow-headers").contains("authorization"), "{path}");
        let answer = preflight("https://anyone.example").send().await.unwrap();
        assert_eq!(header(answer.headers(), "access-control-allow-origin"), "", "{path}");
    }
    // Introspection is for a client's server.
    for method in [Method::OPTIONS, Method::POST] {
        for origin in [PAGE, "https://other.example"] {
            let request = http.request(method.clone(), gateway.url("/oauth2/introspect")).header(ORIGIN, origin);
            let request =
                request.header("access-control-request-method", "POST").basic_auth(other.id, other.secret.as_ref());
            let answer = request.form(&[("token", "x")]).send().await.unwrap();
            assert_eq!(header(answer.headers(), "access-control-allow-origin"), "", "{method} {origin}");
        }
    }
    let tokens = app.sign_in(&gateway, "ada").await;
    let from = |origin: &str| {
        http.get(gateway.url("/oauth2/userinfo")).bearer_auth(&tokens.access).header(ORIGIN, origin).send()
    };
    let answer = from(PAGE).await.unwrap();
    assert_eq!((answer.status(), header(answer.headers(), "access-control-allow-origin")), (StatusCode::OK, PAGE));
    // A page of another app, which CORS lets read the answer, must not use this app's token.
    let (status, error, _) = refusal(from("https://other.example").await.unwrap()).await;
    assert_eq!((status, error.as_str()), (StatusCode::FORBIDDEN, "invalid_request"));
    let revoked = http.post(gateway.url("/oauth2/revoke")).header(ORIGIN, "https://other.example");
    let revoked = revoked.form(&[("token", tokens.access.as_str()), ("client_id", "spa")]).send().await.unwrap();
    assert_eq!(refusal(revoked).await.1, "invalid_request");
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
}

/// A page in a sandbox has the origin `null`. The origin of a native app's redirect URI is written in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_an_origin_is_not_taken_for_a_native_app() {
    let app = App::public("native").with_redirect_uris(&["com.example.app:/cb"]);
    let gateway = gateway(&[&app]).await;
    let tokens = app.sign_in(&gateway, "ada").await;
    let from = Client::new().get(gateway.url("/oauth2/userinfo")).bearer_auth(&tokens.access).header(ORIGIN, "null");
    assert_eq!(refusal(from.send().await.unwrap()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_true_and_absent_without_openid_clients() {
    let app = App::new("shop").with("signing_alg = \"ES256\"");
    let gateway = gateway(&[&app]).await;
    let http = Client::new();
    let document: Value =
        http.get(gateway.url("/.well-known/openid-configuration")).send().await.unwrap().json().await.unwrap();
    assert_eq!(document["issuer"], gateway.public_url.as_str());
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
    use_endpoints(&gateway, &app, &document).await;
    let plain = Gateway::start().await;
    for path in ["/.well-known/openid-configuration", "/oauth2/userinfo"] {
        assert_eq!(http.get(plain.url(path)).send().await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/oauth2/token", "/oauth2/revoke", "/oauth2/introspect"] {
        let answer = http.post(plain.url(path)).form(&[("client_id", "web")]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

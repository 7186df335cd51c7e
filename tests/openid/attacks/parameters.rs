//! Attacks by parameters: twice, as markup, with more than was granted (RFC 6749 §3, §10.14).

use std::collections::BTreeSet;

use reqwest::StatusCode;

use crate::support::gateway::Phone;
use crate::support::openid::{Answer, App, Screen, Tokens, claims, gateway, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_there_twice_is_refused() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    for name in ["client_id", "redirect_uri"] {
        let query = notes.request().and(name, &notes.request().value(name)).query();
        let answer = screen.arrive(&query).await;
        assert_eq!((answer.status(), answer.headers().get("location")), (StatusCode::BAD_REQUEST, None), "{name}");
    }
    for name in ["response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method"] {
        let request = notes.request();
        let answer = Answer::of(screen.arrive(&request.clone().and(name, &request.value(name)).query()).await).await;
        assert_eq!(answer.field("error"), "invalid_request", "{name}");
        // Nobody can tell which of two states is the app's.
        let state = if name == "state" { String::new() } else { request.value("state") };
        assert_eq!(answer.field("state"), state, "{name}");
    }
    let request = notes.request();
    let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let verifier = request.verifier.clone().unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", answer.code()),
        ("redirect_uri", &notes.redirect_uri),
        ("code_verifier", &verifier),
    ];
    for twice in form {
        let mut form = form.to_vec();
        form.push(twice);
        let outcome = refused(notes.post(&gateway, "/oauth2/token", &form).await).await;
        assert_eq!(outcome, (400, "invalid_request".to_owned()), "{twice:?}");
    }
    // A secret in the form beside the one in the header; another client's id in the form.
    for beside in [("client_secret", notes.secret.as_deref().unwrap()), ("client_id", "another")] {
        let mut form = form.to_vec();
        form.push(beside);
        let outcome = refused(notes.post(&gateway, "/oauth2/token", &form).await).await;
        assert_eq!(outcome, (400, "invalid_request".to_owned()), "{beside:?}");
    }
    // The token endpoint ignores its query.
    let path = "/oauth2/token?grant_type=refresh_token&code=x&client_id=another";
    Tokens::of(notes.post(&gateway, path, &form).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_state_comes_back_unchanged_and_is_markup_nowhere() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let (screen, phone) = (Screen::new(&gateway), Phone::of("ada", &gateway));
    let long = "x".repeat(2048);
    for state in [
        "\"><script>alert(1)</script>",
        "'><img src=x onerror=alert(1)>",
        "x\" formaction=\"https://evil.example/",
        "&code=stolen&iss=https://evil.example",
        "#code=stolen",
        "a+b c%20d%2Bé",
        "%0d%0aSet-Cookie: a=b",
        "</form><form action=https://evil.example>",
        "&quot;&#34;&amp;",
        "{{csp}}",
        "\u{202e}\u{1f600}",
        " ",
        long.as_str(),
    ] {
        for mode in ["query", "form_post"] {
            let request = notes.request().set("state", state).set("response_mode", mode);
            let ticket = screen.ticket(&request.query()).await;
            phone.approve(&ticket).await;
            let raw = screen.done(&ticket).await;
            assert_eq!(raw.headers().get_all("set-cookie").iter().count(), 0, "{state}");
            let answer = Answer::of(raw).await;
            assert_eq!((answer.field("state"), answer.to.as_str()), (state, &*notes.redirect_uri), "{mode}");
            let names: BTreeSet<_> = answer.fields.keys().map(String::as_str).collect();
            assert_eq!(names, ["code", "iss", "state"].into(), "{mode} {state}");
            let again = screen.done(&ticket).await.text().await.unwrap();
            assert_eq!(again.matches("<form").count(), usize::from(mode == "form_post"), "{again}");
            assert!(!again.contains("alert(1)</script>") && !again.contains("<img"), "{again}");
            // The sign-in page knows its own address, and has no more markup for it.
            let page = screen.arrive(&request.query()).await.text().await.unwrap();
            assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{page}");
        }
    }
    for refused in ["a\nb", "a\r\nb", "a\u{7f}", &"x".repeat(2049)] {
        let answer = Answer::of(screen.arrive(&notes.request().set("state", refused).query()).await).await;
        assert_eq!((answer.field("error"), answer.field("state")), ("invalid_request", ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_never_grows() {
    let notes = App::new("notes").with("scopes = [\"openid\", \"profile\"]").with("refresh_tokens = \"always\"");
    let gateway = gateway(&[&notes]).await;
    let request = notes.request().set("scope", "openid profile email offline_access admin");
    let answer = Screen::new(&gateway).sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
    assert_eq!(tokens.whole["scope"], "openid profile");
    assert_eq!(claims(&tokens.access)["scope"], "openid profile");
    assert_eq!((&claims(&tokens.id)["name"], claims(&tokens.id).get("email")), (&"Ada".into(), None));
    let refresh = async |token: &str, scope: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
        notes.post(&gateway, "/oauth2/token", &form).await
    };
    let first = tokens.refresh.unwrap();
    for more in ["openid profile email", "openid admin", "openid offline_access"] {
        assert_eq!(refused(refresh(&first, more).await).await, (400, "invalid_scope".to_owned()), "{more}");
    }
    let narrowed = Tokens::of(refresh(&first, "openid").await).await;
    assert_eq!((&narrowed.whole["scope"], &claims(&narrowed.access)["scope"]), (&"openid".into(), &"openid".into()));
    let said = crate::support::openid::userinfo(&gateway, &narrowed.access).await;
    assert_eq!(said.json::<serde_json::Value>().await.unwrap(), serde_json::json!({"sub": "ada"}));
    // It was narrowed for that access token only.
    let next = Tokens::of(notes.refresh(&gateway, &narrowed.refresh.unwrap()).await).await;
    assert_eq!(next.whole["scope"], "openid profile");
}

//! Attacks on single sign-on and on sign-out (RFC 9700 §4.7, §4.11; RP-Initiated Logout 1.0).

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Phone, token_with};
use crate::support::openid::{
    Answer, App, Screen, Tokens, bare, claims, cookie, gateway, leads_on_to, random, userinfo,
};

const COOKIE: &str = "scangate-sso";

fn sso(id: &'static str) -> App {
    App::new(id).with("single_sign_on = true")
}

/// Signs Ada in to `app` in this browser, and returns the answer at the end.
async fn signed_in(gateway: &Gateway, screen: &Screen, app: &App) -> Response {
    let ticket = screen.ticket(&app.request().query()).await;
    Phone::of("ada", gateway).approve(&ticket).await;
    screen.done(&ticket).await
}

/// Returns the error in the answer to `prompt=none`; empty if there is a code.
async fn silently(screen: &Screen, app: &App) -> String {
    let answer = Answer::of(screen.arrive(&app.request().set("prompt", "none").query()).await).await;
    assert_ne!(answer.field("error").is_empty(), answer.field("code").is_empty(), "{answer:?}");
    answer.field("error").to_owned()
}

/// The same, asked by a browser with these cookies only.
async fn silently_with(gateway: &Gateway, cookies: &str, app: &App) -> String {
    let query = app.request().set("prompt", "none").query();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = http.get(gateway.url(&format!("/oauth2/authorize?{query}"))).header("cookie", cookies);
    Answer::of(request.header("sec-fetch-site", "cross-site").send().await.unwrap()).await.field("error").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_sso_cookie_never_becomes_a_session() {
    let notes = sso("notes");
    let gateway = gateway(&[&notes]).await;
    // Eve signs in herself, and plants her cookie in a browser; then Ada signs in there.
    let eves = Screen::new(&gateway);
    let planted = cookie(&signed_in(&gateway, &eves, &notes).await, COOKIE).unwrap();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = |method, path: &str, cookies: &str| {
        http.request(method, gateway.url(path)).header("cookie", cookies).header("sec-fetch-site", "same-origin")
    };
    let made_up = random();
    for planted in [planted.as_str(), &made_up, "", "x"] {
        let before = format!("{COOKIE}={planted}");
        let body = json!({"authorization": notes.request().query()});
        let made = ask(Method::POST, "/v1/tickets", &before).json(&body).send().await.unwrap();
        let binding = cookie(&made, "scangate").unwrap();
        let ticket: Value = made.json().await.unwrap();
        let id = ticket["ticket_id"].as_str().unwrap();
        Phone::of("bob", &gateway).approve(id).await;
        let cookies = format!("scangate={binding}; {before}");
        let done = ask(Method::GET, &format!("/oauth2/authorize/done?ticket={id}"), &cookies).send().await.unwrap();
        let own = cookie(&done, COOKIE).expect("a session of its own");
        assert_ne!(own, planted);
        // The planted cookie opens nothing: its session has ended, and the new one has another secret.
        assert_eq!(silently_with(&gateway, &before, &notes).await, "login_required");
        assert_eq!(silently_with(&gateway, &format!("{COOKIE}={own}"), &notes).await, "");
        // A second one beside it, from a neighbouring host: neither is accepted.
        for twice in [format!("{COOKIE}={own}; {before}"), format!("{before}; {COOKIE}={own}")] {
            assert_eq!(silently_with(&gateway, &twice, &notes).await, "login_required");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_session_confirms_nothing() {
    let notes = sso("notes");
    let (_folder, builder) = bare(&[&notes]);
    let gateway = builder.own_identity().start().await;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let phone = http.post(gateway.url("/demo/sign-in")).json(&json!({"name": "Ada"})).send().await.unwrap();
    let phones = cookie(&phone, "scangate-login").unwrap();
    let act = async |id: &str, action: &str, cookies: &str| {
        let request = http.post(gateway.url(&format!("/v1/tickets/{id}/{action}"))).header("cookie", cookies);
        request.header("origin", &gateway.public_url).header("sec-fetch-site", "same-origin").send().await.unwrap()
    };
    let screen = Screen::new(&gateway);
    let ticket = screen.ticket(&notes.request().query()).await;
    for action in ["scan", "confirm"] {
        let answer = act(&ticket, action, &format!("scangate-login={phones}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{action}");
    }
    let desks = cookie(&screen.done(&ticket).await, COOKIE).unwrap();
    // The desk's session under every name, and as a token: it scans and confirms nothing.
    let next = screen.ticket(&notes.request().query()).await;
    for cookies in [format!("{COOKIE}={desks}"), format!("scangate-login={desks}"), format!("scangate-session={desks}")]
    {
        for action in ["scan", "confirm"] {
            assert_eq!(act(&next, action, &cookies).await.status(), StatusCode::UNAUTHORIZED, "{cookies} {action}");
        }
        let who = http.get(gateway.url("/v1/session")).header("cookie", &cookies).send().await.unwrap();
        assert_eq!(who.status(), StatusCode::UNAUTHORIZED, "{cookies}");
    }
    assert_eq!(Phone::with_token(desks, &gateway).act(&next, "scan").await.status(), StatusCode::UNAUTHORIZED);
    // And the phone's session opens no app.
    for cookies in [format!("{COOKIE}={phones}"), format!("scangate-login={phones}")] {
        assert_eq!(silently_with(&gateway, &cookies, &notes).await, "login_required");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_sign_on_never_satisfies_a_stricter_client() {
    let (notes, plain) = (sso("notes"), App::new("plain"));
    let strict = [
        (plain, "login_required"),
        (sso("matched").with("match = \"choose\""), "interaction_required"),
        (sso("fresh").with("max_auth_age = \"1m\""), "login_required"),
        (sso("strong").with("acr_values = [\"phr\"]"), "interaction_required"),
        (sso("more").with("claims = [\"name\", \"groups\"]"), "interaction_required"),
    ];
    let mut apps = vec![&notes];
    apps.extend(strict.iter().map(|(app, _)| app));
    let gateway = gateway(&apps).await;
    let screen = Screen::new(&gateway);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let an_hour_ago = token_with("ada", |claims| claims["auth_time"] = json!(now - 3600));
    screen.sign_in(&notes.request().query(), &Phone::with_token(an_hour_ago, &gateway)).await.code();
    assert_eq!(silently(&screen, &notes).await, "");
    for (app, error) in &strict {
        assert_eq!(silently(&screen, app).await, *error, "{}", app.id);
        // Without `prompt=none` there is a code to scan.
        let page = screen.arrive(&app.request().query()).await;
        assert_eq!(page.status(), StatusCode::OK, "{}", app.id);
    }
    // The requirements of the request apply as well as those of the client.
    let bobs = claims(&plain_id_token(&gateway, &notes, "bob").await)["sub"].clone();
    let essential = json!({"id_token": {"acr": {"essential": true, "values": ["phr"]}}}).to_string();
    let of_bob = json!({"id_token": {"sub": {"value": bobs}}}).to_string();
    for (name, value, error) in [
        ("max_age", "60", "login_required"),
        ("max_age", "0", "login_required"),
        ("max_age", "7200", ""),
        ("claims", &essential, "interaction_required"),
        ("claims", &of_bob, "login_required"),
        ("id_token_hint", &plain_id_token(&gateway, &notes, "bob").await, "login_required"),
        ("id_token_hint", &plain_id_token(&gateway, &notes, "ada").await, ""),
    ] {
        let request = notes.request().set(name, value).set("prompt", "none");
        let answer = Answer::of(screen.arrive(&request.query()).await).await;
        assert_eq!(answer.field("error"), error, "{name}={value}");
    }
    for prompt in ["login", "consent", "select_account"] {
        let page = screen.arrive(&notes.request().set("prompt", prompt).query()).await;
        assert_eq!(page.status(), StatusCode::OK, "{prompt}");
    }
    assert_eq!(silently(&Screen::new(&gateway), &notes).await, "login_required", "another browser");
}

async fn plain_id_token(gateway: &Gateway, app: &App, person: &str) -> String {
    app.sign_in(gateway, person).await.id
}

/// Returns the address of a request to sign out.
fn sign_out(pairs: &[(&str, &str)]) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/oauth2/logout?{query}")
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_redirects_only_to_the_very_address() {
    const BYE: &str = "https://notes.example/bye";
    let notes = sso("notes").with(&format!("post_logout_redirect_uris = [\"{BYE}\"]"));
    let shop = sso("shop").with("post_logout_redirect_uris = [\"https://shop.example/bye\"]");
    let gateway = gateway(&[&notes, &shop]).await;
    let screen = Screen::new(&gateway);
    let request = notes.request();
    let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
    let hint = ("id_token_hint", tokens.id.as_str());
    let wrong = [
        "https://notes.example/bye/",
        "https://notes.example/bye?",
        "https://notes.example/bye?x=1",
        "https://notes.example/bye#",
        "https://notes.example/bye#x",
        "https://notes.example:443/bye",
        "https://notes.example./bye",
        "https://Notes.example/bye",
        "HTTPS://notes.example/bye",
        "http://notes.example/bye",
        "https://notes.example/./bye",
        "https://notes.example/x/../bye",
        "https://notes.example/%62ye",
        "https://notes.example//bye",
        "https://user@notes.example/bye",
        "https://notes.example@evil.example/bye",
        "https://evil.example/",
        "//evil.example/",
        "/",
        "javascript:alert(1)",
        "https://notes.example/cb",
        "https://shop.example/bye",
        "https://notes.example/bye\t",
        " https://notes.example/bye",
    ];
    for address in wrong {
        let address = ("post_logout_redirect_uri", address);
        for pairs in
            [vec![hint, address], vec![("client_id", "notes"), address], vec![hint, ("client_id", "notes"), address]]
        {
            let shown = screen.open(&sign_out(&pairs), "cross-site").await;
            assert_eq!((shown.status(), shown.headers().get("location")), (StatusCode::BAD_REQUEST, None), "{pairs:?}");
        }
    }
    let bye = ("post_logout_redirect_uri", BYE);
    for (why, pairs) in [
        ("without a client", vec![bye]),
        ("with an unknown client", vec![("client_id", "nobody"), bye]),
        ("with another client", vec![("client_id", "shop"), bye]),
        ("with a hint of another client", vec![hint, ("client_id", "shop"), bye]),
        ("with a hint that is none", vec![("id_token_hint", "a.b.c"), bye]),
        ("with an access token as hint", vec![("id_token_hint", &tokens.access), bye]),
        ("twice", vec![hint, bye, bye]),
    ] {
        let shown = screen.open(&sign_out(&pairs), "cross-site").await;
        assert_eq!(shown.headers().get("location"), None, "{why}");
    }
    // Nothing of this has ended anything.
    assert_eq!(silently(&screen, &notes).await, "");
    assert_eq!(userinfo(&gateway, &tokens.access).await.status(), StatusCode::OK);
    let state = ("state", "a&b=\"c");
    let left = Answer::of(screen.open(&sign_out(&[hint, bye, state]), "cross-site").await).await;
    assert_eq!((left.to.as_str(), left.field("state")), (BYE, "a&b=\"c"));
    assert_eq!(silently(&screen, &notes).await, "login_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_signs_nobody_out() {
    const BYE: &str = "https://notes.example/bye";
    // Its origin may call the API, but must not press this button.
    let lines = format!("post_logout_redirect_uris = [\"{BYE}\"]\norigins = [\"https://notes.example\"]");
    let notes = sso("notes").with(&lines);
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    signed_in(&gateway, &screen, &notes).await;
    // The stranger has signed in too, and has an ID token of a session of their own.
    let eves = Screen::new(&gateway);
    let request = notes.request();
    let answer = eves.sign_in(&request.query(), &Phone::of("eve", &gateway)).await;
    let hint = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await.id;
    let bye = ("post_logout_redirect_uri", BYE);
    for pairs in [
        vec![],
        vec![("client_id", "notes"), bye],
        vec![("id_token_hint", &*hint), bye],
        vec![("id_token_hint", &*hint)],
    ] {
        let shown = screen.open(&sign_out(&pairs), "cross-site").await;
        assert_eq!((shown.status(), shown.headers().get("location")), (StatusCode::OK, None), "{pairs:?}");
        assert_eq!(silently(&screen, &notes).await, "", "{pairs:?}");
    }
    // The button on that page is pressed by the gateway's own page only.
    let confirm = sign_out(&[("client_id", "notes"), bye]).replace("/logout?", "/logout/confirm?");
    for (site, origin) in [
        ("cross-site", "https://evil.example"),
        ("cross-site", "null"),
        ("same-site", "https://notes.example"),
        ("same-origin", "https://notes.example"),
        ("cross-site", &gateway.public_url),
    ] {
        let request = screen.request(Method::POST, &confirm).header("sec-fetch-site", site);
        let answer = request.header("origin", origin).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{site} {origin}");
    }
    assert_eq!(silently(&screen, &notes).await, "");
    assert_eq!(leads_on_to(screen.post(&confirm, &json!({})).await).await, BYE);
    assert_eq!(silently(&screen, &notes).await, "login_required");
}

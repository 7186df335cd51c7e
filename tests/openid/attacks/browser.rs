//! Attacks on the browser that signs in, and on the ticket between it and the phone.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::gateway::{Browser, Phone};
use crate::support::openid::{Answer, App, Screen, Tokens, gateway, refused};

/// Returns the status of an error page, and its text without the request's id.
async fn over(response: Response) -> (StatusCode, String) {
    assert_eq!(response.headers().get("location"), None);
    let (status, id) = (response.status(), response.headers()["x-request-id"].to_str().unwrap().to_owned());
    (status, response.text().await.unwrap().replace(&id, "ID"))
}

#[tokio::test(flavor = "multi_thread")]
async fn done_answers_only_the_ticket_s_own_request() {
    let (notes, shop) = (App::new("notes"), App::new("shop"));
    let gateway = gateway(&[&notes, &shop]).await;
    // Two apps in two tabs of one browser; a different person confirms each.
    let screen = Screen::new(&gateway);
    let (first, second) = (notes.request(), shop.request());
    let (for_first, for_second) = (screen.ticket(&first.query()).await, screen.ticket(&second.query()).await);
    Phone::of("ada", &gateway).approve(&for_first).await;
    Phone::of("bob", &gateway).approve(&for_second).await;
    let mut codes = Vec::new();
    for (app, request, ticket) in [(&notes, &first, &for_first), (&shop, &second, &for_second)] {
        // Nothing else is accepted in the address.
        let more = "&redirect_uri=https%3A%2F%2Fevil.example%2Fcb&state=evil&client_id=evil&nonce=x";
        assert_eq!(over(screen.done(&format!("{ticket}{more}")).await).await.0, StatusCode::NOT_FOUND);
        let answer = Answer::of(screen.done(ticket).await).await;
        assert_eq!((&answer.to, answer.field("state")), (&app.redirect_uri, &*request.value("state")));
        codes.push(answer.code().to_owned());
    }
    // Swapped, neither code is valid: not at the other app, and not for the other request.
    assert_eq!(refused(shop.exchange(&gateway, &codes[0], &second).await).await, (400, "invalid_grant".to_owned()));
    assert_eq!(refused(notes.exchange(&gateway, &codes[1], &first).await).await, (400, "invalid_grant".to_owned()));
    for (app, code, request, person) in [(&notes, &codes[0], &first, "ada"), (&shop, &codes[1], &second, "bob")] {
        let tokens = Tokens::of(app.exchange(&gateway, code, request).await).await;
        let id = crate::support::openid::claims(&tokens.id);
        assert_eq!((&id["sub"], &id["nonce"]), (&person.into(), &request.value("nonce").into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_ways_of_handing_over_do_not_mix() {
    let notes = App::new("notes").with("origins = [\"https://notes.example\"]");
    let gateway = gateway(&[&notes]).await;
    let (screen, phone) = (Screen::new(&gateway), Phone::of("ada", &gateway));
    // A ticket of the drop-in script yields no code, before and after its JWT was fetched.
    let made = screen.post("/v1/tickets", &json!({"client_id": "notes"})).await;
    let plain = made.json::<Value>().await.unwrap()["ticket_id"].as_str().unwrap().to_owned();
    assert_eq!(over(screen.done(&plain).await).await.0, StatusCode::NOT_FOUND);
    phone.approve(&plain).await;
    assert_eq!(over(screen.done(&plain).await).await.0, StatusCode::NOT_FOUND);
    let read = async |id: &str| screen.read(&format!("/v1/tickets/{id}")).await.json::<Value>().await.unwrap();
    assert!(read(&plain).await["token"]["access_token"].is_string());
    assert_eq!(over(screen.done(&plain).await).await.0, StatusCode::NOT_FOUND);
    // One of an app yields no JWT, however it is read, before and after its code was fetched.
    let request = notes.request();
    let ticket = screen.ticket(&request.query()).await;
    phone.approve(&ticket).await;
    for _ in 0..2 {
        for path in [format!("/v1/tickets/{ticket}"), format!("/v1/tickets/{ticket}?wait=1&revision=0")] {
            let answer = screen.read(&path).await.text().await.unwrap();
            assert!(answer.contains("\"state\":\"c") && !answer.contains("access_token"), "{answer}");
            assert!(!answer.contains("eyJ"), "{answer}");
        }
        let stream = screen.read(&format!("/v1/tickets/{ticket}/events")).await.text().await.unwrap();
        assert!(stream.contains("event: ") && !stream.contains("eyJ"), "{stream}");
        Answer::of(screen.done(&ticket).await).await.code();
    }
    // No request can ask for both together, or from another page.
    let query = request.query();
    for more in [
        json!({"authorization": query, "binding": "bearer"}),
        json!({"authorization": query, "client_id": "notes"}),
        json!({"authorization": query, "flow": "share"}),
        json!({"authorization": query, "release": ["name"]}),
        json!({"authorization": ""}),
        json!({"authorization": "x".repeat(6145)}),
    ] {
        let answer = screen.post("/v1/tickets", &more).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{more}");
    }
    for origin in ["https://notes.example", "https://evil.example", "null"] {
        let request = reqwest::Client::new().post(gateway.url("/v1/tickets")).header("origin", origin);
        let answer = request.header("sec-fetch-site", "cross-site").json(&json!({"authorization": query})).send().await;
        assert_eq!(answer.unwrap().status(), StatusCode::FORBIDDEN, "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn done_in_another_browser_is_over() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let (victim, eve) = (Screen::new(&gateway), Screen::new(&gateway));
    let request = notes.request();
    let ticket = victim.ticket(&request.query()).await;
    // Eve has photographed the code. She has a browser with a binding of its own, or none.
    eve.ticket(&notes.request().query()).await;
    let unknown = over(eve.done("AAAAAAAAAAAAAAAAAAAAAA").await).await;
    assert_eq!(unknown.0, StatusCode::NOT_FOUND);
    let strangers = [&eve, &Screen::new(&gateway)];
    for when in ["before", "confirmed", "fetched", "used"] {
        for stranger in strangers {
            assert_eq!(over(stranger.done(&ticket).await).await, unknown, "{when}");
        }
        match when {
            "before" => Phone::of("ada", &gateway).approve(&ticket).await,
            "confirmed" => drop(Answer::of(victim.done(&ticket).await).await),
            "fetched" => {
                let answer = Answer::of(victim.done(&ticket).await).await;
                Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_led_browser_gives_the_attacker_nothing() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let request = notes.request();
    let ticket = screen.ticket(&request.query()).await;
    Phone::of("ada", &gateway).approve(&ticket).await;
    // A page of a stranger, or of a neighbouring host, sends the browser to `done`.
    for site in ["cross-site", "same-site"] {
        let led = screen.open(&format!("/oauth2/authorize/done?ticket={ticket}"), site).await;
        let (status, text) = over(led).await;
        assert!(status.is_client_error() && !text.contains("code="), "{site}: {status}");
    }
    // The attempt did not harm the person's sign-in.
    Answer::of(screen.done(&ticket).await).await.code();
    // A page of a stranger begins a sign-in with its own state in the victim's browser. The victim confirms, and the
    // app gets an answer with that state, so it refuses the answer. If it does not, the code matches only the
    // stranger's verifier.
    let attackers = notes.request();
    let answer = screen.sign_in(&attackers.query(), &Phone::of("ada", &gateway)).await;
    assert_eq!((&answer.to, answer.field("state")), (&notes.redirect_uri, &*attackers.value("state")));
    let outcome = refused(notes.exchange(&gateway, answer.code(), &request).await).await;
    assert_eq!(outcome, (400, "invalid_grant".to_owned()));
    // The only fault was the verifier.
    Tokens::of(notes.exchange(&gateway, answer.code(), &attackers).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_person_is_not_the_hinted_one() {
    let notes = App::new("notes");
    let gateway = gateway(&[&notes]).await;
    let hint = notes.sign_in(&gateway, "ada").await.id;
    let by_claims = json!({"id_token": {"sub": {"value": "ada"}}}).to_string();
    for (name, value) in [("id_token_hint", &hint), ("claims", &by_claims)] {
        let request = notes.request().set(name, value);
        for (person, error) in [("bob", "login_required"), ("ada", "")] {
            let answer = Screen::new(&gateway).sign_in(&request.query(), &Phone::of(person, &gateway)).await;
            assert_eq!(
                (answer.field("error"), answer.fields.contains_key("code")),
                (error, error.is_empty()),
                "{name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_the_provider_can_be_framed() {
    let notes = App::new("notes").with("single_sign_on = true");
    let notes = notes.with("post_logout_redirect_uris = [\"https://bye.example/\"]");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let request = notes.request().set("response_mode", "form_post");
    let ticket = screen.ticket(&request.query()).await;
    Phone::of("ada", &gateway).approve(&ticket).await;
    let sign_out = "/oauth2/logout?client_id=notes&post_logout_redirect_uri=https%3A%2F%2Fbye.example%2F";
    // In this order: the answer starts the browser's session, about which the sign-out asks.
    for (name, page, status, text, forms) in [
        ("sign-in", screen.arrive(&request.query()).await, 200, "Sign in to The notes", "form-action 'none'"),
        ("refused", screen.arrive("client_id=nobody").await, 400, "sign_in_address", "form-action 'none'"),
        ("form_post", screen.done(&ticket).await, 200, "method=\"post\"", "form-action https://notes.example;"),
        ("over", screen.done("AAAAAAAAAAAAAAAAAAAAAA").await, 404, "authorization_over", "form-action 'none'"),
        (
            "sign-out",
            screen.open(sign_out, "cross-site").await,
            200,
            "<form id=\"sign-out\" method=\"post\"",
            "form-action 'self';",
        ),
        ("signed out", Screen::new(&gateway).open("/oauth2/logout", "cross-site").await, 200, "", "form-action 'none'"),
    ] {
        let policy = format!("{};", page.headers()["content-security-policy"].to_str().unwrap());
        assert_eq!(page.status().as_u16(), status, "{name}");
        let body = page.text().await.unwrap();
        assert!(body.contains(text), "{name} is another page: {body}");
        assert!(policy.contains("frame-ancestors 'none'"), "{name}: {policy}");
        assert!(policy.contains(forms), "{name}: {policy}");
        assert!(policy.contains("default-src 'none'") || policy.contains("default-src 'self'"), "{name}: {policy}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{name}: {policy}");
    }
    // `prompt=none`, which apps put into hidden frames, has no page that could be clicked on, with a session and without one.
    for screen in [screen, Screen::new(&gateway)] {
        let hidden = screen.arrive(&notes.request().set("prompt", "none").query()).await;
        assert_eq!(hidden.status(), StatusCode::SEE_OTHER);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn number_matching_holds_over_authorize() {
    let notes = App::new("notes").with("match = \"type\"");
    let gateway = gateway(&[&notes]).await;
    let (screen, phone) = (Screen::new(&gateway), Phone::of("ada", &gateway));
    let read = async |ticket: &str| screen.read(&format!("/v1/tickets/{ticket}")).await.json::<Value>().await.unwrap();
    let ticket = screen.ticket(&notes.request().query()).await;
    assert_eq!(phone.act(&ticket, "scan").await.status(), StatusCode::OK);
    let number = read(&ticket).await["number"].as_str().unwrap().to_owned();
    assert_eq!(phone.act(&ticket, "confirm").await.status(), StatusCode::BAD_REQUEST, "without the number");
    let right = phone.act_with(&ticket, "confirm", json!({"match": number})).await;
    assert_eq!(right.status(), StatusCode::OK);
    Answer::of(screen.done(&ticket).await).await.code();
    // The wrong number ends it, and the app learns only that nobody signed in.
    let ticket = screen.ticket(&notes.request().query()).await;
    assert_eq!(phone.act(&ticket, "scan").await.status(), StatusCode::OK);
    let number: u8 = read(&ticket).await["number"].as_str().unwrap().parse().unwrap();
    let wrong = format!("{:02}", (number + 1) % 100);
    let answer = phone.act_with(&ticket, "confirm", json!({"match": wrong})).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let after = screen.done(&ticket).await;
    assert!(!format!("{:?}", after.headers()).contains("code="), "{:?}", after.headers());
}

/// The phone shows which app asks, from which browser and address, as for every sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn the_phone_shows_which_app_asks() {
    let notes = App::new("notes");
    let gateway: Gateway = gateway(&[&notes]).await;
    let ticket = Screen::new(&gateway).ticket(&notes.request().query()).await;
    let shown: Value = Phone::of("ada", &gateway).act(&ticket, "scan").await.json().await.unwrap();
    assert_eq!((&shown["client"]["id"], &shown["client"]["name"]), (&json!("notes"), &json!("The notes")));
    assert_eq!(shown["requester"]["ip"], "127.0.0.1");
    assert_eq!(shown["release"], json!(["name", "email"]));
    // A stranger's browser reads nothing of the ticket.
    let stranger = Browser::new(&gateway).read(&ticket).await;
    assert_eq!(stranger.status(), StatusCode::NOT_FOUND);
}

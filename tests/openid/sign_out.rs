//! Single sign-on and sign-out as people and apps experience them.

use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::support::gateway::{Phone, token_with};
use crate::support::openid::{Answer, App, Screen, Tokens, gateway, leads_on_to, refused};

const BYE: &str = "https://notes.example/bye";

fn app(id: &'static str) -> App {
    let app = App::new(id).with("single_sign_on = true").with("refresh_tokens = \"always\"");
    app.with(&format!("post_logout_redirect_uris = [\"{BYE}\"]"))
}

/// Returns the address of a request to sign out that leads back to [`BYE`].
fn sign_out(id_token: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("id_token_hint", id_token).append_pair("post_logout_redirect_uri", BYE);
    format!("/oauth2/logout?{}", query.finish())
}

fn keeps_opener(response: &Response) -> bool {
    response.headers()["cross-origin-opener-policy"] == "unsafe-none"
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sign_in_of_the_same_person_signs_no_app_out_and_a_sign_out_ends_them_all() {
    let (notes, shop) = (app("notes"), app("shop"));
    let gateway = gateway(&[&notes, &shop]).await;
    let (screen, ada) = (Screen::new(&gateway), Phone::of("ada", &gateway));
    let sign_in = async |app: &App, phone: &Phone| {
        let request = app.request().set("prompt", "login");
        let answer = screen.sign_in(&request.query(), phone).await;
        Tokens::of(app.exchange(&gateway, answer.code(), &request).await).await
    };
    let refresh = async |app: &App, tokens: &Tokens| app.refresh(&gateway, tokens.refresh.as_deref().unwrap()).await;
    let first = sign_in(&notes, &ada).await;
    sign_in(&shop, &ada).await;
    let third = sign_in(&shop, &ada).await;
    let first = Tokens::of(refresh(&notes, &first).await).await;
    // The app knows one of the person's sessions in this browser, so there is no question.
    let left = Answer::of(screen.open(&sign_out(&first.id), "cross-site").await).await;
    assert_eq!(left.to, BYE);
    for (app, tokens) in [(&notes, &first), (&shop, &third)] {
        assert_eq!(refused(refresh(app, tokens).await).await, (400, "invalid_grant".to_owned()), "{}", app.id);
    }
    // A sign-in of somebody else ends the session.
    let adas = sign_in(&notes, &ada).await;
    let bobs = sign_in(&shop, &Phone::of("bob", &gateway)).await;
    assert_eq!(refused(refresh(&notes, &adas).await).await, (400, "invalid_grant".to_owned()));
    Tokens::of(refresh(&shop, &bobs).await).await;
    let asked = screen.open(&sign_out(&adas.id), "cross-site").await;
    assert_eq!((asked.status(), asked.headers().get("location")), (StatusCode::OK, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_many_groups_signs_out_as_others_do() {
    let notes = app("notes").with("claims = [\"groups\"]");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let groups: Vec<_> = (100..580).map(|number| format!("group-{number}")).collect();
    let phone = Phone::with_token(token_with("ada", |claims| claims["groups"] = json!(groups)), &gateway);
    let request = notes.request();
    let answer = screen.sign_in(&request.query(), &phone).await;
    let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
    assert!(tokens.id.len() > 8192, "{} bytes", tokens.id.len());
    // As a form, too: that makes the same request.
    let form = [("id_token_hint", tokens.id.as_str()), ("post_logout_redirect_uri", BYE)];
    let posted = screen.request(Method::POST, "/oauth2/logout").header("origin", "https://notes.example");
    let posted = posted.form(&form).send().await.unwrap();
    assert_eq!(posted.headers()["location"], *sign_out(&tokens.id));
    let left = screen.open(&sign_out(&tokens.id), "cross-site").await;
    assert_eq!(Answer::of(left).await.to, BYE);
    let silent = screen.arrive(&notes.request().set("prompt", "none").query()).await;
    assert_eq!(Answer::of(silent).await.field("error"), "login_required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_in_a_popup_keeps_its_opener_all_the_way() {
    let notes = app("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    let request = notes.request();
    let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
    let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
    let posted = screen.request(Method::POST, "/oauth2/logout").form(&[("id_token_hint", &tokens.id)]);
    assert!(keeps_opener(&posted.send().await.unwrap()));
    let question = screen.open("/oauth2/logout?client_id=notes", "cross-site").await;
    assert!(question.status() == StatusCode::OK && keeps_opener(&question));
    let confirmed = screen.post("/oauth2/logout/confirm?client_id=notes", &json!({})).await;
    assert!(confirmed.status() == StatusCode::OK && keeps_opener(&confirmed));
    let left = screen.open(&sign_out(&tokens.id), "cross-site").await;
    assert!(left.status() == StatusCode::SEE_OTHER && keeps_opener(&left));
}

/// Its key may be gone, or it may have been issued before a move to another issuer.
#[tokio::test(flavor = "multi_thread")]
async fn with_an_id_token_that_cannot_be_verified_the_person_is_asked() {
    let notes = app("notes");
    let gateway = gateway(&[&notes]).await;
    let screen = Screen::new(&gateway);
    for (client, expected) in [("&client_id=notes&state=s%26t", Some(format!("{BYE}?state=s%26t"))), ("", None)] {
        let request = notes.request();
        let answer = screen.sign_in(&request.query(), &Phone::of("ada", &gateway)).await;
        let tokens = Tokens::of(notes.exchange(&gateway, answer.code(), &request).await).await;
        let (unsigned, _) = tokens.id.rsplit_once('.').unwrap();
        let request = sign_out(&format!("{unsigned}.AAAA")) + client;
        let question = screen.open(&request, "cross-site").await;
        assert_eq!(question.status(), StatusCode::OK, "{client}");
        assert!(question.text().await.unwrap().contains("<form id=\"sign-out\""), "{client}");
        Tokens::of(notes.refresh(&gateway, tokens.refresh.as_deref().unwrap()).await).await;
        let pressed = screen.post(&request.replace("/logout?", "/logout/confirm?"), &json!({})).await;
        match expected {
            Some(back) => assert_eq!(leads_on_to(pressed).await, back),
            // The address belongs to no known client.
            None => assert!(!pressed.text().await.unwrap().contains(BYE)),
        }
        let silent = screen.arrive(&notes.request().set("prompt", "none").query()).await;
        assert_eq!(Answer::of(silent).await.field("error"), "login_required", "{client}");
    }
}

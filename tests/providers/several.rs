//! Several providers at one gateway: their people never meet.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::native_apps::app_tokens;
use super::person::{Manner, Person};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn people_of_several_providers_never_meet() {
    let place = Place::choose();
    let url = place.url();
    let urls = [url.as_str()];
    let auto = ["--consent", "auto"];
    let (one, two, three) = tokio::join!(
        Provider::start(Program::OidcProvider, &urls, &auto),
        Provider::start(Program::OidcProvider, &urls, &auto),
        Provider::start(Program::Glewlwyd, &urls, &["--consent", "given"]),
    );
    let tables = [
        WEB.to_owned(),
        table("one", &one, "scangate", "audiences = [\"app\"]"),
        table("two", &two, "scangate-public", "audiences = [\"app\"]"),
        table("three", &three, "scangate", ""),
    ];
    let site = Site::set(place, &tables.concat()).await;
    let mut subjects = Vec::new();
    let phones = ["one", "two", "three"].map(|_| Person::new("alice", &site.edge));
    for (phone, id) in phones.iter().zip(["one", "two", "three"]) {
        let mut desk = site.desk("web").await;
        phone.sign_in(id, &desk.query()).await;
        assert_eq!(phone.session().await.unwrap()["provider"], id);
        phone.approve(&desk.id).await;
        let claims = desk.signed_in().await;
        assert_eq!(claims["name"], "Alice Example", "{id}");
        subjects.push(claims["sub"].as_str().unwrap().to_owned());
    }
    // The first two providers give alice the same sub.
    assert_eq!(subjects[..2], ["one:4f1c8a52-alice", "two:4f1c8a52-alice"]);
    assert!(subjects[2].starts_with("three:") && subjects[2].len() > "three:".len(), "{subjects:?}");

    let mut desk = site.desk("web").await;
    assert_eq!(phones[0].act(&desk.id, "scan").await.status(), StatusCode::OK);
    for other in &phones[1..] {
        for action in ["scan", "confirm", "cancel"] {
            let refused = other.act(&desk.id, action).await;
            assert!(refused.status().is_client_error(), "{action}: {}", refused.status());
        }
    }
    let of_app = async |phone: &Person, provider: &Provider| {
        let tokens: Value = app_tokens(phone, provider, None).await;
        site.edge.phone(tokens["id_token"].as_str().unwrap().to_owned())
    };
    assert!(of_app(&phones[1], &two).await.act(&desk.id, "confirm").await.status().is_client_error());
    let confirmed = of_app(&phones[0], &one).await.act(&desk.id, "confirm").await;
    assert_eq!(confirmed.status(), StatusCode::OK, "the app of the first provider has the same prefix");
    assert_eq!(desk.signed_in().await["sub"], "one:4f1c8a52-alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_provider_is_refused_and_costs_nothing() {
    let place = Place::choose();
    let url = place.url();
    let urls = [url.as_str()];
    let (one, two) = tokio::join!(
        Provider::start(Program::OidcProvider, &urls, &["--consent", "auto"]),
        Provider::start(Program::Glewlwyd, &urls, &["--consent", "given"]),
    );
    let tables = [WEB.to_owned(), table("one", &one, "scangate", ""), table("two", &two, "scangate", "")];
    let site = Site::set(place, &tables.concat()).await;
    let alice = Person::new("alice", &site.edge);
    let mut desk = site.desk("web").await;
    let of_one = alice.answer("one", &desk.query()).await;
    let of_two = alice.answer("two", &desk.query()).await;
    let part = |url: &url::Url, wanted: &str| {
        url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned()).unwrap()
    };
    for (from, to) in [(&of_one, &of_two), (&of_two, &of_one)] {
        let mut mixed = from.clone();
        let (code, iss, state) = (part(from, "code"), part(from, "iss"), part(to, "state"));
        mixed.query_pairs_mut().clear().extend_pairs([("code", &code), ("iss", &iss), ("state", &state)]);
        let refused = alice.go(alice.visit(mixed), Manner::SignIn).await;
        page_says(&refused, StatusCode::BAD_REQUEST, "", &format!("/s/{}", desk.id));
        assert_eq!(alice.session().await, Err(StatusCode::UNAUTHORIZED));
    }
    assert_eq!(site.failed("mix_up").await, 2.0);
    // Both are still good; each only once.
    for answer in [of_one, of_two] {
        let arrived = alice.go(alice.visit(answer.clone()), Manner::SignIn).await;
        assert_eq!(arrived.url.path(), format!("/s/{}", desk.id), "{arrived:?}");
        let again = alice.go(alice.visit(answer), Manner::SignIn).await;
        assert_eq!(again.url.path(), "/sign-in/callback", "{again:?}");
    }
    assert_eq!(site.failed("used_before").await, 2.0);
    alice.approve(&desk.id).await;
    let subject = desk.signed_in().await["sub"].clone();
    assert!(json!(subject).as_str().unwrap().starts_with("two:"), "{subject}");
}

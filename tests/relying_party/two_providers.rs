//! Several providers, of which one is hostile: it gets no code, no person and no subject of another.

use serde_json::json;

use super::*;
use crate::support::gateway::Phone;
use crate::support::hostile::{Endpoint, Instead};

/// A gateway with an honest provider and one that can lie.
struct Both {
    honest: Provider,
    hostile: Provider,
    gateway: Gateway,
    desk: Browser,
}

impl Both {
    async fn start(more_of_hostile: &str) -> Self {
        let (honest, hostile) = (Provider::start(), Provider::start());
        let tables = [honest.table("honest", ""), hostile.table("hostile", more_of_hostile)].concat();
        let (_directory, config) = file(&format!("{CLIENTS}{tables}"));
        let gateway = Gateway::builder().own_identity().arg("--config", config.to_str().unwrap()).start().await;
        let desk = Browser::new(&gateway);
        Self { honest, hostile, gateway, desk }
    }

    /// Begins at the hostile provider, whose page leads on to the honest one with the parameters that it got. Returns where the
    /// person, who has signed in there, is sent.
    async fn mixed_up(&self, phone: &PhoneBrowser, id: &str) -> String {
        let begun = location(&phone.begin(&format!("/sign-in/hostile?ticket={id}")).await);
        phone.at_provider(&begun.replace(&self.hostile.issuer, &self.honest.issuer)).await
    }

    /// The honest provider signs the person in with the same ticket.
    async fn is_fine(&self, phone: &PhoneBrowser, id: &str) {
        phone.signs_in(&format!("/sign-in/honest?ticket={id}"), &format!("/s/{id}")).await;
        phone.approves(id).await;
        assert_eq!(claims(&self.gateway, &self.desk, id).await["sub"], "honest:ada");
    }

    async fn status_of(&self, token: String) -> StatusCode {
        let id = self.desk.create().await;
        Phone::with_token(token, &self.gateway).act(&id, "scan").await.status()
    }
}

/// RFC 9207: the honest provider says who answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_one_provider_never_reaches_the_other() {
    let both = Both::start("").await;
    let (id, phone) = (both.desk.create().await, PhoneBrowser::new(&both.gateway));
    for language in LANGUAGES {
        let callback = both.mixed_up(&phone, &id).await;
        let told = Told::of(phone.clone().reading(language).bring(&callback).await).await;
        told.is(language, 400, "sign_in_mixed_up", &format!("/s/{id}"));
    }
    assert_eq!((both.honest.count("POST /token"), both.hostile.count("POST /token")), (0, 0));
    assert_eq!(both.gateway.metric(&failed_series("mix_up")).await, 2.0);
    both.is_fine(&phone, &id).await;
}

/// Without `iss`, the code goes to the provider at which the person began; that is the limit that docs/security.md names. It signs
/// nobody in as the honest provider's person.
#[tokio::test(flavor = "multi_thread")]
async fn without_iss_a_mixed_up_code_signs_nobody_in_as_the_other_providers_person() {
    let (honest, hostile) = (Provider::start(), Provider::lying(promising_no_iss()));
    let tables = [honest.table("honest", ""), hostile.table("hostile", "")].concat();
    let (_directory, config) = file(&format!("{CLIENTS}{tables}"));
    let gateway = Gateway::builder().own_identity().arg("--config", config.to_str().unwrap()).start().await;
    let both = Both { desk: Browser::new(&gateway), honest, hostile, gateway };
    both.honest.lie(Lie::answering(|answer| drop(answer.as_object_mut().unwrap().remove("iss"))));
    let issuer = both.honest.issuer.clone();
    // A token of the honest provider that the hostile one has got hold of, and one that it has made up.
    let (replayed, made_up) =
        (both.honest.id_token(|_| ()), both.hostile.id_token(move |claims| claims["iss"] = json!(issuer)));
    let (id, phone) = (both.desk.create().await, PhoneBrowser::new(&both.gateway));
    for token in [replayed, made_up] {
        let answer = json!({"token_type": "Bearer", "access_token": "x", "id_token": token}).to_string();
        both.hostile.lie(Lie::replacing(Endpoint::Token, Instead::Status(200, Box::leak(answer.into_boxed_str()))));
        let callback = both.mixed_up(&phone, &id).await;
        let told = Told::of(phone.bring(&callback).await).await;
        told.is("en", 502, "sign_in_failed", &format!("/s/{id}"));
        assert_eq!(phone.session().await, None);
    }
    assert_eq!((both.honest.count("POST /token"), both.hostile.count("POST /token")), (0, 2));
    both.honest.be_honest();
    both.is_fine(&phone, &id).await;
}

fn promising_no_iss() -> Lie {
    let name = "authorization_response_iss_parameter_supported";
    Lie::at(Endpoint::Discovery, move |document| drop(document.as_object_mut().unwrap().remove(name)))
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_of_two_providers_never_meet() {
    let both = Both::start("").await;
    let (ada, mallory) = (PhoneBrowser::new(&both.gateway), PhoneBrowser::new(&both.gateway));
    for subject in ["ada", "honest:ada"] {
        let id = both.desk.create().await;
        both.hostile.sign_in_as(subject);
        mallory.signs_in(&format!("/sign-in/hostile?ticket={id}"), &format!("/s/{id}")).await;
        ada.signs_in(&format!("/sign-in/honest?ticket={id}"), &format!("/s/{id}")).await;
        assert_eq!(ada.act(&id, "scan").await.status(), StatusCode::OK);
        assert_eq!(mallory.act(&id, "confirm").await.status(), StatusCode::FORBIDDEN, "{subject}");
        assert_eq!(ada.act(&id, "confirm").await.status(), StatusCode::OK);
        assert_eq!(claims(&both.gateway, &both.desk, &id).await["sub"], "honest:ada");
        let next = both.desk.create().await;
        mallory.approves(&next).await;
        assert_eq!(claims(&both.gateway, &both.desk, &next).await["sub"], format!("hostile:{subject}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_and_keys_of_two_providers_are_not_mixed() {
    let both = Both::start("audiences = [\"native\"]").await;
    let native = |claims: &mut Value| claims["aud"] = json!("native");
    assert_eq!(both.status_of(both.hostile.id_token(native)).await, StatusCode::OK);
    assert_eq!(both.status_of(both.honest.id_token(native)).await, StatusCode::UNAUTHORIZED, "the other's audience");
    assert_eq!(both.status_of(both.honest.id_token(|_| ())).await, StatusCode::OK);
    let issuer = both.honest.issuer.clone();
    let forged = both.hostile.id_token(move |claims| claims["iss"] = json!(issuer));
    assert_eq!(both.status_of(forged).await, StatusCode::UNAUTHORIZED, "the other's issuer");
}

/// A state is good at the provider at which it began, whatever the answer says.
#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_of_the_callback_chooses_the_provider() {
    let both = Both::start("").await;
    let (id, phone) = (both.desk.create().await, PhoneBrowser::new(&both.gateway));
    let callback = phone.until_callback(&format!("/sign-in/honest?ticket={id}")).await;
    let response =
        phone.bring(&format!("{callback}&provider=hostile&client_id=x&issuer={}", both.hostile.issuer)).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!((both.honest.count("POST /token"), both.hostile.count("POST /token")), (1, 0));
    phone.approves(&id).await;
}

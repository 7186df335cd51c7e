//! Another scangate whose identity provider is this one: its people sign in on their phones by scanning a code of this
//! one.

use serde_json::json;

use super::*;
use crate::support::gateway::{Browser, verified_claims};

#[tokio::test(flavor = "multi_thread")]
async fn another_scangate_signs_its_people_in_here() {
    let address = format!("localhost:{}", free_port());
    let here = format!("http://{address}");
    let provider = Provider::start(&client("branch", &format!("{here}/sign-in/callback"), "")).await;
    let tables = format!(
        "[[identity_providers]]\nid = \"head\"\nname = \"Head office\"\nissuer = {:?}\nclient_id = \"branch\"\n\
         client_secret = {SECRET:?}\nscopes = [\"openid\", \"profile\", \"email\"]\n\
         [[clients]]\nid = \"shop\"\nname = \"Shop\"\nclaims = [\"name\", \"email\"]\n",
        provider.issuer()
    );
    let config = file(&tables);
    let other = Gateway::builder().own_identity().arg("--listen", &address.replace("localhost", "127.0.0.1"));
    let other = other.arg("--public-url", &here).arg("--config", config.1.to_str().unwrap()).start().await;

    // A desk shows a code of the other gateway. The person opens it on a tablet, which shows a code of this one.
    let waiting = Browser::through(reqwest::Client::builder().cookie_store(true).build().unwrap(), &here);
    let id = waiting.create_with(json!({ "client_id": "shop" })).await["ticket_id"].as_str().unwrap().to_owned();
    let tablet = &provider.desk;
    tablet.goto(&format!("{here}/s/{id}")).await;
    tablet.until("sign-in").await;
    assert_eq!(tablet.text("[data-provider=head]").await, "Continue with Head office");
    tablet.click("[data-provider=head]").await;
    provider.confirm_code().await;
    provider.desk_is_at(&format!("{here}/s/{id}")).await;
    tablet.until("scanned").await;
    tablet.click("#confirm").await;
    tablet.until("confirmed").await;

    let read: Value = waiting.read(&id).await.json().await.unwrap();
    let claims = verified_claims(&other, read["token"]["access_token"].as_str().unwrap(), "shop").await;
    assert_eq!(json!([claims["sub"], claims["name"], claims["email"]]), json!(["ada", "Ada", ADA]), "{}", other.log());
    provider.desk.end_after_refusals().await;
}

//! Clients that require a recent or strong sign-in: only what the provider has signed counts, whoever removes what from the way.

use serde_json::json;

use super::*;

async fn site(requirement: &str) -> Site {
    let provider = Provider::start();
    let (_directory, config) = file(&format!("[[clients]]\nid = \"web\"\nclaims = [\"email\"]\n{requirement}\n"));
    let gateway = provider.gateway().arg("--config", config.to_str().unwrap()).start().await;
    let desk = Browser::new(&gateway);
    Site { gateway, provider, desk }
}

/// Scans and confirms; returns the code of the first refusal, or `confirmed`.
async fn approve(phone: &PhoneBrowser, id: &str) -> String {
    for action in ["scan", "confirm"] {
        let body: Value = phone.act(id, action).await.json().await.unwrap();
        if let Some(code) = body["code"].as_str() {
            return code.to_owned();
        }
    }
    "confirmed".to_owned()
}

/// Returns the seconds since 1970, `ago` seconds ago.
fn time(ago: u64) -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() - ago
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_sign_in_is_renewed_at_the_provider_and_confirms_the_same_ticket() {
    let site = site("max_auth_age = \"5m\"").await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let path = begin_path(&id);
    site.provider.lie(Lie::claims(|claims| claims["auth_time"] = json!(time(3600))));
    phone.signs_in(&path, &format!("/s/{id}")).await;
    assert_eq!(site.provider.authorization()["max_age"], "300");
    assert_eq!(approve(&phone, &id).await, "sign_in_too_old");
    site.provider.be_honest();
    phone.signs_in(&format!("{path}&prompt=login"), &format!("/s/{id}")).await;
    assert_eq!(site.provider.authorization()["prompt"], "login");
    assert_eq!(approve(&phone, &id).await, "confirmed");
    assert!(site.claims(&id).await["auth_time"].as_u64().unwrap() >= time(60));
}

/// Whoever holds the phone can change the request. A provider that was asked for nothing states no time, or an old one.
#[tokio::test(flavor = "multi_thread")]
async fn max_age_and_prompt_stripped_from_the_request_do_not_help() {
    let site = site("max_auth_age = \"5m\"").await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let path = format!("{}&prompt=login", begin_path(&id));
    for auth_time in [Value::Null, json!(0), json!(time(3600)), json!("now")] {
        let shown = auth_time.to_string();
        site.provider.lie(Lie::claims(move |claims| match &auth_time {
            Value::Null => drop(claims.as_object_mut().unwrap().remove("auth_time")),
            auth_time => claims["auth_time"] = auth_time.clone(),
        }));
        let begun = location(&phone.begin(&path).await);
        let stripped = begun.replace("&max_age=300", "").replace("&prompt=login", "");
        assert!(stripped.len() < begun.len() - 20, "{begun}");
        let callback = phone.at_provider(&stripped).await;
        assert_eq!(phone.bring(&callback).await.status(), StatusCode::SEE_OTHER);
        assert_eq!(approve(&phone, &id).await, "sign_in_too_old", "{shown}");
    }
    site.provider.be_honest();
    phone.signs_in(&path, &format!("/s/{id}")).await;
    assert_eq!(approve(&phone, &id).await, "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weaker_sign_in_than_the_client_wants_is_made_stronger_at_the_provider() {
    let site = site("acr_values = [\"phr\", \"mfa\"]").await;
    let (id, phone) = (site.desk.create().await, site.phone());
    for acr in [json!("pwd"), json!(["mfa"]), Value::Null] {
        let lie = Lie::claims({
            let acr = acr.clone();
            move |claims| claims["acr"] = acr.clone()
        });
        site.provider.lie(lie);
        phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
        assert_eq!(site.provider.authorization()["acr_values"], "phr mfa");
        assert_eq!(approve(&phone, &id).await, "stronger_sign_in_needed", "{acr}");
    }
    site.provider.be_honest();
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    assert_eq!(approve(&phone, &id).await, "confirmed");
    assert_eq!(site.claims(&id).await["acr"], "mfa");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_gets_old_after_the_scan_is_renewed_by_the_same_person_only() {
    let site = site("max_auth_age = \"5m\"").await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let code = async || {
        let body: Value = phone.act(&id, "confirm").await.json().await.unwrap();
        body["code"].as_str().unwrap_or("confirmed").to_owned()
    };
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    assert_eq!(phone.act(&id, "scan").await.status(), StatusCode::OK);
    site.provider.lie(Lie::claims(|claims| claims["auth_time"] = json!(time(3600))));
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    assert_eq!(code().await, "sign_in_too_old");
    site.provider.be_honest();
    site.provider.sign_in_as("bob");
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    assert_eq!(code().await, "not_permitted", "a fresh sign-in of another person");
    site.provider.sign_in_as("ada");
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    assert_eq!(code().await, "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_shares_signs_in_as_their_client_requires() {
    let site = site("flows = [\"share\"]\nmax_auth_age = \"5m\"\nacr_values = [\"mfa\"]").await;
    let phone = site.phone();
    let begun = location(&phone.begin("/sign-in/oidc?to=/share&client_id=web&lang=zh").await);
    assert!(begun.contains("&max_age=300&acr_values=mfa&ui_locales=zh"), "{begun}");
    let callback = phone.at_provider(&begun).await;
    let response = phone.bring(&callback).await;
    assert_eq!(location(&response), "/share?client_id=web&lang=zh", "in the language in which she left");
}

//! A provider that is down: before, during and after a sign-in.

use tokio::task::block_in_place;

use super::*;

async fn is_told(phone: &PhoneBrowser, path: &str, page: &str) {
    for language in LANGUAGES {
        let told = Told::of(phone.clone().reading(language).begin(path).await).await;
        told.is(language, 503, "provider_unavailable", page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_when_the_gateway_starts_is_used_as_soon_as_it_is_there() {
    let mut provider = Provider::start();
    block_in_place(|| provider.stop());
    let gateway = provider.gateway().start().await;
    let (desk, phone) = (Browser::new(&gateway), PhoneBrowser::new(&gateway));
    let id = desk.create().await;
    is_told(&phone, &begin_path(&id), &format!("/s/{id}")).await;
    let ready = reqwest::get(format!("{}/readyz", gateway.admin)).await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK, "people who are signed in need no provider");
    block_in_place(|| provider.restart());
    signs_in_at_last(&gateway, &begin_path(&id)).await;
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    phone.approves(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_goes_down_during_a_sign_in_costs_nobody_the_ticket() {
    let mut site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let page = format!("/s/{id}");
    let callbacks = [phone.until_callback(&begin_path(&id)).await, phone.until_callback(&begin_path(&id)).await];
    block_in_place(|| site.provider.stop());
    for (language, callback) in LANGUAGES.into_iter().zip(&callbacks) {
        let told = Told::of(phone.clone().reading(language).bring(callback).await).await;
        told.is(language, 503, "provider_unavailable", &page);
    }
    assert_eq!(site.failed("token_unavailable").await, 2.0);
    // Whoever begins meanwhile is led to the provider, whose browser says that it is not there.
    assert_eq!(phone.begin(&begin_path(&id)).await.status(), StatusCode::SEE_OTHER);
    block_in_place(|| site.provider.restart());
    phone.signs_in(&begin_path(&id), &page).await;
    phone.approves(&id).await;
    // Whoever is signed in needs no provider.
    block_in_place(|| site.provider.stop());
    let next = site.desk.create().await;
    phone.approves(&next).await;
    assert_eq!(site.claims(&next).await["sub"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_that_is_down_does_not_stop_the_others() {
    let mut down = Provider::start();
    block_in_place(|| down.stop());
    let providers = [down, Provider::start()];
    let gateway = with_providers(&providers).await;
    let (id, phone) = (Browser::new(&gateway).create().await, PhoneBrowser::new(&gateway));
    is_told(&phone, &format!("/sign-in/0?ticket={id}"), &format!("/s/{id}")).await;
    phone.signs_in(&format!("/sign-in/1?ticket={id}"), &format!("/s/{id}")).await;
    phone.approves(&id).await;
}

/// A store that is away is not the provider's fault, and the page says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_told_as_such() {
    let mut redis = crate::support::Redis::start();
    let site = Site::with(|builder| builder.redis(&redis).arg("--redis-timeout", "500ms")).await;
    let (id, phone) = (site.desk.create().await, site.phone());
    let callback = phone.until_callback(&begin_path(&id)).await;
    redis.kill();
    for language in LANGUAGES {
        let told = Told::of(phone.clone().reading(language).bring(&callback).await).await;
        told.is(language, 503, "unavailable", "/");
    }
    assert_eq!((site.failed("store").await, site.provider.count("POST /token")), (2.0, 0));
}

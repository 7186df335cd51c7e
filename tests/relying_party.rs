//! People sign in at an identity provider that the tests run, which speaks the protocol and lies in one thing. Each failure is a page
//! in words with the way back, and costs the person nothing but another try with the same ticket.

mod answers;
mod begin;
mod bounds;
mod discovery;
mod freshness;
mod id_tokens;
mod operators;
mod outages;
mod secrets;
mod token_endpoint;
mod two_providers;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::gateway::{Browser, Builder, file, verified_claims};
use crate::support::hostile::{Lie, PhoneBrowser, Provider, Told, location};
use crate::support::{Gateway, SOON, within};

/// The languages of the pages.
const LANGUAGES: [&str; 2] = ["en", "zh"];

/// A gateway, its provider, and a desk that waits.
struct Site {
    gateway: Gateway,
    provider: Provider,
    desk: Browser,
}

/// How a failure is told.
#[derive(Clone, Copy)]
struct Failure {
    status: u16,
    code: &'static str,
    /// The reason in the metric.
    reason: &'static str,
}

const fn failure(status: u16, code: &'static str, reason: &'static str) -> Failure {
    Failure { status, code, reason }
}

/// Clients that receive a claim of the ID token and one of userinfo.
const CLIENTS: &str = "[[clients]]\nid = \"web\"\nclaims = [\"name\", \"email\"]\n";

fn begin_path(ticket: &str) -> String {
    format!("/sign-in/oidc?ticket={ticket}")
}

fn failed_series(reason: &str) -> String {
    format!("scangate_provider_sign_ins_failed_total{{reason=\"{reason}\"}}")
}

impl Site {
    async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(more: impl FnOnce(Builder) -> Builder) -> Self {
        let provider = Provider::start();
        let (_directory, config) = file(CLIENTS);
        let builder = provider.gateway().arg("--config", config.to_str().unwrap());
        let gateway = more(builder).start().await;
        let desk = Browser::new(&gateway);
        Self { gateway, provider, desk }
    }

    fn phone(&self) -> PhoneBrowser {
        PhoneBrowser::new(&self.gateway)
    }

    async fn failed(&self, reason: &str) -> f64 {
        self.gateway.metric(&failed_series(reason)).await
    }

    /// With this lie, the sign-in fails as it should, in every language; without it, the same phone and the same ticket are fine.
    async fn fails(&self, name: &str, lie: Lie, expected: Failure) {
        let Failure { status, code, reason } = expected;
        let before = self.failed(reason).await;
        let id = self.desk.create().await;
        let (path, page) = (begin_path(&id), format!("/s/{id}"));
        let phone = self.phone();
        self.provider.lie(lie);
        for language in LANGUAGES {
            let told = Told::of(phone.clone().reading(language).sign_in(&path).await).await;
            told.is(language, status, code, &page);
            assert!(!told.headers.contains_key("set-cookie"), "{name}");
            assert_eq!(phone.session().await, None, "{name}");
        }
        assert_eq!(self.failed(reason).await, before + 2.0, "{name}: {reason}");
        self.provider.be_honest();
        phone.signs_in(&path, &page).await;
        phone.approves(&id).await;
        let claims = self.claims(&id).await;
        assert_eq!(
            (claims["sub"].as_str(), claims["email"].as_str()),
            (Some("ada"), Some("ada@example.com")),
            "{name}"
        );
    }

    /// Returns the claims of the JWT that the desk gets.
    async fn claims(&self, id: &str) -> Value {
        claims(&self.gateway, &self.desk, id).await
    }
}

/// Starts a gateway with these providers, under their numbers.
async fn with_providers(providers: &[Provider]) -> Gateway {
    let tables: String =
        providers.iter().enumerate().map(|(number, provider)| provider.table(&number.to_string(), "")).collect();
    let (_directory, config) = file(&format!("{CLIENTS}{tables}"));
    Gateway::builder().own_identity().arg("--config", config.to_str().unwrap()).start().await
}

/// Waits until a phone has signed in there.
async fn signs_in_at_last(gateway: &Gateway, path: &str) {
    let phone = PhoneBrowser::new(gateway);
    within(SOON * 3, "a sign-in", || async {
        let begun = phone.begin(path).await;
        let address = (begun.status() == StatusCode::SEE_OTHER).then(|| location(&begun))?;
        let callback = phone.at_provider(&address).await;
        (phone.bring(&callback).await.status() == StatusCode::SEE_OTHER).then_some(())
    })
    .await;
}

/// Returns the claims of the JWT that this browser gets.
async fn claims(gateway: &Gateway, desk: &Browser, id: &str) -> Value {
    let answer: Value = desk.read(id).await.json().await.unwrap();
    let token = answer["token"]["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    verified_claims(gateway, token, "web").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_signs_in_at_its_provider_and_is_led_back_to_the_ticket() {
    let site = Site::start().await;
    let (id, phone) = (site.desk.create().await, site.phone());
    assert_eq!(phone.act(&id, "scan").await.status(), StatusCode::UNAUTHORIZED);
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    let session = phone.session().await.unwrap();
    assert_eq!((session["name"].as_str(), session["provider_name"].as_str()), (Some("Ada Lovelace"), Some("Acme")));
    // It came from the ID token, so userinfo does not replace it.
    phone.approves(&id).await;
    let claims = site.claims(&id).await;
    assert_eq!(claims["name"], "Ada Lovelace");
    assert_eq!((&claims["acr"], claims["auth_time"].is_u64()), (&Value::from("mfa"), true));
    // The next scan on the same phone needs no provider.
    let calls = site.provider.count("POST /token");
    let next = site.desk.create().await;
    phone.approves(&next).await;
    assert_eq!((site.provider.count("POST /token"), calls), (1, 1));
}

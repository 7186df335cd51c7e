//! Mix-up: a client of two providers gets the answer of one as that of the other (RFC 9700 §4.4, RFC 9207).

use reqwest::StatusCode;

use crate::support::gateway::{Phone, file};
use crate::support::openid::{App, Screen, bare, cookie};
use crate::support::{Gateway, free_port};

/// A gateway that another one has as its identity provider, at the address that is its issuer.
async fn provider(client: &App) -> Gateway {
    let (_folder, builder) = bare(&[client]);
    let address = format!("127.0.0.1:{}", free_port());
    builder.arg("--listen", &address).arg("--public-url", &format!("http://{address}")).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateway_as_provider_is_told_from_a_third() {
    let port = free_port();
    let here = format!("http://localhost:{port}");
    let callback = format!("{here}/sign-in/callback");
    let client = App::new("branch").with_redirect_uris(&[&callback]).with("signing_alg = \"ES256\"");
    let (honest, hostile) = (provider(&client).await, provider(&client).await);
    let table = |id: &str, provider: &Gateway| {
        let (issuer, secret) = (&provider.public_url, client.secret.as_deref().unwrap());
        format!(
            "[[identity_providers]]\nid = \"{id}\"\nissuer = \"{issuer}\"\nclient_id = \"branch\"\nclient_secret = \"{secret}\"\n"
        )
    };
    let tables = format!("[[clients]]\nid = \"web\"\n{}{}", table("honest", &honest), table("hostile", &hostile));
    let (_folder, path) = file(&tables);
    let branch = Gateway::builder().own_identity().arg("--config", path.to_str().unwrap());
    let branch = branch.arg("--listen", &format!("127.0.0.1:{port}")).arg("--public-url", &here).start().await;

    let (true_one, other) = (Some(honest.public_url.as_str()), Some(hostile.public_url.as_str()));
    for (issuer, status) in
        [(other, StatusCode::BAD_REQUEST), (None, StatusCode::BAD_REQUEST), (true_one, StatusCode::SEE_OTHER)]
    {
        let phone = Screen::new(&branch);
        let begun = phone.open("/sign-in/honest?to=/share", "same-origin").await;
        let location = url::Url::parse(begun.headers()["location"].to_str().unwrap()).unwrap();
        assert_eq!(location.origin().ascii_serialization(), honest.public_url);
        let mut answer = Screen::new(&honest).sign_in(location.query().unwrap(), &Phone::of("ada", &honest)).await;
        assert_eq!((answer.to.as_str(), answer.field("iss")), (&*callback, &*honest.public_url));
        answer.fields.remove("iss");
        answer.fields.extend(issuer.map(|issuer| ("iss".to_owned(), issuer.to_owned())));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&answer.fields).finish();
        let back = phone.open(&format!("/sign-in/callback?{query}"), "cross-site").await;
        assert_eq!(back.status(), status, "{issuer:?}: {}", branch.log());
        assert_eq!(cookie(&back, "scangate-login").is_some(), status == StatusCode::SEE_OTHER, "{issuer:?}");
    }
}

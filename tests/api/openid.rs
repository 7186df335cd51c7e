//! The answers of the OpenID Provider's endpoints for programs, held against the description.

use reqwest::{Client, Method};

use super::Description;
use crate::support::openid::{App, gateway};

/// Checks the answers that clients get: success, and each refusal that a request alone can cause.
pub(super) async fn hold_openid(description: &mut Description) {
    let (shop, spa) = (App::new("shop").with("refresh_tokens = \"always\""), App::public("spa"));
    let other = "https://other.example";
    let third = App::new("third").with(&format!("origins = [{other:?}]"));
    let gateway = gateway(&[&shop, &spa, &third]).await;
    let http = Client::new();
    let url = |path: &str| gateway.url(path);
    let discovery = "/.well-known/openid-configuration";
    description.hold(discovery, "get", http.get(url(discovery)).send().await.unwrap()).await;

    let tokens = shop.sign_in(&gateway, "ada").await;
    let (token, userinfo) = ("/oauth2/token", "/oauth2/userinfo");
    for method in ["get", "post"] {
        let name = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let ask = || http.request(name.clone(), url(userinfo));
        for request in [
            ask(),
            ask().bearer_auth("x"),
            ask().bearer_auth(&tokens.access),
            ask().bearer_auth(&tokens.access).header("authorization", "Bearer y"),
            ask().bearer_auth(&tokens.access).header("origin", other),
        ] {
            description.hold(userinfo, method, request.send().await.unwrap()).await;
        }
    }
    let refresh = tokens.refresh.as_deref().unwrap();
    let pair = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let refreshed = shop.post(&gateway, token, &pair).await;
    let whole = description.hold(token, "post", refreshed).await;
    let refresh = whole["refresh_token"].as_str().unwrap();
    description.hold(token, "post", shop.post(&gateway, token, &[("grant_type", "password")]).await).await;
    for path in [token, "/oauth2/introspect", "/oauth2/revoke"] {
        let form = [("token", refresh)];
        let ask = || http.post(url(path));
        for request in [
            ask(),
            ask().basic_auth("shop", Some("wrong")),
            ask().form(&[("client_id", "nobody")]),
            ask().basic_auth("shop", shop.secret.as_ref()).header("origin", other).form(&form),
        ] {
            description.hold(path, "post", request.send().await.unwrap()).await;
        }
        // A client without a secret may not introspect tokens; the others may.
        if path != token {
            for app in [&spa, &shop] {
                description.hold(path, "post", app.post(&gateway, path, &form).await).await;
            }
        }
    }
}

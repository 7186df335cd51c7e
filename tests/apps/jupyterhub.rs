//! JupyterHub with `oauthenticator`'s GenericOAuthenticator. It reads no discovery document and no ID token, and sends the token
//! endpoint a parameter that no specification knows.

use super::*;
use crate::support::provider::node;

async fn signs_in_and_out(basic: &str) {
    let port = free_port();
    let here = format!("http://localhost:{port}");
    let further = format!("post_logout_redirect_uris = [\"{here}/hub/login\"]");
    let provider = Provider::start(&client("notebooks", &format!("{here}/hub/oauth_callback"), &further)).await;
    let folder = tempfile::tempdir().unwrap();
    let proxy = program("node/node_modules/configurable-http-proxy/bin/configurable-http-proxy");
    let mut command = Command::new(python("jupyterhub"));
    command.arg("--config").arg(program("jupyterhub/jupyterhub_config.py")).current_dir(folder.path());
    command.env("ISSUER", provider.issuer()).env("CLIENT_SECRET", SECRET).env("BASIC", basic);
    command.env("PORT", port.to_string()).env("HUB_PORT", free_port().to_string());
    command.env("PROXY_PORT", free_port().to_string());
    command.env("PROXY", format!("{} {}", node().display(), proxy.display()));
    let hub = App::start(&mut command, port);
    let serves = async || reqwest::get(format!("{here}/hub/health")).await.ok()?.status().is_success().then_some(());
    within(PATIENCE, "the hub behind its proxy", serves).await;

    let desk = &provider.desk;
    desk.goto(&format!("{here}/hub/home")).await;
    assert_eq!(desk.text("a.btn-jupyter").await, "Sign in with your phone", "{}", hub.log());
    desk.click("a.btn-jupyter").await;
    provider.confirm_code().await;
    provider.desk_is_at(&format!("{here}/hub/home")).await;
    assert!(desk.text("body").await.contains(ADA), "{}", hub.log());

    // Its cookie ends, and the gateway leads back to the page on which people sign in.
    desk.goto(&format!("{here}/hub/logout")).await;
    provider.desk_is_at(&format!("{here}/hub/login")).await;
    desk.goto(&format!("{here}/hub/home")).await;
    assert_eq!(desk.text("a.btn-jupyter").await, "Sign in with your phone");
    provider.desk.end_after_refusals().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyterhub_signs_people_in_and_out() {
    signs_in_and_out("0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyterhub_may_send_its_secret_as_basic_authentication() {
    signs_in_and_out("1").await;
}

//! Two apps with single sign-on, written by different people in different languages: Apache's module and Authlib.

use serde_json::json;

use super::apache::{Apache, signs_out_to};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_app_needs_no_second_scan_until_the_first_signs_out() {
    let ports = [free_port(), free_port()];
    let [wiki, app] = ports.map(|port| format!("http://localhost:{port}"));
    let sign_on = "single_sign_on = true";
    let further = format!("{sign_on}\npost_logout_redirect_uris = [\"{wiki}/bye.html\"]");
    let tables = [
        client("wiki", &format!("{wiki}/oidc/redirect"), &further),
        client("app", &format!("{app}/callback"), sign_on),
    ];
    let provider = Provider::start(&tables.concat()).await;
    let apache = Apache::start(ports[0], provider.issuer(), "query");
    let folder = tempfile::tempdir().unwrap();
    let flask = python::start("flask_app.py", ports[1], provider.issuer(), "RS256", folder.path());
    let desk = &provider.desk;

    provider.sign_in(&format!("{wiki}/")).await;
    assert_eq!(desk.text("#user").await, ADA, "{}", apache.app.log());
    desk.goto(&format!("{app}/")).await;
    provider.desk_is_at(&format!("{app}/")).await;
    let shown = provider.shown().await;
    assert_eq!(shown["userinfo"]["email"], json!(ADA), "{}", flask.log());
    assert_eq!(provider.gateway.metric("scangate_tickets_total{outcome=\"created\"}").await, 1.0);

    desk.goto(&signs_out_to(&wiki, &format!("{wiki}/bye.html"))).await;
    assert_eq!(desk.text("#bye").await, "Signed out", "{}", apache.app.log());
    desk.goto(&format!("{app}/login")).await;
    provider.desk_is_at(&format!("{}/oauth2/authorize?", provider.issuer())).await;
    provider.desk.end_after_refusals().await;
}

//! Apache with Debian's `libapache2-mod-auth-openidc`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::*;

/// Apache in a folder of its own, which its unprivileged children can read.
pub(super) struct Apache {
    pub(super) app: App,
    _folder: tempfile::TempDir,
}

impl Apache {
    pub(super) fn start(port: u16, issuer: &str, response_mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        std::fs::create_dir(&site).unwrap();
        for page in ["index.shtml", "bye.html"] {
            std::fs::copy(program(&format!("apache/site/{page}")), site.join(page)).unwrap();
        }
        for directory in [folder.path(), &site] {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("apache2");
        command.args(["-DFOREGROUND", "-f"]).arg(program("apache/httpd.conf"));
        command.env("PORT", port.to_string()).env("FOLDER", folder.path()).env("ISSUER", issuer);
        command.env("CLIENT_SECRET", SECRET).env("RESPONSE_MODE", response_mode);
        Self { app: App::start(&mut command, port), _folder: folder }
    }
}

async fn signs_in_and_out(response_mode: &str) {
    let port = free_port();
    let here = format!("http://localhost:{port}");
    let further = format!("post_logout_redirect_uris = [\"{here}/bye.html\"]");
    let provider = Provider::start(&client("wiki", &format!("{here}/oidc/redirect"), &further)).await;
    let apache = Apache::start(port, provider.issuer(), response_mode);
    provider.sign_in(&format!("{here}/?page=1")).await;
    let desk = &provider.desk;
    let log = || apache.app.log();
    assert_eq!(desk.url().await, format!("{here}/?page=1"), "{}", log());
    let person = [desk.text("#user").await, desk.text("#sub").await, desk.text("#name").await];
    assert_eq!(person, [ADA, "ada", "Ada"], "{}", log());

    desk.goto(&signs_out_to(&here, &format!("{here}/bye.html"))).await;
    assert_eq!(desk.text("#bye").await, "Signed out", "{}", log());
    desk.goto(&format!("{here}/")).await;
    provider.desk_is_at(&format!("{}/oauth2/authorize?", provider.issuer())).await;
    assert_eq!(desk.run("return document.body.innerText.includes('Ada')").await, json!(false));
    provider.desk.end_after_refusals().await;
}

/// Returns the page that signs a person out and leads to this one.
pub(super) fn signs_out_to(here: &str, page: &str) -> String {
    format!("{here}/oidc/redirect?logout={}", urlencode(page))
}

/// Returns a URL as a value of a query.
fn urlencode(url: &str) -> String {
    url::form_urlencoded::byte_serialize(url.as_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_signs_people_in_and_out() {
    signs_in_and_out("query").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_takes_answers_as_form_posts() {
    signs_in_and_out("form_post").await;
}

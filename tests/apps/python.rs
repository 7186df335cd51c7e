//! Libraries for Python: Authlib and `mozilla-django-oidc`.

use serde_json::json;

use super::*;

/// Starts an app in Python. Django keeps its users in the folder.
pub(super) fn start(script: &str, port: u16, issuer: &str, algorithm: &str, folder: &Path) -> App {
    let mut command = Command::new(python("python"));
    command.arg(program(&format!("python/{script}"))).env("ISSUER", issuer).env("PORT", port.to_string());
    command.env("CLIENT_SECRET", SECRET).env("ALGORITHM", algorithm).env("DATABASE", folder.join("site.sqlite3"));
    App::start(&mut command, port)
}

/// Signs in at an app in Python, whose callback has this path, and returns what it shows.
async fn sign_in(script: &str, callback: &str, algorithm: &str) -> Value {
    let port = free_port();
    let here = format!("http://localhost:{port}");
    let further = format!("signing_alg = {algorithm:?}");
    let provider = Provider::start(&client("app", &format!("{here}{callback}"), &further)).await;
    let folder = tempfile::tempdir().unwrap();
    let app = start(script, port, provider.issuer(), algorithm, folder.path());
    provider.sign_in(&format!("{here}/")).await;
    assert_eq!(provider.desk.url().await, format!("{here}/"), "{}", app.log());
    let shown = provider.shown().await;
    provider.desk.end_after_refusals().await;
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn authlib_signs_people_in() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let shown = sign_in("flask_app.py", "/callback", algorithm).await;
        assert_eq!(
            (&shown["id_token"]["sub"], &shown["id_token"]["email"]),
            (&json!("ada"), &json!(ADA)),
            "{algorithm}"
        );
        assert_eq!(shown["userinfo"], json!({ "sub": "ada", "name": "Ada", "email": ADA }), "{algorithm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mozilla_django_oidc_signs_people_in() {
    for algorithm in ["RS256", "ES256"] {
        assert_eq!(
            sign_in("django_app.py", "/oidc/callback/", algorithm).await,
            json!({ "email": ADA }),
            "{algorithm}"
        );
    }
}

//! Libraries for Python: Authlib and `mozilla-django-oidc`.

use serde_json::json;

use super::*;

/// Signs in at an app in Python, whose callback has this path, and returns what it shows.
async fn sign_in(script: &str, callback: &str, algorithm: &str) -> Value {
    let port = free_port();
    let here = format!("http://localhost:{port}");
    let further = format!("signing_alg = {algorithm:?}");
    let provider = Provider::start(&client("app", &format!("{here}{callback}"), &further)).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(python("python"));
    command.arg(program(&format!("python/{script}"))).env("ISSUER", provider.issuer()).env("PORT", port.to_string());
    command.env("CLIENT_SECRET", SECRET).env("ALGORITHM", algorithm);
    command.env("DATABASE", folder.path().join("site.sqlite3"));
    let app = App::start(&mut command, port);
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

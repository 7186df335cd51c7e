//! `examples/company/`: a real identity provider, an app and the gateway, started by their one command, and walked through by
//! two browsers as the example's page describes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{PATIENCE, ROOT};
use crate::support::browser::{Chromium, Device, Driver};
use crate::support::process::Process;
use crate::support::{eventually, free_port, until};

const PAGE: &str = include_str!("../../examples/company/README.md");
/// The files of the example, and the ports that they name: the gateway's, the provider's, the app's.
const FILES: [&str; 5] = ["run", "provider.mjs", "app.mjs", "index.html", "clients.toml"];
const PORTS: [&str; 3] = ["8080", "9000", "3000"];

/// The example in a folder of its own, on free ports.
struct Company {
    process: Process,
    app: String,
    gateway: String,
    _folder: tempfile::TempDir,
}

impl Company {
    /// Starts it by its command.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let example = folder.path().join("examples/company");
        std::fs::create_dir_all(&example).unwrap();
        let source = Path::new(ROOT).join("examples/company");
        let packages = source.join("node_modules");
        assert!(packages.is_dir(), "npm ci --prefix examples/company, as tests/run does");
        std::os::unix::fs::symlink(packages, example.join("node_modules")).unwrap();
        let ports = PORTS.map(|port| (port, free_port().to_string()));
        for name in FILES {
            let text = std::fs::read_to_string(source.join(name)).unwrap();
            let text =
                ports.iter().fold(text, |text, (port, ours)| text.replace(&format!(":{port}"), &format!(":{ours}")));
            assert!(PORTS.iter().all(|port| !text.contains(port)), "{name} names a port in another way");
            write(&example.join(name), &text);
        }
        let [(_, gateway), _, (_, app)] = &ports;
        // Cargo would build and run what is tested here, and is there already.
        let cargo = format!(
            "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec {} \"$@\" --listen 127.0.0.1:{gateway} \
             --admin-listen 127.0.0.1:0 --public-url http://localhost:{gateway}\n",
            env!("CARGO_BIN_EXE_scangate")
        );
        write(&folder.path().join("cargo"), &cargo);
        let mut command = Command::new(example.join("run"));
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let mut process = Process::start(command.env("PATH", path));
        until(PATIENCE, "the example's start", || {
            let said = process.lines().join("\n");
            assert!(process.exit_code().is_none(), "it ended:\n{said}");
            ["provider: ", "app: ", "\"serving\""].iter().all(|part| said.contains(part)).then_some(())
        });
        let [app, gateway] = [app, gateway].map(|port| format!("http://localhost:{port}"));
        Self { process, app, gateway, _folder: folder }
    }
}

/// Writes a file that can be executed.
fn write(path: &PathBuf, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Waits until an element can be seen.
async fn appears(page: &Chromium, css: &str) {
    let script = format!("var it = document.querySelector({css:?}); return !!it && it.offsetParent !== null");
    eventually(css, async || (page.run(&script).await == json!(true)).then_some(())).await;
}

/// Waits until the element has this text.
async fn says(page: &Chromium, css: &str, text: &str) {
    appears(page, css).await;
    eventually(text, async || (page.text(css).await == text).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_employee_signs_in_and_the_next_scan_is_one_tap() {
    let company = Company::start();
    let driver = Driver::start().await;
    let desk = driver.open(Device::Desk).await;
    let phone = driver.open(Device::Phone(390, 844)).await;
    desk.goto(&format!("{}/", company.app)).await;
    let code = desk.scan().await;
    assert!(code.starts_with(&format!("{}/s/", company.gateway)), "{code}");

    // As the page describes it: cancelled first, then signed in. The code is the same.
    phone.goto(&code).await;
    phone.until("sign-in").await;
    assert_eq!(phone.text("[data-provider=oidc]").await, "Continue with Acme");
    phone.click("[data-provider=oidc]").await;
    appears(&phone, "[value=cancel]").await;
    says(&desk, ".scangate-title", "Someone is signing in on a phone").await;
    phone.click("[value=cancel]").await;
    says(&phone, "h1", "Signing in was cancelled").await;
    phone.goto(&code).await;
    phone.until("sign-in").await;
    phone.click("[data-provider=oidc]").await;
    appears(&phone, "[name=email]").await;
    phone.write("[name=email]", "ada@acme.example").await;
    phone.write("[name=password]", "engine").await;
    phone.click("[value=sign-in]").await;
    phone.until("scanned").await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    says(&desk, "#greeting", "Hello, Ada Lovelace (ada@acme.example).").await;
    assert_eq!(desk.run("return document.cookie").await, json!(""), "no script reads the app's session");

    desk.click("#out").await;
    appears(&desk, ".scangate[data-state=waiting]").await;
    desk.rest().await;
    phone.goto(&desk.scan().await).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    phone.until("scanned").await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    says(&desk, "#greeting", "Hello, Ada Lovelace (ada@acme.example).").await;
    desk.end().await;
    phone.end_after_refusals().await;
    let said = company.process.lines().join("\n");
    for secret in ["engine", "&code=", "code_verifier", "eyJ"] {
        assert!(!said.contains(secret), "{secret} is in what the programs say:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_companys_app_signs_in_nobody_without_a_jwt_of_the_gateway_or_for_another_page() {
    let company = Company::start();
    let http = reqwest::Client::new();
    let sign_in = |origin: &str, body: Value| {
        http.post(format!("{}/sign-in", company.app)).header("origin", origin).json(&body).send()
    };
    let forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.";
    for body in [json!({ "token": forged }), json!({ "token": "x" }), json!({}), json!(null), json!([])] {
        let refused = sign_in(&company.app, body.clone()).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{body}");
        assert!(!refused.headers().contains_key("set-cookie"));
    }
    let elsewhere = sign_in("http://evil.example", json!({ "token": forged })).await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN);
    let me = http.get(format!("{}/me", company.app)).header("cookie", format!("expenses={}", "x".repeat(43)));
    assert_eq!(me.send().await.unwrap().json::<Value>().await.unwrap(), Value::Null);
}

#[test]
fn the_steps_and_words_of_the_companys_page_are_those_of_its_files() {
    let read = |name: &str| std::fs::read_to_string(Path::new(ROOT).join("examples/company").join(name)).unwrap();
    let provider = read("provider.mjs");
    for (words, file) in [("ada@acme.example", &provider), ("engine", &provider), ("Ada Lovelace", &provider)] {
        assert!(PAGE.contains(words) && file.contains(words), "{words}");
    }
    assert!(PAGE.contains("Continue with Acme") && read("run").contains("SCANGATE_OIDC_NAME=Acme"));
    let lock = read("package-lock.json");
    assert!(lock.contains("\"integrity\"") && !lock.contains("\"resolved\""), "the lock file names no registry");
    for name in ["app.mjs", "provider.mjs", "index.html"] {
        assert!(read(name).lines().count() < 70, "{name} is short enough to read");
        assert!(read(name).contains("examples/company/run"), "{name} says how it is run");
    }
    assert!(include_str!("../run").contains("npm ci --prefix examples/company"), "tests/run has to install it");
}

//! `examples/company/`: a real identity provider, the gateway and JupyterHub, started by their one command, and walked through by
//! two browsers as the example's page describes it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::ROOT;
use crate::support::browser::{Chromium, Device, Driver};
use crate::support::process::Process;
use crate::support::{eventually, free_port, until, within};

const PAGE: &str = include_str!("../../examples/company/README.md");
/// The files of the example, and the ports that they name: the gateway's, the provider's, the app's, and two inside the app.
const FILES: [&str; 4] = ["run", "provider.mjs", "clients.toml", "jupyterhub_config.py"];
const PORTS: [&str; 5] = ["8080", "9000", "8000", "8081", "8001"];
/// JupyterHub starts a server for each person, and Python compiles its modules.
const PATIENCE: Duration = Duration::from_secs(90);

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
        symlink(packages, example.join("node_modules")).unwrap();
        let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python-apps");
        assert!(python.is_dir(), "{} is missing; tests/run installs it", python.display());
        std::fs::create_dir_all(folder.path().join("target/company")).unwrap();
        symlink(python, folder.path().join("target/company/venv")).unwrap();
        let ports = PORTS.map(|port| (port, free_port().to_string()));
        for name in FILES {
            let text = std::fs::read_to_string(source.join(name)).unwrap();
            let text =
                ports.iter().fold(text, |text, (port, ours)| text.replace(&format!(":{port}"), &format!(":{ours}")));
            assert!(PORTS.iter().all(|port| !text.contains(port)), "{name} names a port in another way");
            write(&example.join(name), &text);
        }
        let [(_, gateway), _, (_, app), ..] = &ports;
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
            ["provider: ", "JupyterHub is now running", "\"serving\""]
                .iter()
                .all(|part| said.contains(part))
                .then_some(())
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

/// Opens the app, and goes to the code.
async fn show_code(company: &Company, desk: &Chromium) {
    desk.goto(&format!("{}/", company.app)).await;
    says(desk, "a.btn-jupyter", "Sign in with your phone").await;
    desk.click("a.btn-jupyter").await;
    appears(desk, ".scangate[data-state=waiting]").await;
    desk.rest().await;
}

/// Waits until the desk has Ada's JupyterLab.
async fn opens_notebooks(company: &Company, desk: &Chromium) {
    let lab = format!("{}/user/ada/lab", company.app);
    within(PATIENCE, "the way to JupyterLab", async || desk.url().await.starts_with(&lab).then_some(())).await;
    let is_open =
        async || (desk.run("return !!document.querySelector('.jp-Launcher')").await == json!(true)).then_some(());
    within(PATIENCE, "JupyterLab", is_open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_employee_signs_in_and_the_next_scan_is_one_tap() {
    let company = Company::start();
    let driver = Driver::start().await;
    let desk = driver.open(Device::Desk).await;
    let phone = driver.open(Device::Phone(390, 844)).await;
    show_code(&company, &desk).await;
    let code = desk.scan().await;
    assert!(code.starts_with(&format!("{}/s/", company.gateway)), "{code}");
    desk.keep_screen("company-code").await;

    // As the page describes it: cancelled first, then signed in. The code is the same.
    phone.goto(&code).await;
    phone.until("sign-in").await;
    assert_eq!(phone.text("[data-provider=oidc]").await, "Continue with Acme");
    phone.keep_screen("company-sign-in").await;
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
    phone.keep_screen("company-phone").await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    opens_notebooks(&company, &desk).await;
    desk.keep_screen("company-notebooks").await;

    // After she signed out at the app, Ada needs another code, but no password.
    desk.goto(&format!("{}/hub/logout", company.app)).await;
    show_code(&company, &desk).await;
    phone.goto(&desk.scan().await).await;
    phone.until("ready").await;
    phone.click("#continue").await;
    phone.until("scanned").await;
    phone.click("#confirm").await;
    phone.until("confirmed").await;
    opens_notebooks(&company, &desk).await;
    desk.end_after_refusals().await;
    phone.end_after_refusals().await;
    let said = company.process.lines().join("\n");
    for secret in ["engine", "&code=", "code_verifier=", "eyJhb"] {
        assert!(!said.contains(secret), "{secret} is in what the programs say:\n{said}");
    }
}

#[test]
fn the_steps_and_words_of_the_companys_page_are_those_of_its_files() {
    let read = |name: &str| std::fs::read_to_string(Path::new(ROOT).join("examples/company").join(name)).unwrap();
    let provider = read("provider.mjs");
    for (words, file) in [("ada@acme.example", &provider), ("engine", &provider), ("Ada Lovelace", &provider)] {
        assert!(PAGE.contains(words) && file.contains(words), "{words}");
    }
    assert!(PAGE.contains("Continue with Acme") && read("run").contains("SCANGATE_OIDC_NAME=Acme"));
    let app = read("jupyterhub_config.py");
    assert!(PAGE.contains("Sign in with your phone") && app.contains("login_service = \"your phone\""));
    let lock = read("package-lock.json");
    assert!(lock.contains("\"integrity\"") && !lock.contains("\"resolved\""), "the lock file names no registry");
    for name in ["provider.mjs", "jupyterhub_config.py"] {
        assert!(read(name).lines().count() < 70, "{name} is short enough to read");
        assert!(read(name).contains("examples/company/run"), "{name} says how it is run");
    }
    let run = include_str!("../run");
    assert!(run.contains("npm ci --prefix examples/company") && run.contains("examples/company/requirements.txt"));
}

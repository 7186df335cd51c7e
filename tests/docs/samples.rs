//! The app of `docs/your-site.md`, run as it stands there, with a real Chromium; and what all samples that check a JWT have.

use std::path::Path;
use std::process::Command;

use reqwest::{StatusCode, redirect};
use serde_json::{Value, json};

use crate::coming_from::blocks;
use crate::support::browser::{Device, Driver};
use crate::support::gateway::{Phone, file};
use crate::support::process::Process;
use crate::support::{Gateway, SOON, free_port, within};

const PAGE: &str = include_str!("../../docs/your-site.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The app, and the gateway that it sends people to. Both are on hosts of their own: two sites to a browser.
struct Shop {
    gateway: Gateway,
    here: String,
    _app: Process,
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let here = format!("http://127.0.0.1:{port}");
        std::fs::write(folder.path().join("shop-secret"), "the-secret-of-the-shop-0123456789abcdef\n").unwrap();
        let secret = folder.path().join("shop-secret");
        let (_directory, config) = file(&format!(
            "[[clients]]\nid = \"shop\"\nclaims = [\"name\"]\nredirect_uris = [\"{here}/signed-in\"]\n\
             secret_file = \"{}\"\n",
            secret.display()
        ));
        let own = free_port();
        let builder = Gateway::builder().arg("--config", config.to_str().unwrap());
        let builder = builder.arg("--listen", &format!("127.0.0.1:{own}"));
        let gateway = builder.arg("--public-url", &format!("http://localhost:{own}")).start().await;
        let source = &blocks(PAGE, "python")[0];
        assert!(source.contains("http://localhost:8080") && source.contains("http://127.0.0.1:5000"));
        let source = source.replace("http://localhost:8080", &gateway.public_url);
        std::fs::write(folder.path().join("app.py"), source.replace("http://127.0.0.1:5000", &here)).unwrap();
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-m", "flask", "--app", "app", "run", "--port", &port.to_string()]).current_dir(folder.path());
        let app = Process::start(&mut command);
        within(SOON * 2, "the app's start", async || reqwest::get(format!("{here}/")).await.ok()).await;
        Self { gateway, here, _app: app, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_of_the_page_signs_people_in() {
    let shop = Shop::open().await;
    let driver = Driver::start().await;
    let screen = driver.open(Device::Desk).await;
    screen.goto(&format!("{}/", shop.here)).await;
    screen.click("a").await;
    screen.until("waiting").await;
    Phone::of("ada", &shop.gateway).approve(screen.scan().await.rsplit('/').next().unwrap()).await;
    let home = format!("{}/", shop.here);
    within(SOON * 2, "the way back", async || (screen.url().await == home).then_some(())).await;
    assert_eq!(screen.text("body").await, "Hello, Ada");
    assert_eq!(screen.run("return document.cookie").await, json!(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_of_the_page_refuses_in_words() {
    let shop = Shop::open().await;
    let http = reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let begun = http.get(format!("{}/sign-in", shop.here)).send().await.unwrap();
    let cookie = begun.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-session=") && cookie.contains("; Secure") && cookie.contains("; Path=/"));
    let cookie = cookie.split(';').next().unwrap();
    let location = url::Url::parse(begun.headers()["location"].to_str().unwrap()).unwrap();
    assert!(location.query_pairs().any(|(name, value)| name == "code_challenge_method" && value == "S256"));
    let state = location.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    for query in [
        "".to_owned(),
        "code=stolen&state=another".to_owned(),
        format!("code=stolen&state={state}"),
        format!("error=access_denied&state={state}"),
    ] {
        let request = http.get(format!("{}/signed-in?{query}", shop.here)).header("cookie", cookie);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.text().await.unwrap(), "This sign-in is not valid. Begin again.", "{query}");
    }
}

/// Returns every file that people copy from: pages, and examples with what they need.
fn samples(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if entry.is_dir() && name != "node_modules" && name != "decisions" {
            found.extend(samples(&entry));
        } else if let Ok(text) = std::fs::read_to_string(&entry) {
            found.push((name, text));
        }
    }
    found
}

#[test]
fn every_sample_that_checks_a_jwt_allows_for_clocks_and_catches_what_is_thrown() {
    let mut all = samples(&Path::new(ROOT).join("docs"));
    all.extend(samples(&Path::new(ROOT).join("examples")));
    let mut count = 0;
    for (name, text) in all {
        for (call, tolerance, caught) in [
            ("jwt.decode(", ["leeway=30", "\"leeway\": 30"], ["except jwt.PyJWTError", "except jwt.InvalidTokenError"]),
            ("await jwtVerify(", ["clockTolerance: 30", "clockTolerance: 30"], ["catch (error)", "catch (error)"]),
        ] {
            if text.contains(call) {
                count += 1;
                assert!(tolerance.iter().any(|tolerance| text.contains(tolerance)), "{name}: clocks");
                assert!(caught.iter().any(|caught| text.contains(caught)), "{name}: what {call} throws");
            }
        }
    }
    assert!(count >= 2, "{count}");
}

#[test]
fn what_samples_install_has_its_version() {
    let mut all = samples(&Path::new(ROOT).join("docs"));
    all.extend(samples(&Path::new(ROOT).join("examples")));
    let mut count = 0;
    let pinned = |package: &str| package.contains("==") || package.starts_with('-');
    for (name, text) in all {
        for line in text.lines() {
            let Some((_, packages)) = line.split_once("pip install ") else { continue };
            let packages: Vec<_> = packages.split('`').next().unwrap().split(' ').collect();
            count += packages.len();
            assert!(packages.iter().all(|package| pinned(package)), "{name}: {line}");
        }
        if name == "requirements.txt" {
            let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
            count += lines.len();
            assert!(lines.iter().all(|line| pinned(line)), "{name}: {lines:?}");
        }
        if name == "package.json" {
            let package: Value = serde_json::from_str(&text).unwrap();
            for (dependency, version) in package["dependencies"].as_object().unwrap() {
                count += 1;
                assert!(version.as_str().unwrap().starts_with(|c: char| c.is_ascii_digit()), "{dependency}: {version}");
            }
        }
    }
    assert!(count >= 4, "{count}");
}

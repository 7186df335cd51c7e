//! The command line: help, faults, doctor, keys, logs, signals.

use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::gateway::{AUDIENCE, Browser, ISSUER, Phone, SECRET, file, verified_claims};
use crate::support::{Gateway, Redis, SOON, eventually};

fn scangate(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_scangate")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn help_names_every_flag_with_its_variable() {
    let (code, help, _) = scangate(&["--help"]);
    assert_eq!(code, 0);
    let (_, serve, _) = scangate(&["serve", "--help"]);
    for text in [help, serve] {
        let flags: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("--")).collect();
        assert!(flags.len() > 30, "{flags:?}");
        for flag in flags {
            let name = flag.split([' ', '[']).next().unwrap().trim_start_matches("--");
            let variable = format!("SCANGATE_{}", name.replace('-', "_").to_uppercase());
            assert!(text.contains(&format!("[env: {variable}")), "{name} has no {variable}");
        }
    }
}

#[test]
fn wrong_settings_are_reported_together_and_start_nothing() {
    let (code, _, error) =
        scangate(&["--public-url", "https://login.example.com", "--ticket-ttl", "1s", "--redis-url", "x"]);
    assert_eq!(code, 2);
    for part in ["--identity-jwks-url", "--ticket-ttl", "--redis-url", "--help"] {
        assert!(error.contains(part), "{error}");
    }
}

/// Runs it with these variables; it must not start.
fn scangate_with(variables: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scangate"));
    let output = command.args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_variable_that_is_no_setting_keeps_it_from_starting_and_the_nearest_one_is_named() {
    let wrong = [
        ("SCANGATE_IDENTITY_JWKS_URI", "https://id.example/jwks?hunter2"),
        ("SCANGATE_IDENTITY_ISSUER", "https://id.example"),
        ("scangate_keys_dir", "/keys"),
        ("SCANGATE_REDIS_URL", ""),
    ];
    let parts = [
        "- SCANGATE_IDENTITY_JWKS_URI",
        "nearest is SCANGATE_IDENTITY_JWKS_URL.",
        "nearest is SCANGATE_KEYS_DIR.",
        "SCANGATE_REDIS_URL is set but empty",
    ];
    // Faults of the settings are told with them, and so are values that cannot even be read.
    for (arguments, also) in
        [(&[][..], "--identity-issuer"), (&["serve"], "--help"), (&["--drain", "x"], "'x' for '--drain")]
    {
        let (code, _, error) = scangate_with(&wrong, arguments);
        assert_eq!(code, 2, "{error}");
        for part in parts.iter().chain(&[also]) {
            assert!(error.contains(part), "{part} is missing in:\n{error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
    let (code, report, _) = scangate_with(&wrong, &["doctor"]);
    assert_eq!(code, 1);
    assert!(report.contains("FAIL  settings   SCANGATE_IDENTITY_JWKS_URI is not a setting"), "{report}");
    // Help comes whatever the environment says.
    assert_eq!(scangate_with(&wrong, &["--help"]).0, 0);
}

#[test]
fn whatever_speaks_of_an_identity_provider_keeps_the_demo_from_starting() {
    for (variable, value) in [
        ("SCANGATE_IDENTITY_ISSUER", "https://id.example"),
        ("SCANGATE_IDENTITY_AUDIENCE", "scangate"),
        // Its default, too: whoever names it has a provider in mind.
        ("SCANGATE_IDENTITY_KEYS_MAX_AGE", "1h"),
        ("SCANGATE_IDENTITY_KEYS_MAX_AGE", "24h"),
    ] {
        let flag = variable.strip_prefix("SCANGATE_").unwrap().to_lowercase().replace('_', "-");
        let as_flag = [format!("--{flag}"), value.to_owned()];
        let as_flag: Vec<&str> = as_flag.iter().map(String::as_str).collect();
        let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        for (variables, arguments) in [(&[(variable, value)][..], &[][..]), (&[], &as_flag)] {
            let (code, _, error) = scangate_with(variables, &[&ports[..], arguments].concat());
            assert_eq!(code, 2, "{variable} {arguments:?}: {error}");
            assert!(
                error.contains(&format!("--{flag} is set, but neither keys nor a secret to verify tokens with")),
                "{error}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_beside_a_kubernetes_service_of_its_name() {
    let links = [
        "SCANGATE_SERVICE_HOST=10.96.0.7",
        "SCANGATE_SERVICE_PORT=8080",
        "SCANGATE_PORT=tcp://10.96.0.7:8080",
        "SCANGATE_PORT_8080_TCP=tcp://10.96.0.7:8080",
        "SCANGATE_PORT_8080_TCP_ADDR=10.96.0.7",
    ];
    let words: Vec<_> = ["env"].iter().chain(&links).map(|word| (*word).to_owned()).collect();
    let gateway = Gateway::builder().run_by(&words).start().await;
    assert_eq!(Browser::new(&gateway).get("/").await.status(), StatusCode::OK);
    let (code, _, error) = scangate_with(&[("SCANGATE_PORT", "8080")], &["serve"]);
    assert!(code == 2 && error.contains("SCANGATE_PORT is not a setting"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_and_doctor_warn_of_secrets_that_others_can_see() {
    use std::os::unix::fs::PermissionsExt as _;

    let redis = Redis::start();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(path(name), text).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let (code, key, _) = scangate(&["keys", "new", "--dir", &path("keys")]);
    assert_eq!(code, 0);
    let key = key.trim().to_owned();
    let wechat = "[[clients]]\nid = \"web\"\n[connectors.wechat]\napp_id = \"wx1\"\nsecret = \"s3cret\"\ntoken_file = \"token\"\n";
    let secret = "0123456789abcdef0123456789abcdef";
    let settings = |builder: crate::support::gateway::Builder| {
        let builder = builder.own_identity().arg("--keys-dir", &path("keys")).arg("--config", &path("clients.toml"));
        builder.arg("--identity-issuer", "https://id.example").arg("--identity-audience", "scangate")
    };
    let files = [path("clients.toml"), path("token"), path("secret"), path("redis"), key.clone()];
    for mode in [0o644, 0o600] {
        write("clients.toml", wechat, mode);
        write("token", "abcdef", mode);
        write("secret", secret, mode);
        write("redis", &redis.url(), mode);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let in_files = settings(Gateway::builder()).arg("--identity-secret-file", &path("secret"));
        let in_files = in_files.arg("--redis-url-file", &path("redis"));
        let report = in_files.command_of("doctor").output().unwrap();
        let report = String::from_utf8(report.stdout).unwrap();
        let log = in_files.start().await.log();
        for file in &files {
            let warning = format!("{file} holds a secret and can be read by other users; run `chmod 600 {file}`");
            assert_eq!(log.contains(&warning), mode == 0o644, "{file} {mode:o}:\n{log}");
            assert_eq!(report.contains(&format!("WARN  settings   {warning}")), mode == 0o644, "{file}:\n{report}");
        }
        assert!(!log.contains("command line"), "{log}");
    }
    let mut url = url::Url::parse(&redis.url()).unwrap();
    url.set_username("default").unwrap();
    redis.run::<()>(&["CONFIG", "SET", "requirepass", "hunter2"]);
    url.set_password(Some("hunter2")).unwrap();
    let on_command_line =
        settings(Gateway::builder()).arg("--identity-secret", secret).arg("--redis-url", url.as_str());
    let report = String::from_utf8(on_command_line.command_of("doctor").output().unwrap().stdout).unwrap();
    let log = on_command_line.start().await.log();
    for flag in ["--identity-secret", "--redis-url"] {
        let warning = format!("{flag} holds a secret and is on the command line");
        assert!(log.contains(&warning) && report.contains(&warning), "{log}\n{report}");
    }
    assert!(!log.contains("hunter2") && !log.contains(secret) && !report.contains(secret), "{log}\n{report}");
}

#[test]
fn a_taken_address_is_an_error_that_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, error) = scangate(&["--listen", &address, "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(error.contains(&address) && error.contains("--listen"), "{error}");
}

#[test]
fn keys_new_makes_a_key_and_if_empty_only_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    let count = || std::fs::read_dir(directory.path()).unwrap().count();
    for (arguments, expected) in [(vec!["--if-empty"], 1), (vec!["--if-empty"], 1), (vec!["--algorithm", "eddsa"], 2)] {
        let (code, _, error) = scangate(&[&["keys", "new", "--dir", dir][..], &arguments].concat());
        assert_eq!((code, count()), (0, expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_added_signs_without_a_restart_and_one_that_goes_is_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().to_str().unwrap();
    let (_, old, _) = scangate(&["keys", "new", "--dir", dir]);
    let gateway = Gateway::builder().arg("--keys-dir", dir).start().await;
    let published = async || {
        let jwks: Value = reqwest::get(gateway.url("/.well-known/jwks.json")).await.unwrap().json().await.unwrap();
        jwks["keys"].as_array().unwrap().len()
    };
    let sign_in = async || {
        let browser = Browser::new(&gateway);
        let id = browser.create().await;
        Phone::of("ada", &gateway).approve(&id).await;
        let ticket: Value = browser.read(&id).await.json().await.unwrap();
        let token = ticket["token"]["access_token"].as_str().unwrap().to_owned();
        verified_claims(&gateway, &token, "web").await;
        jsonwebtoken::decode_header(&token).unwrap().alg
    };
    assert_eq!(sign_in().await, jsonwebtoken::Algorithm::ES256);
    let past = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::open(old.trim()).unwrap().set_modified(past).unwrap();
    scangate(&["keys", "new", "--dir", dir, "--algorithm", "rs256"]);
    eventually("the new key", || async { (published().await == 2).then_some(()) }).await;
    assert_eq!(sign_in().await, jsonwebtoken::Algorithm::RS256);
    // What is broken takes nothing away.
    std::fs::write(directory.path().join("broken.pem"), "rubbish").unwrap();
    eventually("the complaint", || async { gateway.log().contains("broken.pem").then_some(()) }).await;
    assert_eq!(sign_in().await, jsonwebtoken::Algorithm::RS256);
    std::fs::remove_file(directory.path().join("broken.pem")).unwrap();
    std::fs::remove_file(old.trim()).unwrap();
    eventually("the old key's end", || async { (published().await == 1).then_some(()) }).await;
}

#[test]
fn doctor_finds_nothing_wrong_with_a_good_setup() {
    let redis = Redis::with(&["--notify-keyspace-events", "Kghxe"]);
    let directory = tempfile::tempdir().unwrap();
    scangate(&["keys", "new", "--dir", directory.path().to_str().unwrap()]);
    let (code, report, _) = scangate(&[
        "doctor",
        "--redis-url",
        &redis.url(),
        "--keys-dir",
        directory.path().to_str().unwrap(),
        "--public-url",
        "http://localhost:1",
        "--identity-secret",
        SECRET,
        "--identity-issuer",
        ISSUER,
        "--identity-audience",
        AUDIENCE,
    ]);
    assert_eq!(code, 0, "{report}");
    for part in
        ["ok    redis", "version", "notify-keyspace-events", "evicted", "ok    clock", "ok    keys", "WARN  public URL"]
    {
        assert!(report.contains(part), "{part} is missing in:\n{report}");
    }
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_do() {
    let redis = Redis::with(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    redis.run::<()>(&["ACL", "SETUSER", "default", "-config"]);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.pem"), "x").unwrap();
    let identity = ["--identity-secret", SECRET, "--identity-issuer", ISSUER, "--identity-audience", AUDIENCE];
    let settings = ["doctor", "--redis-url", &redis.url(), "--keys-dir", directory.path().to_str().unwrap()];
    let (code, report, _) = scangate(&[&settings[..], &identity].concat());
    assert_eq!(code, 1);
    for part in
        ["FAIL  redis", "notify-keyspace-events Kghxe", "WARN  redis", "noeviction", "FAIL  keys", "scangate keys new"]
    {
        assert!(report.contains(part), "{part} is missing in:\n{report}");
    }
    let (code, report, _) = scangate(&["doctor", "--redis-url", "redis://127.0.0.1:1/", "--redis-timeout", "200ms"]);
    assert!(code == 1 && report.contains("FAIL  redis") && report.contains("--redis-url"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_live_asks_the_running_gateway() {
    let gateway = Gateway::start().await;
    let port = gateway.admin.rsplit(':').next().unwrap().to_owned();
    assert_eq!(scangate(&["doctor", "--live", "--admin-listen", &format!("0.0.0.0:{port}")]).0, 0);
    drop(gateway);
    assert_eq!(scangate(&["doctor", "--live", "--admin-listen", &format!("0.0.0.0:{port}")]).0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_with_request_ids_where_there_is_no_terminal() {
    let gateway = Gateway::start().await;
    let response = Browser::new(&gateway).get("/v1/nowhere").await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let line = eventually("the request's line", || async {
        gateway.process.lines().into_iter().find(|line| line.contains(&id))
    })
    .await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["span"]["id"], &line["span"]["path"]), (&json!(id), &json!("/v1/nowhere")));
    assert!(gateway.process.lines().iter().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_sends_streams_away_finishes_requests_and_exits() {
    let mut gateway = Gateway::builder().arg("--drain", "500ms").start().await;
    let browser = Browser::new(&gateway);
    let id = browser.create().await;
    let mut stream = browser.get(&format!("/v1/tickets/{id}/events")).await;
    let poll = tokio::spawn({
        let (browser, path) = (browser.clone(), format!("/v1/tickets/{id}?wait=30&revision=1"));
        async move { browser.get(&path).await.status() }
    });
    eventually("both registrations", || async { (gateway.metric("scangate_streams_open").await == 2.0).then_some(()) })
        .await;
    let started = Instant::now();
    gateway.process.signal("TERM");
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.expect("the stream was cut, not ended") {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("retry: "), "{text}");
    assert_eq!(poll.await.unwrap(), StatusCode::OK);
    let code = eventually("the exit", || {
        let code = gateway.process.exit_code();
        async move { code }
    })
    .await;
    assert_eq!(code, 0);
    assert!(started.elapsed() < SOON);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_does_not_wait_for_ever() {
    use tokio::io::AsyncWriteExt as _;

    let mut gateway = Gateway::builder().arg("--drain", "0s").arg("--shutdown-timeout", "1s").start().await;
    let mut half = tokio::net::TcpStream::connect(gateway.base.strip_prefix("http://").unwrap()).await.unwrap();
    half.write_all(b"POST /v1/tickets HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n").await.unwrap();
    eventually("the connection", || async { (gateway.metric("scangate_connections_open").await == 1.0).then_some(()) })
        .await;
    gateway.process.signal("TERM");
    eventually("the exit", || {
        let code = gateway.process.exit_code();
        async move { code }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_code_is_exposed_with_a_help_text() {
    let (_directory, config) = file("[[clients]]\nid = \"web\"\n");
    let gateway = Gateway::builder().arg("--config", config.to_str().unwrap()).start().await;
    let text = gateway.metrics().await;
    for name in [
        "streams_open",
        "streams_opened",
        "streams_closed",
        "tickets",
        "confirm_to_event_seconds",
        "expiry_lag_seconds",
        "store_seconds",
        "store_errors",
        "subscriber_reconnects",
        "subscriber_missed",
        "refused",
    ] {
        assert!(text.contains(&format!("# HELP scangate_{name} ")), "{name} is missing in:\n{text}");
    }
    assert!(text.trim_end().ends_with("# EOF"));
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_paths_are_not_on_the_public_listener() {
    let gateway = Gateway::start().await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(reqwest::get(gateway.url(path)).await.unwrap().status(), StatusCode::NOT_FOUND);
        assert_eq!(reqwest::get(format!("{}{path}", gateway.admin)).await.unwrap().status(), StatusCode::OK);
    }
}

#[test]
fn the_docs_name_every_setting_and_every_problem_and_no_others() {
    let words = |text: &str, is_word: fn(&str) -> bool| -> std::collections::BTreeSet<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| is_word(word))
            .map(str::to_owned)
            .collect()
    };
    let is_setting = |word: &str| word.starts_with("SCANGATE_");
    let documented = words(include_str!("../docs/configuration.md"), is_setting);
    assert_eq!(documented, words(&scangate(&["--help"]).1, is_setting));

    let api = include_str!("../docs/http-api.md");
    for problem_type in scangate::http::problem::ALL {
        let row = format!("| {} | `{}` |", problem_type.status.as_u16(), problem_type.code);
        let other = format!("| `{}` | {} |", problem_type.code, problem_type.status.as_u16());
        assert!(api.contains(&row) || api.contains(&other), "{} has no row in docs/http-api.md", problem_type.code);
    }
    let operations = include_str!("../docs/operations.md");
    for bound in scangate::http::bounds::all() {
        assert!(operations.contains(&format!("`{bound}`")), "{bound} is not in docs/operations.md");
    }
}

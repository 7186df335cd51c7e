//! What operators are told: metrics, the doctor, and the errors of settings.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::*;
use crate::support::gateway::Builder;
use crate::support::hostile::{CLIENT_ID, CLIENT_SECRET, Endpoint, Instead};

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_are_counted_by_their_outcome_and_requests_by_their_time() {
    let site = Site::start().await;
    let metrics = site.gateway.metrics().await;
    for reason in ["denied", "mix_up", "id_token", "code_refused", "no_keys", "store"] {
        assert!(metrics.contains(&format!("{} 0", failed_series(reason))), "{reason} starts at zero, for alerts");
    }
    let (id, phone) = (site.desk.create().await, site.phone());
    phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    site.provider.lie(Lie::replacing(Endpoint::Token, Instead::Status(500, "")));
    phone.sign_in(&begin_path(&id)).await;
    for (series, value) in [
        ("scangate_provider_sign_ins_total{outcome=\"begun\"}", 2.0),
        ("scangate_provider_sign_ins_total{outcome=\"finished\"}", 1.0),
        ("scangate_provider_sign_ins_failed_total{reason=\"token_unavailable\"}", 1.0),
        ("scangate_provider_requests_total{operation=\"discovery\",result=\"ok\"}", 1.0),
        ("scangate_provider_requests_total{operation=\"token\",result=\"ok\"}", 1.0),
        ("scangate_provider_requests_total{operation=\"token\",result=\"failed\"}", 1.0),
        ("scangate_provider_requests_total{operation=\"userinfo\",result=\"ok\"}", 1.0),
        ("scangate_provider_request_seconds_count{operation=\"token\"}", 2.0),
        ("scangate_provider_request_seconds_count{operation=\"userinfo\"}", 1.0),
    ] {
        assert_eq!(site.gateway.metric(series).await, value, "{series}");
    }
}

/// Nobody is called because of what people decide, or what strangers make up without a provider.
#[tokio::test(flavor = "multi_thread")]
async fn the_alert_looks_at_every_failure_that_is_the_providers_or_of_the_settings() {
    let site = Site::start().await;
    let metrics = site.gateway.metrics().await;
    let series = "scangate_provider_sign_ins_failed_total{reason=\"";
    let all = metrics.lines().filter_map(|line| line.strip_prefix(series)?.split('"').next()).collect::<BTreeSet<_>>();
    let alerts = include_str!("../../docs/alerts.yaml");
    let (_, listed) = alerts.split_once("scangate_provider_sign_ins_failed_total{reason=~\"").unwrap();
    let listed = listed.split('"').next().unwrap().split('|').collect::<BTreeSet<_>>();
    let ordinary =
        ["denied", "malformed", "mix_up", "other_browser", "store", "unknown_provider", "unknown_state", "used_before"];
    assert_eq!(all.difference(&listed).copied().collect::<Vec<_>>(), ordinary);
    assert!(listed.is_subset(&all), "{listed:?}");
}

/// Anyone can bring a made-up code, at many addresses.
#[tokio::test(flavor = "multi_thread")]
async fn failures_at_a_provider_do_not_fill_the_log() {
    let site = Site::start().await;
    site.provider.lie(Lie::replacing(Endpoint::Token, Instead::Status(400, "{}")));
    let (id, phone) = (site.desk.create().await, site.phone());
    for _ in 0..40 {
        assert_eq!(phone.sign_in(&begin_path(&id)).await.status(), StatusCode::BAD_GATEWAY);
    }
    let lines = site.gateway.process.lines();
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    // Ten in ten seconds, of which there may be two.
    assert!((10..=20).contains(&count("a sign-in at an identity provider failed")));
    assert!((10..=20).contains(&count("failed to serve a request")));
    assert_eq!(site.failed("code_refused").await, 40.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_secret_that_others_can_read_is_warned_of() {
    let provider = Provider::start();
    let on_command_line = provider.gateway().start().await.log();
    assert!(on_command_line.contains("--oidc-client-secret holds a secret and is on the command line"));

    let (directory, config) = file(&format!(
        "{CLIENTS}[[identity_providers]]\nid = \"oidc\"\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\n\
         client_secret_file = \"secret\"\n",
        provider.issuer
    ));
    let secret = directory.path().join("secret");
    // As editors write it.
    std::fs::write(&secret, format!("{CLIENT_SECRET}\n")).unwrap();
    for (mode, is_warned) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&secret, Permissions::from_mode(mode)).unwrap();
        let gateway = Gateway::builder().own_identity().arg("--config", config.to_str().unwrap()).start().await;
        let warning = format!("{} holds a secret and can be read by other users", secret.display());
        assert_eq!(gateway.log().contains(&warning), is_warned, "{mode:o}");
        assert!(!gateway.log().contains("file.toml holds a secret"), "the secret is in a file of its own");
        let (id, phone) = (Browser::new(&gateway).create().await, PhoneBrowser::new(&gateway));
        phone.signs_in(&begin_path(&id), &format!("/s/{id}")).await;
    }
}

fn doctor(builder: &Builder) -> (bool, String) {
    let output = builder.command_of("doctor").output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

async fn doctor_of(builder: Builder) -> (bool, String) {
    tokio::task::block_in_place(|| doctor(&builder))
}

#[track_caller]
fn says(text: &str, mark: &str, parts: &[&str]) {
    let is_it = |line: &str| line.starts_with(mark) && parts.iter().all(|part| line.contains(part));
    assert!(text.lines().any(is_it), "no line is {mark} with {parts:?} in:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_prints_what_to_register_and_looks_at_the_provider() {
    let provider = Provider::start();
    let gateway = || provider.gateway().arg("--public-url", "https://login.example");
    let (_, text) = doctor_of(gateway()).await;
    says(&text, "ok", &["redirect URI", "https://login.example/sign-in/callback"]);
    says(&text, "ok", &["oidc", &provider.issuer, "discovery document"]);
    says(&text, "ok", &["2 key(s)", "/realm/jwks"]);
    assert!(!text.contains(CLIENT_SECRET) && !text.contains("another host"), "{text}");

    // The other name of this machine.
    let elsewhere = provider.issuer.replace("127.0.0.1", "localhost");
    provider.lie(Lie::at(Endpoint::Discovery, move |document| {
        document["token_endpoint"] = json!(format!("{elsewhere}/token"));
        document["code_challenge_methods_supported"] = json!(["plain"]);
        document.as_object_mut().unwrap().remove("authorization_response_iss_parameter_supported");
    }));
    let (_, text) = doctor_of(gateway()).await;
    says(&text, "ok", &["token_endpoint is on another host", "http://localhost:"]);
    says(&text, "WARN", &["S256"]);
    says(&text, "ok", &["RFC 9207"]);

    for (lie, parts) in [
        (
            Lie::at(Endpoint::Discovery, |document| {
                document["issuer"] = json!(format!("{}/", document["issuer"].as_str().unwrap()));
            }),
            &["set the issuer to exactly that", "trailing slash"][..],
        ),
        (Lie::replacing(Endpoint::Discovery, Instead::Status(404, "")), &["HTTP status 404", "check the issuer"]),
        (
            Lie::replacing(Endpoint::Keys, Instead::Page),
            &["/realm/jwks", "not a JWK Set", "no ID token can be verified"],
        ),
    ] {
        provider.lie(lie);
        let (is_good, text) = doctor_of(gateway()).await;
        assert!(!is_good, "{text}");
        says(&text, "FAIL", parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_a_provider_that_sends_people_to_another_ones_page() {
    let honest = Provider::start();
    let endpoint = format!("{}/authorize", honest.issuer);
    let hostile = Provider::lying(Lie::at(Endpoint::Discovery, move |document| {
        document["authorization_endpoint"] = json!(endpoint);
    }));
    let (_directory, config) = file(&[honest.table("honest", ""), hostile.table("hostile", "")].concat());
    let builder = Gateway::builder().own_identity().arg("--config", config.to_str().unwrap());
    let (is_good, text) = doctor_of(builder.arg("--public-url", "https://login.example")).await;
    assert!(!is_good, "{text}");
    says(&text, "FAIL", &["hostile", "authorization_endpoint is that of honest"]);
    says(&text, "ok", &["PROVIDER:SUB"]);
}

/// Returns what a gateway says that does not start.
fn faults(table: &str, flags: &[(&str, &str)]) -> String {
    let (_directory, config) = file(table);
    let builder = Gateway::builder().own_identity().arg("--config", config.to_str().unwrap());
    let builder = flags.iter().fold(builder, |builder, (flag, value)| builder.arg(flag, value));
    let output = builder.command_of("serve").output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
}

#[test]
fn all_faults_of_identity_providers_are_told_at_once() {
    let table = "[[clients]]\nid = \"a b\"\n\
                 [[identity_providers]]\nid = \"callback\"\nissuer = \"http://id.example\"\nclient_id = \" \"\n\
                 scopes = [\"profile\", \"offline_access\"]\n\
                 [[identity_providers]]\nid = \"two\"\nissuer = \"https://id.example/.well-known/openid-configuration\"\n\
                 client_id = \"gate\"\nclient_secret = \"a\"\nclient_secret_file = \"b\"\n";
    let said = faults(table, &[("--oidc-client-id", CLIENT_ID)]);
    assert!(!said.contains("no identity provider"), "it says that there is none:\n{said}");
    for part in [
        "--oidc-client-id is set, but --oidc-issuer is not",
        "client \"a b\"",
        "\"callback\" is reserved",
        "http://id.example",
        "is not https",
        "client_id: it is empty",
        "`openid` is missing",
        "remove `offline_access`",
        "set the `issuer` that it contains",
        "client_secret_file",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

//! Tests of the settings: which ones are accepted, refused or warned of.

use clap::Parser as _;
use proptest::prelude::*;

use super::cli::Cli;
use super::*;
use crate::ticket::MatchPolicy;

fn config(args: &[&str]) -> Result<Config, Vec<String>> {
    let cli = Cli::try_parse_from(std::iter::once("scangate").chain(args.iter().copied())).unwrap();
    Config::from_flags(&cli.flags).map_err(|faults| faults.0)
}

fn fault(args: &[&str]) -> String {
    config(args).err().unwrap_or_else(|| panic!("{args:?} was accepted")).join("\n")
}

const IDENTITY: [&str; 6] = [
    "--identity-jwks-url",
    "https://id.example/jwks.json",
    "--identity-issuer",
    "https://id.example",
    "--identity-audience",
    "scangate",
];

#[test]
fn without_flags_the_demo_runs_on_localhost() {
    let config = config(&[]).unwrap();
    assert!(matches!(config.identity, IdentitySettings::Demo));
    assert!(matches!(config.store, StoreSettings::Memory { .. }));
    assert_eq!(config.issuer, "http://localhost:8080");
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
}

#[test]
fn the_fault_of_a_missing_identity_provider_names_the_flag() {
    let fault = fault(&["--public-url", "https://login.example.com"]);
    assert!(fault.contains("--identity-jwks-url"), "{fault}");
}

#[test]
fn the_demo_is_refused_with_a_public_url_or_production_settings() {
    for url in
        ["https://login.example.com", "http://8.8.8.8", "http://localhost.evil.example", "http://127.0.0.1.nip.io"]
    {
        assert!(fault(&["--demo", "--public-url", url]).contains("--demo"), "{url}");
    }
    assert!(fault(&["--demo", "--public-url", "http://192.168.1.20:8080", "--keys-dir", "/keys"]).contains("--demo"));
    assert!(fault(&[&IDENTITY[..], &["--demo"]].concat()).contains("--demo"));
}

#[test]
fn the_demo_starts_automatically_only_on_an_isolated_machine() {
    let issuer = ["--issuer", "https://login.example.com"];
    for (args, named) in [
        (&["--listen", "0.0.0.0:8080"][..], "--listen"),
        (&["--listen", "[::]:8080"], "--listen"),
        (&["--listen", "127.0.0.1:8080,192.168.1.20:8080"], "--listen"),
        (&["--listen", "127.0.0.1:8080,unix:/run/scangate/scangate.sock"], "--listen"),
        (&["--admin-listen", "0.0.0.0:9090"], "--admin-listen"),
        (&["--admin-listen", "[::]:9090"], "--admin-listen"),
        (&["--keys-dir", "/keys"], "--keys-dir"),
        (&issuer, "--issuer"),
        (&["--issuer", "scangate"], "--issuer"),
        (&["--redis-url", "redis://10.0.0.5/"], "--redis-url"),
        (&["--redis-url", "redis-cluster://127.0.0.1:1,10.0.0.5:1"], "--redis-url"),
        (&["--public-url", "http://192.168.1.20:8080"], "public URL"),
        (&["--identity-issuer", "https://id.example"], "--identity-issuer"),
        (&["--identity-audience", "scangate"], "--identity-audience"),
    ] {
        let message = fault(args);
        assert!(message.contains(named) && message.contains("--identity-jwks-url"), "{args:?}: {message}");
    }
    for args in [
        &["--listen", "127.0.0.2:80,[::1]:80"][..],
        &["--issuer", "http://localhost:8080"],
        &["--redis-url", "redis://127.0.0.1/"],
        &["--redis-url", "redis+unix:///run/redis.sock"],
        &["--public-url", "https://localhost:8443"],
    ] {
        assert!(matches!(config(args).unwrap().identity, IdentitySettings::Demo), "{args:?}");
    }
}

#[test]
fn an_explicit_demo_is_refused_with_production_settings() {
    for (args, named) in [
        (&["--keys-dir", "/keys"][..], "omit it"),
        (&["--issuer", "https://login.example.com"], "omit --issuer"),
        (&["--identity-issuer", "https://id.example"], "--demo"),
        (&["--identity-audience", "scangate"], "--demo"),
    ] {
        let message = fault(&[&["--demo"], args].concat());
        assert!(message.contains("--demo") && message.contains(named), "{args:?}: {message}");
    }
    let message = fault(&["--demo", "--keys-dir", "/keys", "--issuer", "x", "--public-url", "https://a.example"]);
    assert!(["--keys-dir", "--issuer", "public URL"].iter().all(|named| message.contains(named)), "{message}");
    // As in a container: with --demo, other machines may reach it.
    let open =
        ["--demo", "--listen", "0.0.0.0:8080", "--admin-listen", "0.0.0.0:9090", "--redis-url", "redis://redis/"];
    assert!(matches!(config(&open).unwrap().identity, IdentitySettings::Demo));
}

#[test]
fn an_empty_value_is_a_fault() {
    for flag in ["--issuer", "--identity-issuer", "--identity-audience"] {
        let message = fault(&[&IDENTITY[..2], &[flag, ""]].concat());
        assert!(message.contains(&format!("{flag} is empty")), "{message}");
    }
}

#[test]
fn the_demo_can_run_on_a_private_address() {
    assert!(config(&["--demo", "--public-url", "http://192.168.1.20:8080"]).is_ok());
    assert!(config(&["--demo", "false"]).is_err());
}

#[test]
fn all_faults_are_reported_together() {
    let faults =
        config(&["--public-url", "ftp://x", "--redis-url", "http://x", "--ticket-ttl", "1s", "--listen", "nowhere"])
            .err()
            .unwrap();
    assert_eq!(faults.len(), 4, "{faults:#?}");
}

#[test]
fn a_drain_leaves_requests_the_time_to_finish() {
    let message = fault(&["--drain", "10s", "--shutdown-timeout", "3s"]);
    assert!(message.contains("--shutdown-timeout must be at least 1s longer than --drain"), "{message}");
    assert!(config(&["--drain", "10s", "--shutdown-timeout", "11s"]).is_ok());
}

#[test]
fn a_session_lives_at_least_as_long_as_it_may_be_idle() {
    let message = fault(&["--session-idle", "30d", "--session-lifetime", "7d"]);
    assert!(message.contains("--session-lifetime must be at least --session-idle"), "{message}");
    let sessions = config(&["--session-idle", "7d", "--session-lifetime", "7d"]).unwrap().sessions;
    assert_eq!(sessions.idle, sessions.absolute);
    assert!(fault(&["--session-idle", "1s"]).contains("--session-idle is 1s"));
    assert!(fault(&["--session-lifetime", "401d"]).contains("--session-lifetime is"));
}

#[test]
fn a_short_secret_is_refused() {
    let args = ["--identity-secret", "short", "--identity-issuer", "i", "--identity-audience", "a"];
    let fault = fault(&args);
    assert!(fault.contains("32") && !fault.contains("short;"), "{fault}");
}

#[test]
fn an_identity_needs_issuer_and_audience() {
    assert!(fault(&IDENTITY[..2]).contains("--identity-issuer"));
}

#[test]
fn a_secret_can_be_read_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
    let path = file.path().to_str().unwrap();
    let config =
        config(&["--identity-secret-file", path, "--identity-issuer", "i", "--identity-audience", "a"]).unwrap();
    let IdentitySettings::Secret { secret, .. } = config.identity else { panic!("no secret") };
    assert_eq!(secret, b"0123456789abcdef0123456789abcdef");
}

fn with_file(text: &str) -> Result<Config, Vec<String>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    config(&["--config", file.path().to_str().unwrap()])
}

#[test]
fn with_https_plain_http_is_allowed_only_for_localhost() {
    let client = |public_url: &str, url: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[[clients]]\nid = \"shop\"\norigins = [\"{url}\"]\n")).unwrap();
        let args = ["--public-url", public_url, "--config", file.path().to_str().unwrap()];
        config(&[&IDENTITY[..], &args].concat()).map(|_config| ()).map_err(|faults| faults.join("\n"))
    };
    for url in [
        "http://shop.example.com",
        "http://192.168.1.20",
        "http://localhost.evil.example",
        "http://127.0.0.1.nip.io",
        "http://0.0.0.0",
        "http://[::2]:5000",
        "http://notlocalhost",
    ] {
        let message = client("https://login.example.com", url).unwrap_err();
        assert!(message.contains("origins") && message.contains("is not https"), "{message}");
        assert_eq!(client("http://login.example.com", url), Ok(()), "beside plain http there is nothing to lose");
    }
    for url in [
        "https://shop.example.com",
        "http://localhost:5000",
        "http://shop.localhost",
        "http://127.8.7.6",
        "http://[::1]:5000",
    ] {
        assert_eq!(client("https://login.example.com", url), Ok(()), "{url}");
    }
}

#[test]
fn plain_http_for_keys_or_the_issuer_is_a_warning() {
    let https =
        ["--public-url", "https://login.example.com", "--redis-url", "redis://127.0.0.1/", "--keys-dir", "/keys"];
    let warnings = |args: &[&str]| config(&[&IDENTITY[2..], &https, args].concat()).unwrap().warnings;
    let keys = |url| warnings(&["--identity-jwks-url", url]);
    assert!(keys("http://id.internal/jwks")[0].contains("--identity-jwks-url is not https"));
    assert_eq!(keys("http://127.0.0.1:1/jwks"), [""; 0]);
    let issuer = |issuer| warnings(&["--identity-jwks-url", "https://id.example/jwks", "--issuer", issuer]);
    assert!(issuer("http://login.example.com")[0].contains("--issuer http://login.example.com is not https"));
    assert_eq!(issuer("https://login.example.com"), [""; 0]);
    assert_eq!(issuer("a name"), [""; 0]);
}

#[test]
fn admin_hosts_are_host_names_without_scheme_port_or_wildcard() {
    let hosts = |names| config(&["--admin-hosts", names]).unwrap().admin_hosts;
    assert_eq!(hosts("Gateway-1,scangate.internal"), ["gateway-1", "scangate.internal"]);
    for names in ["http://gateway-1", "gateway-1:9090", "*", "*.internal", "a,,b", "a b"] {
        let words = ["scangate", "--admin-hosts", names];
        assert!(Cli::try_parse_from(words).is_err(), "{names}");
    }
}

const WECHAT: &str = "[connectors.wechat]\napp_id = \"wx1\"\nsecret = \"hunter2\"\ntoken = \"abc\"\n";

#[test]
fn a_client_may_use_a_configured_connector_and_gets_its_match_policy() {
    let client = |more: &str| with_file(&format!("{WECHAT}[[clients]]\nid = \"shop\"\nconnector = \"wechat\"\n{more}"));
    let shop = |config: Config| config.clients.find(Some("shop")).unwrap().as_ref().clone();
    let by_number = shop(client("claims = [\"name\"]").unwrap());
    assert_eq!((by_number.match_policy, by_number.claims), (MatchPolicy::Type, vec!["name".into(), "unionid".into()]));
    assert!(client("match = \"type\"").is_ok());
    for policy in ["none", "choose"] {
        let faults = client(&format!("match = \"{policy}\"")).err().unwrap().join("\n");
        assert!(faults.contains("omit match"), "{faults}");
    }
    let by_scan =
        WECHAT.replace("token", "consent = \"scan\"\ntoken") + "[[clients]]\nid = \"shop\"\nconnector = \"wechat\"";
    assert_eq!(shop(with_file(&by_scan).unwrap()).match_policy, MatchPolicy::None);
    let fault = with_file("[[clients]]\nid = \"shop\"\nconnector = \"wechat\"").err().unwrap().join("\n");
    assert!(fault.contains("no [connectors.wechat]"), "{fault}");
    assert!(with_file("[[clients]]\nid = \"shop\"\nconnector = \"other\"").is_err());
    assert!(with_file(&format!("[connectors.other]\n{WECHAT}[[clients]]\nid = \"shop\"")).is_err());
}

#[test]
fn faults_of_clients_and_connectors_are_reported_together_without_secrets() {
    let faults = with_file("[connectors.wechat]\nsecret = \"hun ter2\"\n[[clients]]\nid = \"a b\"").err().unwrap();
    assert_eq!(faults.len(), 4, "{faults:#?}");
    let malformed = with_file(&WECHAT.replace("\"hunter2\"", "\"hunter2")).err().unwrap();
    assert!(malformed[0].contains("line 3: "), "{malformed:?}");
    for fault in faults.iter().chain(&malformed) {
        assert!(!fault.contains("ter2"), "{fault}");
    }
}

#[test]
fn a_single_address_is_a_network() {
    let config = config(&["--trusted-proxies", "10.0.0.7,fd00::/8"]).unwrap();
    assert_eq!(config.trusted_proxies[0].to_string(), "10.0.0.7/32");
}

proptest! {
    #[test]
    fn any_public_url_is_an_origin_or_refused(text in "(https?://)?[a-z0-9.:/@?#\\[\\]-]{0,40}") {
        if let Ok(url) = parse_public_url(&text) {
            prop_assert_eq!(url.path(), "/");
            prop_assert!(url.query().is_none() && url.username().is_empty());
        }
    }

    #[test]
    fn any_listen_address_is_parsed_or_refused(text in ".{0,40}") {
        let _ = parse_listen(&text);
    }
}

const OIDC: [&str; 4] = ["--oidc-issuer", "https://id.example", "--oidc-client-id", "gate"];

#[test]
fn four_settings_set_an_identity_provider_up_without_the_demo() {
    let url = ["--public-url", "https://login.example.com"];
    let args = [&OIDC[..], &url, &["--oidc-client-secret", "s", "--oidc-scopes", "openid email,profile"]].concat();
    let config = config(&args).unwrap();
    assert!(matches!(config.identity, IdentitySettings::Providers));
    assert_eq!(config.providers[0].scopes, ["openid", "email", "profile"]);
    assert_eq!(config.redirect_uri(), "https://login.example.com/sign-in/callback");
    assert!(fault(&[&OIDC[..], &["--demo"]].concat()).contains("--demo"));
}

#[test]
fn an_incomplete_identity_provider_names_the_missing_flag() {
    assert!(fault(&OIDC[..2]).contains("--oidc-client-id"));
    assert!(fault(&OIDC[2..]).contains("--oidc-issuer"));
    assert!(fault(&["--oidc-scopes", "openid"]).contains("--oidc-issuer"));
    assert!(fault(&["--oidc-issuer", "http://id.example", "--oidc-client-id", "gate"]).contains("not https"));
}

#[test]
fn tokens_of_another_issuer_do_not_stand_beside_identity_providers() {
    let other = ["--identity-jwks-url", "https://app.example/jwks", "--identity-issuer", "https://app.example"];
    let args = [&OIDC[..], &other, &["--identity-audience", "scangate"]].concat();
    assert!(fault(&args).contains("--identity-issuer"));
    let own = ["--identity-jwks-url", "https://id.example/jwks", "--identity-issuer", "https://id.example"];
    assert!(config(&[&OIDC[..], &own, &["--identity-audience", "app"]].concat()).is_ok(), "the same people");
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[[clients]]\nid = \"a\"\n[[identity_providers]]\nid = \"two\"\nissuer = \"https://two.example\"\n\
                client_id = \"gate\"\n";
    std::fs::write(file.path(), text).unwrap();
    let file = ["--config", file.path().to_str().unwrap()];
    assert_eq!(config(&[&OIDC[..], &file].concat()).unwrap().providers.len(), 2);
    assert!(fault(&[&args[..], &file].concat()).contains("--identity-issuer"));
}

/// Returns the settings with one OpenID client and these flags.
fn with_openid(args: &[&str], lines: &str) -> Result<Config, Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients.toml");
    let client =
        "[[clients]]\nid = \"grafana\"\nredirect_uris = [\"https://grafana.example/cb\"]\ntoken_auth = \"none\"\n";
    std::fs::write(&path, format!("{client}{lines}")).unwrap();
    config(&[args, &["--config", path.to_str().unwrap()]].concat())
}

#[test]
fn openid_clients_need_the_public_url_as_issuer_and_https() {
    let https = [&IDENTITY[..], &["--public-url", "https://login.example.com"]].concat();
    assert!(with_openid(&https, "").is_ok());
    assert!(with_openid(&[], "").is_ok(), "the demo on this machine");
    assert!(with_openid(&["--demo", "--public-url", "http://192.168.1.20:8080"], "").is_ok(), "and with a phone");
    assert!(with_openid(&[&https[..], &["--issuer", "https://login.example.com"]].concat(), "").is_ok());
    for issuer in ["scangate", "https://login.example.com/", "https://other.example.com"] {
        let faults = with_openid(&[&https[..], &["--issuer", issuer]].concat(), "").err().unwrap().join("\n");
        assert!(faults.contains("omit --issuer") && faults.contains("\"grafana\""), "{faults}");
    }
    for url in ["http://login.example.com", "http://192.168.1.20"] {
        let faults = with_openid(&[&IDENTITY[..], &["--public-url", url]].concat(), "").err().unwrap().join("\n");
        assert!(faults.contains("is not https"), "{faults}");
    }
    let userinfo = "audiences = [\"https://login.example.com/oauth2/userinfo\"]";
    assert!(with_openid(&https, userinfo).err().unwrap()[0].contains("always there"));
}

#[test]
fn a_browser_stays_signed_in_to_apps_for_the_set_time() {
    let set = config(&["--sso-idle", "5m", "--sso-lifetime", "1h"]).unwrap().single_sign_on;
    assert_eq!((set.idle.as_secs(), set.absolute.as_secs()), (300, 3600));
    assert!(fault(&["--sso-idle", "2h", "--sso-lifetime", "1h"]).contains("at least --sso-idle"));
    assert!(fault(&["--sso-lifetime", "31d"]).contains("--sso-lifetime"));
}

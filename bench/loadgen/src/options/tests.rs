//! Tests of the command line.

use super::*;

fn parse(words: &[&str]) -> Result<Settings, String> {
    let words = ["scangate-loadgen"].iter().chain(words).chain(&["--target", "http://127.0.0.1:1"]);
    let options = Options::try_parse_from(words).map_err(|error| error.to_string())?;
    options.command.settings(&[])
}

#[test]
fn the_command_line_is_valid() {
    use clap::CommandFactory as _;
    Options::command().debug_assert();
}

#[test]
fn options_of_another_scenario_are_refused() {
    assert!(parse(&["login", "--events-path", "/x"]).is_err());
    assert!(parse(&["idle", "--pid", "77"]).is_err());
    assert!(parse(&["idle", "--redis-url", "redis://127.0.0.1"]).is_err());
    assert!(parse(&["poll", "--tickets-first"]).is_err());
    assert!(parse(&["storm", "--heartbeat", "5s"]).is_err());
    assert!(parse(&["idle", "--heartbeat", "5s"]).unwrap_err().contains("--events-path"));
    assert!(parse(&["storm", "--redirect-uri", "https://app.example"]).is_err());
    assert!(parse(&["login", "--redirect-uri", "https://app.example"]).unwrap_err().contains("--client-secret-file"));
    assert!(parse(&["login", "--single-sign-on"]).unwrap_err().contains("--redirect-uri"));
    assert!(parse(&["expiry", "--other-keys", "9"]).unwrap_err().contains("--redis-url"));
}

#[test]
fn only_login_runs_without_streams() {
    for scenario in ["idle", "expiry", "storm", "poll"] {
        assert!(parse(&[scenario, "--streams", "0"]).is_err(), "{scenario}");
    }
    assert_eq!(parse(&["login", "--streams", "0"]).unwrap().processes, 1);
}

#[test]
fn defaults_depend_on_the_scenario() {
    assert_eq!(parse(&["idle", "--streams", "40000"]).unwrap().processes, 3);
    let storm = parse(&["storm"]).unwrap().scenario;
    assert!(matches!(storm, Scenario::Storm { logins_per_second: 5.0, .. }), "{storm:?}");
    let expiry = parse(&["expiry"]).unwrap().scenario;
    assert!(expiry.comparison().is_none(), "{expiry:?}");
}

#[test]
fn settings_survive_serialization() {
    for words in [
        &["idle", "--events-path", "/x/{n}", "--heartbeat", "1.5s", "--source-addresses", "10.0.0.1,::1"][..],
        &["login", "--logins-per-second", "2.5"],
        &["login", "--redirect-uri", "https://a", "--client-id", "a", "--client-secret-file", "/a", "--single-sign-on"],
        &["expiry", "--redis-url", "redis://127.0.0.1", "--other-keys", "9"],
        &["storm", "--pid", "77", "--signal", "term"],
        &["poll", "--interval", "0.2s"],
    ] {
        let text = serde_json::to_string(&parse(words).unwrap()).unwrap();
        let settings: Settings = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        assert!(text.contains(&format!("\"scenario\":\"{}\"", words[0])), "{text}");
    }
}

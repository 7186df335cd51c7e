//! Tests of the clients' tables.

use proptest::prelude::*;

use serde::Deserialize;

use super::*;
use crate::clients::openid::{RefreshTokens, TokenAuth};
use crate::signer::keys::KeyAlgorithm;
use crate::ticket::Flow;

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    clients: Vec<ClientTable>,
}

fn read(text: &str) -> Result<Clients, Vec<String>> {
    let file: File = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
    from_tables(file.clients, Path::new("/nowhere"), false, |_connector| None)
}

#[test]
fn a_full_client_is_read_and_the_first_is_the_default() {
    let clients = read(
        r#"
        [[clients]]
        id = "manager"
        name = "Management"
        origins = ["https://manage.example.com"]
        ticket_ttl = "90s"
        claims = ["name", "email"]
        match = "choose"
        max_auth_age = "15m"
        acr_values = ["phr", "mfa"]
        [[clients]]
        id = "pc"
        "#,
    )
    .unwrap();
    assert_eq!(clients.find(None).unwrap().match_policy, MatchPolicy::Choose);
    assert_eq!(clients.find(None).unwrap().name, "Management");
    let freshness = Freshness {
        max_auth_age_secs: Some(900),
        acr_values: vec!["phr".to_owned(), "mfa".to_owned()],
        ..Freshness::default()
    };
    assert_eq!(clients.find(None).unwrap().freshness, freshness);
    assert!(clients.find(Some("pc")).unwrap().freshness.is_empty());
    assert_eq!(clients.find(Some("pc")).unwrap().name, "pc");
    assert!(!clients.find(Some("pc")).unwrap().allows(Flow::Share), "a client must ask for it");
    assert!(clients.find(Some("nobody")).is_none());
    assert!(clients.allow_origin("https://manage.example.com"));
    assert!(!clients.allow_origin("https://manage.example.com.evil.example"));
}

#[test]
fn all_faults_of_a_client_are_reported_together() {
    let faults = read(
        r##"
        [[clients]]
        id = "a b"
        origins = ["https://x.example/path", "*"]
        return_to = ["/relative"]
        ticket_ttl = "1s"
        claims = ["sub"]
        flows = []
        max_auth_age = "59s"
        acr_values = ["with space"]
        logo = "missing.png"
        color = "#ffcc00"
        color_dark = "black"
        "##,
    )
    .unwrap_err();
    assert_eq!(faults.len(), 12, "{faults:#?}");
    let removed = "return_to: removed; set redirect_uris";
    assert!(faults.iter().any(|fault| fault.contains(removed)), "{faults:#?}");
}

/// Reads one client with redirect URIs, besides `lines`.
fn openid(lines: &str) -> Result<Client, Vec<String>> {
    let start = "[[clients]]\nid = \"grafana\"\n";
    let uris =
        if lines.starts_with("redirect_uris") { "" } else { "redirect_uris = [\"https://grafana.example/cb\"]\n" };
    read(&format!("{start}{uris}{lines}")).map(|clients| clients.find(None).unwrap().as_ref().clone())
}

const SECRET: &str = "secret = \"0123456789abcdefghijklmnopqrstuvwxyzABCDEFG\"\n";

#[test]
fn an_openid_client_needs_only_a_redirect_uri_and_a_secret() {
    let client = openid(SECRET).unwrap();
    let openid = client.openid.unwrap();
    assert_eq!(openid.scopes, ["openid", "profile", "email"]);
    assert_eq!((openid.signing_alg, openid.token_auth), (KeyAlgorithm::Rs256, TokenAuth::Secret));
    assert_eq!((openid.refresh_tokens, openid.single_sign_on), (RefreshTokens::Never, false));
    assert!(!openid.requires_pkce && openid.secrets.len() == 1);
    assert!(client.claims.iter().any(|claim| claim == "email_verified"), "the claims of its scopes");
    assert!(!client.claims.iter().any(|claim| claim == "address"), "not those of other scopes");
    let few =
        read(&format!("[[clients]]\nid = \"a\"\nredirect_uris = [\"https://a.example/\"]\nclaims = []\n{SECRET}"));
    assert_eq!(few.unwrap().find(None).unwrap().claims, [""; 0], "an empty list is a list");
}

#[test]
fn secrets_come_from_files_one_more_while_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("old", "old-456789abcdefghijklmnopqrstuvwxyzABCDEFG\n");
    write("new", "new-456789abcdefghijklmnopqrstuvwxyzABCDEFG");
    write("short", "hunter2");
    write("spaced", "a secret of more than thirty-two characters");
    let read = |files: &str| {
        let text = format!("[[clients]]\nid = \"a\"\nredirect_uris = [\"https://a.example/\"]\nsecret_file = {files}");
        let file: File = toml::from_str(&text).unwrap();
        let named: Vec<_> = file.clients[0].secret_files(Path::new("f.toml"), directory.path()).collect();
        let clients = from_tables(file.clients, directory.path(), true, |_connector| None);
        clients.map(|clients| (clients.find(None).unwrap().openid.clone().unwrap().secrets.clone(), named))
    };
    let (secrets, named) = read("[\"new\", \"old\"]").unwrap();
    assert_eq!(secrets.iter().map(|secret| &secret.reveal()[..4]).collect::<Vec<_>>(), ["new-", "old-"]);
    assert_eq!(named, [directory.path().join("new"), directory.path().join("old")]);
    assert_eq!(read("\"old\"").unwrap().0.len(), 1);
    for (file, part) in [("short", "fewer than 32"), ("spaced", "without spaces"), ("none", "cannot be read")] {
        let faults = read(&format!("{file:?}")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
        assert!(!faults[0].contains("hunter2"), "{faults:?}");
    }
    assert!(read("[\"old\", \"old\", \"old\", \"old\", \"old\"]").is_err());
}

#[test]
fn every_faulty_key_of_an_openid_client_is_named_with_its_fix() {
    for (lines, part) in [
        ("", "there is no secret; set secret_file"),
        ("token_auth = \"basic\"", "there is no secret"),
        (&format!("token_auth = \"none\"\n{SECRET}"), "omit one of them"),
        ("token_auth = \"none\"\npkce = \"optional\"", "always needs it"),
        (&format!("scopes = [\"profile\"]\n{SECRET}"), "must contain \"openid\""),
        (&format!("scopes = [\"openid\", \"groups\"]\n{SECRET}"), "\"groups\" is none of openid profile"),
        (&format!("refresh_tokens = \"offline_access\"\n{SECRET}"), "add \"offline_access\" to scopes"),
        (&format!("scopes = [\"openid\", \"offline_access\"]\n{SECRET}"), "asks for a refresh token"),
        (&format!("access_token_ttl = \"59s\"\n{SECRET}"), "access_token_ttl: use a time from \"1m\" to \"1d\""),
        (&format!("id_token_ttl = \"2d\"\n{SECRET}"), "id_token_ttl: use a time"),
        (&format!("refresh_token_ttl = \"91d\"\n{SECRET}"), "longer than refresh_token_max"),
        (&format!("audiences = [\"/relative\"]\n{SECRET}"), "not an absolute URI"),
        (&format!("post_logout_redirect_uris = [\"https://a.example/#x\"]\n{SECRET}"), "post_logout_redirect_uris: "),
        (&format!("flows = [\"share\"]\n{SECRET}"), "need the flow \"login\""),
        ("secret = \"short\"", "secret has fewer than 32 characters; create one with `scangate secret new`"),
        (&format!("redirect_uris = [\"https://a.example/\", \"https://a.example/\"]\n{SECRET}"), "is there twice"),
    ] {
        let faults = openid(lines).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(part), "{lines}: {faults:?}");
    }
    for key in ["secret_file = \"s\"", "signing_alg = \"ES256\"", "single_sign_on = false", "audiences = []"] {
        let faults = read(&format!("[[clients]]\nid = \"a\"\n{key}")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains("needs redirect_uris"), "{faults:?}");
    }
    assert!(openid(&format!("signing_alg = \"HS256\"\n{SECRET}")).unwrap_err()[0].contains("RS256"));
}

#[test]
fn an_api_may_be_named_by_its_client_id_if_it_has_a_secret() {
    let with = |audience: &str, api: &str| {
        let app = format!("[[clients]]\nid = \"app\"\nredirect_uris = [\"https://app.example/\"]\n{SECRET}");
        read(&format!("{app}audiences = [\"{audience}\"]\n[[clients]]\nid = \"api\"\n{api}"))
    };
    let confidential = format!("redirect_uris = [\"https://api.example/\"]\n{SECRET}");
    assert!(with("api", &confidential).is_ok());
    let public = "redirect_uris = [\"https://api.example/\"]\ntoken_auth = \"none\"";
    for (audience, api, part) in [
        ("api", "", "not the id of another client with redirect_uris and a secret"),
        ("api", public, "not the id of another client with redirect_uris and a secret"),
        ("nobody", &confidential, "not the id of another client with redirect_uris and a secret"),
        ("app", &confidential, "is the client itself"),
    ] {
        let faults = with(audience, api).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(part), "{audience} {api}: {faults:?}");
    }
}

#[test]
fn only_an_exact_and_safe_address_is_a_redirect_uri() {
    let fault = |uri: &str, auth: &str| openid(&format!("redirect_uris = [{uri:?}]\n{auth}")).err();
    let public = "token_auth = \"none\"";
    for uri in [
        "https://app.example/cb?tenant=1",
        "https://app.example",
        "http://localhost:3000/cb",
        "http://127.0.0.1/cb",
        "http://[::1]:8000/",
        // The gateway is not https here.
        "http://192.168.1.20:3000/cb",
    ] {
        assert_eq!(fault(uri, SECRET), None, "{uri}");
    }
    assert_eq!(fault("com.example.app:/cb", public), None);
    for uri in [
        "",
        "/cb",
        "https://",
        "http://app.example/cb",
        "https://app.example/cb#x",
        "https://app.example/cb#",
        "https://ada@app.example/",
        "https://app.example/a b",
        "https://app.example/\u{e9}",
        "https://*.example/",
        "https://app.example\\@evil.example/",
        "javascript:alert(1)",
        "app:/cb",
    ] {
        assert!(fault(uri, SECRET).is_some_and(|faults| faults.len() == 1), "{uri}");
    }
    assert!(fault("com.example.app:/cb", SECRET).unwrap()[0].contains("token_auth"));
    assert!(fault("app:/cb", public).is_some());
    assert!(fault(&format!("https://app.example/{}", "a".repeat(2048)), SECRET).is_some());
}

#[test]
fn a_connector_states_no_sign_in() {
    let file: File = toml::from_str("[[clients]]\nid = \"a\"\nconnector = \"wechat\"\nmax_auth_age = \"1h\"").unwrap();
    let faults = from_tables(file.clients, Path::new("/nowhere"), false, |_wechat| Some(MatchPolicy::Type));
    let faults = faults.unwrap_err();
    assert!(faults.len() == 1 && faults[0].contains("max_auth_age"), "{faults:?}");
}

#[test]
fn an_unknown_key_is_named() {
    let faults = read("[[clients]]\nid = \"a\"\nreturnto = []").unwrap_err();
    assert!(faults[0].contains("returnto"), "{faults:?}");
}

proptest! {
    #[test]
    fn any_file_is_read_or_its_faults_are_named(
        text in ".{0,80}",
        key in "(id|name|origins|ticket_ttl|claims|match|max_auth_age|acr_values|flows|logo|color|color_dark)",
        value in "(\"[ -~]{0,12}\"|\\[\"[ -!#-~]{0,12}\"\\]|[0-9]{1,4}|true)",
    ) {
        let _ = read(&text);
        if let Err(faults) = read(&format!("[[clients]]\nid = \"a\"\n{key} = {value}\n")) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn any_accepted_origin_equals_what_a_browser_sends(text in "(https?://)?[a-zA-Z0-9.:/@?#_*-]{0,30}") {
        if is_origin(&text) {
            prop_assert_eq!(Url::parse(&text).unwrap().origin().ascii_serialization(), text);
        }
    }
}

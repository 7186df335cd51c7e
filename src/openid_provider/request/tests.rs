//! The checks of an authorization request, one row each, and what a valid request becomes.

use proptest::prelude::*;
use url::form_urlencoded;

use super::*;
use crate::clients::openid::RefreshTokens;
use crate::signer::keys::KeyAlgorithm;
use crate::ticket::RequestedClaims;

const CALLBACK: &str = "https://app.example/cb";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// The query of a request that every client may send.
const GOOD: &[(&str, &str)] = &[
    ("client_id", "shop"),
    ("redirect_uri", CALLBACK),
    ("response_type", "code"),
    ("scope", "openid email"),
    ("state", "s t&ate"),
    ("nonce", "n"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
];

fn openid(token_auth: TokenAuth) -> OpenIdClient {
    let secs = std::time::Duration::from_secs;
    OpenIdClient {
        redirect_uris: vec![CALLBACK.to_owned(), "com.example.app:/cb".to_owned()],
        secrets: Vec::new(),
        token_auth,
        signing_alg: KeyAlgorithm::Rs256,
        scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
        requires_pkce: token_auth == TokenAuth::None,
        refresh_tokens: RefreshTokens::Never,
        access_token_ttl: secs(600),
        id_token_ttl: secs(600),
        refresh_token_ttl: secs(600),
        refresh_token_max: secs(600),
        audiences: vec!["https://api.example".to_owned()],
        post_logout_redirect_uris: Vec::new(),
        single_sign_on: false,
    }
}

/// A confidential client `shop`, a public one `spa`, and `web`, which is no OpenID client.
fn clients() -> Clients {
    let web = Clients::web_only().find(None).unwrap().as_ref().clone();
    let named = |id: &str, auth| {
        let claims = ["name", "email", "email_verified", "groups"].map(str::to_owned).to_vec();
        Client {
            id: crate::ticket::ClientId(id.to_owned()),
            claims,
            openid: Some(Arc::new(openid(auth))),
            ..web.clone()
        }
    };
    Clients::of(vec![web.clone(), named("shop", TokenAuth::Secret), named("spa", TokenAuth::None)])
}

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Reads [`GOOD`] with some parameters replaced, and those with an empty value left out.
fn with(changes: &[(&str, &str)]) -> Result<AuthorizationRequest, Refused> {
    let mut pairs = GOOD.to_vec();
    for &(name, value) in changes {
        pairs.retain(|(own, _)| *own != name);
        pairs.push((name, value));
    }
    read(&query(&pairs), &clients())
}

#[expect(clippy::needless_pass_by_value, reason = "callers have no use for the result")]
fn error_of(read: Result<AuthorizationRequest, Refused>) -> &'static str {
    match read {
        Ok(_) => "accepted",
        Err(Refused::Page) => "page",
        Err(Refused::Back { error, .. }) => error.as_str(),
    }
}

#[test]
fn a_valid_request_is_kept_as_it_was_sent() {
    let request = with(&[("acr_values", "mfa pwd"), ("max_age", "60")]).unwrap();
    let expected = Authorization {
        redirect_uri: CALLBACK.to_owned(),
        response_mode: ResponseMode::Query,
        scopes: vec!["openid".to_owned(), "email".to_owned()],
        state: Some("s t&ate".to_owned()),
        nonce: Some("n".to_owned()),
        code_challenge: Some(CHALLENGE.to_owned()),
        wished_acr: vec!["mfa".to_owned(), "pwd".to_owned()],
        hinted_subject: None,
        claims: RequestedClaims::default(),
    };
    assert_eq!(request.authorization, expected);
    assert_eq!((request.is_silent, request.needs_confirmation), (false, false));
    let freshness = request.freshness();
    assert_eq!((freshness.request_max_age_secs, freshness.acr_values.len()), (Some(60), 0), "acr_values are wishes");
}

#[test]
fn without_a_registered_client_and_address_there_is_only_a_page() {
    let long = "x".repeat(MAX_QUERY_BYTES);
    for change in [
        ("client_id", ""),
        ("client_id", "Shop"),
        ("client_id", "unknown"),
        ("client_id", "web"),
        ("redirect_uri", ""),
        ("redirect_uri", "https://app.example/cb/"),
        ("redirect_uri", "https://app.example/cb?x"),
        ("redirect_uri", "https://app.example/cb#"),
        ("redirect_uri", "https://app.example:443/cb"),
        ("redirect_uri", "HTTPS://app.example/cb"),
        ("redirect_uri", "https://app.example./cb"),
        ("redirect_uri", "https://app.example@evil.example/cb"),
        ("redirect_uri", "https://app.example/x/../cb"),
        ("redirect_uri", "https://app.example/%63b"),
        ("redirect_uri", "https://evil.example/cb"),
        ("redirect_uri", " https://app.example/cb"),
        ("redirect_uri", "https://app.example/cb\0"),
        ("state", "\0"),
        ("padding", &long),
    ] {
        assert_eq!(error_of(with(&[change])), "page", "{change:?}");
    }
    let good = query(GOOD);
    for addition in ["&client_id=shop", "&redirect_uri=https%3A%2F%2Fapp.example%2Fcb", "&x=%ff", "&%c3=x"] {
        assert_eq!(error_of(read(&format!("{good}{addition}"), &clients())), "page", "{addition}");
    }
    assert_eq!(error_of(read("", &clients())), "page");
}

#[test]
fn every_other_fault_goes_back_to_the_client() {
    let long = |chars: usize| "x".repeat(chars);
    let (state, nonce, scope, claims) = (long(2049), long(513), format!("openid {}", long(1020)), long(4097));
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("response_mode", "form_post"), ("redirect_uri", "com.example.app:/cb")], "invalid_request"),
        (&[("request", "e30.e30.")], "request_not_supported"),
        (&[("request_uri", "https://evil.example/")], "request_uri_not_supported"),
        (&[("registration", "{}")], "registration_not_supported"),
        (&[("response_type", "")], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_type", "code id_token")], "unsupported_response_type"),
        (&[("state", &state)], "invalid_request"),
        (&[("state", "a\nb")], "invalid_request"),
        (&[("nonce", &nonce)], "invalid_request"),
        (&[("nonce", "\u{7f}")], "invalid_request"),
        (&[("scope", "")], "invalid_scope"),
        (&[("scope", "email")], "invalid_scope"),
        (&[("scope", "OpenID")], "invalid_scope"),
        (&[("scope", &scope)], "invalid_scope"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge_method", "")], "invalid_request"),
        (&[("code_challenge", "")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM")], "invalid_request"),
        (&[("client_id", "spa"), ("code_challenge", ""), ("code_challenge_method", "")], "invalid_request"),
        (&[("prompt", "none login")], "invalid_request"),
        (&[("prompt", "create")], "invalid_request"),
        (&[("max_age", "-1")], "invalid_request"),
        (&[("max_age", "+1")], "invalid_request"),
        (&[("max_age", "1.5")], "invalid_request"),
        (&[("max_age", "2147483648")], "invalid_request"),
        (&[("claims", "[]")], "invalid_request"),
        (&[("claims", "{")], "invalid_request"),
        (&[("claims", r#"{"id_token":[]}"#)], "invalid_request"),
        (&[("claims", &claims)], "invalid_request"),
        (&[("resource", "https://other.example")], "invalid_target"),
    ];
    for (changes, expected) in rows {
        let read = with(changes);
        let Err(Refused::Back { to, .. }) = &read else { panic!("{changes:?} does not go back") };
        let is_bad_state = changes[0].0 == "state";
        assert_eq!(to.state.as_deref(), Some("s t&ate").filter(|_| !is_bad_state), "{changes:?}");
        assert_eq!(error_of(read), *expected, "{changes:?}");
    }
    for name in ["scope", "state", "nonce", "prompt", "unknown"] {
        let read = read(&format!("{}&{name}=a&{name}=b", query(GOOD)), &clients());
        assert_eq!(error_of(read), "invalid_request", "{name} twice");
    }
}

#[test]
fn what_nobody_knows_and_what_is_empty_is_ignored() {
    for changes in [
        &[("display", "popup"), ("login_hint", "ada@example.com"), ("claims_locales", "en"), ("dpop_jkt", "x")][..],
        &[("max_age", ""), ("prompt", ""), ("claims", "{}"), ("nonce", ""), ("state", "")],
        &[("scope", "openid address phone offline_access unknown")],
        &[("claims", r#"{"unknown":1,"userinfo":null,"id_token":{"x":{"essential":true}}}"#)],
        &[("code_challenge", ""), ("code_challenge_method", "")],
        &[("client_id", "spa")],
        &[("state", "/path?ü=ö")],
        &[("resource", "https://api.example")],
    ] {
        assert_eq!(error_of(with(changes)), "accepted", "{changes:?}");
    }
    assert_eq!(with(&[("scope", "openid address")]).unwrap().authorization.scopes, ["openid"]);
    let twice = format!("{}&resource=https://api.example&resource=https://api.example", query(GOOD));
    assert_eq!(error_of(read(&twice, &clients())), "accepted", "RFC 8707 allows several");
}

#[test]
fn a_prompt_shows_no_page_or_asks_again() {
    let prompt = |value: &str| {
        let request = with(&[("prompt", value)]).unwrap();
        (request.is_silent, request.needs_confirmation)
    };
    assert_eq!(prompt("none"), (true, false));
    for value in ["login", "consent", "select_account", "login consent"] {
        assert_eq!(prompt(value), (false, true), "{value}");
    }
}

#[test]
fn claims_come_by_scope_by_name_or_with_openid() {
    let release = |changes: &[(&str, &str)]| with(changes).unwrap().release();
    assert_eq!(release(&[("scope", "openid")]), ["groups"]);
    assert_eq!(release(&[("scope", "openid email")]), ["email", "email_verified", "groups"]);
    let claims = r#"{"userinfo":{"name":null,"phone_number":null},"id_token":{"email":{"essential":true}}}"#;
    assert_eq!(release(&[("scope", "openid"), ("claims", claims)]), ["name", "email", "groups"]);
    let named = with(&[("claims", claims)]).unwrap().authorization.claims;
    assert_eq!((named.userinfo, named.id_token), (vec!["name".to_owned()], vec!["email".to_owned()]));
}

#[test]
fn an_essential_acr_is_required_and_any_other_is_a_wish() {
    let acr = |claims: &str| {
        let request = with(&[("claims", claims), ("acr_values", "low")]).unwrap();
        (request.freshness().acr_values, request.authorization.wished_acr)
    };
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let essential = r#"{"id_token":{"acr":{"essential":true,"values":["mfa","phr"]}}}"#;
    assert_eq!(acr(essential), (words(&["mfa", "phr"]), words(&["low"])));
    assert_eq!(acr(r#"{"id_token":{"acr":{"value":"mfa"}}}"#), (words(&[]), words(&["low", "mfa"])));
    assert_eq!(acr(r#"{"id_token":{"acr":{"essential":true}}}"#), (words(&[]), words(&["low"])));
    let all = clients();
    let strict = all.iter().map(|client| {
        let mut client = client.as_ref().clone();
        client.freshness.acr_values = words(&["phr"]);
        client
    });
    let strict = Clients::of(strict.collect());
    let of_strict = |claims: &str| read(&format!("{}&{}", query(GOOD), query(&[("claims", claims)])), &strict);
    assert_eq!(of_strict(essential).unwrap().freshness().acr_values, ["phr"], "both must accept it");
    let other = r#"{"id_token":{"acr":{"essential":true,"value":"mfa"}}}"#;
    assert_eq!(error_of(of_strict(other)), "invalid_request");
}

#[test]
fn the_claim_sub_names_the_only_person_who_may_answer() {
    for place in ["id_token", "userinfo"] {
        let request = with(&[("claims", &format!(r#"{{"{place}":{{"sub":{{"value":"ada"}}}}}}"#))]).unwrap();
        assert_eq!(request.authorization.hinted_subject, Some(Subject("ada".to_owned())), "{place}");
    }
}

#[test]
fn a_form_becomes_the_same_query() {
    let good = query(GOOD);
    assert_eq!(encode_form(&good).as_deref(), Some(&*good));
    assert_eq!(encode_form("state=a%20b&empty=&x=ü").as_deref(), Some("state=a+b&x=%C3%BC"));
    assert_eq!(encode_form("state=%ff"), None);
}

proptest! {
    #[test]
    fn any_query_is_read_or_refused(query in ".{0,200}") {
        let _ = read(&query, &clients());
    }

    #[test]
    fn no_other_redirect_uri_ever_gets_an_answer(other in "(https?|HTTPS)://(app|App)\\.example(:443|\\.|@evil)?/?(\\.|%63|c)b[/?#]?|.{0,30}") {
        prop_assume!(other != CALLBACK && other != "com.example.app:/cb");
        prop_assert_eq!(error_of(with(&[("redirect_uri", &other)])), "page");
    }

    #[test]
    fn an_error_goes_only_to_the_registered_address(name in "[a-z_]{1,12}", value in "\\PC{0,40}") {
        let wanted = format!("{}&{}", query(GOOD), query(&[(&name, &value)]));
        if let Err(Refused::Back { to, client, .. }) = read(&wanted, &clients()) {
            prop_assert_eq!((to.redirect_uri.as_str(), client.id.0.as_str()), (CALLBACK, "shop"));
        }
    }
}

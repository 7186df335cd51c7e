//! The checks of a `[[clients]]` table's keys for OpenID Connect. All of them need `redirect_uris`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::openid::{OpenIdClient, RefreshTokens, TokenAuth};
use super::scopes::{OFFLINE_ACCESS, OPENID, SCOPES};
use super::table::{ClientTable, OneOrMany, Pkce, TokenAuthName};
use crate::secret::Secret;
use crate::signer::keys::KeyAlgorithm;
use crate::ticket::Flow;
use crate::urls::{is_local, is_private};

/// The maximum number of `redirect_uris`, and of `post_logout_redirect_uris`. A request is compared with each.
const MAX_REDIRECT_URIS: usize = 16;
/// The maximum length of one of them: it must fit the address line of old browsers with a code and a state.
const MAX_REDIRECT_URI_BYTES: usize = 2048;
/// The maximum number of secrets: the current one, the next one, and room for a mistake. A request is compared with each.
const MAX_SECRETS: usize = 4;
/// The shortest secret, in characters: 192 bits in base64url.
pub const MIN_SECRET_CHARS: usize = 32;
/// The maximum number of `audiences`: each is in every access token.
const MAX_AUDIENCES: usize = 8;
/// The bounds of the lifetimes of ID tokens and access tokens. If an API checks access tokens itself, nobody can revoke
/// them.
const TOKEN_TTLS: std::ops::RangeInclusive<Duration> = minutes(1)..=minutes(24 * 60);
/// The bounds of the lifetimes of refresh tokens.
const REFRESH_TTLS: std::ops::RangeInclusive<Duration> = minutes(1)..=minutes(400 * 24 * 60);
/// Default of `id_token_ttl` and `access_token_ttl`.
const DEFAULT_TOKEN_TTL: Duration = minutes(10);
/// Default of `refresh_token_ttl`.
const DEFAULT_REFRESH_TTL: Duration = minutes(30 * 24 * 60);
/// Default of `refresh_token_max`.
const DEFAULT_REFRESH_MAX: Duration = minutes(90 * 24 * 60);
/// Default of `scopes`.
const DEFAULT_SCOPES: [&str; 3] = [OPENID, "profile", "email"];

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// Checks the keys of one table, and records the faults. Returns `None` if the client has no redirect URIs.
pub(super) fn read(
    table: &ClientTable,
    directory: &Path,
    is_https: bool,
    mut fault: impl FnMut(String),
) -> Option<OpenIdClient> {
    if table.redirect_uris.is_empty() {
        for key in set_keys(table) {
            fault(format!("{key} needs redirect_uris; set them, or omit it"));
        }
        return None;
    }
    if !table.flows.contains(&Flow::Login) {
        fault("redirect_uris need the flow \"login\"; add it to flows".to_owned());
    }
    let secrets = secrets(table, directory, &mut fault);
    let token_auth = token_auth(table.token_auth, !secrets.is_empty()).unwrap_or_else(|text| {
        // A secret that cannot be read is one fault, not two.
        if set_secrets(table).is_empty() || table.token_auth == Some(TokenAuthName::None) {
            fault(text);
        }
        TokenAuth::None
    });
    let is_public = token_auth == TokenAuth::None;
    redirect_uris("redirect_uris", &table.redirect_uris, is_public, is_https, &mut fault);
    let after_logout = table.post_logout_redirect_uris.clone().unwrap_or_default();
    redirect_uris("post_logout_redirect_uris", &after_logout, is_public, is_https, &mut fault);
    let scopes = table.scopes.clone().unwrap_or_else(|| DEFAULT_SCOPES.map(str::to_owned).to_vec());
    let refresh_tokens = table.refresh_tokens.unwrap_or_default();
    scope_faults(&scopes, refresh_tokens).into_iter().for_each(&mut fault);
    if is_public && table.pkce == Some(Pkce::Optional) {
        fault("pkce: a client without a secret always needs it; omit pkce".to_owned());
    }
    let mut time = |key: &str, text: Option<&String>, default, bounds: std::ops::RangeInclusive<Duration>| {
        let Some(text) = text else { return default };
        let time = humantime::parse_duration(text).ok().filter(|time| bounds.contains(time));
        time.unwrap_or_else(|| {
            let days = bounds.end().as_secs() / (24 * 3600);
            fault(format!("{key}: use a time from \"1m\" to \"{days}d\""));
            default
        })
    };
    let access_token_ttl = time("access_token_ttl", table.access_token_ttl.as_ref(), DEFAULT_TOKEN_TTL, TOKEN_TTLS);
    let id_token_ttl = time("id_token_ttl", table.id_token_ttl.as_ref(), DEFAULT_TOKEN_TTL, TOKEN_TTLS);
    let idle = time("refresh_token_ttl", table.refresh_token_ttl.as_ref(), DEFAULT_REFRESH_TTL, REFRESH_TTLS);
    let max = time("refresh_token_max", table.refresh_token_max.as_ref(), DEFAULT_REFRESH_MAX, REFRESH_TTLS);
    if idle > max {
        fault("refresh_token_ttl is longer than refresh_token_max; a refresh token ends with the shorter".to_owned());
    }
    let audiences = table.audiences.clone().unwrap_or_default();
    if audiences.len() > MAX_AUDIENCES {
        fault(format!("audiences: list at most {MAX_AUDIENCES}"));
    }
    // The others must be ids of clients, which can be checked only when all clients are read.
    for audience in audiences.iter().filter(|text| Url::parse(text).is_ok() && !is_uri(text)) {
        fault(format!("audiences: {audience:?} is not an absolute URI without a fragment"));
    }
    let single_sign_on = table.single_sign_on.unwrap_or_default();
    if let Some(connector) = table.connector.filter(|_| single_sign_on) {
        fault(format!("single_sign_on: not with connector {:?}; omit it", connector.as_str()));
    }
    Some(OpenIdClient {
        redirect_uris: table.redirect_uris.clone(),
        secrets,
        token_auth,
        signing_alg: table.signing_alg.unwrap_or(KeyAlgorithm::Rs256),
        scopes,
        requires_pkce: is_public || table.pkce == Some(Pkce::Required),
        refresh_tokens,
        access_token_ttl,
        id_token_ttl,
        refresh_token_ttl: idle,
        refresh_token_max: max,
        audiences,
        post_logout_redirect_uris: after_logout,
        single_sign_on,
    })
}

/// Returns the keys that are set, besides `redirect_uris`.
fn set_keys(table: &ClientTable) -> impl Iterator<Item = &'static str> {
    let keys = [
        ("secret", table.secret.is_some()),
        ("secret_file", table.secret_file.is_some()),
        ("token_auth", table.token_auth.is_some()),
        ("signing_alg", table.signing_alg.is_some()),
        ("scopes", table.scopes.is_some()),
        ("pkce", table.pkce.is_some()),
        ("refresh_tokens", table.refresh_tokens.is_some()),
        ("access_token_ttl", table.access_token_ttl.is_some()),
        ("id_token_ttl", table.id_token_ttl.is_some()),
        ("refresh_token_ttl", table.refresh_token_ttl.is_some()),
        ("refresh_token_max", table.refresh_token_max.is_some()),
        ("audiences", table.audiences.is_some()),
        ("post_logout_redirect_uris", table.post_logout_redirect_uris.is_some()),
        ("single_sign_on", table.single_sign_on.is_some()),
    ];
    keys.into_iter().filter_map(|(key, is_set)| is_set.then_some(key))
}

/// Returns the keys of the secrets that are set.
fn set_secrets(table: &ClientTable) -> Vec<&'static str> {
    set_keys(table).filter(|key| key.starts_with("secret")).collect()
}

/// Returns the client's secrets, and records the faults.
fn secrets(table: &ClientTable, directory: &Path, mut fault: impl FnMut(String)) -> Vec<Secret> {
    let files: &[PathBuf] = table.secret_file.as_ref().map(OneOrMany::as_slice).unwrap_or_default();
    let direct = table.secret.iter().map(|secret| ("secret".to_owned(), Ok(secret.reveal().to_owned())));
    let named = files.iter().map(|file| {
        let path = directory.join(file);
        let text = std::fs::read_to_string(&path).map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        (format!("secret_file: {}", path.display()), text)
    });
    let mut secrets = Vec::new();
    for (place, secret) in direct.chain(named) {
        match secret {
            Err(error) => fault(format!("{place} cannot be read: {error}")),
            // For most libraries, Basic with and without encoding and a form then send the same text.
            Ok(secret) if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => fault(format!(
                "{place} must be one line of printable ASCII characters without spaces; create one with `scangate secret new`"
            )),
            Ok(secret) if secret.len() < MIN_SECRET_CHARS => fault(format!(
                "{place} has fewer than {MIN_SECRET_CHARS} characters; create one with `scangate secret new`"
            )),
            Ok(secret) => secrets.push(Secret::new(secret)),
        }
    }
    if files.len() + usize::from(table.secret.is_some()) > MAX_SECRETS {
        fault(format!("secret_file: list at most {MAX_SECRETS}; one is enough except while you replace it"));
    }
    secrets
}

fn token_auth(name: Option<TokenAuthName>, has_secret: bool) -> Result<TokenAuth, String> {
    match (name, has_secret) {
        (None, true) => Ok(TokenAuth::Secret),
        (Some(TokenAuthName::Basic), true) => Ok(TokenAuth::Basic),
        (Some(TokenAuthName::Post), true) => Ok(TokenAuth::Post),
        (Some(TokenAuthName::None), false) => Ok(TokenAuth::None),
        (Some(TokenAuthName::None), true) => {
            Err("token_auth is \"none\", but a secret is set; omit one of them".to_owned())
        }
        (_, false) => Err(
            "token_auth: there is no secret; set secret_file, or token_auth = \"none\" for an app that cannot keep one"
                .to_owned(),
        ),
    }
}

/// Records the faults of `redirect_uris` and `post_logout_redirect_uris`.
fn redirect_uris(key: &str, uris: &[String], is_public: bool, is_https: bool, mut fault: impl FnMut(String)) {
    if uris.len() > MAX_REDIRECT_URIS {
        fault(format!("{key}: list at most {MAX_REDIRECT_URIS}"));
    }
    for (index, uri) in uris.iter().enumerate() {
        if uris[..index].contains(uri) {
            fault(format!("{key}: {uri:?} is there twice"));
        } else if let Some(text) = redirect_uri_fault(uri, is_public, is_https) {
            fault(format!("{key}: {uri:?} {text}"));
        }
    }
}

/// Returns the fault of a redirect URI. Requests must have the same bytes, so nothing is normalised.
fn redirect_uri_fault(uri: &str, is_public: bool, is_https: bool) -> Option<String> {
    if uri.len() > MAX_REDIRECT_URI_BYTES {
        return Some(format!("is longer than {MAX_REDIRECT_URI_BYTES} bytes"));
    }
    let url = Url::parse(uri).ok().filter(|_| is_uri(uri) && !uri.contains('*'));
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    match url {
        // In a demo on a private address, apps have a private address too.
        Some(url) if url.scheme() == "http" && (is_local(&url) || (!is_https && is_private(&url))) => None,
        Some(url) if url.scheme() == "https" => None,
        // RFC 8252 §7.1, §8.4. Another app of the device may claim the scheme, so the app can keep no secret.
        Some(url) if url.scheme() != "http" && url.scheme().contains('.') && is_public => None,
        Some(url) if url.scheme() != "http" => {
            Some("has the scheme of an app: it needs a dot (com.example.app) and token_auth = \"none\"".to_owned())
        }
        _ => Some(
            "must be an absolute https URL without a fragment, user name or wildcard; http only for localhost, 127.0.0.1 and [::1]"
                .to_owned(),
        ),
    }
}

/// Returns whether `text` has only characters of an absolute URI without a fragment (RFC 3986 §4.3): it goes into `Location` as it
/// is.
fn is_uri(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte))
}

fn scope_faults(scopes: &[String], refresh_tokens: RefreshTokens) -> Vec<String> {
    let mut faults = Vec::new();
    if !scopes.iter().any(|scope| scope == OPENID) {
        faults.push("scopes: must contain \"openid\"".to_owned());
    }
    for scope in scopes.iter().filter(|scope| !SCOPES.contains(&scope.as_str())) {
        faults.push(format!("scopes: {scope:?} is none of {}", SCOPES.join(" ")));
    }
    let has_offline_access = scopes.iter().any(|scope| scope == OFFLINE_ACCESS);
    match (refresh_tokens, has_offline_access) {
        (RefreshTokens::OfflineAccess, false) => {
            faults.push("refresh_tokens: with \"offline_access\", add \"offline_access\" to scopes".to_owned());
        }
        (RefreshTokens::Never, true) => faults.push(
            "scopes: \"offline_access\" asks for a refresh token; set refresh_tokens = \"offline_access\", or remove it".to_owned(),
        ),
        _ => {}
    }
    faults
}

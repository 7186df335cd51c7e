//! The gateway's cookies: their names, how they are read, and each one that is set. No other module reads or sets one.
//!
//! Other apps of the host, and other hosts of its site, write into the same `Cookie` field. The gateway accepts a cookie only
//! if its name matches byte for byte. Percent-encoded or differently cased names, and names after other whitespace, do not
//! match. Browsers protect names with the prefix `__Host-`, but not names that resemble them. If one of our names occurs twice,
//! another site has set one of the two, and the gateway ignores both. A malformed cookie affects no other cookie.

use std::time::Duration;

use axum::http::HeaderName;
use axum::http::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;
use utoipa::ToSchema;

use super::fields;
use super::problem::{self, Problem};
use super::state::Gateway;
use crate::random;
use crate::relying_party::BEGUN_TTL;
use crate::sessions::SessionSecret;
use crate::single_sign_on::BrowserSecret;
use crate::ticket::{BindingSecret, Party};

/// The longest cookie that browsers keep: its name, `=` and its value, in bytes (RFC 6265 §6.1).
const MAX_COOKIE_BYTES: usize = 4096;
/// The maximum duration of a sign-in. Users leave the page open.
pub(super) const SIGN_IN_STATE_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// A `Set-Cookie` field, as part of a response.
pub(super) type SetCookie = [(HeaderName, String); 1];

/// A cookie by its content.
#[derive(Debug, Clone, Copy)]
enum Cookie {
    /// The secret that makes a browser a party of its tickets. Never sent from other sites: `SameSite=Strict`.
    Binding,
    /// A JWT, on a site's own host. `SameSite=Lax`, so that a page opened by a link from another site is signed in.
    Session,
    /// The secret of a person's session at the gateway. `SameSite=Lax`: a Strict cookie would be missing from the first page
    /// after the redirect back from the identity provider, and from a page that a camera app opens.
    Login,
    /// The secret of a browser's session at the gateway, after a sign-in by a code. `SameSite=Lax`: an app of another site sends the
    /// browser here.
    SingleSignOn,
    /// Ties a sign-in to the browser that started it, on a site's own host. `SameSite=Lax`, because the answer comes from the
    /// gateway's site.
    SignInState,
    /// Ties sign-ins at an identity provider to the browser that began them. `SameSite=Lax`, because the provider's answer comes
    /// from another site.
    ProviderSignIn,
}

impl Cookie {
    /// Returns the name. Browsers accept `__Host-…` only from the host itself and over https (RFC 6265bis §4.1.3.2). Over
    /// http, which is for evaluation, there is no such protection.
    fn name(self, is_https: bool) -> &'static str {
        match (self, is_https) {
            (Self::Binding, true) => "__Host-scangate",
            (Self::Binding, false) => "scangate",
            (Self::Session, true) => "__Host-scangate-session",
            (Self::Session, false) => "scangate-session",
            (Self::Login, true) => "__Host-scangate-login",
            (Self::Login, false) => "scangate-login",
            (Self::SingleSignOn, true) => "__Host-scangate-sso",
            (Self::SingleSignOn, false) => "scangate-sso",
            (Self::SignInState, true) => "__Host-scangate-begun",
            (Self::SignInState, false) => "scangate-begun",
            (Self::ProviderSignIn, true) => "__Host-scangate-sign-in",
            (Self::ProviderSignIn, false) => "scangate-sign-in",
        }
    }

    fn same_site(self) -> &'static str {
        match self {
            Self::Binding => "Strict",
            Self::Session | Self::Login | Self::SingleSignOn | Self::SignInState | Self::ProviderSignIn => "Lax",
        }
    }

    fn set(self, gateway: &Gateway, value: &str, lifetime: Option<Duration>) -> SetCookie {
        let is_https = gateway.is_https();
        let (name, same_site) = (self.name(is_https), self.same_site());
        let max_age = lifetime.map(|lifetime| format!("; Max-Age={}", lifetime.as_secs())).unwrap_or_default();
        let secure = if is_https { "; Secure" } else { "" };
        // Names and values contain no character that needs quoting.
        let cookie = format!("{name}={value}; Path=/{max_age}; HttpOnly; SameSite={same_site}{secure}");
        [(header::SET_COOKIE, cookie)]
    }

    fn read<'a>(self, headers: &'a HeaderMap, gateway: &Gateway) -> Option<&'a str> {
        find(headers, self.name(gateway.is_https()))
    }
}

/// Returns the browser's binding. The caller must make sure that no page of another origin made the browser send it.
pub(super) fn binding(headers: &HeaderMap, gateway: &Gateway) -> Option<BindingSecret> {
    Cookie::Binding.read(headers, gateway)?.parse().ok()
}

/// Returns the JWT in the session cookie, not yet verified.
pub(super) fn session<'a>(headers: &'a HeaderMap, gateway: &Gateway) -> Option<&'a str> {
    Cookie::Session.read(headers, gateway).filter(|jwt| !jwt.is_empty())
}

/// Sets a verified JWT as the browser's session, for the rest of its lifetime.
///
/// # Errors
/// [`problem::INVALID_REQUEST`] if the cookie is longer than browsers keep.
pub(super) fn set_session(gateway: &Gateway, jwt: &str, lifetime: Duration) -> Result<SetCookie, Problem> {
    let bytes = Cookie::Session.name(gateway.is_https()).len() + 1 + jwt.len();
    if bytes > MAX_COOKIE_BYTES {
        return Err(Problem::from(&problem::INVALID_REQUEST).detail(format!(
            "The cookie would have {bytes} bytes, and browsers keep at most {MAX_COOKIE_BYTES}. Remove claims from the \
             client's list."
        )));
    }
    Ok(Cookie::Session.set(gateway, jwt, Some(lifetime)))
}

/// Deletes the browser's session.
pub(super) fn end_session(gateway: &Gateway) -> SetCookie {
    Cookie::Session.set(gateway, "", Some(Duration::ZERO))
}

/// Returns the secret of the person's session. The caller must make sure that no page of another origin made the browser
/// send it.
pub(super) fn login(headers: &HeaderMap, gateway: &Gateway) -> Option<SessionSecret> {
    Cookie::Login.read(headers, gateway)?.parse().ok()
}

/// Sets the secret of a person's session, for the longest time that the session may last.
pub(super) fn set_login(gateway: &Gateway, secret: &SessionSecret) -> SetCookie {
    Cookie::Login.set(gateway, &secret.reveal(), Some(gateway.sessions.lifetimes().absolute))
}

/// Deletes the secret of the person's session.
pub(super) fn end_login(gateway: &Gateway) -> SetCookie {
    Cookie::Login.set(gateway, "", Some(Duration::ZERO))
}

/// Returns the secret of the browser's session. The answer to a navigation from anywhere may depend on it, but only a
/// page of the gateway may show the content of the session.
pub(super) fn single_sign_on(headers: &HeaderMap, gateway: &Gateway) -> Option<BrowserSecret> {
    Cookie::SingleSignOn.read(headers, gateway)?.parse().ok()
}

/// Sets the secret of the browser's session, for the longest time that the session may last.
pub(super) fn set_single_sign_on(gateway: &Gateway, secret: &BrowserSecret) -> SetCookie {
    let lifetimes = gateway.openid_provider.single_sign_on().lifetimes();
    Cookie::SingleSignOn.set(gateway, &secret.reveal(), Some(lifetimes.absolute))
}

/// Deletes the secret of the browser's session.
pub(super) fn end_single_sign_on(gateway: &Gateway) -> SetCookie {
    Cookie::SingleSignOn.set(gateway, "", Some(Duration::ZERO))
}

/// Returns the secret that ties a sign-in to this browser, if one started here.
pub(super) fn sign_in_state(headers: &HeaderMap, gateway: &Gateway) -> Option<BindingSecret> {
    Cookie::SignInState.read(headers, gateway)?.parse().ok()
}

/// Ties a sign-in to this browser.
pub(super) fn set_sign_in_state(gateway: &Gateway, secret: &BindingSecret) -> SetCookie {
    Cookie::SignInState.set(gateway, &secret.reveal(), Some(SIGN_IN_STATE_LIFETIME))
}

/// Returns the secret that ties sign-ins at identity providers to this browser, if one began here.
pub(super) fn provider_sign_in(headers: &HeaderMap, gateway: &Gateway) -> Option<BindingSecret> {
    Cookie::ProviderSignIn.read(headers, gateway)?.parse().ok()
}

/// Ties sign-ins at identity providers to this browser, for as long as a sign-in may take.
pub(super) fn set_provider_sign_in(gateway: &Gateway, secret: &BindingSecret) -> SetCookie {
    Cookie::ProviderSignIn.set(gateway, &secret.reveal(), Some(BEGUN_TTL))
}

/// How a browser or native app is identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BindingKind {
    /// By a cookie, which browsers keep and scripts cannot read.
    #[default]
    Cookie,
    /// By a secret in the response, sent as `Authorization: Bearer`; for native apps and other origins.
    Bearer,
}

/// A new binding, not yet sent to its browser or native app.
pub(super) struct NewBinding {
    secret: BindingSecret,
    kind: BindingKind,
}

impl NewBinding {
    /// Generates a secret.
    pub(super) fn new(kind: BindingKind) -> Self {
        Self { secret: random::binding_secret(), kind }
    }

    /// Returns the party that the secret proves.
    pub(super) fn party(&self) -> Party {
        Party::Browser(self.secret.hash())
    }

    /// Returns the secret for the response body, or `None` if a cookie carries it.
    pub(super) fn secret_for_body(&self) -> Option<String> {
        (self.kind == BindingKind::Bearer).then(|| self.secret.reveal())
    }

    /// Returns the cookie with the secret, or `None` if the body carries it. The cookie lasts until the browser is closed.
    pub(super) fn cookie(&self, gateway: &Gateway) -> Option<SetCookie> {
        (self.kind == BindingKind::Cookie).then(|| Cookie::Binding.set(gateway, &self.secret.reveal(), None))
    }
}

/// Returns the value of the only cookie with exactly this name, over all lines of the field.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(fields::trim);
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let (value, None) = (values.next()?, values.next()) else { return None };
    str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(lines: &[&[u8]]) -> Option<String> {
        let lines = lines.iter().map(|line| (header::COOKIE, HeaderValue::from_bytes(line).unwrap()));
        find(&lines.collect(), "__Host-scangate").map(str::to_owned)
    }

    #[test]
    fn our_cookie_is_found_among_any_neighbours() {
        let neighbours: [&[u8]; 12] = [
            b"theme=dark",
            "city=Z\u{fc}rich".as_bytes(),
            b"city=Z\xfcrich",
            b"",
            b"=",
            b"=nameless",
            b"nameless",
            b"__Host-scangate",
            b"open=\"quote",
            b"comma=a, __Host-scangate=x",
            b"__Host-scangate-session=y",
            b"\xff\xfe=\x80",
        ];
        for neighbour in neighbours {
            let ours = b"__Host-scangate=ours";
            for line in [[neighbour, ours].join(&b"; "[..]), [&ours[..], neighbour].join(&b";\t"[..])] {
                assert_eq!(found(&[&line]).as_deref(), Some("ours"), "{line:?}");
            }
            assert_eq!(found(&[neighbour, ours]).as_deref(), Some("ours"));
            assert_eq!(found(&[ours, neighbour]).as_deref(), Some("ours"));
            assert_eq!(found(&[neighbour]), None);
        }
    }

    #[test]
    fn a_similar_name_is_not_ours() {
        let similar: [&[u8]; 12] = [
            b"%5F%5FHost-scangate=theirs",
            b"__Host%2Dscangate=theirs",
            b"__host-scangate=theirs",
            b"__HOST-SCANGATE=theirs",
            "\u{a0}__Host-scangate=theirs".as_bytes(),
            "\u{2003}__Host-scangate=theirs".as_bytes(),
            "\u{feff}__Host-scangate=theirs".as_bytes(),
            b"\x85__Host-scangate=theirs",
            b"__Host-scangate\xa0=theirs",
            b"\"__Host-scangate\"=theirs",
            b"$Version=1,__Host-scangate=theirs",
            b"__Host-scangate%3Dtheirs",
        ];
        for other in similar {
            assert_eq!(found(&[other]), None, "{other:?}");
            assert_eq!(found(&[other, b"__Host-scangate=ours"]).as_deref(), Some("ours"), "{other:?}");
        }
    }

    #[test]
    fn a_duplicate_cookie_is_ignored() {
        let twice: [&[&[u8]]; 5] = [
            &[b"__Host-scangate=a; __Host-scangate=b"],
            &[b"__Host-scangate=a; x=y; __Host-scangate=a"],
            &[b"__Host-scangate=a", b"__Host-scangate=b"],
            &[b"__Host-scangate=a", b"x=y", b"__Host-scangate="],
            &[b"__Host-scangate=\xff; __Host-scangate=b"],
        ];
        for lines in twice {
            assert_eq!(found(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn a_value_is_returned_unchanged() {
        assert_eq!(found(&[b"__Host-scangate=a%20b"]).as_deref(), Some("a%20b"));
        assert_eq!(found(&[b" \t__Host-scangate=a=b \t"]).as_deref(), Some("a=b"));
        assert_eq!(found(&[b"__Host-scangate=\"a\""]).as_deref(), Some("\"a\""));
        assert_eq!(found(&[b"__Host-scangate="]).as_deref(), Some(""));
        assert_eq!(found(&[b"__Host-scangate=\xff"]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_neighbour_hide_or_forge_our_cookie(neighbour in prop::collection::vec(prop_oneof![Just(b'\t'), b' '..=b'~', 128..=u8::MAX], 0..40)) {
            let neighbour: Vec<u8> = neighbour.into_iter().filter(|byte| *byte != b';').collect();
            prop_assume!(!neighbour.windows(16).any(|window| window == b"__Host-scangate="));
            prop_assert_eq!(found(&[&neighbour]), None);
            let line = [&neighbour[..], b"__Host-scangate=ours"].join(&b"; "[..]);
            let read = found(&[&line]);
            prop_assert_eq!(read.as_deref(), Some("ours"));
        }
    }

    /// Returns a source without its comments and attributes, which only describe.
    fn code(source: &str) -> String {
        let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let mut rest = lines.collect::<Vec<_>>().join("\n");
        let mut code = String::new();
        while let Some(start) = rest.find("#[") {
            let (mut depth, mut quoted, mut escaped) = (0, false, false);
            let end = rest[start..].char_indices().find(|(_, c)| {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = quoted,
                    '"' => quoted = !quoted,
                    '[' if !quoted => depth += 1,
                    ']' if !quoted => depth -= 1,
                    _ => {}
                }
                *c == ']' && depth == 0
            });
            code.push_str(&rest[..start]);
            rest = rest[start + end.map_or(2, |(at, _)| at)..].to_owned();
        }
        code + &rest
    }

    /// Returns the files under a folder.
    fn sources(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    /// A check that clippy lacks: clippy bans types and functions, but field names are constants and literals.
    #[test]
    fn no_other_module_names_the_fields_of_cookies() {
        let field = regex::Regex::new(r#"\b(SET_)?COOKIE\b|"(?i:(set-)?cookie2?)""#).unwrap();
        let names = |source: &str| field.find(&code(source)).map(|found| found.as_str().to_owned());
        for named in
            ["headers.get(header::COOKIE)", "get_all(\"Cookie\")", "(header::SET_COOKIE, x)", "#[x]\nget(\"cookie\")"]
        {
            assert!(names(named).is_some(), "{named}");
        }
        for described in
            ["// header::COOKIE", "#[path(headers((\"set-cookie\" = String, description = \"]\")))]", "fn set_cookie()"]
        {
            assert_eq!(names(described), None, "{described}");
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        // The second only describes the API, where "cookie" is a binding kind.
        let exempt = ["http/cookies.rs", "http/api/openapi.rs"].map(|path| root.join(path));
        let all = sources(&root);
        assert!(exempt.iter().all(|path| all.contains(path)) && all.len() > 60);
        for path in all.iter().filter(|path| !exempt.contains(path)) {
            let found_here = names(&std::fs::read_to_string(path).unwrap());
            assert_eq!(found_here, None, "{} reads or sets a cookie without `http::cookies`", path.display());
        }
    }
}

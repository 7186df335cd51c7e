//! Who approvers are: which identity provider, or the demo, and where the demo is safe.

use parked_streams::ListenAddress;
use url::Url;

use super::flags::Flags;
use super::store::StoreSettings;
use crate::net::{is_local, is_private};
use crate::secret::direct_or_file;
use crate::verifier::MIN_SECRET_BYTES;
use crate::verifier::settings::IdentitySettings;

/// Where the gateway is, as far as that can be read.
pub(super) struct Place<'a> {
    pub(super) public_url: Option<&'a Url>,
    pub(super) listen: Option<&'a [ListenAddress]>,
    pub(super) store: Option<&'a StoreSettings>,
}

const SET_ONE: &str =
    "set --identity-jwks-url (or --identity-secret-file) with --identity-issuer and --identity-audience";

pub(super) fn identity(flags: &Flags, place: &Place<'_>) -> Result<IdentitySettings, String> {
    let secret = direct_or_file(
        ("--identity-secret", "--identity-secret-file"),
        flags.identity_secret.as_deref(),
        flags.identity_secret_file.as_deref(),
    )?;
    let claims = || {
        match (&flags.identity_issuer, &flags.identity_audience) {
        (Some(issuer), Some(audience)) => Ok((issuer.clone(), audience.clone())),
        _ => Err("an identity needs both --identity-issuer and --identity-audience: what `iss` and `aud` of the approvers' tokens must say".to_owned()),
    }
    };
    match (&flags.identity_jwks_url, secret) {
        (Some(_), Some(_)) => Err("--identity-jwks-url and --identity-secret are both set; choose one".to_owned()),
        (Some(url), None) => {
            no_demo(flags)?;
            let (issuer, audience) = claims()?;
            let url = Url::parse(url)
                .ok()
                .filter(|url| matches!(url.scheme(), "https" | "http"))
                .filter(|url| url.username().is_empty() && url.password().is_none())
                .ok_or("--identity-jwks-url must be an http(s) URL without a login: published keys need none")?;
            let max_age = flags.identity_keys_max_age;
            Ok(IdentitySettings::Jwks { url, issuer, audience, max_age })
        }
        (None, Some(secret)) => {
            no_demo(flags)?;
            let (issuer, audience) = claims()?;
            if secret.len() < MIN_SECRET_BYTES {
                return Err(format!(
                    "--identity-secret has {} bytes; it needs at least {MIN_SECRET_BYTES} random ones (openssl rand -base64 48)",
                    secret.len()
                ));
            }
            Ok(IdentitySettings::Secret { secret: secret.into_bytes(), issuer, audience })
        }
        (None, None) => {
            if let Some(flag) = half_set(flags) {
                no_demo(flags)?;
                return Err(format!("{flag} is set, but nothing that tokens are checked with; {SET_ONE}"));
            }
            demo(flags, place)
        }
    }
}

/// Returns a flag that speaks of an identity provider, where none is named.
fn half_set(flags: &Flags) -> Option<String> {
    let issuer = flags.identity_issuer.as_ref().map(|_| "identity-issuer");
    let named = issuer.or(flags.identity_audience.as_ref().map(|_| "identity-audience"));
    // Whether a flag with a default was given, its value does not tell.
    named.or(flags.provenance.identity_flags.first().map(String::as_str)).map(|flag| format!("--{flag}"))
}

fn no_demo(flags: &Flags) -> Result<(), String> {
    if flags.demo == Some(true) {
        return Err(
            "--demo is on and an identity provider is set; the demo's made-up people must not mix with real ones"
                .to_owned(),
        );
    }
    Ok(())
}

/// Decides whether made-up people may sign in. Nobody is to be let in under any name where something says that this is more
/// than a trial: by itself the demo wants a gateway that only this machine reaches, and asked for, one whose JWTs nobody
/// can have come to rely on.
fn demo(flags: &Flags, place: &Place<'_>) -> Result<IdentitySettings, String> {
    let serious = relied_on(flags, place.public_url);
    match flags.demo {
        Some(true) if serious.is_empty() => Ok(IdentitySettings::Demo),
        Some(true) => Err(format!("--demo lets anybody sign in under any name and is refused: {}", serious.join("; "))),
        Some(false) => Err(format!("no identity provider is set; {SET_ONE}")),
        None => {
            let reasons: Vec<_> = serious.into_iter().chain(reachable(flags, place)).collect();
            if reasons.is_empty() {
                return Ok(IdentitySettings::Demo);
            }
            Err(format!(
                "no identity provider is set, and the demo does not start by itself here: {}. For real people {SET_ONE}; to try \
                 it out with made-up people, ask for --demo (SCANGATE_DEMO=true)",
                reasons.join("; ")
            ))
        }
    }
}

/// Returns what others may rely on. The demo is refused beside it, asked for or not.
fn relied_on(flags: &Flags, public_url: Option<&Url>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(url) = public_url.filter(|url| !is_local(url) && !is_private(url)) {
        found.push(format!(
            "the public URL {url} is one that others may rely on (it runs on localhost, and asked for on a private address such \
             as http://192.168.1.20:8080)"
        ));
    }
    if flags.keys_dir.is_some() {
        found.push(
            "the keys of --keys-dir (SCANGATE_KEYS_DIR) sign for real people; leave it out, and the demo makes a key of its own"
                .to_owned(),
        );
    }
    if let (Some(issuer), Some(url)) = (&flags.issuer, public_url)
        && Url::parse(issuer).ok().as_ref() != Some(url)
    {
        found.push(format!("--issuer {issuer} is not the public URL; leave --issuer (SCANGATE_ISSUER) out"));
    }
    found
}

/// Returns by what others could reach the gateway, or it could reach what is theirs.
fn reachable(flags: &Flags, place: &Place<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(url) = place.public_url.filter(|url| is_private(url)) {
        found.push(format!("the public URL {url} is not localhost"));
    }
    for address in place.listen.unwrap_or_default() {
        match address {
            ListenAddress::Tcp(socket) if socket.ip().to_canonical().is_loopback() => {}
            ListenAddress::Tcp(socket) => found.push(format!("--listen {socket} is reached by other machines")),
            // Nobody opens a socket in a browser: a proxy stands before it, and nothing is known of who is before that.
            ListenAddress::Unix(_) => found.push(format!("--listen {address} is for a proxy, which others may reach")),
        }
    }
    if !flags.admin_listen.ip().to_canonical().is_loopback() {
        found.push(format!("--admin-listen {} is reached by other machines", flags.admin_listen));
    }
    if let Some(StoreSettings::Redis(redis)) = place.store
        && !redis.topology.is_local()
    {
        found.push(format!("--redis-url names {}, where tickets of real people may be", redis.topology.address()));
    }
    found
}

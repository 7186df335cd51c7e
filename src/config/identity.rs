//! Who approvers are: which identity provider, or the demo, and where the demo is safe.

use url::{Host, Url};

use super::flags::Flags;
use super::secret;
use crate::verifier::MIN_SECRET_BYTES;

/// Who says who a phone's owner is.
#[derive(Clone)]
pub enum IdentitySettings {
    /// Made-up people.
    Demo,
    /// A provider that shares a secret with the gateway.
    Secret {
        /// The secret, at least [`MIN_SECRET_BYTES`] long.
        secret: Vec<u8>,
        /// What `iss` must say.
        issuer: String,
        /// What `aud` must say.
        audience: String,
    },
    /// A provider that publishes its keys.
    Jwks {
        /// Where.
        url: Url,
        /// What `iss` must say.
        issuer: String,
        /// What `aud` must say.
        audience: String,
    },
}

pub(super) fn identity(flags: &Flags, public_url: Option<&Url>) -> Result<IdentitySettings, String> {
    let secret = secret("identity-secret", flags.identity_secret.as_ref(), flags.identity_secret_file.as_deref())?;
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
            Ok(IdentitySettings::Jwks { url, issuer, audience })
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
        (None, None) => demo(flags, public_url),
    }
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

fn demo(flags: &Flags, public_url: Option<&Url>) -> Result<IdentitySettings, String> {
    const SET_ONE: &str =
        "set --identity-jwks-url (or --identity-secret-file) with --identity-issuer and --identity-audience";

    let local = public_url.is_none_or(is_local);
    let at_home = public_url.is_some_and(is_private) && flags.keys_dir.is_none();
    match flags.demo {
        None if local => Ok(IdentitySettings::Demo),
        None => Err(format!(
            "no identity provider is set, and the demo identity comes by itself only where the public URL is localhost; {SET_ONE}"
        )),
        Some(true) if local || at_home => Ok(IdentitySettings::Demo),
        Some(true) => Err(format!(
            "--demo lets anybody sign in under any name and is refused on a public URL that others may rely on \
             (it runs on localhost, and on a private address such as http://192.168.1.20:8080 without --keys-dir); {SET_ONE}"
        )),
        Some(false) => Err(format!("no identity provider is set; {SET_ONE}")),
    }
}

/// Returns whether the URL's host can only be this machine.
#[must_use]
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Returns whether the URL's host is an address that only a home or office network leads to.
fn is_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_private() || address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_unique_local() || address.is_unicast_link_local(),
        Some(Host::Domain(_)) | None => false,
    }
}

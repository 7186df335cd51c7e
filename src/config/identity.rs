//! The identity provider's settings, or the demo where it is safe.

use parked_streams::ListenAddress;
use url::Url;

use super::flags::Flags;
use super::store::StoreSettings;
use crate::secret::direct_or_file;
use crate::urls::{is_local, is_private};
use crate::verifier::MIN_SECRET_BYTES;
use crate::verifier::settings::IdentitySettings;

/// The settings that decide from where the gateway can be reached; `None` for those with faults.
pub(super) struct Exposure<'a> {
    pub(super) public_url: Option<&'a Url>,
    pub(super) listen: Option<&'a [ListenAddress]>,
    pub(super) store: Option<&'a StoreSettings>,
    /// Whether people sign in at identity providers.
    pub(super) has_providers: bool,
}

const SET_ONE: &str = "set --oidc-issuer and --oidc-client-id, or --identity-jwks-url (or --identity-secret-file) with --identity-issuer and --identity-audience";

/// Reads the identity provider's flags, or allows the demo.
///
/// # Errors
/// The first fault, with its fix.
pub(super) fn identity(flags: &Flags, exposure: &Exposure<'_>) -> Result<IdentitySettings, String> {
    let secret = direct_or_file(
        ("--identity-secret", "--identity-secret-file"),
        flags.identity_secret.as_deref(),
        flags.identity_secret_file.as_deref(),
    )?;
    let claims = || {
        match (&flags.identity_issuer, &flags.identity_audience) {
        (Some(issuer), Some(audience)) => Ok((issuer.clone(), audience.clone())),
        _ => Err("an identity provider needs --identity-issuer and --identity-audience: the required `iss` and `aud` of approvers' tokens".to_owned()),
    }
    };
    match (&flags.identity_jwks_url, secret) {
        (Some(_), Some(_)) => Err("--identity-jwks-url and --identity-secret are both set; choose one".to_owned()),
        (Some(url), None) => {
            check_demo_off(flags)?;
            let (issuer, audience) = claims()?;
            let url = Url::parse(url)
                .ok()
                .filter(|url| matches!(url.scheme(), "https" | "http"))
                .filter(|url| url.username().is_empty() && url.password().is_none())
                .ok_or("--identity-jwks-url must be an http(s) URL without a login")?;
            let max_age = flags.identity_keys_max_age;
            Ok(IdentitySettings::Jwks { url, issuer, audience, max_age })
        }
        (None, Some(secret)) => {
            check_demo_off(flags)?;
            let (issuer, audience) = claims()?;
            if secret.len() < MIN_SECRET_BYTES {
                return Err(format!(
                    "--identity-secret has {} bytes; it needs at least {MIN_SECRET_BYTES} random bytes (openssl rand -base64 48)",
                    secret.len()
                ));
            }
            Ok(IdentitySettings::Secret { secret: secret.into_bytes(), issuer, audience })
        }
        (None, None) => {
            // The age limit of keys is for the identity providers' as well.
            let is_for_providers = |flag: &String| exposure.has_providers && flag == "--identity-keys-max-age";
            if let Some(flag) = incomplete_provider_flag(flags).filter(|flag| !is_for_providers(flag)) {
                check_demo_off(flags)?;
                return Err(format!("{flag} is set, but neither keys nor a secret to verify tokens with; {SET_ONE}"));
            }
            if exposure.has_providers {
                check_demo_off(flags)?;
                return Ok(IdentitySettings::Providers);
            }
            demo(flags, exposure)
        }
    }
}

/// Returns a flag of an identity provider that is set although the provider's keys or secret are not.
fn incomplete_provider_flag(flags: &Flags) -> Option<String> {
    let issuer = flags.identity_issuer.as_ref().map(|_| "identity-issuer");
    let named = issuer.or(flags.identity_audience.as_ref().map(|_| "identity-audience"));
    // The value of a flag with a default does not say whether it was set.
    named.or(flags.provenance.identity_flags.first().map(String::as_str)).map(|flag| format!("--{flag}"))
}

fn check_demo_off(flags: &Flags) -> Result<(), String> {
    if flags.demo == Some(true) {
        return Err("--demo is on and an identity provider is set; demo users must not mix with real people".to_owned());
    }
    Ok(())
}

/// Decides whether demo users may sign in. The demo lets anyone sign in under any name, so it must not run if a setting indicates
/// production. It starts automatically only if no other machine can reach the gateway. With `--demo`, it starts if no site can
/// rely on the JWTs.
fn demo(flags: &Flags, exposure: &Exposure<'_>) -> Result<IdentitySettings, String> {
    let production_reasons = production_settings(flags, exposure.public_url);
    match flags.demo {
        Some(true) if production_reasons.is_empty() => Ok(IdentitySettings::Demo),
        Some(true) => {
            Err(format!("--demo lets anyone sign in under any name and is refused: {}", production_reasons.join("; ")))
        }
        Some(false) => Err(format!("no identity provider is set; {SET_ONE}")),
        None => {
            let reasons: Vec<_> =
                production_reasons.into_iter().chain(remote_access_settings(flags, exposure)).collect();
            if reasons.is_empty() {
                return Ok(IdentitySettings::Demo);
            }
            Err(format!(
                "no identity provider is set, and the demo does not start automatically here: {}. For real people {SET_ONE}; for \
                 evaluation with demo users, set --demo (SCANGATE_DEMO=true)",
                reasons.join("; ")
            ))
        }
    }
}

/// Returns the settings that indicate production. With them, the demo is always refused.
fn production_settings(flags: &Flags, public_url: Option<&Url>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(url) = public_url.filter(|url| !is_local(url) && !is_private(url)) {
        found.push(format!(
            "others may rely on the public URL {url} (the demo runs on localhost, and with --demo on a private address such as \
             http://192.168.1.20:8080)"
        ));
    }
    if flags.keys_dir.is_some() {
        found.push(
            "the keys of --keys-dir (SCANGATE_KEYS_DIR) sign for real people; omit it, and the demo creates its own key"
                .to_owned(),
        );
    }
    if let (Some(issuer), Some(url)) = (&flags.issuer, public_url)
        && Url::parse(issuer).ok().as_ref() != Some(url)
    {
        found.push(format!("--issuer {issuer} is not the public URL; omit --issuer (SCANGATE_ISSUER)"));
    }
    found
}

/// Returns the settings by which other machines could reach the gateway, or the gateway could reach other machines.
fn remote_access_settings(flags: &Flags, exposure: &Exposure<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(url) = exposure.public_url.filter(|url| is_private(url)) {
        found.push(format!("the public URL {url} is not localhost"));
    }
    for address in exposure.listen.unwrap_or_default() {
        match address {
            ListenAddress::Tcp(socket) if socket.ip().to_canonical().is_loopback() => {}
            ListenAddress::Tcp(socket) => found.push(format!("other machines can reach --listen {socket}")),
            // Browsers cannot open Unix sockets. A proxy forwards to them, and other machines may reach that proxy.
            ListenAddress::Unix(_) => {
                found.push(format!("--listen {address} is for a proxy, which other machines may reach"));
            }
        }
    }
    if !flags.admin_listen.ip().to_canonical().is_loopback() {
        found.push(format!("other machines can reach --admin-listen {}", flags.admin_listen));
    }
    if let Some(StoreSettings::Redis(redis)) = exposure.store
        && !redis.topology.is_local()
    {
        found.push(format!("--redis-url names {}, which may hold tickets of real people", redis.topology.address()));
    }
    found
}

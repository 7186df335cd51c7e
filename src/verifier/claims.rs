//! Checks the claims of a token (RFC 7519 §4.1), after its signature.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::fault::Fault;
use crate::ticket::{CLOCK_LEEWAY_SECS, Claims, MAX_DATE};

/// Checks every claim but `sub`, from which `identity` derives the person. `aud` must contain one of `audiences`.
///
/// # Errors
/// The first fault.
pub fn check(claims: &Claims, issuer: &str, audiences: &[String]) -> Result<(), Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    check_at(claims, issuer, audiences, now)
}

/// Refuses a token that a program got for itself (RFC 9700 §4.15): by its own name in `sub`, or by the marks of Auth0 (`gty`) and
/// Entra ID (`idtyp`). Its subject is no person's.
pub(super) fn check_person(claims: &Claims) -> Result<(), Fault> {
    let subject = claims.get("sub");
    let is_subject = |name: &&str| claims.get(*name).is_some_and(|id| Some(id) == subject);
    let is_client = ["client_id", "azp", "cid", "appid"].iter().any(is_subject);
    let is_marked = claims.get("gty").is_some_and(|gty| gty == "client-credentials")
        || claims.get("idtyp").is_some_and(|idtyp| idtyp == "app");
    if is_client || is_marked { Err(Fault::Machine) } else { Ok(()) }
}

fn check_at(claims: &Claims, issuer: &str, audiences: &[String], now: f64) -> Result<(), Fault> {
    if ["iss", "aud", "exp", "sub"].iter().any(|name| !claims.contains_key(*name)) {
        return Err(Fault::MissingClaim);
    }
    if claims.contains_key("cnf") {
        return Err(Fault::SenderConstrained);
    }
    if claims.contains_key("events") {
        return Err(Fault::Event);
    }
    match claims.get("iss") {
        Some(Value::String(iss)) if iss == issuer => {}
        Some(Value::String(iss)) if iss.trim_end_matches('/') == issuer.trim_end_matches('/') => {
            return Err(Fault::IssuerSlash);
        }
        Some(Value::String(_)) => return Err(Fault::OtherIssuer),
        _ => return Err(Fault::MalformedClaim),
    }
    match claims.get("aud") {
        Some(Value::Array(list)) if !list.iter().all(Value::is_string) => return Err(Fault::MalformedClaim),
        Some(Value::String(aud)) if audiences.contains(aud) => {}
        Some(Value::Array(list)) if list.iter().any(|aud| audiences.iter().any(|own| aud == own)) => {}
        Some(Value::String(_) | Value::Array(_)) => return Err(Fault::OtherAudience),
        _ => return Err(Fault::MalformedClaim),
    }
    let leeway = f64::from(CLOCK_LEEWAY_SECS);
    let (exp, nbf, iat) = (date(claims, "exp")?, date(claims, "nbf")?, date(claims, "iat")?);
    if exp.is_none_or(|exp| exp + leeway <= now) {
        return Err(Fault::Expired);
    }
    if nbf.is_some_and(|nbf| nbf > now + leeway) {
        return Err(Fault::NotYetValid);
    }
    if iat.is_some_and(|iat| iat > now + leeway) {
        return Err(Fault::IssuedInFuture);
    }
    Ok(())
}

/// Returns a time in seconds, which may have a fraction (RFC 7519 §2, `NumericDate`), or `None` if the claim is missing. A claim
/// that is not a number, or is after [`MAX_DATE`] (such as milliseconds), is a fault: such a time never comes.
fn date(claims: &Claims, name: &str) -> Result<Option<f64>, Fault> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=MAX_DATE).contains(seconds));
    seconds.map(Some).ok_or(Fault::MalformedClaim)
}

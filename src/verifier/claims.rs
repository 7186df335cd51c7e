//! Checks the claims of a token (RFC 7519 §4.1), after its signature.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::fault::Fault;
use crate::ticket::{CLOCK_LEEWAY_SECS, Claims, MAX_DATE};

/// Checks every claim but `sub`, from which `bearer` derives the person.
pub(super) fn check(claims: &Claims, issuer: &str, audience: &str) -> Result<(), Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    check_at(claims, issuer, audience, now)
}

fn check_at(claims: &Claims, issuer: &str, audience: &str, now: f64) -> Result<(), Fault> {
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
        Some(Value::String(aud)) if aud == audience => {}
        Some(Value::Array(list)) if list.iter().any(|aud| aud == audience) => {}
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

//! How and when a person signed in to their identity provider, if the provider states it.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::freshness::Freshness;
use super::parties::Claims;
use super::refusal::Refusal;
use super::time::{CLOCK_LEEWAY_SECS, MAX_DATE, Timestamp};

/// The maximum length of `acr` and of a method in `amr`, in characters.
const MAX_CHARS: usize = 255;
/// The maximum number of methods in `amr`.
const MAX_METHODS: usize = 16;

/// The authentication method of a sign-in whose identity provider names none: two devices took part (RFC 8176 §2, `mca`).
const DEFAULT_METHOD: &str = "mca";

/// The identity provider's statements about the sign-in (OpenID Connect Core §2). The gateway neither adds nor changes
/// a statement, so a site gets the provider's own statements, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Authentication {
    /// When the person signed in, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Number>,
    /// The authentication context class: the provider's label for the strength of the sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The authentication methods (RFC 8176).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amr: Option<Vec<String>>,
}

impl Authentication {
    /// Reads the statements in a token's claims. It omits a claim of the wrong type, a time in the future, and the zero that some
    /// providers state in place of a time. The gateway never puts its own time there: a provider may ignore `max_age` and
    /// `prompt`, and only `auth_time` shows that it did not.
    pub(super) fn of(claims: &Claims, now: Timestamp) -> Self {
        let is_past = |seconds: f64| {
            (0.0..=MAX_DATE).contains(&seconds)
                && seconds > 0.0
                && seconds <= seconds_of(now) + f64::from(CLOCK_LEEWAY_SECS)
        };
        let auth_time = match claims.get("auth_time") {
            Some(Value::Number(number)) if number.as_f64().is_some_and(is_past) => Some(number.clone()),
            _ => None,
        };
        let acr = claims.get("acr").and_then(word);
        let amr = match claims.get("amr") {
            Some(Value::Array(methods)) => Some(methods.iter().filter_map(word).take(MAX_METHODS).collect()),
            _ => None,
        };
        Self { auth_time, acr, amr: amr.filter(|methods: &Vec<String>| !methods.is_empty()) }
    }

    /// Returns `amr` of a sign-in: the provider's methods, unchanged, or `mca` if it names none.
    #[must_use]
    pub fn methods(&self) -> Vec<&str> {
        self.amr.as_ref().map_or_else(|| vec![DEFAULT_METHOD], |all| all.iter().map(String::as_str).collect())
    }

    /// Compares the statements with a client's requirements.
    ///
    /// # Errors
    /// [`Refusal::SignInTooOld`] if the sign-in is older than the maximum, or `auth_time` is absent;
    /// [`Refusal::StrongerSignInNeeded`] if `acr` is not one of the accepted values, or absent.
    pub fn check(&self, freshness: &Freshness, now: Timestamp) -> Result<(), Refusal> {
        if freshness.max_auth_age_secs.is_some_and(|max_age| !self.is_younger(max_age, now)) {
            return Err(Refusal::SignInTooOld);
        }
        let is_accepted = self.acr.as_ref().is_some_and(|acr| freshness.acr_values.contains(acr));
        if freshness.acr_values.is_empty() || is_accepted { Ok(()) } else { Err(Refusal::StrongerSignInNeeded) }
    }

    /// Compares the time of the sign-in with `max_age` of an authorization request. The age is that at the ticket's
    /// creation, not that now: a person who signs in again for the request has the ticket's whole time for the other
    /// steps.
    ///
    /// # Errors
    /// [`Refusal::SignInTooOld`] if the sign-in is older, or `auth_time` is absent.
    pub(super) fn check_request(&self, freshness: &Freshness, created_at: Timestamp) -> Result<(), Refusal> {
        let is_too_old = |max_age| !self.is_younger(max_age, created_at);
        if freshness.request_max_age_secs.is_some_and(is_too_old) { Err(Refusal::SignInTooOld) } else { Ok(()) }
    }

    /// Returns whether the person signed in at most `max_age_secs` ago. Clocks may differ by [`CLOCK_LEEWAY_SECS`].
    fn is_younger(&self, max_age_secs: u32, now: Timestamp) -> bool {
        let oldest = seconds_of(now) - f64::from(max_age_secs) - f64::from(CLOCK_LEEWAY_SECS);
        self.auth_time.as_ref().and_then(Number::as_f64).is_some_and(|auth_time| auth_time >= oldest)
    }

    /// Returns whether there are no statements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn word(value: &Value) -> Option<String> {
    let is_word = |text: &&str| (1..=MAX_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    value.as_str().filter(is_word).map(str::to_owned)
}

#[expect(clippy::cast_precision_loss, reason = "seconds of this era fit into a float exactly")]
fn seconds_of(now: Timestamp) -> f64 {
    now.unix_seconds() as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn read(claims: &Value) -> Value {
        serde_json::to_value(Authentication::of(claims.as_object().unwrap(), NOW)).unwrap()
    }

    #[test]
    fn claims_are_copied_unchanged() {
        let claims = json!({"auth_time": 1_600_000_000, "acr": "urn:example:loa:3", "amr": ["pwd", "otp"]});
        assert_eq!(read(&claims), claims);
        assert_eq!(read(&json!({"auth_time": 1_600_000_000.25})), json!({"auth_time": 1_600_000_000.25}));
        assert_eq!(read(&json!({"name": "Ada"})), json!({}));
    }

    #[test]
    fn an_invalid_claim_is_omitted_and_does_not_affect_others() {
        let invalid = [
            json!({"auth_time": "now"}),
            json!({"auth_time": -1}),
            json!({"auth_time": 0}),
            json!({"auth_time": 1_700_000_031}),
            json!({"auth_time": 1_600_000_000_000_u64}),
            json!({"acr": ""}),
            json!({"acr": 2}),
            json!({"acr": "a\nb"}),
            json!({"acr": "x".repeat(256)}),
            json!({"amr": "pwd"}),
            json!({"amr": []}),
            json!({"amr": [7, {}]}),
        ];
        for claims in invalid {
            assert_eq!(read(&claims), json!({}), "{claims}");
        }
        let mixed = json!({"auth_time": "now", "acr": "0", "amr": ["pwd", 7, ""]});
        assert_eq!(read(&mixed), json!({"acr": "0", "amr": ["pwd"]}));
        let many = json!({"amr": vec!["x"; 100]});
        assert_eq!(read(&many)["amr"].as_array().unwrap().len(), MAX_METHODS);
    }
}

//! How and when a person signed in to their identity provider, as far as it says so.

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::parties::Claims;
use super::time::Timestamp;

/// The last second that there is a date for with four digits of the year (RFC 3339 §1). A later one is no time in seconds.
pub const MAX_DATE: f64 = 253_402_300_799.0;
/// By how much the provider's clock may be ahead of the store's, in seconds.
const LEEWAY_SECS: f64 = 30.0;
/// The longest `acr`, and the longest method in `amr`, in characters.
const MAX_CHARS: usize = 255;
/// The most methods in `amr`.
const MAX_METHODS: usize = 16;

/// What the identity provider says about the sign-in (OpenID Connect Core §2). Nothing in here is made up or made newer: a site
/// that asks how long ago, or by which means, somebody signed in is told by the provider or not at all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Authentication {
    /// When, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Number>,
    /// How well, in a word of the provider's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// By which methods (RFC 8176).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amr: Option<Vec<String>>,
}

impl Authentication {
    /// Reads what the claims of a token say about it. What has another type, or lies ahead, is left out: it says nothing.
    pub(super) fn of(claims: &Claims, now: Timestamp) -> Self {
        let is_past = |seconds: f64| (0.0..=MAX_DATE).contains(&seconds) && seconds <= seconds_of(now) + LEEWAY_SECS;
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

    /// Returns whether nothing is said.
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
    fn what_the_provider_says_is_passed_on_as_it_is() {
        let said = json!({"auth_time": 1_600_000_000, "acr": "urn:example:loa:3", "amr": ["pwd", "otp"]});
        assert_eq!(read(&said), said);
        assert_eq!(read(&json!({"auth_time": 1_600_000_000.25})), json!({"auth_time": 1_600_000_000.25}));
        assert_eq!(read(&json!({"name": "Ada"})), json!({}));
    }

    #[test]
    fn what_has_no_meaning_is_left_out_and_costs_nothing_else() {
        let nonsense = [
            json!({"auth_time": "now"}),
            json!({"auth_time": -1}),
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
        for said in nonsense {
            assert_eq!(read(&said), json!({}), "{said}");
        }
        let mixed = json!({"auth_time": "now", "acr": "0", "amr": ["pwd", 7, ""]});
        assert_eq!(read(&mixed), json!({"acr": "0", "amr": ["pwd"]}));
        let many = json!({"amr": vec!["x"; 100]});
        assert_eq!(read(&many)["amr"].as_array().unwrap().len(), MAX_METHODS);
    }
}

//! Claims of the userinfo endpoint (OpenID Connect Core §5.3), for those that the ID token lacks.

use std::collections::BTreeSet;

use reqwest::Client;
use serde_json::{Map, Value};
use url::Url;

use super::calls;
use super::failure::SignInError;
use crate::ticket::Claims;

/// Claims that only the signed ID token may state: about the token, and about how the person signed in.
const ONLY_SIGNED: [&str; 16] = [
    "iss",
    "sub",
    "aud",
    "azp",
    "exp",
    "nbf",
    "iat",
    "jti",
    "nonce",
    "at_hash",
    "c_hash",
    "sid",
    "auth_time",
    "acr",
    "amr",
    "cnf",
];

/// Returns the wanted claims that `claims` lacks.
pub(super) fn missing<'a>(claims: &Claims, wanted: &'a BTreeSet<String>) -> Vec<&'a str> {
    let is_missing = |name: &&str| !claims.contains_key(*name) && !ONLY_SIGNED.contains(name);
    wanted.iter().map(String::as_str).filter(is_missing).collect()
}

/// Adds the missing claims that userinfo has.
///
/// # Errors
/// [`SignInError::Userinfo`]; [`SignInError::OtherSubject`] if it is about somebody else (OpenID Connect Core §5.3.2).
pub(super) async fn add(
    http: &Client,
    endpoint: &Url,
    access_token: &str,
    claims: &mut Claims,
    missing: &[&str],
) -> Result<(), SignInError> {
    let request = http.get(endpoint.clone()).bearer_auth(access_token);
    let response = calls::send(request).await.map_err(SignInError::Userinfo)?;
    merge(response, claims, missing)
}

fn merge(mut response: Map<String, Value>, claims: &mut Claims, missing: &[&str]) -> Result<(), SignInError> {
    let subject = claims.get("sub").and_then(Value::as_str);
    if subject.is_none() || response.get("sub").and_then(Value::as_str) != subject {
        return Err(SignInError::OtherSubject);
    }
    for name in missing {
        if let Some(value) = response.remove(*name) {
            claims.insert((*name).to_owned(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn userinfo_adds_only_what_is_wanted_and_missing() {
        let mut claims = object(&json!({"sub": "ada", "name": "Ada"}));
        let wanted: BTreeSet<String> = ["name", "email", "acr", "sub", "picture"].map(str::to_owned).into();
        let missing = missing(&claims, &wanted);
        assert_eq!(missing, ["email", "picture"]);
        let response = json!({"sub": "ada", "name": "Eve", "email": "ada@example.com", "acr": "high", "admin": true});
        merge(object(&response), &mut claims, &missing).unwrap();
        assert_eq!(Value::from(claims), json!({"sub": "ada", "name": "Ada", "email": "ada@example.com"}));
    }

    #[test]
    fn userinfo_of_somebody_else_is_refused() {
        for response in [json!({"sub": "eve", "email": "e"}), json!({"email": "e"}), json!({"sub": 7, "email": "e"})] {
            let mut claims = object(&json!({"sub": "ada"}));
            let result = merge(object(&response), &mut claims, &["email"]);
            assert!(matches!(result, Err(SignInError::OtherSubject)), "{response}");
            assert!(!claims.contains_key("email"));
        }
    }
}

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

/// Claims that pages show, taken from userinfo if it is fetched anyway.
const SHOWN: [&str; 3] = ["name", "preferred_username", "picture"];

/// The claims that a sign-in wants.
pub(super) struct Wanted<'a> {
    /// Those that clients release: userinfo is fetched if the ID token lacks one.
    pub(super) released: &'a BTreeSet<String>,
    /// Those that the settings take from userinfo, in place of the ID token's.
    pub(super) of_userinfo: &'a [String],
}

impl Wanted<'_> {
    /// Returns the claims to take from userinfo; none if there is no need to fetch it.
    pub(super) fn of<'a>(&'a self, claims: &Claims) -> BTreeSet<&'a str> {
        let lacks = |name: &&str| !claims.contains_key(*name);
        let released = self.released.iter().map(String::as_str).filter(lacks);
        // A page needs one of the two.
        let name = ["name"].into_iter().filter(|_| lacks(&"name") && lacks(&"preferred_username"));
        let of_userinfo = self.of_userinfo.iter().map(String::as_str);
        let mut wanted: BTreeSet<_> = released.chain(name).chain(of_userinfo).collect();
        wanted.retain(|name| !is_only_signed(name));
        if !wanted.is_empty() {
            wanted.extend(SHOWN.into_iter().filter(lacks));
        }
        wanted
    }
}

/// Returns whether only the ID token may state a claim.
pub(super) fn is_only_signed(name: &str) -> bool {
    ONLY_SIGNED.contains(&name)
}

/// Fetches userinfo, and takes the wanted claims that it has.
///
/// # Errors
/// [`SignInError::Userinfo`]; [`SignInError::OtherSubject`] if it is about somebody else (OpenID Connect Core §5.3.2).
pub(super) async fn add(
    http: &Client,
    endpoint: &Url,
    access_token: &str,
    claims: &mut Claims,
    wanted: &BTreeSet<&str>,
) -> Result<(), SignInError> {
    let request = http.get(endpoint.clone()).bearer_auth(access_token);
    let response = calls::send(request).await.map_err(SignInError::Userinfo)?;
    merge(response, claims, wanted)
}

fn merge(mut response: Map<String, Value>, claims: &mut Claims, wanted: &BTreeSet<&str>) -> Result<(), SignInError> {
    let subject = claims.get("sub").and_then(Value::as_str);
    if subject.is_none() || response.get("sub").and_then(Value::as_str) != subject {
        return Err(SignInError::OtherSubject);
    }
    for name in wanted {
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

    fn wanted(released: &[&str], of_userinfo: &[&str], claims: &Value) -> Vec<String> {
        let released: BTreeSet<String> = released.iter().map(|name| (*name).to_owned()).collect();
        let of_userinfo: Vec<String> = of_userinfo.iter().map(|name| (*name).to_owned()).collect();
        let wanted = Wanted { released: &released, of_userinfo: &of_userinfo };
        wanted.of(&object(claims)).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn userinfo_is_fetched_only_for_claims_that_somebody_needs() {
        let none: [String; 0] = [];
        let ada = json!({"sub": "ada", "name": "Ada"});
        assert_eq!(wanted(&[], &[], &ada), none, "a picture is no reason");
        assert_eq!(wanted(&[], &[], &json!({"sub": "ada", "preferred_username": "ada"})), none);
        assert_eq!(wanted(&["name", "acr", "sub"], &[], &ada), none, "only the ID token may state those");
        assert_eq!(wanted(&["email"], &[], &ada), ["email", "picture", "preferred_username"]);
        assert_eq!(wanted(&[], &["name", "auth_time"], &ada), ["name", "picture", "preferred_username"]);
        assert_eq!(wanted(&[], &[], &json!({"sub": "ada"})), ["name", "picture", "preferred_username"]);
    }

    #[test]
    fn userinfo_adds_only_what_is_wanted() {
        let mut claims = object(&json!({"sub": "ada", "name": "Ada"}));
        let response = json!({"sub": "ada", "name": "Eve", "email": "ada@example.com", "acr": "high", "admin": true});
        merge(object(&response), &mut claims, &["email", "picture"].into()).unwrap();
        assert_eq!(Value::from(claims), json!({"sub": "ada", "name": "Ada", "email": "ada@example.com"}));
    }

    #[test]
    fn userinfo_of_somebody_else_is_refused() {
        for response in [json!({"sub": "eve", "email": "e"}), json!({"email": "e"}), json!({"sub": 7, "email": "e"})] {
            let mut claims = object(&json!({"sub": "ada"}));
            let result = merge(object(&response), &mut claims, &["email"].into());
            assert!(matches!(result, Err(SignInError::OtherSubject)), "{response}");
            assert!(!claims.contains_key("email"));
        }
    }
}

//! The claims of a request: those that the approver is asked to release, and those in ID tokens and at the userinfo endpoint
//! (OpenID Connect Core §5.4, §5.5). Apps read either place, so both have the claims of the scopes.

use serde_json::Value;

use crate::clients::Client;
use crate::clients::openid::OpenIdClient;
use crate::clients::scopes::{claims_of, has_scope};
use crate::signer::RESERVED_CLAIMS;
use crate::ticket::{Claims, RequestedClaims};

/// Returns the scopes of a sign-in that its client may still have: an operator may have removed some since.
#[must_use]
pub fn remaining(openid: &OpenIdClient, granted: &[String]) -> Vec<String> {
    granted.iter().filter(|scope| openid.scopes.contains(scope)).cloned().collect()
}

/// Returns the claims that the approver is asked to release, in the order of the client's settings: those of the granted scopes,
/// those that the request names, and those that belong to no scope; none that the client may not have.
#[must_use]
pub fn release(client: &Client, scopes: &[String], named: &RequestedClaims) -> Vec<String> {
    let is_wanted =
        |claim: &&String| is_in(claim, scopes, &named.id_token) || named.userinfo.iter().any(|named| named == *claim);
    client.claims.iter().filter(is_wanted).cloned().collect()
}

/// Returns the claims of one place, the ID token or the userinfo endpoint, from the claims that the approver has released. `named`
/// are the claims that the request names for that place.
#[must_use]
pub fn claims(client: &Client, released: &Claims, scopes: &[String], named: &[String]) -> Claims {
    let is_shown = |name: &str, value: &Value| {
        client.claims.iter().any(|claim| claim == name)
            && is_in(name, scopes, named)
            && !RESERVED_CLAIMS.contains(&name)
            && is_truthful(name, value, released)
    };
    released
        .iter()
        .filter(|(name, value)| is_shown(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns whether a claim is for the scopes, or named, or belongs to no scope and so comes with `openid`.
fn is_in(claim: &str, scopes: &[String], named: &[String]) -> bool {
    !has_scope(claim)
        || scopes.iter().any(|scope| claims_of(scope).contains(&claim))
        || named.iter().any(|named| named == claim)
}

/// Returns whether a claim states what the identity provider stated. `email_verified` applies only to the address in
/// the same token, and only if the provider states it as a boolean: apps link accounts by it.
fn is_truthful(name: &str, value: &Value, released: &Claims) -> bool {
    match name.strip_suffix("_verified") {
        Some(verified) if has_scope(name) => value.is_boolean() && released.contains_key(verified),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clients::Clients;

    fn client(claims: &[&str]) -> Client {
        let web = Clients::web_only().find(None).unwrap().as_ref().clone();
        Client { claims: claims.iter().map(|claim| (*claim).to_owned()).collect(), ..web }
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn released() -> Claims {
        let claims = json!({
            "name": "Ada", "email": "ada@example.com", "email_verified": true, "groups": ["staff"], "phone_number": "+44",
            "sub": "mallory", "sid": "x",
        });
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn the_approver_is_asked_for_the_claims_of_the_scopes_and_those_that_belong_to_none() {
        let client = client(&["groups", "email", "email_verified", "name", "address"]);
        let nothing = RequestedClaims::default();
        assert_eq!(release(&client, &texts(&["openid"]), &nothing), ["groups"]);
        let scopes = texts(&["openid", "email", "phone"]);
        assert_eq!(release(&client, &scopes, &nothing), ["groups", "email", "email_verified"]);
        let named = RequestedClaims { id_token: texts(&["name", "birthdate"]), userinfo: texts(&["address"]) };
        let asked = release(&client, &scopes, &named);
        assert_eq!(
            asked,
            ["groups", "email", "email_verified", "name", "address"],
            "never what the settings do not list"
        );
    }

    #[test]
    fn a_place_has_the_claims_of_the_scopes_and_those_named_for_it() {
        let client = client(&["name", "email", "email_verified", "groups", "phone_number", "sub", "sid"]);
        let names = |scopes: &[&str], named: &[&str]| {
            let shown = claims(&client, &released(), &texts(scopes), &texts(named));
            shown.keys().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(names(&["openid"], &[]), ["groups"]);
        assert_eq!(names(&["openid", "email"], &[]), ["email", "email_verified", "groups"]);
        assert_eq!(names(&["openid", "profile"], &["phone_number"]), ["groups", "name", "phone_number"]);
        assert_eq!(names(&["openid"], &["sub", "sid"]), ["groups"], "the gateway sets those");
        let few = Client { claims: texts(&["email"]), ..client.clone() };
        assert_eq!(claims(&few, &released(), &texts(&["openid", "email", "profile"]), &[]).len(), 1);
    }

    #[test]
    fn that_an_address_is_verified_is_never_invented() {
        let client = client(&["email", "email_verified"]);
        let shown = |claims_of_token: Value| {
            let shown = claims(&client, claims_of_token.as_object().unwrap(), &texts(&["openid", "email"]), &[]);
            shown.get("email_verified").cloned()
        };
        assert_eq!(shown(json!({"email": "a@b"})), None);
        assert_eq!(shown(json!({"email": "a@b", "email_verified": false})), Some(json!(false)));
        assert_eq!(shown(json!({"email": "a@b", "email_verified": true})), Some(json!(true)));
        assert_eq!(shown(json!({"email_verified": true})), None, "of which address?");
        assert_eq!(shown(json!({"email": "a@b", "email_verified": "true"})), None);
    }
}

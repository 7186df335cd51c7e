//! The scopes that a client may have, and the claims of each (OpenID Connect Core §5.4, §11).

/// The scope of every authorization request.
pub const OPENID: &str = "openid";
/// The scope that asks for a refresh token.
pub const OFFLINE_ACCESS: &str = "offline_access";

/// All scopes, in the order in which the gateway lists them.
pub const SCOPES: [&str; 6] = [OPENID, "profile", "email", "address", "phone", OFFLINE_ACCESS];

/// Returns the claims of a scope: none for `openid`, `offline_access` and unknown ones.
#[must_use]
pub fn claims_of(scope: &str) -> &'static [&'static str] {
    match scope {
        "profile" => &[
            "name",
            "family_name",
            "given_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
        "email" => &["email", "email_verified"],
        "address" => &["address"],
        "phone" => &["phone_number", "phone_number_verified"],
        _ => &[],
    }
}

/// Returns whether a claim belongs to a scope. The gateway adds all others, such as `groups`, to `openid`, if the
/// client's settings list them.
#[must_use]
pub fn has_scope(claim: &str) -> bool {
    SCOPES.iter().any(|scope| claims_of(scope).contains(&claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_belongs_to_one_scope_or_none() {
        for scope in SCOPES {
            for claim in claims_of(scope) {
                let owners = SCOPES.iter().filter(|other| claims_of(other).contains(claim)).count();
                assert!(owners == 1 && has_scope(claim), "{claim}");
            }
        }
        assert!(!has_scope("groups") && !has_scope("sub"));
    }
}

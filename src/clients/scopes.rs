//! The scopes of OpenID Connect, and the claims that belong to each (OpenID Connect Core §5.4).

/// The scopes that a client may have. `openid` and `offline_access` have no claims.
pub const SCOPES: [&str; 6] = ["openid", "profile", "email", "address", "phone", "offline_access"];

/// Returns the claims of a scope, none for an unknown one.
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

/// Returns whether the claim belongs to a scope. Others, such as `groups`, come with `openid`.
#[must_use]
pub fn has_scope(claim: &str) -> bool {
    SCOPES.iter().any(|scope| claims_of(scope).contains(&claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_belongs_to_one_scope_at_most() {
        let mut all: Vec<_> = SCOPES.iter().flat_map(|scope| claims_of(scope)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(has_scope("email_verified") && !has_scope("groups") && !has_scope("sub"));
        assert!(claims_of("openid").is_empty() && claims_of("admin").is_empty());
    }
}

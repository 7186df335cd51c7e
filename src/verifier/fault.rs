//! The reasons for refusing a token. No message contains any part of the token.

/// The fault of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The token is longer than `MAX_TOKEN_BYTES`.
    #[error("the token is too long")]
    TooLong,
    /// The token is not three parts of base64url, two of them JSON objects whose members have the right types.
    #[error("the token is not a JWT")]
    NotJwt,
    /// One of its JSON objects has two members with the same name.
    #[error("the token is not a JWT: a JSON object has two members with the same name")]
    DuplicateMember,
    /// The token is encrypted (RFC 7516).
    #[error("the token is encrypted; send a signed token")]
    Encrypted,
    /// `alg` is `none`.
    #[error("the token is not signed")]
    Unsigned,
    /// The header has critical parameters (RFC 7515 §4.1.11).
    #[error("the token has unsupported critical header parameters")]
    Critical,
    /// `alg` is not a supported algorithm.
    #[error(
        "the token's alg is not supported; supported are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, Ed25519 (also called EdDSA), and HS256 with a shared secret"
    )]
    UnknownAlgorithm,
    /// `typ` is not that of an access or ID token.
    #[error("the token's typ must be JWT or at+jwt, or be omitted")]
    OtherType,
    /// No published key has its `kid`.
    #[error("the token is signed with a key that the identity provider does not publish")]
    UnknownKey,
    /// The key of its `kid` is for other algorithms.
    #[error("the token's alg does not fit its key")]
    OtherAlgorithm,
    /// None of the keys that fit has signed it.
    #[error("the token's signature is invalid")]
    Signature,
    /// The token is bound to a key of its holder (RFC 7800); the gateway cannot ask the holder to prove it.
    #[error("the token is bound to a key of its holder (cnf) and is not a bearer token")]
    SenderConstrained,
    /// The token reports a security event (RFC 8417), as logout tokens do.
    #[error("the token reports an event (events) and is not a sign-in")]
    Event,
    /// A required claim is missing.
    #[error("the token lacks one of iss, aud, exp, sub")]
    MissingClaim,
    /// A claim has the wrong type, or a time that is not a date.
    #[error(
        "the token has a claim of the wrong type: iss is a string, aud a string or an array of strings, exp, nbf and iat are seconds since 1970"
    )]
    MalformedClaim,
    /// `iss` is not the configured issuer.
    #[error("the token is from another issuer")]
    OtherIssuer,
    /// `iss` and the configured issuer differ only by a trailing slash.
    #[error("the token is from another issuer: its iss and the configured one differ by a trailing slash")]
    IssuerSlash,
    /// `aud` does not contain the configured audience.
    #[error("the token is for another audience")]
    OtherAudience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is in the future.
    #[error("the token was issued in the future: the clocks of the identity provider and this machine differ")]
    IssuedInFuture,
    /// `sub` is empty, too long, not a string, or has control characters.
    #[error("the token's sub must have 1 to 255 characters and no control characters")]
    Subject,
    /// The token is a program's own, and stands for no person.
    #[error("the token is a program's own (client credentials) and identifies no person")]
    Machine,
    /// `sub` has the form of a connector's subjects.
    #[error("the token's sub is reserved for a connector")]
    ConnectorSubject,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 24] = [
        Self::TooLong,
        Self::NotJwt,
        Self::DuplicateMember,
        Self::Encrypted,
        Self::Unsigned,
        Self::Critical,
        Self::UnknownAlgorithm,
        Self::OtherType,
        Self::UnknownKey,
        Self::OtherAlgorithm,
        Self::Signature,
        Self::SenderConstrained,
        Self::Event,
        Self::MissingClaim,
        Self::MalformedClaim,
        Self::OtherIssuer,
        Self::IssuerSlash,
        Self::OtherAudience,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::Subject,
        Self::Machine,
        Self::ConnectorSubject,
    ];

    /// Returns the reason's name in the metric and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotJwt => "not_jwt",
            Self::DuplicateMember => "duplicate_member",
            Self::Encrypted => "encrypted",
            Self::Unsigned => "unsigned",
            Self::Critical => "critical",
            Self::UnknownAlgorithm => "unknown_algorithm",
            Self::OtherType => "other_type",
            Self::UnknownKey => "unknown_key",
            Self::OtherAlgorithm => "other_algorithm",
            Self::Signature => "signature",
            Self::SenderConstrained => "sender_constrained",
            Self::Event => "event",
            Self::MissingClaim => "missing_claim",
            Self::MalformedClaim => "malformed_claim",
            Self::OtherIssuer => "other_issuer",
            Self::IssuerSlash => "issuer_slash",
            Self::OtherAudience => "other_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::Subject => "subject",
            Self::Machine => "machine",
            Self::ConnectorSubject => "connector_subject",
        }
    }
}

/// The reason why no token can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoKeys {
    /// No fetch of the keys has succeeded yet.
    #[error("the identity provider's keys have not been fetched yet")]
    NeverFetched,
    /// The last successful fetch is older than the maximum age.
    #[error("the identity provider's keys are older than --identity-keys-max-age, and fetches fail")]
    TooOld,
}

impl NoKeys {
    /// Both reasons.
    pub const ALL: [Self; 2] = [Self::NeverFetched, Self::TooOld];

    /// Returns the reason's name in the metric and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverFetched => "keys_never_fetched",
            Self::TooOld => "keys_too_old",
        }
    }
}

/// The reason for refusing a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The token is invalid.
    #[error(transparent)]
    Invalid(Fault),
    /// The gateway has no keys to check it with.
    #[error(transparent)]
    NoKeys(NoKeys),
}

impl VerifyError {
    /// Returns the name of every reason in the metric and the log.
    pub fn reasons() -> impl Iterator<Item = &'static str> {
        Fault::ALL.into_iter().map(Fault::as_str).chain(NoKeys::ALL.into_iter().map(NoKeys::as_str))
    }

    /// Returns the reason's name in the metric and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid(fault) => fault.as_str(),
            Self::NoKeys(why) => why.as_str(),
        }
    }
}

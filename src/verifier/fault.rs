//! Why a token does not prove who brought it. None of the texts has any of the token in it.

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// It is longer than `MAX_TOKEN_BYTES`.
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url, of which two are JSON objects, with members of the right types.
    #[error("the token is not a JWT")]
    NotJwt,
    /// One of its objects has two members of one name.
    #[error("the token is not a JWT: a name is there twice")]
    DuplicateMember,
    /// RFC 7516.
    #[error("the token is encrypted, and encrypted tokens are not read")]
    Encrypted,
    /// `alg` is `none`.
    #[error("the token is not signed")]
    Unsigned,
    /// RFC 7515 §4.1.11.
    #[error("the token has critical header parameters that are not understood")]
    Critical,
    /// `alg` is no algorithm that is understood.
    #[error(
        "the token's alg is not understood; those that are: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, Ed25519 (also called EdDSA), and HS256 with a shared secret"
    )]
    UnknownAlgorithm,
    /// `typ` is that of something else than an access or ID token.
    #[error("the token's typ is of another kind: it must be JWT or at+jwt, or be left out")]
    OtherType,
    /// No published key has its `kid`.
    #[error("the token is signed with a key that the identity provider does not publish")]
    UnknownKey,
    /// There is a key of its `kid`, for other algorithms.
    #[error("the token is signed with another algorithm than its key is for")]
    OtherAlgorithm,
    /// No key that fits has signed it.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is bound to a key of its holder (RFC 7800), whom to ask for it there is no way here.
    #[error("the token is bound to a key of its holder (cnf) and is no bearer token")]
    SenderConstrained,
    /// It tells of an event (RFC 8417), as logout tokens do.
    #[error("the token tells of an event (events) and names nobody who is signed in")]
    Event,
    /// A claim is missing that must be there.
    #[error("the token lacks one of iss, aud, exp, sub")]
    MissingClaim,
    /// A claim has another type, or a time that there is not.
    #[error(
        "the token has a claim of the wrong type: iss is a text, aud a text or a list of texts, exp, nbf and iat are seconds since 1970"
    )]
    MalformedClaim,
    /// `iss` is not the configured issuer.
    #[error("the token is of another issuer")]
    OtherIssuer,
    /// `iss` is the configured issuer but for a slash at its end.
    #[error("the token is of another issuer: its iss and the configured one differ by a slash at the end")]
    IssuerSlash,
    /// `aud` does not have the configured audience.
    #[error("the token is for another audience")]
    OtherAudience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` lies ahead.
    #[error("the token was issued in the future: the identity provider's clock and this one differ")]
    IssuedInFuture,
    /// `sub` is empty, too long, no text or has control characters.
    #[error("the token's sub must have 1 to 255 characters, none of them a control character")]
    Subject,
    /// `sub` is one that a connector gives.
    #[error("the token's sub is one that a connector gives")]
    ConnectorSubject,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 23] = [
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
        Self::ConnectorSubject,
    ];

    /// Returns what the metric and the log call it.
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
            Self::ConnectorSubject => "connector_subject",
        }
    }
}

/// Why no token can be checked at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoKeys {
    /// The identity provider has never given a key.
    #[error("the identity provider's keys could not be fetched yet")]
    NeverFetched,
    /// It has not for longer than the maximum age.
    #[error(
        "the identity provider's keys could not be renewed for longer than --identity-keys-max-age and are no longer believed"
    )]
    TooOld,
}

impl NoKeys {
    /// Both.
    pub const ALL: [Self; 2] = [Self::NeverFetched, Self::TooOld];

    /// Returns what the metric and the log call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverFetched => "keys_never_fetched",
            Self::TooOld => "keys_too_old",
        }
    }
}

/// Why a token does not prove who brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The token is not good.
    #[error(transparent)]
    Invalid(Fault),
    /// There are no keys to check it with.
    #[error(transparent)]
    NoKeys(NoKeys),
}

impl VerifyError {
    /// Every reason, as the metric and the log call it.
    pub fn reasons() -> impl Iterator<Item = &'static str> {
        Fault::ALL.into_iter().map(Fault::as_str).chain(NoKeys::ALL.into_iter().map(NoKeys::as_str))
    }

    /// Returns what the metric and the log call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid(fault) => fault.as_str(),
            Self::NoKeys(why) => why.as_str(),
        }
    }
}

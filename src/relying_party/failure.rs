//! The reasons why a sign-in at a provider fails, for people, the log and the metric.

use super::begun::Return;
use super::calls::CallError;
use super::discovery::DiscoveryError;
use super::id_token::IdTokenFault;
use crate::store::StoreError;
use crate::verifier::{NoKeys, VerifyError};

/// The reason why a sign-in failed. No message contains a part of the answer or of a token.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The person, or the provider for them, declined.
    #[error("the person or the provider declined the sign-in")]
    Denied,
    /// The provider answered with another error.
    #[error("the provider answered with the error {0}")]
    Provider(&'static str),
    /// The discovery document is not known.
    #[error("the discovery document is not known: {0}")]
    Discovery(#[from] DiscoveryError),
    /// The token endpoint gave nothing usable.
    #[error("the token endpoint failed: {0}")]
    Token(CallError),
    /// The token endpoint refused the code.
    #[error(
        "the token endpoint refused the code with HTTP status {0}; check the client id, the secret and the redirect URI"
    )]
    CodeRefused(u16),
    /// The ID token is wrong.
    #[error("the ID token is refused: {0}")]
    IdToken(#[from] IdTokenFault),
    /// The provider's keys are not known.
    #[error(transparent)]
    NoKeys(NoKeys),
    /// The provider's keys did not arrive in time.
    #[error("the provider's keys did not arrive in time")]
    LateKeys,
    /// The userinfo endpoint gave nothing usable.
    #[error("the userinfo endpoint failed: {0}")]
    Userinfo(CallError),
    /// Userinfo is somebody else's.
    #[error("userinfo has another sub than the ID token")]
    OtherSubject,
    /// `state` is missing, unknown, or expired.
    #[error("no sign-in with this state is waiting")]
    UnknownState,
    /// The answer came before.
    #[error("this sign-in was used before")]
    UsedBefore,
    /// The browser is not the one that began.
    #[error("another browser began this sign-in")]
    OtherBrowser,
    /// The answer is of another provider (RFC 9207 §2.4).
    #[error("iss of the answer is not the provider's issuer")]
    MixUp,
    /// The answer has neither a code nor an error, or is malformed.
    #[error("the answer is malformed")]
    Malformed,
    /// The provider is not configured any more.
    #[error("the provider of this sign-in is not configured")]
    UnknownProvider,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SignInError {
    /// Every reason.
    pub const REASONS: [&'static str; 17] = [
        "denied",
        "provider_error",
        "discovery",
        "token_unavailable",
        "token_malformed",
        "code_refused",
        "id_token",
        "no_keys",
        "userinfo",
        "other_subject",
        "unknown_state",
        "used_before",
        "other_browser",
        "mix_up",
        "malformed",
        "unknown_provider",
        "store",
    ];

    /// Returns the reason's name in the metric and the log.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Provider(_) => "provider_error",
            Self::Discovery(_) => "discovery",
            Self::Token(CallError::NotJson | CallError::Missing(_) | CallError::TooLarge) => "token_malformed",
            Self::Token(_) => "token_unavailable",
            Self::CodeRefused(_) => "code_refused",
            Self::IdToken(_) => "id_token",
            Self::NoKeys(_) | Self::LateKeys => "no_keys",
            Self::Userinfo(_) => "userinfo",
            Self::OtherSubject => "other_subject",
            Self::UnknownState => "unknown_state",
            Self::UsedBefore => "used_before",
            Self::OtherBrowser => "other_browser",
            Self::MixUp => "mix_up",
            Self::Malformed => "malformed",
            Self::UnknownProvider => "unknown_provider",
            Self::Store(_) => "store",
        }
    }
}

impl From<VerifyError> for SignInError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Invalid(fault) => Self::IdToken(IdTokenFault::Token(fault)),
            VerifyError::NoKeys(why) => Self::NoKeys(why),
        }
    }
}

/// The error codes of providers that the log may name (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6). Any other is `other`,
/// because anyone can write the parameter.
const KNOWN_ERRORS: [&str; 13] = [
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
    "registration_not_supported",
    "unmet_authentication_requirements",
    "request_not_supported",
];

/// Returns the failure that an `error` in an answer means.
pub(super) fn of_answer(error: &str) -> SignInError {
    if error == "access_denied" {
        return SignInError::Denied;
    }
    SignInError::Provider(KNOWN_ERRORS.into_iter().find(|known| *known == error).unwrap_or("other"))
}

/// A failed sign-in, and the page to go on with.
#[derive(Debug)]
pub struct Failed {
    /// The reason.
    pub error: SignInError,
    /// The page from which the person began; `None` if the answer fits no sign-in that began.
    pub return_to: Option<Return>,
    /// The provider at which it began, likewise.
    pub provider: Option<String>,
}

impl Failed {
    /// A failure of an answer that fits no sign-in.
    pub(super) fn without_page(error: impl Into<SignInError>) -> Self {
        Self { error: error.into(), return_to: None, provider: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_provider_says_is_named_only_if_it_is_known() {
        assert!(matches!(of_answer("access_denied"), SignInError::Denied));
        assert!(matches!(of_answer("invalid_scope"), SignInError::Provider("invalid_scope")));
        for error in ["", "<script>", "INVALID_SCOPE"] {
            assert!(matches!(of_answer(error), SignInError::Provider("other")), "{error}");
        }
    }

    #[test]
    fn every_reason_is_listed_once() {
        let mut reasons = SignInError::REASONS.to_vec();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), SignInError::REASONS.len());
        for error in [SignInError::Denied, SignInError::MixUp, SignInError::Token(CallError::NotJson)] {
            assert!(SignInError::REASONS.contains(&error.as_str()));
        }
    }
}

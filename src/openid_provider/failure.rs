//! The errors of the protocol that apps get: those that go back to a redirect URI, and those of the token endpoint.
//!
//! The names are those of the specifications, and apps depend on them. The sentences are for the people who write apps;
//! they quote nothing of the request.

use std::time::Duration;

/// An error that goes back to a client's redirect URI (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationError {
    /// A parameter is missing, repeated or invalid. The sentence names it.
    InvalidRequest(&'static str),
    /// The response type is not `code`.
    UnsupportedResponseType,
    /// The scope lacks `openid`, or is too long.
    InvalidScope,
    /// The parameter `resource` names an API that is not one of the client's (RFC 8707 §2).
    InvalidTarget,
    /// The parameter `request` was sent.
    RequestNotSupported,
    /// The parameter `request_uri` was sent. It is never fetched.
    RequestUriNotSupported,
    /// The parameter `registration` was sent.
    RegistrationNotSupported,
    /// The person declined.
    AccessDenied,
    /// `prompt=none`, and the browser has no usable session; or a person other than the hinted one signed in.
    LoginRequired,
    /// `prompt=none`, and the browser's session lacks something that the client needs.
    InteractionRequired,
    /// The store cannot be reached.
    TemporarilyUnavailable,
    /// The gateway failed.
    ServerError,
}

impl AuthorizationError {
    /// The names of all errors, for the metrics.
    pub const NAMES: [&str; 12] = [
        "invalid_request",
        "unsupported_response_type",
        "invalid_scope",
        "invalid_target",
        "request_not_supported",
        "request_uri_not_supported",
        "registration_not_supported",
        "access_denied",
        "login_required",
        "interaction_required",
        "temporarily_unavailable",
        "server_error",
    ];

    /// Returns the value of `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::InteractionRequired => "interaction_required",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// Returns the value of `error_description`: one sentence in ASCII, without quotes and backslashes (RFC 6749 §4.1.2.1).
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::InvalidRequest(sentence) => sentence,
            Self::UnsupportedResponseType => "Only response_type=code is supported.",
            Self::InvalidScope => "scope must contain openid and have at most 1024 bytes.",
            Self::InvalidTarget => "resource is not one of this client's audiences.",
            Self::RequestNotSupported => "The parameter request is not supported; send its parameters in the query.",
            Self::RequestUriNotSupported => "The parameter request_uri is not supported; send the query itself.",
            Self::RegistrationNotSupported => "The parameter registration is not supported.",
            Self::AccessDenied => "The person declined.",
            Self::LoginRequired => "The person must sign in.",
            Self::InteractionRequired => "The person must confirm something first.",
            Self::TemporarilyUnavailable => "The gateway cannot reach its store; try again soon.",
            Self::ServerError => "The gateway failed.",
        }
    }
}

/// An error of the token endpoint and its siblings (RFC 6749 §5.2, RFC 7009 §2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// A parameter is missing, repeated or invalid. The sentence names it.
    InvalidRequest(&'static str),
    /// The client is unknown, its secret is wrong or missing, or it uses another method. One answer for all.
    InvalidClient {
        /// Whether the client tried `Authorization: Basic`, so that the answer has a challenge for it.
        by_header: bool,
    },
    /// This client cannot use the code or the refresh token. The sentence does not say why.
    InvalidGrant(&'static str),
    /// The page that sent the request has an origin that is not the client's.
    ForeignOrigin,
    /// The grant type is neither `authorization_code` nor `refresh_token`.
    UnsupportedGrantType,
    /// A refresh asks for a scope that the sign-in did not grant.
    InvalidScope,
    /// A caller has no attempts left, or the store cannot be reached.
    TemporarilyUnavailable {
        /// True if the caller has no attempts left, false if the store failed.
        is_limited: bool,
        /// When to try again.
        retry_after: Duration,
    },
    /// The gateway failed.
    ServerError,
}

impl TokenError {
    /// Returns the value of `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) | Self::ForeignOrigin => "invalid_request",
            Self::InvalidClient { .. } => "invalid_client",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::TemporarilyUnavailable { .. } => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// Returns the value of `error_description`: one sentence in ASCII, without quotes and backslashes.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::InvalidRequest(sentence) | Self::InvalidGrant(sentence) => sentence,
            Self::InvalidClient { .. } => "The client is unknown, or did not authenticate as it is registered.",
            Self::ForeignOrigin => "The page that sent this is not of the client's origins.",
            Self::UnsupportedGrantType => "Only authorization_code and refresh_token are supported.",
            Self::InvalidScope => "scope must contain openid and nothing that the sign-in did not grant.",
            Self::TemporarilyUnavailable { is_limited: true, .. } => "There were too many attempts; try again later.",
            Self::TemporarilyUnavailable { .. } => "The gateway cannot reach its store; try again soon.",
            Self::ServerError => "The gateway failed.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sentence(text: &str) -> bool {
        text.ends_with('.') && text.chars().all(|c| matches!(c, ' '..='~') && c != '"' && c != '\\')
    }

    #[test]
    fn every_error_has_its_name_and_a_sentence_that_every_client_can_read() {
        use AuthorizationError as Error;
        let all = [
            Error::InvalidRequest("state is repeated."),
            Error::UnsupportedResponseType,
            Error::InvalidScope,
            Error::InvalidTarget,
            Error::RequestNotSupported,
            Error::RequestUriNotSupported,
            Error::RegistrationNotSupported,
            Error::AccessDenied,
            Error::LoginRequired,
            Error::InteractionRequired,
            Error::TemporarilyUnavailable,
            Error::ServerError,
        ];
        assert_eq!(all.map(Error::as_str), Error::NAMES);
        assert!(all.iter().all(|error| is_sentence(error.description())));
        let retry_after = Duration::from_secs(1);
        for error in [
            TokenError::InvalidRequest("code is missing."),
            TokenError::InvalidClient { by_header: true },
            TokenError::InvalidGrant("The code is invalid."),
            TokenError::ForeignOrigin,
            TokenError::UnsupportedGrantType,
            TokenError::InvalidScope,
            TokenError::TemporarilyUnavailable { is_limited: true, retry_after },
            TokenError::TemporarilyUnavailable { is_limited: false, retry_after },
            TokenError::ServerError,
        ] {
            assert!(is_sentence(error.description()), "{error:?}");
        }
    }
}

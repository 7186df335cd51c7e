//! The metrics of the OpenID Provider. No label names a client: the log lines do.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::define::define_metrics;
use super::labels::{Outcome, Reason};

/// The outcomes of an authorization request.
const AUTHORIZATIONS: [&str; 6] = ["page", "sso", "code", "declined", "refused", "error"];
/// The grants at the token endpoint.
const GRANTS: [&str; 2] = ["code", "refresh"];
/// The results of a token request with a grant.
const RESULTS: [&str; 6] = ["issued", "again", "invalid_grant", "replayed", "reused", "other"];
/// The reasons why the tokens of a sign-in ended before they expired.
const GRANT_ENDS: [&str; 4] = ["replayed", "reused", "revoked", "signed_out"];
/// The reasons why a browser's session ended.
const SESSION_ENDS: [&str; 2] = ["signed_out", "replaced"];
/// The results of a userinfo request.
const USERINFO: [&str; 3] = ["ok", "refused", "unavailable"];

/// Labels of a request at the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenRequest {
    grant: &'static str,
    result: &'static str,
}

impl From<(&'static str, &'static str)> for TokenRequest {
    fn from((grant, result): (&'static str, &'static str)) -> Self {
        Self { grant, result }
    }
}

/// Labels of an error that goes back to an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorName {
    error: &'static str,
}

impl From<&'static str> for ErrorName {
    fn from(error: &'static str) -> Self {
        Self { error }
    }
}

/// Labels of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultName {
    result: &'static str,
}

impl From<&'static str> for ResultName {
    fn from(result: &'static str) -> Self {
        Self { result }
    }
}

define_metrics! {
    /// Metrics of the OpenID Provider.
    pub struct OpenIdMetrics {
        authorizations: Family<Outcome, Counter> = "authorizations",
            "Authorization requests by outcome: page (shown), sso (answered by the browser's session), code (answered after a scan), declined, refused (a page in words), error (an error at the app)",
            series AUTHORIZATIONS;
        authorization_errors: Family<ErrorName, Counter> = "authorization_errors",
            "Errors that went back to apps from the authorization endpoint, by name";
        token_requests: Family<TokenRequest, Counter> = "token_requests",
            "Token requests by grant and result: issued, again (the same refresh token for a lost answer), invalid_grant, replayed (a code used twice), reused (an old refresh token), other",
            series GRANTS.into_iter().flat_map(|grant| RESULTS.map(|result| (grant, result)));
        clients_refused: Counter = "openid_clients_refused",
            "Requests of clients that are unknown or did not authenticate as they are registered";
        grants_ended: Family<Reason, Counter> = "grants_ended",
            "Sign-ins whose tokens ended early, by reason: replayed, reused, revoked, signed_out", series GRANT_ENDS;
        sso_started: Counter = "sso_sessions_started", "Sessions of browsers that began";
        sso_ended: Family<Reason, Counter> = "sso_sessions_ended",
            "Sessions of browsers that ended early, by reason: signed_out, replaced", series SESSION_ENDS;
        userinfo: Family<ResultName, Counter> = "userinfo",
            "Userinfo requests by result: ok, refused, unavailable", series USERINFO;
    }
}

impl OpenIdMetrics {
    /// Creates the series of every error at an app, at zero.
    pub fn init_error_series(&self, errors: impl Iterator<Item = &'static str>) {
        for error in errors {
            drop(self.authorization_errors.get_or_create(&error.into()));
        }
    }

    /// Counts an authorization request by its outcome.
    pub fn authorization(&self, outcome: &'static str) {
        self.authorizations.get_or_create(&outcome.into()).inc();
    }

    /// Counts an error that goes back to an app, also as an outcome.
    pub fn authorization_error(&self, error: &'static str) {
        self.authorization("error");
        self.authorization_errors.get_or_create(&error.into()).inc();
    }

    /// Counts a token request.
    pub fn token_request(&self, grant: &'static str, result: &'static str) {
        self.token_requests.get_or_create(&(grant, result).into()).inc();
    }

    /// Counts a client that was refused.
    pub fn client_refused(&self) {
        self.clients_refused.inc();
    }

    /// Counts a sign-in whose tokens ended early.
    pub fn grant_ended(&self, reason: &'static str) {
        self.grants_ended.get_or_create(&reason.into()).inc();
    }

    /// Counts a session of a browser that began.
    pub fn sso_started(&self) {
        self.sso_started.inc();
    }

    /// Counts a session of a browser that ended early.
    pub fn sso_ended(&self, reason: &'static str) {
        self.sso_ended.get_or_create(&reason.into()).inc();
    }

    /// Counts a userinfo request.
    pub fn userinfo(&self, result: &'static str) {
        self.userinfo.get_or_create(&result.into()).inc();
    }
}

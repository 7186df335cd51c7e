//! The paths of the endpoints that browsers open.

/// The authorization endpoint.
pub(in crate::http) const AUTHORIZE_PATH: &str = "/oauth2/authorize";
/// Where the sign-in page leads after the confirmation.
pub(in crate::http) const DONE_PATH: &str = "/oauth2/authorize/done";
/// Where the sign-in page leads a person who goes back to the app without signing in.
pub(in crate::http) const CANCEL_PATH: &str = "/oauth2/authorize/cancel";
/// The end of a session, begun by a client.
pub(in crate::http) const LOGOUT_PATH: &str = "/oauth2/logout";
/// Where the page that asks whether to sign out posts the answer.
pub(in crate::http) const CONFIRM_LOGOUT_PATH: &str = "/oauth2/logout/confirm";

//! The paths of the endpoints that browsers open.

/// The authorization endpoint.
pub(in crate::http) const AUTHORIZE_PATH: &str = "/oauth2/authorize";
/// The address to which the sign-in page leads after the confirmation.
pub(in crate::http) const DONE_PATH: &str = "/oauth2/authorize/done";
/// The address for a person who returns from the sign-in page to the app without signing in.
pub(in crate::http) const CANCEL_PATH: &str = "/oauth2/authorize/cancel";
/// The end of a session, begun by a client.
pub(in crate::http) const LOGOUT_PATH: &str = "/oauth2/logout";
/// The address to which the page that asks whether to sign out posts the answer.
pub(in crate::http) const CONFIRM_LOGOUT_PATH: &str = "/oauth2/logout/confirm";

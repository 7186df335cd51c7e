//! The end of a browser's session, begun by a client (OpenID Connect RP-Initiated Logout).

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn logout() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

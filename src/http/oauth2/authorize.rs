//! The authorization endpoint (OpenID Connect Core §3.1.2).

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn authorize() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

//! The token endpoint (OpenID Connect Core §3.1.3).

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn token() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

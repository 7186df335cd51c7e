//! The userinfo endpoint (OpenID Connect Core §5.3).

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn userinfo() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

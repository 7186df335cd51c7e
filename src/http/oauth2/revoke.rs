//! The revocation endpoint (RFC 7009).

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn revoke() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

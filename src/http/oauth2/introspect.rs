//! The introspection endpoint (RFC 7662).

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn introspect() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

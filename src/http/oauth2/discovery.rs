//! The description of the provider (OpenID Connect Discovery §4).

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn document() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

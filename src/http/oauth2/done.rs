//! The answer to an authorization request, after the confirmation.

use crate::http::problem::{self, Problem};

/// Not built yet.
pub(in crate::http) async fn done() -> Problem {
    Problem::from(&problem::NOT_FOUND)
}

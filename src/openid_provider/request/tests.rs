//! The table of checks, and the invariant.
